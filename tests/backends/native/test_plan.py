"""Plans of the native backend: what makes one legal, and that each sort of breakage is caught."""

from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.native.compilation import Compilation
from chainrule.backends.native.emit.module import emitter
from chainrule.backends.native.plan import stages, verify
from chainrule.backends.native.plan.cuts import WHOLE
from chainrule.backends.native.plan.kinds import ELEMENTWISE, KINDS, NUMPY, Kind, loop_of
from chainrule.backends.native.plan.rewrites import rewritten
from chainrule.backends.native.plan.storage import storage_of
from chainrule.backends.native.plan.views import Axis
from chainrule.backends.native.processor import Target
from chainrule.backends.native.run import schedule
from chainrule.backends.native.run.schedule import Call
from chainrule.backends.program import lower
from chainrule.errors import PlanError
from chainrule.recording import record
from chainrule.trace import Trace

TARGET = Target("x86_64-unknown-linux-gnu", "x86-64-v3", "+avx2,+fma")
UNKNOWN = Kind("guess", {}, emit="guess")


def step():
    """The program of a step, as `test_the_plan_that_breakages_are_planted_into` shows its plan."""

    def body(tensors):
        x, w, v, rows = tensors
        hidden = cr.tanh(x @ w)
        mixed = hidden.mT @ hidden
        taken = cr.take(v, rows, axis=0)
        total = cr.sum(mixed * 2.0, axis=0)
        return [v - 0.1 * cr.flip(mixed, axis=0), w * 0.9, total, taken]

    specs = [((128, 128), np.dtype("float32"), False)] * 3 + [((4,), np.dtype("int64"), False)]
    graph = record(body, specs, Trace(lasting=True)).graph
    return rewritten(lower(graph, {0: 2, 1: 1}))


def plan():
    return stages.plan(step(), TARGET)


def verified(plan):
    """As each stage is verified while a plan is made."""
    program, storage, tasks = plan.program, plan.storage, plan.tasks
    verify.verify_groups(storage, [task.group for task in tasks])
    verify.verify_tasks(storage, tasks)
    verify.verify_updates(program, storage, tasks, plan.updates)
    verify.verify_sharing(tasks, plan.updates, plan.meetings)
    verify.verify_memory(program, storage, tasks, plan.updates, plan.meetings, plan.arena)
    verify.verify_segments(tasks, plan.updates, plan.segments)


def test_the_plan_that_breakages_are_planted_into():
    assert str(plan()) == (
        "native(8 groups, arena of 131072 bytes):\n"
        "  g0 matmul, 8 parts: b7: float32[128,128] at 0 from b0, b1\n"
        "  g1 elementwise, 8 parts: b8: float32[128,128] at 65536 from b7\n"
        "  g2 elementwise, 8 parts: b11: float32[4,128] from b2, b3\n"
        "  threads meet\n"
        "  g3 matmul, 8 parts: b10: float32[128,128] at 0 from b8\n"
        "  threads meet\n"
        "  g4 reduction, 8 parts: b14: float32[1,128] at 65536 from b10, b4\n"
        "  g5 elementwise, 8 parts: b15: float32[128] from b14\n"
        "  g6 elementwise, 8 parts: b19: float32[128,128] over b2 from b2, b5, b10\n"
        "  g7 elementwise, 8 parts: b21: float32[128,128] over b1 from b1, b6"
    )
    verified(plan())
    verify.verify_storage(step(), storage_of(step(), stages.plan))


# ── breakages ────────────────────────────────────────────────────────────────────────────────────


def buffers(storage, b, **fields):
    """The storage with another buffer b."""
    return replace(storage, buffers={**storage.buffers, b: replace(storage.buffers[b], **fields)})


def without(storage, b):
    return replace(storage, stored=storage.stored - {b})


def other_map(storage, b, **fields):
    return buffers(storage, b, map=replace(storage.buffers[b].map, **fields))


