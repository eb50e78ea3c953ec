"""Loops that have running values: one per element of a *tile*, side by side on the stack.

The source is read in the order of memory then, and LLVM makes vectors of the tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from ..alignment import ALIGNED
from ..ir_types import I64
from ..plan.reductions import TILE, extent
from .loops import WRITTEN_OUT, Index, Loops


class TiledNest:
    """The loops over a shape while they are emitted.

    tile    the axes of the tile, of which each piece has a size in `_sizes`
    _index  of the source, by axis, inside the loops so far
    _ranges of the axes that are not passed through whole: from where to where
    """

    def __init__(self, loops: Loops, shape: Sequence[int], tile: Sequence[int]) -> None:
        self._loops, self._shape, self._tile, self._b = loops, shape, tile, loops.builder
        self._index: dict[int, Any] = {}
        self._ranges: dict[int, tuple[ir.Value, ir.Value]] = {}
        self._sizes = [shape[a] for a in tile]
        if extent(shape, tile) > TILE:
            self._sizes[0] = TILE // extent(shape, tile[1:])

    def room(self, kind: ir.Type) -> ir.Value:
        """A value for each element of the tile."""
        with self._b.goto_entry_block():
            room = self._b.alloca(kind, size=I64(math.prod(self._sizes)))
        room.align = ALIGNED
        return room

    def each_row(self, free: Sequence[int], body: Callable[[], None]) -> None:
        """The body for each index of the free axes that is in this thread's part."""
        loops = self._loops
        if loops.part is not None:
            axis = loops.task.cut.axis
            self._ranges[axis] = loops.own(self._shape[axis])
        self.each(free, body)

    def each_piece(self, free: Sequence[int], body: Callable[[], None]) -> None:
        """The same, for each piece of the tile."""
        self.each_row(free, lambda: self._pieces(body))

    def each(self, axes: Sequence[int], body: Callable[[], None]) -> None:
        """The body for each index of some axes, the last one innermost."""
        narrow = extent(self._shape, self._tile) <= WRITTEN_OUT

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
            elif size <= WRITTEN_OUT and (
                (axis in self._tile and narrow) or 0 < k == len(axes) - 1
            ):
                for i in range(size):
                    inner(i)
            else:
                self._loops.loop(size, inner)

        enter(0)

    def _pieces(self, body: Callable[[], None]) -> None:
        """The tile, or pieces of it along its first axis."""
        tile, b = self._tile, self._b
        if not tile or self._sizes[0] == self._shape[tile[0]]:
            body()
            return
        axis, size = tile[0], I64(self._sizes[0])
        whole = self._ranges.get(axis)
        first, end = whole or (I64(0), I64(self._shape[axis]))

        def piece(k: ir.Value) -> None:
            start = b.add(first, b.mul(k, size))
            self._ranges[axis] = start, self.least(b.add(start, size), end)
            body()

        count = b.udiv(b.add(b.sub(end, first), b.sub(size, I64(1))), size)
        self._loops.turns(I64(0), count, piece)
        del self._ranges[axis]
        if whole is not None:
            self._ranges[axis] = whole

    def least(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._b.select(self._b.icmp_unsigned("<", x, y), x, y)

    def place(self, room: ir.Value) -> ir.Value:
        """Where the value for this element of the tile is."""
        b, terms, stride = self._b, [(0, 1)], 1
        for axis, size in reversed([*zip(self._tile, self._sizes, strict=True)]):
            at = self._index[axis]
            at = b.sub(at, self._ranges[axis][0]) if axis in self._ranges else at
            terms.append((at, stride))
            stride *= size
        place = self._loops.weighted(*terms)
        place = I64(place) if isinstance(place, int) else place
        return b.gep(room, [place], source_etype=room.allocated_type)

    @property
    def index(self) -> Index:
        """Where the loops are: 0 on the axes that they do not pass through."""
        return tuple(self._index.get(a, 0) for a in range(len(self._shape)))
