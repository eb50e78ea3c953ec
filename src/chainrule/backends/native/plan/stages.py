"""The plan of a program, stage by stage.

Each stage returns data that is complete: nothing in it is changed by a later one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from ....graph import spec_text
from ... import verification
from ...program import Program
from ..processor import Target
from .arena import Arena, arena_of
from .buffers import Buffer, Storage
from .groups import grouped
from .in_place import Updates, updates_of
from .segments import Segment, segments_of
from .storage import storage_of
from .threads import Meetings, Task, meetings_of, tasks_of


@dataclass(frozen=True)
class Plan:
    """What is stored where, and the tasks in the order they run.

    safe     from this task on nothing can fail: only there an input is written over
    status   the number of one more buffer: not 0 when an index was outside its axis, or a
             divisor 0
    barrier  the number of one more: where threads meet inside a loop
    """

    program: Program
    target: Target
    storage: Storage
    tasks: tuple[Task, ...]
    safe: int
    updates: Updates
    meetings: Meetings
    arena: Arena
    segments: tuple[Segment, ...]

    @property
    def status(self) -> int:
        return self.program.buffers

    @property
    def barrier(self) -> int:
        return self.program.buffers + 1

    @property
    def table_size(self) -> int:
        """The number of places in the table of pointers."""
        return self.program.buffers + 2 + len(self.updates.staged)

    def claims(self, task: Task) -> tuple[int, ...]:
        """The memory that a task writes over and other threads have read before."""
        return self.meetings.claims.get(task, ())

    @property
    def scratch(self) -> int:
        """Bytes that each thread needs for itself while a loop runs."""
        return max(map(self._scratch, self.tasks), default=0)

    def _scratch(self, task: Task) -> int:
        main = task.group.main
        return task.kind.scratch(main, task.writes, task.cut, self.storage, self.target)

    def memory(self, task: Task) -> list[int]:
        """The buffers whose memory a task writes and reads, the status, the barrier it needs."""
        homes = map(self.updates.home, [*task.writes, *task.group.reads])
        return [*dict.fromkeys(homes), self.status, *([self.barrier] if task.kind.meets else [])]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        """The tasks in order: what is written where, by what, from what."""
        yield f"native({len(self.tasks)} groups, arena of {self.arena.size} bytes):"
        for k, task in enumerate(self.tasks):
            writes = ", ".join(map(self._place, task.writes))
            parts = f", {task.cut.units} parts" if task.cut.units > 1 else ""
            parts += ", every thread" if task.cut.every else ""
            parts += f", thread {task.owner + 1}" if task.owner else ""
            reads = ", ".join(f"b{r}" for r in task.group.reads if r not in task.writes)
            if task in self.meetings.before:
                yield "  threads meet"
            yield f"  g{k} {task.kind}{parts}: {writes} from {reads}"
            body = self.storage.buffers[task.group.main].body
            if body is not None:
                yield from (f"    {line}" for line in body._lines())
        for new, old in self.updates.commits:
            yield f"  copy b{new} to b{old}"

    def _place(self, b: int) -> str:
        """A buffer, its shape and dtype, and where it lies."""
        text = f"b{b}: {spec_text(self.storage.buffers[b])}"
        if b in self.updates.over:
            text += f" over b{self.updates.over[b]}"
        if b in self.arena.offsets:
            text += f" at {self.arena.offsets[b]}"
        return text


def plan(program: Program, target: Target, in_loop: bool = False) -> Plan:
    """All that is decided of a program, for a target.

    in_loop   it is the body of a loop
    """
    verify = _verifier()
    storage = storage_of(program, lambda body: plan(body, target, True), in_loop)
    if verify:
        verify.verify_storage(program, storage)
    storage, groups = grouped(program, storage, target)
    if verify:
        verify.verify_groups(storage, groups)
    tasks = tasks_of(program, groups, storage, target)
    if verify:
        verify.verify_tasks(storage, tasks)
    safe = 1 + max((k for k, task in enumerate(tasks) if task.group.fails), default=-1)
    updates = updates_of(program, tasks, storage, safe, program.buffers + 2)
    if verify:
        verify.verify_updates(program, storage, tasks, updates)
    meetings = meetings_of(tasks, updates.home)
    if verify:
        verify.verify_sharing(tasks, updates, meetings)
    outside = {*program.outputs, *updates.over, *(new for new, _ in updates.commits)}
    arena = arena_of(tasks, storage, meetings, outside)
    if verify:
        verify.verify_memory(program, storage, tasks, updates, meetings, arena)
    segments = segments_of(tasks, storage, updates)
    if verify:
        verify.verify_segments(tasks, updates, segments)
    more = {own: storage.buffers[new] for new, own in updates.staged.items()}
    more[program.buffers] = Buffer((), np.dtype(np.int64))
    more[program.buffers + 1] = Buffer((), np.dtype(np.int64))
    storage = replace(storage, buffers={**storage.buffers, **more})
    return Plan(program, target, storage, tasks, safe, updates, meetings, arena, segments)


def _verifier() -> ModuleType | None:
    """The module that verifies each stage; None where stages are not verified."""
    if not verification.is_on():
        return None
    from . import verify  # slow to import

    return verify
