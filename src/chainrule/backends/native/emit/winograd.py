"""Convolutions with kernels of 3 × 3 by tiles: see `plan/winograd.py`.

Three passes over some tiles at a time, whose transforms stay in the second-level cache: of the
inputs, the products, and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from ..ir_types import I32, I64
from ..plan.winograd import A_T, B_T, G_T, LARGEST_FINE, PLACES, A, G, Tiles
from . import builder
from .slides import Nest, SlideEmitter, offsets
from .vectors import Values, Vectors

Square = list[Values]
Coefficients = Sequence[Sequence[float]]


def transformed(e: Vectors, matrix: Coefficients, x: Square) -> Square:
    """M x Mᵀ, of vectors."""
    half = [
        [_combined(e, row, [line[k] for line in x]) for k in range(len(x[0]))] for row in matrix
    ]
    return [[_combined(e, row, line) for row in matrix] for line in half]


def _combined(e: Vectors, factors: Sequence[float], x: Values) -> ir.Value:
    """∑ factor · x, without multiplications by 1 and -1."""
    total: ir.Value | None = None
    for factor, value in zip(factors, x, strict=True):
        if factor == 0:
            continue
        if abs(factor) != 1:
            value = e.b.fmul(value, value.type([abs(factor)] * e.lanes))
        if total is None:
            total = value if factor > 0 else e.b.fneg(value)
        else:
            total = (e.b.fadd if factor > 0 else e.b.fsub)(total, value)
    assert total is not None
    return total


class Tiling:
    """The passes over tiles, in the scratch memory of one emitter."""

    def __init__(self, of: SlideEmitter, tiles: Tiles, scratch: ir.Value) -> None:
        self._of, self.tiles, self.e, self.b = of, tiles, of.e, of.b
        self.slide = tiles.blocks.slide
        self.kernel = scratch
        self.inputs = self.e.at(self.kernel, (PLACES * tiles.kernel, 1))
        self.outputs = self.e.at(self.inputs, (PLACES * tiles.inputs, 1))

    def is_fine(self, *runs: tuple[ir.Value, Any]) -> ir.Value:
        """Whether all numbers of some runs of vectors are finite, and LARGEST_FINE at most."""
        b, e = self.b, self.e
        whole = ir.VectorType(I32, e.lanes)
        largest: ir.Value = whole([0] * e.lanes)
        mask = whole([0x7FFFFFFF] * e.lanes)
        for start, count in runs:

            def more(k: ir.Value, top: ir.Value, start: ir.Value = start) -> Values:
                bits = b.bitcast(e.load(e.at(start, (k, 1)), e.lanes), whole)
                bits = b.and_(bits, mask)
                return [b.select(b.icmp_unsigned(">", bits, top), bits, top)]

            stop = I64(count) if isinstance(count, int) else count
            (largest,) = e.loop(I64(0), stop, e.lanes, more, [largest])
        name = f"vector.reduce.umax.v{e.lanes}i32"
        top = builder.call_intrinsic(b, name, I32, largest)
        bits = b.bitcast(e.scalar(LARGEST_FINE), I32)
        return b.icmp_unsigned("<=", top, bits)

    def transform_kernel(self, panels: ir.Value, panel: int, columns: int) -> None:
        """G g Gᵀ, for all channels and outputs: from panels of the direct way."""
        e, tiles, channels = self.e, self.tiles, self.slide.channels
        size = channels * tiles.columns

        def one(o: ir.Value) -> None:
            def channel(c: ir.Value) -> None:
                j = self.b.udiv(o, I64(columns))
                start = e.at(panels, (j, panel), (self.b.urem(o, I64(columns)), 1), (c, columns))
                g = [
                    [
                        e.load(e.at(start, ((3 * y + x) * channels, columns)), e.lanes)
                        for x in range(3)
                    ]
                    for y in range(3)
                ]
                j = self.b.udiv(o, I64(tiles.columns))
                rest = self.b.urem(o, I64(tiles.columns))
                goal = e.at(self.kernel, (j, size), (c, tiles.columns), (rest, 1))
                self._put(transformed(e, G, g), goal, tiles.kernel)

            e.loop(I64(0), I64(channels), 1, channel)

        e.loop(I64(0), I64(self.slide.outputs), e.lanes, one)

    def tiles_of_band(
        self, turn: ir.Value
    ) -> tuple[ir.Value, Callable[[ir.Value], list[ir.Value]]]:
        """Rows of tiles in a band, and what gives (image, first row, first column) of a tile."""
        b, tiles = self.b, self.tiles
        high = self.slide.sizes[-2].output
        turns = self.e.least(b.sub(I64(high), turn), tiles.blocks.turns)
        down = b.udiv(b.add(turns, I64(1)), I64(2))

        def places(t: ir.Value) -> list[ir.Value]:
            x, rows = b.urem(t, I64(tiles.across)), b.udiv(t, I64(tiles.across))
            image, y = I64(0), rows
            if tiles.blocks.images > 1:
                image, y = b.udiv(rows, down), b.urem(rows, down)
            return [image, b.mul(y, I64(2)), b.mul(x, I64(2))]

        return down, places

    def transform_inputs(
        self, first: ir.Value, count: ir.Value, patch: Callable[[ir.Value], ir.Value]
    ) -> None:
        """Bᵀ d B of the tiles first, …; patch(tile) is where its inputs begin in the copy of x."""
        pitch_y, pitch_x = self.tiles.blocks.pitches[-2:]
        channels = self.slide.channels

        def tile(i: ir.Value) -> None:
            start = patch(self.b.add(first, i))

            def some(c: ir.Value) -> None:
                e = self.e
                corner = e.at(start, (c, 1))
                rows = [
                    [
                        e.load(e.at(corner, (y * pitch_y + x * pitch_x, 1)), e.lanes)
                        for x in range(4)
                    ]
                    for y in range(4)
                ]
                goal = e.at(self.inputs, (i, channels), (c, 1))
                self._put(transformed(e, B_T, rows), goal, self.tiles.inputs)

            self.e.loop(I64(0), I64(channels), self.e.lanes, some)

        self.e.loop(I64(0), count, 1, tile)

    def multiply(self, count: ir.Value) -> None:
        """The products of the transformed inputs of some tiles with the transformed kernel."""
        e, tiles, slide = self.e, self.tiles, self.slide
        nest = Nest([(slide.channels, 1, tiles.columns)])
        rows = offsets((tiles.rows,), (slide.channels,))
        size = slide.channels * tiles.columns

        def place(k: ir.Value) -> None:
            a, goal = e.at(self.inputs, (k, tiles.inputs)), e.at(self.outputs, (k, tiles.outputs))
            right = e.at(self.kernel, (k, tiles.kernel))

            def panel(j: ir.Value, wide: int) -> None:
                u = e.at(right, (self.b.udiv(j, I64(tiles.columns)), size))

                def block(i: ir.Value) -> None:
                    counts = self._of.counts(wide)
                    sums = self._of.sums(e.at(a, (i, slide.channels)), u, nest, rows, counts)
                    to = e.at(goal, (i, slide.outputs), (j, 1))
                    for n, value in enumerate(sums):
                        r, v = divmod(n, len(counts))
                        e.store(value, e.at(to, (r, slide.outputs), (v * e.lanes, 1)), e.lanes)

                e.loop(I64(0), count, tiles.rows, block)

            e.pieces(I64(0), I64(slide.outputs), slide.outputs, tiles.columns, panel)

        e.loop(I64(0), I64(PLACES), 1, place)

    def results(
        self, first: ir.Value, count: ir.Value, put: Callable[[ir.Value, ir.Value, Square], None]
    ) -> None:
        """put(tile, first output, Aᵀ m A) for the products of some tiles, a vector at a time."""

        def tile(i: ir.Value) -> None:
            def some(o: ir.Value) -> None:
                e, outputs = self.e, self.slide.outputs
                start = e.at(self.outputs, (i, outputs), (o, 1))
                pitch = self.tiles.outputs
                m = [
                    [e.load(e.at(start, (4 * y + x, pitch)), e.lanes) for x in range(4)]
                    for y in range(4)
                ]
                put(self.b.add(first, i), o, transformed(e, A_T, m))

            self.e.loop(I64(0), I64(self.slide.outputs), self.e.lanes, some)

        self.e.loop(I64(0), count, 1, tile)

    def transform_gradient(
        self, first: ir.Value, count: ir.Value, take: Callable[[ir.Value, ir.Value], Square]
    ) -> None:
        """A z Aᵀ; take(tile, first output) are its 2 × 2 gradients."""

        def tile(i: ir.Value) -> None:
            def some(o: ir.Value) -> None:
                z = take(self.b.add(first, i), o)
                goal = self.e.at(self.outputs, (i, self.slide.outputs), (o, 1))
                self._put(transformed(self.e, A, z), goal, self.tiles.outputs)

            self.e.loop(I64(0), I64(self.slide.outputs), self.e.lanes, some)

        self.e.loop(I64(0), count, 1, tile)

    def add_products(self, count: ir.Value) -> None:
        """What some tiles add to the transformed gradient of the kernel: channels × outputs."""
        e, tiles, slide = self.e, self.tiles, self.slide
        nest = Nest([(count, slide.channels, slide.outputs)])

        def place(k: ir.Value) -> None:
            a, right = e.at(self.inputs, (k, tiles.inputs)), e.at(self.outputs, (k, tiles.outputs))
            goal = e.at(self.kernel, (k, tiles.kernel))

            def panel(j: ir.Value, wide: int) -> None:
                counts = self._of.counts(wide)

                def block(c: ir.Value, high: int) -> None:
                    left, z = e.at(a, (c, 1)), e.at(right, (j, 1))
                    sums = self._of.sums(left, z, nest, [*range(high)], counts)
                    to = e.at(goal, (c, slide.outputs), (j, 1))
                    for n, value in enumerate(sums):
                        r, v = divmod(n, len(counts))
                        at = e.at(to, (r, slide.outputs), (v * e.lanes, 1))
                        e.store(self.b.fadd(e.load(at, e.lanes), value), at, e.lanes)

                e.pieces(I64(0), I64(slide.channels), slide.channels, tiles.rows, block)

            e.pieces(I64(0), I64(slide.outputs), slide.outputs, tiles.columns, panel)

        e.loop(I64(0), I64(PLACES), 1, place)

    def add_gradient(self, goal: ir.Value) -> None:
        """Gᵀ m G of the transformed gradient of the kernel, added to that of the direct way."""
        e, size = self.e, self.slide.channels * self.slide.outputs

        def some(k: ir.Value) -> None:
            start, pitch = e.at(self.kernel, (k, 1)), self.tiles.kernel
            m = [
                [e.load(e.at(start, (4 * y + x, pitch)), e.lanes) for x in range(4)]
                for y in range(4)
            ]
            for place, value in enumerate(v for row in transformed(e, G_T, m) for v in row):
                at = e.at(goal, (k, 1), (place, size))
                e.store(self.b.fadd(e.load(at, e.lanes), value), at, e.lanes)

        e.loop(I64(0), I64(size), e.lanes, some)

    def _put(self, square: Square, goal: ir.Value, pitch: int) -> None:
        """A vector for each of the 16 places."""
        for k, value in enumerate(v for row in square for v in row):
            self.e.store(value, self.e.at(goal, (k, pitch)), self.e.lanes)

    def each_some(self, count: ir.Value, body: Callable[[ir.Value, ir.Value], None]) -> None:
        """body(first, how many) for as many tiles as are done at a time."""
        e, at_once = self.e, self.tiles.at_once
        e.loop(
            I64(0),
            count,
            at_once,
            lambda first: body(first, e.least(self.b.sub(count, first), at_once)),
        )
