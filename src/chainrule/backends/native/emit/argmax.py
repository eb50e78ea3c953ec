"""argmax and argmin: where the first of the largest, or smallest, elements along an axis is.

NaN is beyond every number. Where another axis is the last, its elements are a tile (`TiledNest`).
Where the one that is searched is, each lane of some vectors searches elements at equal distances,
and the best of the lanes is looked for at the end.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from llvmlite import ir

from .... import ops
from ....dtypes import is_floating, is_signed
from ..alignment import ALIGNED
from ..ir_types import I32, I64, in_memory
from ..plan.reductions import tiled
from . import builder
from .loops import Loops
from .reduction import combiner
from .running_tiles import TiledNest

SEARCHING = 4  # vectors that search at once
FEW_LANES = 4  # below which elements are compared one by one
Best = Sequence[ir.Value]  # a value and its position: numbers, or vectors of them


def emit(loops: Loops) -> None:
    """The positions, as int64."""
    b = loops.task.group.main
    kernel = loops.storage.kernel(b)
    (source,), (axis,) = kernel.reads, kernel.params["axis"]
    shape = loops.buffers[source].shape
    if not all(shape):
        return
    stay = [a for a, n in enumerate(shape) if n != 1 and a != axis]
    free, tile = tiled(shape, stay, axis)
    nest = _SearchNest(loops, b, source, axis, tile)
    if tile:
        nest.columns(free)
    else:
        nest.rows(free)


class _SearchNest(TiledNest):
    """The loops of one search."""

    def __init__(self, loops: Loops, b: int, source: int, axis: int, tile: Sequence[int]) -> None:
        super().__init__(loops, loops.buffers[source].shape, tile)
        self._to, self._source, self._axis, self._size = b, source, axis, self._shape[axis]
        self._dtype, self._largest = loops.buffers[source].dtype, loops.buffers[b].op is ops.argmax
        _, self._first = combiner(ops.max if self._largest else ops.min, self._dtype)
        self._number = I64 if self._dtype.itemsize == 8 else builder.position_type(self._size)

    def columns(self, free: Sequence[int]) -> None:
        """For each element of the tile, with the best on the stack."""
        rooms = self.room(in_memory(self._dtype)), self.room(self._number)

        def get() -> Best:
            return [self._b.load(self.place(r), typ=r.allocated_type) for r in rooms]

        def put(best: Best) -> None:
            for room, value in zip(rooms, best, strict=True):
                self._b.store(value, self.place(room))

        def look() -> None:
            new = self._element(), self._numbered(self._index[self._axis])
            put(self._better(new, get()))

        def piece() -> None:
            self.each(self._tile, lambda: put([self._first, self._number(0)]))
            self.each([self._axis, *self._tile], look)
            self.each(self._tile, lambda: self._store(get()[1]))

        self.each_piece(free, piece)

    def rows(self, free: Sequence[int]) -> None:
        """For each row, with the best in registers."""
        lanes = ALIGNED // max(4, self._dtype.itemsize)
        lanes = min(lanes, 1 << (self._size.bit_length() - 1))
        vectors = min(SEARCHING, self._size // lanes)

        def row() -> None:
            few = lanes < FEW_LANES
            place = self._one_by_one() if few else self._in_vectors(vectors, lanes)
            del self._index[self._axis]
            self._store(place)

        self.each_row(free, row)

    def _one_by_one(self) -> ir.Value:
        """The position in a short row."""

        def one(k: ir.Value, *best: ir.Value) -> list[ir.Value]:
            self._index[self._axis] = k
            return self._better((self._element(), self._numbered(k)), best)

        begin = [self._first, self._number(0)]
        return builder.carrying(self._b, I64(0), I64(self._size), 1, one, begin)[1]

    def _in_vectors(self, vectors: int, lanes: int) -> ir.Value:
        """The position in a row of at least as many elements; its end may be searched twice."""
        b, block = self._b, vectors * lanes

        def several(k: ir.Value, *best: ir.Value) -> list[ir.Value]:
            after: list[ir.Value] = []
            k = self.least(k, I64(self._size - block))
            for v in range(vectors):
                after += self._better(self._vectors(k, v * lanes, lanes), best[2 * v : 2 * v + 2])
            return after

        best = [x for v in range(vectors) for x in self._vectors(I64(0), v * lanes, lanes)]
        if self._size > block:
            best = builder.carrying(b, I64(block), I64(self._size), block, several, best)
        return self._joined(best[::2], best[1::2], lanes)

    def _joined(
        self, values: Sequence[ir.Value], places: Sequence[ir.Value], lanes: int
    ) -> ir.Value:
        """The first position of the best value of all lanes."""
        b = self._b
        best = functools.reduce(self._best, values)
        half = lanes
        while half > 1:
            half //= 2
            best = self._best(*(_lanes(b, best, range(k, k + half)) for k in (0, half)))
        best = _lanes(b, best, [0] * lanes)
        none = _splat(self._number(-1), lanes)  # no position, the largest unsigned number
        first = none
        for value, place in zip(values, places, strict=True):
            place = b.select(self._beyond(best, value), none, place)
            first = b.select(b.icmp_unsigned("<", place, first), place, first)
        name = f"vector.reduce.umin.v{lanes}i{self._number.width}"
        return builder.call_intrinsic(b, name, self._number, first)

    def _vectors(self, k: ir.Value, first: int, lanes: int) -> Best:
        """The elements from k + first on, and their positions."""
        b = self._b
        values = ir.VectorType(in_memory(self._dtype), lanes)(ir.Undefined)
        for lane in range(lanes):
            self._index[self._axis] = b.add(k, I64(first + lane))
            values = b.insert_element(values, self._element(), I32(lane))
        begin = ir.VectorType(self._number, lanes)(ir.Undefined)
        begins = _lanes(b, b.insert_element(begin, self._numbered(k), I32(0)), [0] * lanes)
        steps = ir.VectorType(self._number, lanes)([first + lane for lane in range(lanes)])
        return values, b.add(begins, steps)

    # One element, or a vector of them

    def _element(self) -> ir.Value:
        self._loops.elsewhere()
        return self._loops.value(self._source, self.index)

    def _numbered(self, k: ir.Value) -> ir.Value:
        return k if self._number == I64 else self._b.trunc(k, self._number)

    def _better(self, new: Best, best: Best) -> list[ir.Value]:
        """The new one if it is beyond the best one, which comes before it."""
        wins = self._beyond(new[0], best[0])
        return [self._b.select(wins, x, y) for x, y in zip(new, best, strict=True)]

    def _best(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._b.select(self._beyond(y, x), y, x)

    def _beyond(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Whether x is larger than y (smaller, for argmin), or NaN while y is not."""
        b, sign = self._b, ">" if self._largest else "<"
        if is_floating(self._dtype):
            return b.and_(b.fcmp_unordered(sign, x, y), b.fcmp_ordered("ord", y, y))
        return (b.icmp_signed if is_signed(self._dtype) else b.icmp_unsigned)(sign, x, y)

    def _store(self, place: ir.Value) -> None:
        place = place if self._number == I64 else self._b.zext(place, I64)
        index = (0 if a == self._axis else i for a, i in enumerate(self.index))
        self._loops.store_raw(self._to, tuple(index), place)


def _splat(value: ir.Constant, lanes: int) -> ir.Constant:
    return ir.VectorType(value.type, lanes)([value.constant] * lanes)


def _lanes(b: ir.IRBuilder, x: ir.Value, lanes: Sequence[int]) -> ir.Value:
    """A vector of some of its lanes."""
    return b.shuffle_vector(x, x, ir.VectorType(I32, len(lanes))([*lanes]))
