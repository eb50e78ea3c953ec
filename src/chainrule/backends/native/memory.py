"""Where buffers lie: one arena for what is needed only inside a step, reused as soon as it is free.

A buffer lives from the group that writes it to the last one that reads it. Two that never live at
once may have the same memory; then the threads must meet before the second is written, so `takes`
says whose memory a buffer takes over.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from .arrays import rounded, size_of
from .plan import Plan
from .sharing import runs


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