STORAGE = {
    "an unknown kind": ("kind", lambda s: buffers(s, 8, kind=UNKNOWN)),
    "a view with its axes in another order": (
        "view",
        lambda s: other_map(s, 9, axes=(Axis(0), Axis(1))),
    ),
    "a view that begins one further": (
        "view",
        lambda s: other_map(s, 16, axes=(Axis(0, -1, 128), Axis(1))),
    ),
    "a view that does not run backwards": (
        "view",
        lambda s: other_map(s, 16, axes=(Axis(0), Axis(1))),
    ),
    "a broadcast that reads along its axis": (
        "view",
        lambda s: other_map(s, 12, axes=(Axis(0), Axis(1))),
    ),
    "a view of another shape": ("view", lambda s: other_map(s, 9, view=(64, 256))),
    "a view without a map": ("view", lambda s: buffers(s, 9, map=None)),
    "an input that is not stored": ("stored", lambda s: without(s, 0)),
    "an output that is not stored": ("stored", lambda s: without(s, 15)),
    "a product that is not stored": ("stored", lambda s: without(s, 10)),
}


@pytest.mark.parametrize("name", STORAGE)
def test_a_broken_storage_is_caught_by_name(name):
    rule, breakage = STORAGE[name]
    with pytest.raises(PlanError, match=f"the rule '{rule}'"):
        verify.verify_storage(step(), breakage(storage_of(step(), stages.plan)))


def task(plan, k, **fields):
    """The plan with another k-th task."""
    tasks = list(plan.tasks)
    tasks[k] = replace(tasks[k], **fields)
    before = {tasks[j] for j, t in enumerate(plan.tasks) if t in plan.meetings.before}
    meetings = replace(plan.meetings, before=frozenset(before))
    return replace(plan, tasks=tuple(tasks), meetings=meetings)


def group(plan, k, **fields):
    return task(plan, k, group=replace(plan.tasks[k].group, **fields))


def cut(plan, k, **fields):
    return task(plan, k, cut=replace(plan.tasks[k].cut, **fields))


def reads(plan, k, more=(), less=()):
    """Other reads of the k-th task."""
    others = {b: own for b, own in plan.tasks[k].group.reads.items() if b not in less}
    return group(plan, k, reads=others | dict(more))


def order(plan, *places):
    return replace(plan, tasks=tuple(plan.tasks[k] for k in places))


def together(plan, k):
    """The threads do not meet before the k-th task."""
    before = plan.meetings.before - {plan.tasks[k]}
    return replace(plan, meetings=replace(plan.meetings, before=before))


def updates(plan, **fields):
    return replace(plan, updates=replace(plan.updates, **fields))


def place(plan, **offsets):
    """The plan with buffers at other offsets."""
    moved = {int(b[1:]): offset for b, offset in offsets.items()}
    return replace(plan, arena=replace(plan.arena, offsets={**plan.arena.offsets, **moved}))


