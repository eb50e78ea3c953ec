"""Elementwise loops: one loop nest that writes all buffers of a group."""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from .... import ops
from ....dtypes import float16, is_floating
from ..alignment import ALIGNED, size_of
from ..ir_types import F32, I8, I16, I64
from ..plan.blocking import up
from ..plan.cuts import UNIT
from ..plan.loop_nests import loop_shape
from .builder import prefetch
from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """Each element of the loop's shape: what the group writes there."""
    plan, task = loops.plan, loops.task
    home = plan.updates.home
    shape = loop_shape(loops.storage, task.writes)
    homes = map(home, task.writes)
    over = [b for b in homes if b not in task.writes and loops.buffers[b].kernel is None]

    def body(index: Index) -> None:
        for b in over:  # before anything is written there
            loops.value(b, index)
        for b in task.writes:
            value = loops.computed(b, index)
            loops.remember(b, index, value)
            dtype = loops.buffers[b].dtype
            if home(b) in over and is_floating(dtype) and dtype != float16:
                value = ended(loops.builder, value, loops.value(home(b), index))
            loops.store(b, index, value)

    for b in plan.claims(task):
        _claim(loops, b)
    lookups = _lookups(loops)

    def ask(outer: Index) -> None:
        if outer and not isinstance(outer[-1], int):
            place = (*outer[:-1], loops.later(outer[-1], shape[-2]))
            for table, rows in lookups:
                loops.ask_for_row(table, loops.row_number(rows, place), write=False)

    loops.nest(shape, body, task.cut.axis, ask if lookups else None)


def _lookups(loops: Loops) -> list[tuple[int, int]]:
    """(table, rows): the stored tables whose rows the loop looks up, one for each of its rows."""
    storage, lookups = loops.storage, dict[tuple[int, int], None]()
    for b in loops.task.writes:
        for r in storage.computed(b):
            buffer = loops.buffers[r]
            if buffer.op is not ops.take or buffer.shape != loops.buffers[b].shape:
                continue
            table, rows = buffer.reads
            whole = len(loops.buffers[table].shape) == 2 and storage.kernel(r).params["axis"] == 0
            if whole and table in storage.stored:
                lookups[table, rows] = None
    return [*lookups]


def ended(b: ir.IRBuilder, new: ir.Value, old: ir.Value) -> ir.Value:
    """The value that takes an old one's place; zero where it shrinks and is a denormal.

    A running mean of gradients that have become zero would stay the smallest denormal forever:
    times 0.9 and rounded, it is itself, and each step would be as slow as denormals are. This is
    about float32: denormals of float16 are normal numbers there.
    """
    kind = new.type
    if kind == I16:  # bfloat16
        size, before = (b.and_(x, I16(0x7FFF)) for x in (new, old))
        ended = b.and_(b.icmp_unsigned("<", size, I16(0x80)), b.icmp_unsigned("<=", size, before))
        return b.select(ended, b.and_(new, I16(0x8000)), new)
    magnitude = b.module.declare_intrinsic("llvm.fabs", [kind])
    both = ir.FunctionType(kind, [kind, kind])
    signed = b.module.declare_intrinsic("llvm.copysign", [kind], both)
    size, before = b.call(magnitude, [new]), b.call(magnitude, [old])
    least = np.finfo(np.float32 if kind == F32 else np.float64).tiny
    small = b.fcmp_ordered("<", size, ir.Constant(kind, float(least)))
    ended = b.and_(small, b.fcmp_ordered("<=", size, before))
    return b.select(ended, b.call(signed, [ir.Constant(kind, 0.0), new]), new)


def _claim(loops: Loops, b: int) -> None:
    """Ask for the cache lines of this thread's rows of an array, to be written.

    Another processor has read them. Otherwise each would be waited for where it is written.
    """
    assert loops.part is not None
    builder = loops.builder
    lines = up(UNIT * size_of(loops.buffers[b]) // loops.task.cut.rows, ALIGNED)  # of a unit
    first, end = (builder.mul(x, I64(lines)) for x in loops.part)

    def ask(k: ir.Value) -> None:
        at = builder.gep(loops.pointers[b], [builder.mul(k, I64(ALIGNED))], source_etype=I8)
        prefetch(builder, at, write=True)

    loops.turns(first, end, ask)
