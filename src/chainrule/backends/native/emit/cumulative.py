"""Loops along an axis whose elements each need the one before: sums, products, recurrences.

Where another axis is the last, its elements are a tile that goes along together (`TiledNest`).
Where the running axis is, several rows go along together: one alone would wait for each addition.
The order of a sum, and in which dtype it is done, is that of `sums.running`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from .... import ops
from ....dtypes import is_floating
from ....sums import FEW
from ..formulas import multiply_add
from ..ir_types import F32, F64, I1, I64, in_memory
from ..plan.reductions import tiled
from . import builder
from .loops import Index, Loops
from .running_tiles import TiledNest

ROWS = 8  # that go along together
SHORT = 6  # buffers that one loop computes; of more ROWS would be too much code


def emit(loops: Loops) -> None:
    """The running values, each stored where it stands."""
    b = loops.task.group.main
    shape, axis = loops.buffers[b].shape, loops.storage.kernel(b).params["axis"]
    if not all(shape):
        return
    stay = [a for a, n in enumerate(shape) if n != 1 and a != axis]
    free, tile = tiled(shape, stay, axis)
    nest = _RunningNest(loops, b, shape, axis, tile)
    if tile:
        nest.columns(free)
    else:
        nest.rows(stay)


class _RunningNest(TiledNest):
    """The loops of one running axis."""

    def __init__(
        self, loops: Loops, b: int, shape: Sequence[int], axis: int, tile: Sequence[int]
    ) -> None:
        super().__init__(loops, shape, tile)
        self._to, self._axis = b, axis
        kernel, dtype = loops.storage.kernel(b), loops.buffers[b].dtype
        self._op, self._reads, self._stored = kernel.op, kernel.reads, in_memory(dtype)
        many = kernel.op is ops.cumulative_sum and shape[axis] > FEW
        many = many or kernel.op is ops.cumulative_sum_by_key
        self._kind = F64 if many and self._stored == F32 else self._stored
        neutral: Any = 1 if kernel.op is ops.cumulative_prod else 0
        if is_floating(dtype):  # -0 + x is x, 0 + -0 is not
            neutral = float(neutral) or -0.0
        self._neutral = ir.Constant(self._kind, neutral)

    def columns(self, free: Sequence[int]) -> None:
        """Values on the stack, for each element of the tile."""
        room, b = self.room(self._kind), self._b

        def clear() -> None:
            b.store(self._neutral, self.place(room))

        def add() -> None:
            at = self.place(room)
            b.store(self._step(b.load(at, typ=self._kind)), at)

        def piece() -> None:
            self.each(self._tile, clear)
            self.each([self._axis, *self._tile], add)

        self.each_piece(free, piece)

    def rows(self, stay: Sequence[int]) -> None:
        """Values in registers, for several indices of the last axis before the running one."""
        if not stay:
            self._along(-1, [0])
            return
        *free, row = stay
        together = ROWS if len([*self._loops.storage.computed(self._to)]) <= SHORT else 1
        b, turns = self._b, self._loops.turns

        def rows() -> None:
            first, end = self._ranges.get(row, (I64(0), I64(self._shape[row])))
            count = b.udiv(b.sub(end, first), I64(together))
            rest = b.add(first, b.mul(count, I64(together)))

            def several(k: ir.Value) -> None:
                begin = b.add(first, b.mul(k, I64(together)))
                self._along(row, [b.add(begin, I64(r)) for r in range(together)])

            turns(I64(0), count, several)
            turns(I64(0), b.sub(end, rest), lambda k: self._along(row, [b.add(rest, k)]))

        self.each_piece(free, rows)

    def _along(self, row: int, places: Sequence[Any]) -> None:
        """The running axis from its start to its end, at some indices of another one."""

        def body(t: ir.Value, *values: ir.Value) -> list[ir.Value]:
            self._index[self._axis] = t
            after = []
            for self._index[row], value in zip(places, values, strict=True):
                after.append(self._step(value))
            return after

        values = [self._neutral] * len(places)
        builder.carrying(self._b, I64(0), I64(self._shape[self._axis]), 1, body, values)
        del self._index[self._axis], self._index[row]

    def _step(self, value: ir.Value) -> ir.Value:
        """The value after this element, which is stored."""
        loops, b = self._loops, self._b
        loops.elsewhere()
        index = self.index
        real = is_floating(loops.buffers[self._to].dtype)
        if self._op is ops.cumulative_sum_by_key:
            value = b.select(self._same_key(index[self._axis]), value, self._neutral)
            term = loops.value(self._reads[0], index)
        else:
            *factor, term = [loops.value(r, index) for r in self._reads]
        if self._op is ops.recurrence:
            value = self._recurred(value, factor[0], term, index)
        elif self._op is ops.cumulative_prod:
            value = (b.fmul if real else b.mul)(value, term)
        else:
            term = term if term.type == self._kind else b.fpext(term, self._kind)
            value = (b.fadd if real else b.add)(value, term)
        same = value.type == self._stored
        loops.store_raw(self._to, index, value if same else b.fptrunc(value, self._stored))
        return value

    def _same_key(self, t: Any) -> ir.Value:
        """Whether the key at t is the one before; the first is none's."""
        if isinstance(t, int):  # there is one key
            return I1(0)
        b, loops, keys = self._b, self._loops, self._reads[1]
        first = b.icmp_unsigned("==", t, I64(0))
        before = b.select(first, t, b.sub(t, I64(1)))
        key, other = loops.value(keys, (t,)), loops.value(keys, (before,))
        return b.and_(b.icmp_unsigned("==", key, other), b.not_(first))

    def _recurred(self, h: ir.Value, a: ir.Value, x: ir.Value, index: Index) -> ir.Value:
        """a h + x, and x at the beginning, where a may be infinite."""
        b, t = self._b, index[self._axis]
        if isinstance(t, int):
            return x
        later = multiply_add(b, a, h, x)
        return b.select(b.icmp_unsigned("==", t, I64(0)), x, later)
