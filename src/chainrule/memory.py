"""How much memory there is, and errors for what would not fit into it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .errors import ArgumentError


def physical() -> int | None:
    """The bytes of memory that this process can have: the machine's, or its container's share."""
    limits: list[int] = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not every system says
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=None)


def expect_room(operation: str, what: str, needed: int, advice: str) -> None:
    """Refuse what would not fit into this machine's memory.

    what   "a table of 10 × 10, which needs": the bytes follow
    """
    there = physical()
    if there is not None and needed > there:
        raise ArgumentError(
            operation,
            f"got {what} {needed / 1e9:.1f} GB of memory",
            f"expected at most {there / 1e9:.1f} GB, the memory of this machine",
            advice,
        )
