"""Reductions as loops: many elements become one.

Running values are in registers where the last axes are reduced. Where an axis that stays is the
last, those of a *tile*, some of its elements, lie side by side on the stack, and the source is read
in the order of memory.

A sum of many numbers is cut into blocks, and what the blocks give is added in float64. LLVM makes
several chains of a block in registers, and none of one on the stack. Where it may not, or blocks
would cost more than they save, all is added in float64. See docs/decisions/007-sums.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from .... import ops
from ....sums import BLOCK, FEW, SQUARES
from ..elementwise import I64, combiner
from ..plan.rewrites import NORM_OF_SUMS
from ..plan.storage import Storage
from ..plan.threads import flat, reduced_axes
from .loops import LINE, SHORT, Index, Loops

VECTORS = 256  # terms of a block in registers, which become as many chains as vectors have lanes
TILE = 2048  # elements
F64 = ir.DoubleType()


@dataclass(frozen=True)
class Order:
    """The loops of a reduction: over `free`, pieces of the tile, blocks of the terms, a block.

    axes    that are reduced
    free    that stay, and come first
    tile    that stay, and are passed through for each row of the source
    split   the reduced axis that blocks are cut along, each `size` of it and all axes after it;
            size 0: there are no blocks
    exact   running values are in float64
    """

    axes: list[int]
    free: list[int]
    tile: list[int]
    split: int = -1
    size: int = 0
    exact: bool = False


def ordered(shape: Sequence[int], axes: list[int], kept: list[int], many: bool) -> Order:
    """How to reduce the axes; `many` is whether it is a sum that needs blocks."""
    last = [a for a in axes if a > max(kept, default=-1)]
    if not many:
        return Order(axes, *_tiled(shape, kept, axes[0] if last != axes else len(shape)))
    registers = last == axes or _extent(shape, last) >= BLOCK
    among, most = (last, VECTORS) if registers else (axes, BLOCK)
    split, size, inside = among[0], shape[among[0]], 1
    for a in reversed(among):
        if inside * shape[a] > most:
            split, size = a, max(1, most // inside)
            break
        inside *= shape[a]
    free, tile = _tiled(shape, kept, split)
    if tile and _extent(shape, tile) <= SHORT:
        return Order(axes, free, tile, exact=True)
    return Order(axes, free, tile, split, size)


def _tiled(shape: Sequence[int], kept: list[int], first: int) -> tuple[list[int], list[int]]:
    """Of the axes that stay those that are free, and the tile: what lies behind axis `first`."""
    tile = [a for a in kept if a > first]
    while _extent(shape, tile[1:]) > TILE // 2:
        tile = tile[1:]
    return [a for a in kept if a not in tile], tile


def _extent(shape: Sequence[int], axes: Iterable[int]) -> int:
    return math.prod([shape[a] for a in axes])


def _in_order(b: int, store: Storage) -> bool:
    """Whether neighbours along the last axis are computed from neighbours in memory."""
    value = store.values[b]
    if b in store.stored:
        return True
    assert value.kernel is not None
    op, params = value.op, value.kernel.params
    if op is ops.reshape:
        before = [n for n in store.values[value.reads[0]].shape if n != 1]
        if before[-1:] != [n for n in value.shape if n != 1][-1:]:
            return False
    scattered = (
        op in (ops.take, ops.checked_index, ops.flip)
        or (op is ops.permute_dims and params["axes"][-1] != len(value.shape) - 1)
        or (op is ops.slice and params["step"][-1] != 1)
    )
    return not scattered and all(_in_order(r, store) for r in value.reads)


class Reductions(Loops):
    """Loops that reduce as well."""

    def reduction(self, b: int) -> None:
        """A reduction over some axes, which stay with size 1."""
        values, kernel = self.plan.values, self._kernel(b)
        source, dtype = kernel.reads[-1], values[b].dtype  # of a norm, its sums of squares
        shape = values[source].shape
        axes, kept = reduced_axes(self.plan, b)
        if shape and not kept and flat(self.plan, source, shape, False):
            shape, axes = (*(1,) * (len(shape) - 1), math.prod(shape)), [len(shape) - 1]
        length = kernel.op in (ops.norm, NORM_OF_SUMS)
        squared = length and len(kernel.reads) == 1
        op = ops.sum if length else kernel.op
        many = op is ops.sum and dtype.kind == "f" and _extent(shape, axes) > FEW
        order = ordered(shape, axes, kept, many)
        if order.size and not order.tile and not _in_order(source, self.plan):
            order = replace(order, size=0, exact=True)

        def element(index: Index) -> ir.Value:
            x = self.widened(self.value(source, index), source)
            return self.builder.fmul(x, x, flags=("contract",)) if squared else x

        _Nest(self, b, shape, order, element, *combiner(op, dtype)).emit()
        if length and not squared:  # of everything
            shape = values[kernel.reads[0]].shape
            axes = [*range(len(shape))]
        if length:
            self._roots(b, shape, axes)

    def _roots(self, b: int, shape: Sequence[int], axes: list[int]) -> None:
        """√ of sums of squares, added again where they overflow or vanish: see `sums.SQUARES`."""
        builder, source = self.builder, self.plan.values[b].reads[0]
        low, up, down = SQUARES[self.plan.values[b].dtype]
        with builder.goto_entry_block():
            total = builder.alloca(F64)

        def root(index: Index) -> None:
            squares = self.load_raw(b, index)
            kind = squares.type
            fine = builder.and_(
                builder.fcmp_ordered(">=", squares, kind(low)),
                builder.fcmp_ordered("<", squares, kind(math.inf)),
            )
            self.store_raw(b, index, builder.call(self._sqrt(kind), [squares]))
            with builder.if_then(builder.not_(fine), likely=False):
                large = builder.fcmp_ordered(">", squares, kind(1.0))
                scale = builder.select(large, kind(down), kind(up))
                builder.store(F64(0.0), total)

                def add(place: Index) -> None:
                    both = (
                        p if a in axes else i
                        for a, (i, p) in enumerate(zip(index, place, strict=True))
                    )
                    x = builder.fmul(self.value(source, (*both,)), scale)
                    x = x if kind == F64 else builder.fpext(x, F64)
                    square = builder.fmul(x, x)
                    builder.store(builder.fadd(builder.load(total, typ=F64), square), total)

                self.nest([n if a in axes else 1 for a, n in enumerate(shape)], add)
                found = builder.call(self._sqrt(F64), [builder.load(total, typ=F64)])
                found = found if kind == F64 else builder.fptrunc(found, kind)
                self.store_raw(b, index, builder.fdiv(found, scale))
            self.elsewhere()

        self.nest([1 if a in axes else n for a, n in enumerate(shape)], root, self.cut)

    def _sqrt(self, kind: ir.Type) -> ir.Function:
        return self.builder.module.declare_intrinsic("llvm.sqrt", [kind])


class _Nest:
    """The loops of one reduction, while they are emitted.

    index   of the source, by axis, inside the loops so far
    ranges  of the axes that are not passed through whole: from where to where
    """

    def __init__(
        self,
        loops: Loops,
        b: int,
        shape: Sequence[int],
        order: Order,
        element: Callable[[Index], ir.Value],
        combine: Any,
        first: ir.Constant,
    ) -> None:
        self._loops, self._to, self._shape, self._order = loops, b, shape, order
        self._element = element
        self._combine, self._first, self._b = combine, first, loops.builder
        self._index: dict[int, Any] = {}
        self._ranges: dict[int, tuple[ir.Value, ir.Value]] = {}
        self._sizes = [shape[a] for a in order.tile]
        if _extent(shape, order.tile) > TILE:
            self._sizes[0] = TILE // _extent(shape, order.tile[1:])
        kind = F64 if order.exact else first.type
        self._running = self._room(kind)
        self._total = self._room(F64) if order.size else self._running

    def _room(self, kind: ir.Type) -> ir.Value:
        """A value for each element of the tile."""
        with self._b.goto_entry_block():
            room = self._b.alloca(kind, size=I64(math.prod(self._sizes)))
        room.align = LINE
        return room

    def emit(self) -> None:
        """All of this thread's part."""
        loops = self._loops
        if loops.part is not None:
            self._ranges[loops.cut] = loops.own(self._shape[loops.cut])
        self._each(self._order.free, self._pieces)

    def _each(self, axes: Sequence[int], body: Callable[[], None]) -> None:
        """The body for each index of some axes, the last one innermost."""
        narrow = _extent(self._shape, self._order.tile) <= SHORT

        def enter(k: int) -> None:
            if k == len(axes):
                body()
                return
            axis, size = axes[k], self._shape[axes[k]]

            def inner(i: Any) -> None:
                self._index[axis] = i
                enter(k + 1)
                del self._index[axis]

            if axis in self._ranges:
                self._loops.turns(*self._ranges[axis], inner)
            elif size <= SHORT and (
                (axis in self._order.tile and narrow) or 0 < k == len(axes) - 1
            ):
                for i in range(size):
                    inner(i)
            else:
                self._loops.loop(size, inner)

        enter(0)

    def _pieces(self) -> None:
        """The tile, or pieces of it along its first axis."""
        tile, b = self._order.tile, self._b
        if not tile or self._sizes[0] == self._shape[tile[0]]:
            self._reduce()
            return
        axis, size = tile[0], I64(self._sizes[0])
        first, end = self._ranges.get(axis, (I64(0), I64(self._shape[axis])))

        def piece(k: ir.Value) -> None:
            start = b.add(first, b.mul(k, size))
            self._ranges[axis] = start, self._least(b.add(start, size), end)
            self._reduce()

        count = b.udiv(b.add(b.sub(end, first), b.sub(size, I64(1))), size)
        self._loops.turns(I64(0), count, piece)

    def _least(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._b.select(self._b.icmp_unsigned("<", x, y), x, y)

    def _reduce(self) -> None:
        """One piece of the tile."""
        order = self._order
        self._each(order.tile, lambda: self._clear(self._total))
        if order.size:
            self._each([a for a in order.axes if a < order.split], self._blocks)
        else:
            self._each(sorted([*order.axes, *order.tile]), self._add)
        self._each(order.tile, self._finish)

    def _blocks(self) -> None:
        """The blocks along `split`."""
        order, b = self._order, self._b
        whole = self._shape[order.split]
        inner = sorted([*(a for a in order.axes if a >= order.split), *order.tile])

        def block(k: ir.Value) -> None:
            start = b.mul(k, I64(order.size))
            end = b.add(start, I64(order.size))
            end = self._least(end, I64(whole)) if whole % order.size else end
            self._ranges[order.split] = start, end
            self._each(order.tile, lambda: self._clear(self._running))
            self._each(inner, self._add)
            self._each(order.tile, self._flush)

        self._loops.loop(-(-whole // order.size), block)

    # One element

    def _place(self, room: ir.Value) -> ir.Value:
        """Where the value for this element of the tile is."""
        b, terms, stride = self._b, [(0, 1)], 1
        for axis, size in reversed([*zip(self._order.tile, self._sizes, strict=True)]):
            at = self._index[axis]
            at = b.sub(at, self._ranges[axis][0]) if axis in self._ranges else at
            terms.append((at, stride))
            stride *= size
        place = self._loops.weighted(*terms)
        place = I64(place) if isinstance(place, int) else place
        return b.gep(room, [place], source_etype=room.allocated_type)

    def _clear(self, room: ir.Value) -> None:
        kind = room.allocated_type
        self._b.store(self._first if kind == self._first.type else kind(0.0), self._place(room))

    def _add(self) -> None:
        """An element of the source to its running value."""
        self._loops.elsewhere()
        index = tuple(self._index.get(a, 0) for a in range(len(self._shape)))
        self._into(self._running, self._element(index))

    def _flush(self) -> None:
        """What a block has given to the total."""
        running = self._running
        self._into(self._total, self._b.load(self._place(running), typ=running.allocated_type))

    def _into(self, room: ir.Value, value: ir.Value) -> None:
        at, kind = self._place(room), room.allocated_type
        value = value if value.type == kind else self._b.fpext(value, kind)
        self._b.store(self._combine(self._b, self._b.load(at, typ=kind), value), at)

    def _finish(self) -> None:
        """The result, from the running value."""
        kind = self._total.allocated_type
        value = self._b.load(self._place(self._total), typ=kind)
        value = value if kind == self._first.type else self._b.fptrunc(value, self._first.type)
        stays = [*self._order.free, *self._order.tile]
        index = tuple(self._index[a] if a in stays else 0 for a in range(len(self._shape)))
        self._loops.store_raw(self._to, index, value)
