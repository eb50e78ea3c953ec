"""Programs planned for several threads, which do their parts one after the other."""

import ctypes
from dataclasses import replace

import numpy as np

from chainrule.backends import native
from chainrule.backends.native import object_code, processor
from chainrule.backends.native.compilation import Compilation
from chainrule.backends.native.emit import driver
from chainrule.backends.native.plan.rewrites import rewritten
from chainrule.backends.native.plan.segments import Native
from chainrule.backends.native.run.arrays import address, aligned
from chainrule.backends.native.run.schedule import unpacked
from chainrule.backends.program import lower
from chainrule.compile.passes import optimise
from chainrule.recording import record
from chainrule.trace import Trace


def planned(function, arrays, updates):
    made = record(function, [(a.shape, a.dtype, False) for a in arrays], Trace(lasting=True))
    return Compilation(rewritten(lower(optimise(made.graph), updates)), processor.host())


def plan_of(function, arrays, updates):
    return planned(function, arrays, updates).plan


def units(plan):
    return [task.cut.units for task in plan.tasks]


def meetings(plan):
    return [task in plan.meetings.before for task in plan.tasks]


def in_turn(function, arrays, updates, threads, order, monkeypatch):
    """The outputs when, between two meetings, one thread does all that it has to before the next.

    Whatever another thread should have waited for is then not there yet, or spoilt.
    """
    monkeypatch.setattr(driver, "MEET", 0)
    whole = planned(function, arrays, updates)
    plan = whole.plan
    assert max(units(plan)) > 1
    segments = []
    for k, meets in enumerate(meetings(plan)):
        if meets or not segments:
            segments.append(Native(f"phase{k}", ()))
        segments[-1] = replace(segments[-1], tasks=(*segments[-1].tasks, k))
    if plan.updates.commits:
        segments.append(Native("commit", (), commits=True))
    whole.plan = replace(plan, segments=tuple(segments))
    schedule, code = unpacked(whole.packed())
    library = object_code.load(code, schedule.names)
    run = native.Runner(whole.program, schedule, library, lambda: whole)
    run._arena[...] = 0xFF  # NaN
    for b, array in enumerate(arrays):
        run.place(b, array.copy())
    for b in run.outputs_to_place:
        run.place(b, np.full(run.spec(b).shape, np.nan, run.spec(b).dtype))
    scratch = aligned(run._stride * threads)
    long, pointer = ctypes.c_int64, ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(None, pointer, pointer, long, long, pointer)
    for segment in segments:
        run_segment = kind(library.address(segment.name))
        for thread in order(range(threads)):
            own = address(scratch) + thread * run._stride
            run_segment(run._base, own, thread, threads, address(run._barrier))
    return [run.result(b).copy() for b in whole.program.outputs]


def same_bits(function, arrays, monkeypatch):
    """Compare the outputs of 2, 3 and 4 threads with those of one."""
    alone = in_turn(function, arrays, {}, 1, list, monkeypatch)
    assert all(np.isfinite(a).all() for a in alone)
    for many in (2, 3, 4):
        for a, b in zip(alone, in_turn(function, arrays, {}, many, list, monkeypatch), strict=True):
            np.testing.assert_array_equal(a, b)
