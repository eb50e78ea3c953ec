"""Where buffers lie: one arena for what is needed only inside a step, reused as soon as it is free.

A buffer lives from the task that writes it to the last one that reads it. Two that never live at
once may have the same memory; then the threads must meet before the second is written, so `takes`
says whose memory a buffer takes over.
"""

from __future__ import annotations

import bisect
import heapq
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ..alignment import rounded, size_of
from .buffers import Storage
from .kinds import NUMPY
from .threads import Meetings, Task, native_calls


@dataclass(frozen=True)
class Arena:
    """offsets in bytes by buffer, and the size of it all."""

    offsets: Mapping[int, int]
    size: int


@dataclass(frozen=True)
class _Life:
    """A buffer: the tasks that first and last touch it, and the phases these are in.

    rows   by which all tasks do that, each thread its own: 0 if any does otherwise
    """

    size: int
    begin: int
    end: int
    first_phase: int
    last_phase: int
    rows: int


class _Free:
    """The gaps between places that are taken, by offset; the last gap has no end."""

    def __init__(self) -> None:
        self._lows, self._highs = [0], [sys.maxsize]

    def first(self, size: int) -> int:
        """Where the first gap of this size begins."""
        gaps = zip(self._lows, self._highs, strict=True)
        return next(low for low, high in gaps if high - low >= size)

    def take(self, low: int, size: int) -> None:
        """Take a place at the beginning of a gap."""
        k = bisect.bisect_left(self._lows, low)
        self._lows[k] += size
        if self._lows[k] == self._highs[k]:
            del self._lows[k], self._highs[k]

    def give(self, low: int, size: int) -> None:
        """Free a place; gaps that touch become one."""
        k, high = bisect.bisect_left(self._lows, low), low + size
        if k < len(self._lows) and self._lows[k] == high:
            high = self._highs[k]
            del self._lows[k], self._highs[k]
        if k and self._highs[k - 1] == low:
            self._highs[k - 1] = high
        else:
            self._lows.insert(k, low)
            self._highs.insert(k, high)


def arena_of(
    tasks: Sequence[Task], storage: Storage, meetings: Meetings, outside: AbstractSet[int]
) -> Arena:
    """Places for what native tasks write and is not outside, each the lowest possible.

    A buffer is placed in a gap, or over one of the same size and rows that no later task touches:
    there each thread writes only rows that were its own, so the threads need not have met. Buffers
    come in the order of their tasks, and queues say which places are free by then: the time that
    this takes grows with their number, not with its square.

    outside   buffers with memory elsewhere: outputs, those over another one, those that are copied
    """
    lives = {b: life for b, life in _lives(tasks, storage, meetings).items() if b not in outside}
    free, size = _Free(), 0
    offsets: dict[int, int] = {}
    owner: dict[int, int] = {}  # by offset: the last buffer placed there
    needed: list[tuple[int, int]] = []  # (last phase, buffer)
    touched: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by size and rows: (end, buffer)
    over: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by the same: (offset, buffer)
    for b, life in lives.items():
        while needed and needed[0][0] < life.first_phase:
            other = heapq.heappop(needed)[1]
            if owner.get(offsets[other]) == other:
                del owner[offsets[other]]
                free.give(offsets[other], rounded(lives[other].size))
        alike = life.size, life.rows
        ending, ready = touched.setdefault(alike, []), over.setdefault(alike, [])
        while ending and ending[0][0] < life.begin:
            other = heapq.heappop(ending)[1]
            heapq.heappush(ready, (offsets[other], other))
        while ready and owner.get(ready[0][0]) != ready[0][1]:
            heapq.heappop(ready)
        at = free.first(rounded(life.size))
        if ready and ready[0][0] < at:
            at = heapq.heappop(ready)[0]
        else:
            free.take(at, rounded(life.size))
        offsets[b], owner[at] = at, b
        size = max(size, at + rounded(life.size))
        heapq.heappush(needed, (life.last_phase, b))
        if life.rows:
            heapq.heappush(ending, (life.end, b))
    return Arena(offsets, size)


def _lives(tasks: Sequence[Task], storage: Storage, meetings: Meetings) -> dict[int, _Life]:
    """Of what native tasks write, in their order.

    Within a phase threads do not wait for each other; a call that is not shared has one thread.
    """
    phase = 0
    begun: dict[int, tuple[int, int]] = {}
    ended: dict[int, tuple[int, int]] = {}
    rows: dict[int, int] = {}
    k = 0
    for part in native_calls(tasks):
        shared = any(task.shared for task in part)
        phase += 1
        for task in part:
            phase += task in meetings.before or not shared
            for r, own_row in task.group.reads.items():
                ended[r] = k, phase
                rows[r] = rows.get(r, 0) if own_row and task.cut.rows == rows.get(r) else 0
            for b in task.writes if task.kind is not NUMPY else ():
                begun[b] = ended[b] = k, phase
                rows[b] = task.cut.rows
            k += 1
    return {
        b: _Life(size_of(storage.buffers[b]), first, ended[b][0], opened, ended[b][1], rows[b])
        for b, (first, opened) in begun.items()
    }
