"""Convolutions: blocks of positions and outputs, with what is computed from them in registers."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from ..ir_types import I64
from ..plan.blocking import up
from ..plan.slides import SIZES, Phase
from .epilogue import Epilogue
from .loops import Loops
from .slide_operands import Operands
from .slides import Nest, SlideEmitter, offsets
from .winograd import Tiling


def emit(loops: Loops) -> None:
    """This thread's images and bands."""
    Windows(loops).emit()


class Windows(SlideEmitter):
    """The loops of one convolution. The kernel is packed in panels, each as wide as a block."""

    def emit(self) -> None:
        self._finish = Epilogue(self.loops, self.blocks.lanes)
        cut, b, blocks = self.loops.task.cut, self.b, self.blocks
        batch, units = self.slide.batch, up(self.slide.batch, blocks.images) * blocks.bands
        if cut.rows:
            first, end = self.loops.own(batch)
        else:
            first, end = self.loops.part or (I64(0), I64(units))
        with b.if_then(b.icmp_unsigned("<", first, end)):
            self.loops.apart("pack", (self.room(0),), lambda of: Operands(of, blocks).pack)
            fine: ir.Value | None = None
            if self.tiles is not None:
                self._tiling = Tiling(self, self.tiles, self.room(self._tiles_at))
                packed = self.room(0), self.blocks.panels * self.blocks.panel
                fine = self._tiling.is_fine(packed)
                with b.if_then(fine):
                    panel, columns = self.blocks.panel, self.blocks.columns
                    self._tiling.transform_kernel(self.room(0), panel, columns)
            step = blocks.images if cut.rows else 1
            self.e.loop(first, end, step, lambda unit: self._unit(unit, fine))

    @property
    def scratch(self) -> ir.Value:
        return self.room(self.blocks.packed_bytes)

    @property
    def _tiles_at(self) -> int:
        return self.blocks.packed_bytes + self.blocks.copy_bytes

    def _unit(self, unit: ir.Value, fine: ir.Value | None) -> None:
        """A band of an image, or some images; by tiles where the kernel and these are fine."""
        e, b, blocks = self.e, self.b, self.blocks
        image, turn = unit, I64(0)
        if blocks.bands > 1:
            image = b.udiv(unit, I64(blocks.bands))
            turn = b.mul(b.urem(unit, I64(blocks.bands)), I64(blocks.turns))
        count: ir.Value = I64(1)
        if blocks.images > 1:
            image = unit if self.loops.task.cut.rows else b.mul(unit, I64(blocks.images))
            count = e.least(b.sub(I64(self.slide.batch), image), blocks.images)

        def copy(slot: ir.Value) -> None:
            self.copy(b.add(image, slot), e.at(self.scratch, (slot, blocks.pitches[0])), turn)

        e.loop(I64(0), count, 1, copy)
        if fine is None:
            self._direct(image, count, turn)
            return
        copied = self.scratch, b.mul(count, I64(blocks.pitches[0]))
        fine = b.and_(fine, self._tiling.is_fine(copied))
        with b.if_else(fine) as (then, otherwise):
            with then:
                self._by_tiles(image, count, turn)
            with otherwise:
                self._direct(image, count, turn)

    def _by_tiles(self, image: ir.Value, images: ir.Value, turn: ir.Value) -> None:
        """The band of some images, some tiles at a time."""
        e, b, blocks, tiling = self.e, self.b, self.blocks, self._tiling
        high, wide = (s.output for s in self.slide.sizes[-2:])
        down, places = tiling.tiles_of_band(turn)
        count = b.mul(b.mul(down, I64(tiling.tiles.across)), images)

        def patch(t: ir.Value) -> ir.Value:
            steps = (blocks.pitches[0], *blocks.pitches[2:])
            return e.at(self.scratch, *zip(places(t), steps, strict=True))

        def put(t: ir.Value, o: ir.Value, y: list[list[ir.Value]]) -> None:
            slot, first, column = places(t)
            row = b.add(first, turn)
            start = b.add(b.mul(b.add(image, slot), I64(self.slide.positions)), column)
            for i, j in itertools.product(range(2), range(2)):
                own, beside = b.add(row, I64(i)), b.add(column, I64(j))
                at = b.add(b.add(start, b.mul(own, I64(wide))), I64(j))
                with contextlib.ExitStack() as inside:
                    if i and high % 2:
                        inside.enter_context(b.if_then(b.icmp_signed("<", own, I64(high))))
                    if j and wide % 2:
                        inside.enter_context(b.if_then(b.icmp_signed("<", beside, I64(wide))))
                    self._finish(y[i][j], at, o, e.lanes)

        def some(first: ir.Value, count: ir.Value) -> None:
            tiling.transform_inputs(first, count, patch)
            tiling.multiply(count)
            tiling.results(first, count, put)

        tiling.each_some(count, some)

    def _direct(self, image: ir.Value, images: ir.Value, turn: ir.Value) -> None:
        blocks = self.blocks

        def group(g: ir.Value) -> None:
            for phases in self.slide.phases:
                self._phase(image, images, turn, g, phases)

        groups = 1 if blocks.by_lanes else self.slide.groups
        self.e.loop(I64(0), I64(groups), 1, group)

    def _phase(
        self,
        image: ir.Value,
        images: ir.Value,
        turn: ir.Value,
        g: ir.Value,
        phases: Sequence[Phase],
    ) -> None:
        """The outputs of a band that meet the same places of the kernel, of a group."""
        e, b, blocks, slide = self.e, self.b, self.blocks, self.slide
        steps, sizes = blocks.pitches[1:], slide.sizes
        a = e.at(self.scratch, (self.start(phases), 1))
        if not blocks.by_lanes:
            a = e.at(a, (g, slide.inner))
        kernel = [s.kernel for s in sizes]
        of_places = [
            math.prod(kernel[k + 1 :]) * slide.inner * blocks.columns for k in range(SIZES)
        ]
        loops: list[tuple[Any, int, int]] = [
            (p.places, p.advance * step, p.next_place * of_place)
            for p, step, of_place in zip(phases, steps, of_places, strict=True)
        ]
        if blocks.spreads:
            nest = Nest(loops, (slide.inner, blocks.columns))
        else:
            of_channel = slide.outputs if blocks.by_lanes else 1
            nest = Nest([*loops, (slide.inner, of_channel, blocks.columns)])
        at_place = sum(p.place * s for p, s in zip(phases, of_places, strict=True))
        group = e.at(self.room(0), (g, blocks.panels * blocks.panel), (at_place, 1))
        rows_of_sizes = [math.prod([s.output for s in sizes[k + 1 :]]) for k in range(SIZES)]

        def panel(j: ir.Value, wide: int) -> None:
            right = e.at(group, (b.udiv(j, I64(blocks.columns)), blocks.panel))
            left = e.at(a, (j, 1)) if blocks.by_lanes else a
            column = b.add(b.mul(g, I64(slide.wide)), j)
            counts = self.counts(wide)

            def block(slot: ir.Value, at: list[ir.Value], high: int, long: int) -> None:
                """The outputs from the turns `at` on: so many along the last two sizes."""
                start = e.at(left, (slot, blocks.pitches[0]))
                row = b.mul(b.add(image, slot), I64(slide.positions))
                for k, t in enumerate(at):
                    own = b.sub(t, turn) if k == slide.banded else t
                    start = e.at(start, (own, sizes[k].stride * steps[k]))
                    place = b.add(b.mul(t, I64(phases[k].step)), I64(phases[k].first))
                    row = b.add(row, b.mul(place, I64(rows_of_sizes[k])))
                shape = (high, long)
                rows = offsets(shape, [sizes[k].stride * steps[k] for k in (-2, -1)])
                results = offsets(shape, [phases[k].step * rows_of_sizes[k] for k in (-2, -1)])
                full = [e.lanes] * len(counts)
                sums = self.sums(start, right, nest, rows, full)
                for r, offset in enumerate(results):
                    for v, count in enumerate(counts):
                        at_row = b.add(row, I64(offset))
                        at_column = b.add(column, I64(v * e.lanes))
                        self._finish(sums[r * len(counts) + v], at_row, at_column, count)

            def each(slot: ir.Value) -> None:
                self._positions(turn, phases, functools.partial(block, slot))

            e.loop(I64(0), images, 1, each)

        width = blocks.width
        e.pieces(I64(0), I64(width), width, blocks.columns, panel)

    def _positions(
        self,
        turn: ir.Value,
        phases: Sequence[Phase],
        block: Callable[[list[ir.Value], int, int], None],
    ) -> None:
        """block(first turns, rows along the last two sizes) for each of the band."""
        e, b, blocks, banded = self.e, self.b, self.blocks, self.slide.banded

        def along(k: int, size: int, body: Callable[[ir.Value, int], None]) -> None:
            count = phases[k].count
            if k != banded or blocks.bands == 1:
                e.pieces(I64(0), I64(count), count, size, body)
                return
            stop = e.least(b.add(turn, I64(blocks.turns)), count)
            with b.if_then(b.icmp_signed("<", turn, stop)):
                e.pieces(turn, stop, count, size, body)

        rows = blocks.rows
        along(
            0,
            1,
            lambda z, _: along(
                1,
                rows[0],
                lambda y, high: along(2, rows[1], lambda x, long: block([z, y, x], high, long)),
            ),
        )
