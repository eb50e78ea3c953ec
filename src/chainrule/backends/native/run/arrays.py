"""Arrays on cache lines and pages of their own, where they are, and whether there is room."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from pathlib import Path

import numpy as np

from ....errors import ArgumentError
from ....graph import Array, Spec
from ..alignment import ALIGNED, PAGE, rounded, size_of

HUGE_PAGE = 1 << 21
LARGE = 1 << 23  # bytes from which on an array is on huge pages


def aligned(size: int) -> Array:
    """`size` zero bytes that begin on a cache line; on a page, if they fill one.

    Many are on huge pages, if the system has some: rows of a large table that are looked up lie far
    apart, and a processor knows the addresses of some 2000 pages.
    """
    to = HUGE_PAGE if size >= LARGE else PAGE if size >= PAGE else ALIGNED
    if size >= LARGE and sys.platform == "linux":
        pages = mmap.mmap(-1, size + to, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # not every kernel has them
            pages.madvise(mmap.MADV_HUGEPAGE)
        raw = np.frombuffer(pages, np.uint8)
    else:
        raw = np.zeros(size + to, np.uint8)
    start = -raw.ctypes.data % to
    return raw[start : start + size]


def array_of(value: Spec) -> Array:
    """A new array for a buffer, on a cache line of its own."""
    part = aligned(rounded(size_of(value)))[: size_of(value)]
    return part.view(value.dtype).reshape(value.shape)


def expect_room(needed: int) -> None:
    """Refuse a step that would not fit into this machine's memory."""
    there = physical()
    if there is not None and needed > there:
        raise ArgumentError(
            "compile",
            f"got a step that needs {_gigabytes(needed)} of memory for itself",
            f"expected at most {_gigabytes(there)}, the memory of this machine",
            "use a smaller batch, or do it in pieces (accumulate=… of fit)",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def physical() -> int | None:
    """The bytes of memory that this process can have: the machine's, or its container's share."""
    limits: list[int] = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not every system says
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits, default=None)


def address(array: Array) -> int:
    """Where an array begins."""
    place: int = array.__array_interface__["data"][0]
    return place
