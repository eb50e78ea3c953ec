"""How threads share the groups, in which order these run, and where the threads must meet.

Threads meet where a group reads, or writes over, what another thread may still be at. All that
follows from shapes alone: results do not depend on the number of threads.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from ...program import Program
from ..processor import Target
from .buffers import Storage
from .cuts import WHOLE, WORTH_CUTTING, Cut
from .groups import Group, replacing_last
from .kinds import ELEMENTWISE, NUMPY, Kind

if TYPE_CHECKING:
    from .stages import Plan

Item = TypeVar("Item")

# Who touches a buffer: ANY thread; thread k alone, FIRST - k; or each its own of so many rows.
FIRST, ANY = -2, -1
OWNERS = 4  # threads that may each have loops of their own between two meetings
WORTH_SHARING = 40_000.0  # nanoseconds that a native call should take to be shared out
WORTH_SHARING_A_TURN = 5_000.0  # the same of a turn of a loop, in which the threads are there
SHORT_GROUPS = 20_000.0  # mean of a call's groups, below which they are put in order to meet rarely


@dataclass(frozen=True, eq=False)
class Task:
    """A group, and how threads share it.

    owner   of what is not shared: the thread that does it, modulo the number of threads
    """

    group: Group
    cut: Cut
    owner: int = 0

    @property
    def kind(self) -> Kind:
        """Of its loop."""
        return self.group.kind

    @property
    def writes(self) -> tuple[int, ...]:
        """The buffers it writes."""
        return self.group.writes

    @property
    def shared(self) -> bool:
        """Whether there is a part for more than one thread."""
        return self.cut.units > 1 or self.cut.every

    def who(self, own_row: bool) -> int:
        """Who touches a buffer: its owner, each its own of `rows` rows, or any."""
        if not self.shared:
            return FIRST - self.owner
        return self.cut.rows if self.cut.rows and own_row else ANY


@dataclass(frozen=True)
class Meetings:
    """before   the tasks before which all threads wait for each other
    claims   by task: the memory that it writes over and other threads have read before
    """

    before: frozenset[Task]
    claims: Mapping[Task, tuple[int, ...]]


def tasks_of(
    program: Program, groups: Sequence[Group], storage: Storage, target: Target
) -> tuple[Task, ...]:
    """The groups of each native call that is long enough are cut; then all are put in order."""
    worth_sharing = WORTH_SHARING_A_TURN if storage.in_loop else WORTH_SHARING
    cuts: dict[Group, Cut] = {}
    for part in _calls(groups, lambda group: group.kind):
        shared = sum(group.work for group in part) >= worth_sharing
        for group in part:
            cuts[group] = _cut_group(group, storage, target) if shared else WHOLE
    tasks: list[Task] = []
    for part in replacing_last(groups, program):
        tasks += _ordered([Task(group, cuts[group]) for group in part])
    return tuple(tasks)


def _cut_group(group: Group, storage: Storage, target: Target) -> Cut:
    return group.kind.cut(group.main, group.writes, group.work, storage, target)


def native_calls(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """The tasks that are one native call, in turn; one in NumPy stands alone."""
    return _calls(tasks, lambda task: task.kind)


def _calls(items: Sequence[Item], kind: Callable[[Item], Kind]) -> Iterator[list[Item]]:
    for native, part in itertools.groupby(items, lambda item: kind(item) is not NUMPY):
        together = [*part]
        yield from [together] if native else ([item] for item in together)


# ── order ────────────────────────────────────────────────────────────────────────────────────────


def _ordered(tasks: Sequence[Task]) -> list[Task]:
    """The tasks in an order in which threads meet rarely, where groups are short."""
    ordered: list[Task] = []
    for part in native_calls(tasks):
        shared = any(task.shared for task in part)
        short = sum(task.group.work for task in part) < SHORT_GROUPS * len(part)
        ordered += _meeting_rarely(part) if shared and short else part
    return ordered


def _meeting_rarely(tasks: Sequence[Task]) -> list[Task]:
    """Whatever can be done before the threads must meet again is done first.

    Loops that cannot be shared go to the thread that has least of them since the threads met.
    """
    writer = {b: k for k, task in enumerate(tasks) for b in task.writes}
    users: list[list[int]] = [[] for _ in tasks]
    waits = [0] * len(tasks)
    for k, task in enumerate(tasks):
        for before in {writer[r] for r in task.group.reads if r in writer} - {k}:
            users[before].append(k)
            waits[k] += 1
    ready = [k for k, n in enumerate(waits) if not n]
    later: list[int] = []
    ordered: list[Task] = []
    phase, busy = _Phase(lambda b: b), [0.0] * OWNERS
    while ready or later:
        if not ready:
            ready, later = sorted(later), []
            phase.end()
            busy = [0.0] * OWNERS
        k = heapq.heappop(ready)
        fitting = [t for t in _owned(tasks[k], busy) if not phase.clashes(t)]
        if not fitting:
            later.append(k)
            continue
        task = fitting[0]
        if not task.shared:
            busy[task.owner] += task.group.work
        phase.add(task)
        ordered.append(task)
        for user in users[k]:
            waits[user] -= 1
            if not waits[user]:
                heapq.heappush(ready, user)
    return ordered


def _owned(task: Task, busy: Sequence[float]) -> list[Task]:
    """The task by each thread that may do it, the best first.

    busy   nanoseconds that each has for itself already
    """
    if task.shared or task.group.work < WORTH_CUTTING:
        return [task]
    return [replace(task, owner=k) for k in sorted(range(OWNERS), key=busy.__getitem__)]


# ── where threads meet ───────────────────────────────────────────────────────────────────────────


class _Phase:
    """What has been read and written since the threads last met, and by whom."""

    def __init__(self, home: Callable[[int], int]) -> None:
        self._home = home
        self._read: dict[int, set[int]] = {}
        self._written: dict[int, set[int]] = {}

    def clashes(self, task: Task) -> bool:
        """Whether it needs, or would spoil, what another thread may still be at."""
        for r, own_row in task.group.reads.items():
            r = self._home(r)
            if r in self._written and not self._alone(task.who(own_row), self._written[r]):
                return True
        who = task.who(True)
        for b in map(self._home, task.writes):
            if not self._alone(who, self._written.get(b, set()) | self._read.get(b, set())):
                return True
        return False

    @staticmethod
    def _alone(who: int, others: set[int]) -> bool:
        return not others or (who != ANY and others == {who})

    def add(self, task: Task) -> None:
        """It runs in this phase."""
        for r, own_row in task.group.reads.items():
            self._read.setdefault(self._home(r), set()).add(task.who(own_row))
        for b in task.writes:
            self._written.setdefault(self._home(b), set()).add(task.who(True))

    def carry_on(self, carries: Mapping[int, int]) -> None:
        """In the next turn each pair of buffers has changed places."""
        for one, other in carries.items():
            for touched in (self._read, self._written):
                both = touched.get(one, set()) | touched.get(other, set())
                if both:
                    touched[one] = touched[other] = both

    def end(self) -> None:
        """The threads meet."""
        self._read.clear()
        self._written.clear()


def meet_between_turns(plan: Plan, carries: Mapping[int, int]) -> bool:
    """Whether threads must meet after each turn of a loop, whose body has this plan.

    Not if none of them needs, or would spoil, what another one is still at in the turn before. The
    carries come in, and from the next turn on are written, where they went out, and came in.

    carries   input -> output
    """
    if not any(task.shared for task in plan.tasks):
        return False
    if plan.meetings.before:  # memory may be used for something else after a meeting
        return True
    phase = _Phase(plan.updates.home)
    for task in plan.tasks:
        phase.add(task)
    phase.carry_on(carries)
    return any(map(phase.clashes, plan.tasks))


def meetings_of(tasks: Sequence[Task], home: Callable[[int], int]) -> Meetings:
    """Where threads meet, and what they ask for before they write over it.

    home   the buffer in whose memory another one lies: an input that is written over
    """
    before: set[Task] = set()
    claims: dict[Task, tuple[int, ...]] = {}
    for part in native_calls(tasks):
        shared = any(task.shared for task in part)
        phase = _Phase(home)
        unsure = False  # something may have failed, and not all threads know
        others: set[int] = set()  # memory whose rows several threads have read
        for task in part:
            over = {home(b) for b in task.writes if home(b) != b}
            if shared and (phase.clashes(task) or (over and unsure)):
                before.add(task)
                phase.end()
                unsure = False
            unsure = unsure or task.group.fails
            phase.add(task)
            if task.kind is ELEMENTWISE and task.cut.rows:
                claims[task] = tuple(sorted((over - set(task.writes)) & others))
            others.update(home(r) for r, own_row in task.group.reads.items() if not own_row)
    return Meetings(frozenset(before), claims)
