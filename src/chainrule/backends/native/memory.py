"""Where buffers lie: one arena for what is needed only inside a step, reused as soon as it is free.

A buffer lives from the group that writes it to the last one that reads it. Two that never live at
once may have the same memory; then the threads must meet before the second is written, so `takes`
says whose memory a buffer takes over.
"""

from __future__ import annotations

import bisect
import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ArgumentError
from ...graph import Array
from .plan import Plan
from .sharing import runs
from .storage import Value

ALIGNED = 64  # bytes: a cache line, and the widest vector


@dataclass(frozen=True)
class Arena:
    """offsets in bytes by buffer, and the size of it all."""

    offsets: dict[int, int]
    size: int


@dataclass(frozen=True)
class _Life:
    """A buffer: the groups that first and last touch it, and the phases these are in.

    rows   by which all groups do that, each thread its own: 0 if any does otherwise
    """

    size: int
    begin: int
    end: int
    first_phase: int
    last_phase: int
    rows: int

    def leaves_to(self, other: _Life) -> bool:
        """Whether nothing needs it any more when another one begins."""
        return self.last_phase < other.first_phase

    def hands_on(self, other: _Life) -> bool:
        """Whether each thread may write its rows of another one just there."""
        alike = (self.size, self.rows) == (other.size, other.rows)
        return self.rows > 0 and alike and self.end < other.begin


def arena(made: Plan, outputs: set[int]) -> Arena:
    """Places for all buffers that native groups write and nobody keeps."""
    kept = outputs | set(made.in_place) | {new for new, _ in made.commits}
    placed: list[tuple[int, int, int]] = []  # of what is needed still: offset, end of it, buffer
    offsets: dict[int, int] = {}
    lives = _lives(made)
    size = 0
    for b, life in lives.items():
        if b in kept:
            continue
        wide = rounded(life.size)
        at = 0
        placed = [p for p in placed if not lives[p[2]].leaves_to(life)]
        for low, high, other in placed:
            taken = low < at + wide and at < high
            if taken and not (low == at and lives[other].hands_on(life)):
                at = high
        bisect.insort(placed, (at, at + wide, b))
        offsets[b] = at
        size = max(size, at + wide)
    return Arena(offsets, size)


def _lives(made: Plan) -> dict[int, _Life]:
    """Of what native groups write, in their order.

    Within a phase threads do not wait for each other; a call that is not shared out has one thread.
    """
    phase = 0
    begun: dict[int, tuple[int, int]] = {}
    ended: dict[int, tuple[int, int]] = {}
    rows: dict[int, int] = {}
    k = 0
    for part in runs(made.groups):
        shared = any(g.units > 1 for g in part)
        phase += 1
        for group in part:
            phase += group.meets or not shared
            for r, aligned in group.reads.items():
                ended[r] = k, phase
                rows[r] = rows.get(r, 0) if aligned and group.rows == rows.get(r) else 0
            for b in group.writes if group.kind != "numpy" else ():
                begun[b] = ended[b] = k, phase
                rows[b] = group.rows
            k += 1
    return {
        b: _Life(size_of(made.values[b]), first, ended[b][0], opened, ended[b][1], rows[b])
        for b, (first, opened) in begun.items()
    }


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
