"""put_rows: a table, and rows of it replaced. Written over the table, only these are touched."""

from __future__ import annotations

from llvmlite import ir

from ....dtypes import float16, is_floating
from ..ir_types import I64
from ..plan.views import contiguous
from .elementwise import ended
from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """Each thread puts the rows that lie in its part of the table, in order.

    Of distinct rows that are put into the table itself, each thread puts its part, wherever they
    lie. If they are put into a copy, it copies a part of the table and puts what lies in it.
    """
    b, builder = loops.task.group.main, loops.builder
    table, rows, values = loops.storage.kernel(b).reads
    shape, dtype = loops.buffers[b].shape, loops.buffers[b].dtype
    count = loops.buffers[rows].shape[0]
    home = loops.plan.updates.home
    in_place, lies = home(b) != b, loops.storage.strided(table)
    copied = lies is None or (home(lies[0]), *lies[1:]) != (home(b), contiguous(shape), 0)
    first, end, own = I64(0), I64(shape[0]), (I64(0), I64(count))
    if loops.part is not None:
        if loops.task.cut.axis >= 0:
            first, end = loops.own(shape[0])
        elif copied:
            units = I64(loops.task.cut.units)
            first, end = (builder.udiv(builder.mul(x, I64(shape[0])), units) for x in loops.part)
        else:
            own = loops.own(count)
    if copied:

        def row_as_it_was(k: ir.Value) -> None:
            def one(index: Index) -> None:
                loops.store(b, (k, *index), loops.value(table, (k, *index)))

            loops.nest(shape[1:], one)

        loops.turns(first, end, row_as_it_was)
    if not all(shape):
        return
    width = builder.sub(end, first)

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

    if count:
        loops.turns(*own, put)
