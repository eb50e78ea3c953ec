"""Loops with a body: what a scan needs to run its body's plan once per turn.

Each thread has the body's table of pointers for itself, and moves its pointers on after each turn:
rows of what goes in and of what is stacked by a row, the carries from one place to another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ...program import Kernel
from ..alignment import rounded, size_of
from ..processor import Target
from .buffers import Buffer, Storage
from .cuts import EVERY, WHOLE, Cut

if TYPE_CHECKING:
    from .stages import Plan

POINTER_BYTES = 8


@dataclass(frozen=True)
class Turns:
    """A scan: its kernel, and the plan of its body.

    Operands of the kernel and inputs of the body are constants, then carries, then rows; results of
    the kernel and outputs of the body are carries, then what is stacked.
    """

    kernel: Kernel
    body: Plan

    @property
    def length(self) -> int:
        """The number of turns."""
        return int(self.kernel.params["length"])

    @property
    def constants(self) -> int:
        """The number of constants."""
        return int(self.kernel.params["consts"])

    @property
    def carries(self) -> int:
        """The number of carries."""
        return int(self.kernel.params["carries"])

    @property
    def row_bytes(self) -> list[int]:
        """Of each output of the body."""
        return [size_of(self.body.storage.buffers[b]) for b in self.body.program.outputs]

    @cached_property
    def offsets(self) -> list[tuple[int, int]]:
        """Places beside the body's arena, for each output of the body, and where they end.

        Of a carry: where it goes in turn with its result, and a place for that if nothing reads it.
        Of what is stacked: a place for a row that nothing reads, twice the same.
        """
        at, places = rounded(self.body.arena.size), []
        for k, size in enumerate(self.row_bytes):
            second = at + rounded(size) if k < self.carries else at
            places.append((at, second))
            at = second + rounded(size)
        return [*places, (at, at)]

    @property
    def memory(self) -> int:
        """Bytes that all threads share."""
        return self.offsets[-1][0]

    @property
    def carried(self) -> dict[int, int]:
        """The carries: input of the body -> output."""
        into = range(self.constants, self.constants + self.carries)
        return dict(zip(into, self.body.program.outputs, strict=False))

    @property
    def table_bytes(self) -> int:
        """Of the body's table of pointers."""
        return rounded(POINTER_BYTES * self.body.table_size)


def turns_of(b: int, storage: Storage) -> Turns:
    """The scan that makes a buffer."""
    body = storage.buffers[b].body
    assert body is not None
    return Turns(storage.kernel(b), body)


def memory_of_turns(kernel: Kernel, body: Plan | None) -> int:
    """Bytes that all threads share."""
    assert body is not None
    return Turns(kernel, body).memory


def may_fail(buffer: Buffer) -> bool:
    """Whether a turn may."""
    return buffer.body is not None and any(task.group.fails for task in buffer.body.tasks)


def work_of_turns(main: int, writes: Sequence[int], storage: Storage) -> float:
    """Of all turns."""
    turns = turns_of(main, storage)
    return turns.length * math.fsum(task.group.work for task in turns.body.tasks)


def cut_turns(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """All threads go through all turns together, if they share any of a turn's loops."""
    return EVERY if any(task.shared for task in turns_of(main, storage).body.tasks) else WHOLE


def scratch_of_turns(
    main: int, writes: Sequence[int], cut: Cut, storage: Storage, target: Target
) -> int:
    """The body's table, and what a thread needs in a turn."""
    turns = turns_of(main, storage)
    return turns.table_bytes + rounded(turns.body.scratch)
