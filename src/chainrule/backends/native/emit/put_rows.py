"""put_rows: a table, and rows of it replaced. Written over the table, only these are touched."""

from __future__ import annotations

from llvmlite import ir

from ....dtypes import float16, is_floating
from ..ir_types import I64
from ..plan.views import contiguous
from .elementwise import ended
from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """Each thread puts the rows that lie in its part, in order: of equal ones the last stays."""
    b, builder = loops.task.group.main, loops.builder
    table, rows, values = loops.storage.kernel(b).reads
    shape, dtype = loops.buffers[b].shape, loops.buffers[b].dtype
    home = loops.plan.updates.home
    in_place, lies = home(b) != b, loops.storage.strided(table)
    if lies is None or (home(lies[0]), *lies[1:]) != (home(b), contiguous(shape), 0):
        cut = loops.task.cut.axis
        loops.nest(shape, lambda index: loops.store(b, index, loops.value(table, index)), cut)
    if not all(shape):
        return
    first, end = (I64(0), I64(shape[0])) if loops.part is None else loops.own(shape[0])
    width = builder.sub(end, first)

    count = loops.buffers[rows].shape[0]

    def put(k: ir.Value) -> None:
        later = loops.row_number(rows, (loops.later(k, count),))
        loops.ask_for_row(b, later, write=True)
        row = loops.row_number(rows, (k,))

        def one(index: Index) -> None:
            value = loops.value(values, (k, *index))
            if in_place and is_floating(dtype) and dtype != float16:
                value = ended(builder, value, loops.load_raw(b, (row, *index)))
            loops.store(b, (row, *index), value)

        with builder.if_then(builder.icmp_unsigned("<", builder.sub(row, first), width)):
            loops.nest(shape[1:], one)

    loops.loop(count, put)
