"""Reductions as loops: many elements become one.

Running values are in registers where the last axes are reduced, and those of a tile on the stack
(`TiledNest`) where an axis that stays is the last. How sums are cut into blocks stands in
`plan/reductions.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from llvmlite import ir

from .... import ops
from ....dtypes import is_floating, is_signed
from ....graph import Dtype, Operation
from ....sums import SQUARES
from ..ir_types import F64, I64, in_memory
from ..plan.reductions import Order, order_of
from ..plan.rewrites import NORM_OF_SUMS
from .loops import Index, Loops
from .running_tiles import TiledNest

Combine = Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]


def emit(loops: Loops) -> None:
    """A reduction over some axes, which stay with size 1."""
    b = loops.task.group.main
    kernel, dtype = loops.storage.kernel(b), loops.buffers[b].dtype
    source = kernel.reads[-1]  # of a norm, its sums of squares
    shape, order = order_of(loops.storage, b)
    squared = kernel.op is ops.norm
    length = squared or kernel.op is NORM_OF_SUMS

    def element(index: Index) -> ir.Value:
        x = loops.widened(loops.value(source, index), source)
        return loops.builder.fmul(x, x) if squared else x

    combine, first = combiner(ops.sum if length else kernel.op, dtype)
    _ReductionNest(loops, b, shape, order, element, combine, first).emit()
    if squared:
        _take_roots(loops, b, shape, order.axes)
    elif length:  # of everything
        shape = loops.buffers[kernel.reads[0]].shape
        _take_roots(loops, b, shape, [*range(len(shape))])


def _take_roots(loops: Loops, b: int, shape: Sequence[int], axes: list[int]) -> None:
    """√ of sums of squares, added again where they overflow or vanish: see `sums.SQUARES`."""
    builder, source = loops.builder, loops.buffers[b].reads[0]
    low, up, down = SQUARES[loops.buffers[b].dtype]
    with builder.goto_entry_block():
        total = builder.alloca(F64)

    def root(index: Index) -> None:
        squares = loops.load_raw(b, index)
        kind = squares.type
        fine = builder.and_(
            builder.fcmp_ordered(">=", squares, kind(low)),
            builder.fcmp_ordered("<", squares, kind(math.inf)),
        )
        loops.store_raw(b, index, builder.call(_sqrt(builder, kind), [squares]))
        with builder.if_then(builder.not_(fine), likely=False):
            large = builder.fcmp_ordered(">", squares, kind(1.0))
            scale = builder.select(large, kind(down), kind(up))
            builder.store(F64(0.0), total)

            def add(place: Index) -> None:
                both = (
                    p if a in axes else i for a, (i, p) in enumerate(zip(index, place, strict=True))
                )
                x = builder.fmul(loops.value(source, (*both,)), scale)
                x = x if kind == F64 else builder.fpext(x, F64)
                square = builder.fmul(x, x)
                builder.store(builder.fadd(builder.load(total, typ=F64), square), total)

            loops.nest([n if a in axes else 1 for a, n in enumerate(shape)], add)
            length = builder.call(_sqrt(builder, F64), [builder.load(total, typ=F64)])
            length = length if kind == F64 else builder.fptrunc(length, kind)
            loops.store_raw(b, index, builder.fdiv(length, scale))
        loops.elsewhere()

    loops.nest([1 if a in axes else n for a, n in enumerate(shape)], root, loops.task.cut.axis)


def _sqrt(builder: ir.IRBuilder, kind: ir.Type) -> ir.Function:
    return builder.module.declare_intrinsic("llvm.sqrt", [kind])


def combiner(op: Operation, dtype: Dtype) -> tuple[Combine, ir.Constant]:
    """How two values become one, and the value that changes no other."""
    kind, real = in_memory(dtype), is_floating(dtype)
    if op is ops.any:
        return (lambda b, x, y: b.or_(x, y)), ir.Constant(kind, 0)
    if op in (ops.sum, ops.prod):
        name, first = ("add", 0) if op is ops.sum else ("mul", 1)
        if not real:
            return (lambda b, x, y: getattr(b, name)(x, y)), ir.Constant(kind, first)
        # Sums in any order; products in that of the index, which decides what overflows first.
        # The sum of nothing but -0 is 0.
        flags = ("reassoc",) if op is ops.sum else ()
        return lambda b, x, y: getattr(b, f"f{name}")(x, y, flags=flags), ir.Constant(kind, first)
    sign = ">=" if op is ops.max else "<="
    if not real:
        limits = np.iinfo(dtype)
        compare = "icmp_signed" if is_signed(dtype) else "icmp_unsigned"
        return (
            lambda b, x, y: b.select(getattr(b, compare)(sign, x, y), x, y),
            ir.Constant(kind, limits.min if op is ops.max else limits.max),
        )

    name = "llvm.maximum" if op is ops.max else "llvm.minimum"  # NaN if one of them is

    def extreme(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
        both = ir.FunctionType(kind, [kind, kind])
        return b.call(b.module.declare_intrinsic(name, [kind], both), [x, y])

    return extreme, ir.Constant(kind, -math.inf if op is ops.max else math.inf)


class _ReductionNest(TiledNest):
    """The loops of one reduction."""

    def __init__(
        self,
        loops: Loops,
        b: int,
        shape: Sequence[int],
        order: Order,
        element: Callable[[Index], ir.Value],
        combine: Combine,
        first: ir.Constant,
    ) -> None:
        super().__init__(loops, shape, order.tile)
        self._to, self._order, self._element = b, order, element
        self._combine, self._first = combine, first
        kind = F64 if order.exact else first.type
        self._running = self.room(kind)
        self._total = self.room(F64) if order.size else self._running

    def emit(self) -> None:
        """All of this thread's part."""
        self.each_piece(self._order.free, self._reduce)

    def _reduce(self) -> None:
        """One piece of the tile."""
        order = self._order
        self.each(order.tile, lambda: self._clear(self._total))
        if order.size:
            self.each([a for a in order.axes if a < order.split], self._blocks)
        else:
            self.each(sorted([*order.axes, *order.tile]), self._add)
        self.each(order.tile, self._finish)

    def _blocks(self) -> None:
        """The blocks along `split`."""
        order, b = self._order, self._b
        whole = self._shape[order.split]
        inner = sorted([*(a for a in order.axes if a >= order.split), *order.tile])

        def block(k: ir.Value) -> None:
            start = b.mul(k, I64(order.size))
            end = b.add(start, I64(order.size))
            end = self.least(end, I64(whole)) if whole % order.size else end
            self._ranges[order.split] = start, end
            self.each(order.tile, lambda: self._clear(self._running))
            self.each(inner, self._add)
            self.each(order.tile, self._flush)

        self._loops.loop(-(-whole // order.size), block)

    # One element

    def _clear(self, room: ir.Value) -> None:
        kind = room.allocated_type
        self._b.store(self._first if kind == self._first.type else kind(0.0), self.place(room))

    def _add(self) -> None:
        """An element of the source to its running value."""
        self._loops.elsewhere()
        self._into(self._running, self._element(self.index))

    def _flush(self) -> None:
        """The sum of a block is added to the total."""
        running = self._running
        self._into(self._total, self._b.load(self.place(running), typ=running.allocated_type))

    def _into(self, room: ir.Value, value: ir.Value) -> None:
        at, kind = self.place(room), room.allocated_type
        value = value if value.type == kind else self._b.fpext(value, kind)
        self._b.store(self._combine(self._b, self._b.load(at, typ=kind), value), at)

    def _finish(self) -> None:
        """The result, from the running value."""
        kind = self._total.allocated_type
        value = self._b.load(self.place(self._total), typ=kind)
        value = value if kind == self._first.type else self._b.fptrunc(value, self._first.type)
        self._loops.store_raw(self._to, self.index, value)
