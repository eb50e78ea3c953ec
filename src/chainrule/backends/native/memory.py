"""Where buffers lie: one arena for what is needed only inside a step, reused as soon as it is free.

A buffer lives from the group that writes it to the last one that reads it. Two that never live at
once may have the same memory; then the threads must meet before the second is written, so `takes`
says whose memory a buffer takes over.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ArgumentError
from ...graph import Array
from .plan import Plan, Value, reads_of

ALIGNED = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True)
class Arena:
    """offsets in bytes by buffer, the size of it all, and the buffers whose memory one takes."""

    offsets: dict[int, int]
    size: int
    takes: dict[int, set[int]]


def arena(made: Plan, outputs: set[int]) -> Arena:
    """Places for all buffers that native groups write and nobody keeps."""
    begin: dict[int, int] = {}
    end: dict[int, int] = {}
    for k, group in enumerate(made.groups):
        for b in group.writes:
            begin[b] = end[b] = k
            for r in reads_of(b, made.values, made.stored):
                end[r] = k
    kept = outputs | set(made.in_place) | {new for new, _ in made.commits}
    inside = [b for group in made.groups if group.kind != "numpy" for b in group.writes
              if b not in kept]  # fmt: skip
    placed: list[tuple[int, int, int]] = []  # offset, end of it, buffer
    takes: dict[int, set[int]] = {}
    size = 0
    for b in inside:
        wide = rounded(size_of(made.values[b]))
        at = 0
        for low, high, other in sorted(placed):
            if end[other] >= begin[b] and low < at + wide and at < high:
                at = high
        takes[b] = {c for low, high, c in placed if low < at + wide and at < high}
        placed.append((at, at + wide, b))
        size = max(size, at + wide)
    return Arena({b: low for low, _, b in placed}, size, takes)


def size_of(value: Value) -> int:
    """Bytes."""
    return math.prod(value.shape) * int(value.dtype.itemsize)


def rounded(size: int) -> int:
    """Up to whole cache lines; never nothing."""
    return max(1, -(-size // ALIGNED)) * ALIGNED


def aligned(size: int) -> Array:
    """So many bytes, zero, that begin on a cache line."""
    raw = np.zeros(size + ALIGNED, np.uint8)
    start = -raw.ctypes.data % ALIGNED
    return raw[start : start + size]


def array_of(value: Value) -> Array:
    """A new array for a buffer, on a cache line of its own."""
    part = aligned(rounded(size_of(value)))[: size_of(value)]
    return part.view(value.dtype).reshape(value.shape)


def expect_room(needed: int) -> None:
    """Refuse a step that would not fit into this machine's memory."""
    there = physical()
    if there is not None and needed > there:
        raise ArgumentError(
            "compile", f"got a step that needs {_gigabytes(needed)} of memory for itself",
            f"no more than the {_gigabytes(there)} there are",
            "use a smaller batch, or do it in pieces (accumulate=… of fit)",
        )  # fmt: skip


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def physical() -> int | None:
    """The bytes of memory that this process can have: the machine's, or its container's share."""
    found: list[int] = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not every system says
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)


def address(array: Array) -> int:
    """Where an array begins."""
    found: int = array.__array_interface__["data"][0]
    return found