PLANS = {
    "a loop of an unknown kind": ("kind", lambda p: group(p, 1, kind=UNKNOWN)),
    "a product in an elementwise loop": ("kind", lambda p: group(p, 3, kind=ELEMENTWISE)),
    "a buffer that two loops write": ("written once", lambda p: group(p, 5, writes=(15, 14))),
    "a buffer that no loop writes": ("written once", lambda p: order(p, 0, 1, 2, 3, 4, 5, 6)),
    "a read that is not declared": ("reads", lambda p: reads(p, 6, less=[10])),
    "a read that is not there": ("reads", lambda p: reads(p, 6, more=[(8, True)])),
    "a loop before what it reads": (
        "read after write",
        lambda p: order(p, 1, 0, 2, 3, 4, 5, 6, 7),
    ),
    "a loop that may fail, and does not say so": ("failure", lambda p: group(p, 2, fails=False)),
    "a part too few": ("cut", lambda p: cut(p, 4, units=7)),
    "a part too many": ("cut", lambda p: cut(p, 4, units=9)),
    "an axis cut short": ("cut", lambda p: cut(p, 4, extent=112, units=7)),
    "rows that are not there": ("cut", lambda p: cut(p, 1, rows=64)),
    "rows of a flip taken for its own": ("rows", lambda p: reads(p, 6, more=[(10, True)])),
    "no meeting before other rows are read": ("meeting", lambda p: together(p, 3)),
    "no meeting before another thread's result is read": (
        "meeting",
        lambda p: task(task(p, 4, cut=WHOLE), 5, cut=WHOLE, owner=1),
    ),
    "no meeting before memory is used again": ("meeting", lambda p: together(p, 4)),
    "written over while it is still read": (
        "in place",
        lambda p: updates(p, over={**p.updates.over, 10: 8}),
    ),
    "written over where it is read at other indices": (
        "in place",
        lambda p: updates(p, over={**p.updates.over, 10: 19}),
    ),
    "written over before a loop that may fail": ("failure", lambda p: group(p, 7, fails=True)),
    "an input that is not replaced": ("update", lambda p: updates(p, over={19: 2})),
    "an input that is replaced twice": ("update", lambda p: updates(p, commits=((21, 1),))),
    "two buffers in one place at once": ("arena", lambda p: place(p, b8=0)),
    "a buffer off its cache line": ("arena", lambda p: place(p, b8=65540)),
    "a buffer beyond the arena": ("arena", lambda p: place(p, b8=131072)),
    "an output in the arena": ("arena", lambda p: place(p, b15=0)),
    "a task in no segment": (
        "segments",
        lambda p: replace(p, segments=(replace(p.segments[0], tasks=(0, 1, 2)),)),
    ),
    "copies that nothing does": (
        "segments",
        lambda p: updates(p, over={19: 2}, commits=((21, 1),)),
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_broken_plan_is_caught_by_name(name):
    rule, breakage = PLANS[name]
    with pytest.raises(PlanError, match=f"the rule '{rule}'"):
        verified(breakage(plan()))


SCHEDULES = {
    "a driver called twice": ("calls", lambda s: replace(s, calls=s.calls * 2)),
    "a kernel that is not there": ("calls", lambda s: replace(s, calls=(Call("", 99),))),
    "a buffer beyond the arena": ("places", lambda s: replace(s, offsets=((8, s.arena),))),
    "an input in the arena": ("places", lambda s: replace(s, offsets=((0, 0),))),
    "a buffer off its cache line": ("places", lambda s: replace(s, offsets=((14, 4),))),
    "an input that is taken for a result": ("results", lambda s: replace(s, in_place=(1,))),
    "a result that is taken for an output": ("results", lambda s: replace(s, early=(8,))),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_broken_schedule_is_caught_by_name(name):
    made = Compilation(step(), TARGET).schedule
    schedule.verify_schedule(made, step())
    rule, breakage = SCHEDULES[name]
    with pytest.raises(PlanError, match=f"the rule '{rule}'"):
        schedule.verify_schedule(breakage(made), step())


def test_each_rule_has_a_breakage():
    planted = {rule for rule, _ in (*STORAGE.values(), *PLANS.values())}
    assert planted | {"body"} == set(verify.PLAN_RULES.expected)  # for that one: test_scan
    assert {rule for rule, _ in SCHEDULES.values()} == set(schedule.SCHEDULE_RULES.expected)


def test_stages_are_verified_while_a_plan_is_made(monkeypatch):
    """Each of these gives the next stage something that is not legal."""
    monkeypatch.setattr(stages, "storage_of", lambda *a: without(storage_of(*a), 0))
    with pytest.raises(PlanError, match="the rule 'stored'"):
        plan()
    monkeypatch.undo()
    monkeypatch.setattr(stages, "meetings_of", lambda *_: stages.Meetings(frozenset(), {}))
    with pytest.raises(PlanError, match="the rule 'meeting'"):
        plan()
    monkeypatch.setenv("CHAINRULE_VERIFY", "0")
    plan()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_of_loop_has_a_file_that_emits_it(kind):
    assert emitter(loop_of(kind)).__module__.endswith(f".emit.{kind.emit}")
    assert all(set(letters) <= set("fiubh") for letters in kind.operations.values())


def test_an_operation_is_in_one_row():
    operations = [op for kind in (*KINDS, NUMPY) for op in kind.operations]
    assert len(operations) == len(set(operations))
