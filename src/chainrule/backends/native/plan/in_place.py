"""What is written in place: over the input that an output replaces, over memory of an output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...program import Program
from .buffers import Storage
from .kinds import ELEMENTWISE, NUMPY, PUT_ROWS
from .threads import Task

OVER = (ELEMENTWISE, PUT_ROWS)  # the loops that may write over an input


@dataclass(frozen=True)
class Updates:
    """How outputs come to replace inputs, and which buffers share memory otherwise.

    over     buffer -> the one in whose memory it lies: the input that it replaces, or an output
    commits  (buffer, input): copied when all else is done, for those that replace one otherwise
    staged   a place of its own, by buffer, for what would be overwritten before it is copied
    """

    over: Mapping[int, int]
    commits: tuple[tuple[int, int], ...]
    staged: Mapping[int, int]

    def home(self, b: int) -> int:
        """The buffer whose memory contains it."""
        return self.over.get(b, b)

    def copies(self) -> list[tuple[int, int]]:
        """(from, to): the copies that commit; inputs that are swapped go through `staged`."""
        first = [(new, self.staged[new]) for new, _ in self.commits if new in self.staged]
        return first + [(self.staged.get(new, self.home(new)), old) for new, old in self.commits]


def updates_of(
    program: Program, tasks: Sequence[Task], storage: Storage, safe: int, free: int
) -> Updates:
    """Decide what is written in place.

    safe   the first task from which on nothing can fail
    free   the first number of a buffer that is not taken
    """
    in_place = _over_inputs(program, tasks, storage, safe)
    commits = tuple((new, old) for new, old in program.updates if in_place.get(new) != old)
    goals = {old for _, old in commits}
    swapped = dict.fromkeys(new for new, _ in commits if new in goals)
    staged = {new: free + k for k, new in enumerate(swapped)}
    over = in_place | _over_outputs(program, tasks, storage)
    return Updates(over, commits, staged)


def _over_inputs(
    program: Program, tasks: Sequence[Task], storage: Storage, safe: int
) -> dict[int, int]:
    """Which updates may be written over their input: nothing else needs the old value then."""
    buffers = storage.buffers
    writer = {b: k for k, task in enumerate(tasks) for b in task.writes}
    replaced = {old for _, old in program.updates}
    last: dict[int, int] = {}  # the last task that reads a buffer not only at its own index
    for k, task in enumerate(tasks):
        for b in task.writes if not replaced.isdisjoint(task.group.reads) else ():
            for r, same in storage.reads(b).items():
                own = same and task.kind in OVER and buffers[r].shape == buffers[b].shape
                last[r] = max(last.get(r, -1), k - own)
    copied = {new for new, _ in program.updates if new not in writer}
    over: dict[int, int] = {}
    for new, old in program.updates:
        k = writer.get(new, -1)
        alike = (
            buffers[new].shape == buffers[old].shape and buffers[new].dtype == buffers[old].dtype
        )
        unread = last.get(old, -1) < k and old not in copied and old not in program.outputs
        can_be = k >= safe and tasks[k].kind in OVER
        if can_be and alike and unread and new not in over:
            over[new] = old
    return over


def _over_outputs(program: Program, tasks: Sequence[Task], storage: Storage) -> dict[int, int]:
    """Buffers whose last use is an output of their shape: they may lie where it will be.

    The gradient of a parameter, say, that is then clipped: memory for both would be read and
    written for one.
    """
    buffers = storage.buffers
    users: dict[int, list[Task]] = {}
    native = {b for task in tasks if task.kind is not NUMPY for b in task.writes}
    for task in tasks:
        for r in task.group.reads:
            users.setdefault(r, []).append(task)
        if task.kind is NUMPY:  # it has its operands as arrays
            native.difference_update(task.group.reads)
    replacing = {new for new, _ in program.updates}
    over: dict[int, int] = {}
    for task in tasks:
        if task.kind is not ELEMENTWISE:
            continue
        same = [storage.reads(b) for b in task.writes]
        for b, own in zip(task.writes, same, strict=True):
            if b not in program.outputs or b in replacing or b in over.values():
                continue
            for r in own:
                free = r in native and r not in program.outputs and r not in over
                alike = (
                    buffers[r].shape == buffers[b].shape and buffers[r].dtype == buffers[b].dtype
                )
                last = free and alike and users[r][-1] is task
                if last and all(reads.get(r, True) for reads in same):
                    over[r] = b
                    break
    return over
