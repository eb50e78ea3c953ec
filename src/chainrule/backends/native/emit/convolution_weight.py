"""Gradients of the kernels of convolutions, one for each part of the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from ..ir_types import I64
from ..plan.slide_blocks import has_few_rows, parts_of
from ..plan.slides import SIZES, Phase
from ..plan.winograd import PLACES
from .loops import Loops
from .slides import Nest, SlideEmitter, offsets
from .winograd import Tiling


def emit(loops: Loops) -> None:
    """This thread's parts of the batch."""
    Weights(loops).emit()


class Weights(SlideEmitter):
    """The loops of one gradient. A block's rows are places of the kernel and channels."""

    def emit(self) -> None:
        first, end = self.loops.part or (I64(0), I64(parts_of(self.slide)))
        self.e.loop(first, end, 1, self._part)

    @property
    def scratch(self) -> ir.Value:
        return self.room(0)

    def _part(self, part: ir.Value) -> None:
        e, b, blocks, slide = self.e, self.b, self.blocks, self.slide
        size = slide.kernel * slide.inner * slide.outputs
        goal = e.at(self.loops.pointers[self.main], (part, size))
        e.clear(goal, size)
        if self.tiles is not None:
            self._tiling = Tiling(self, self.tiles, self.room(blocks.copy_bytes))
            e.clear(self._tiling.kernel, PLACES * self.tiles.kernel)
        first = b.mul(part, I64(blocks.in_part))
        end = e.least(b.add(first, I64(blocks.in_part)), slide.batch)

        def some(image: ir.Value) -> None:
            count: Any = 1
            if blocks.images > 1:
                left = b.sub(end, image)
                count = e.least(left, blocks.images)

            def band(k: ir.Value) -> None:
                turn = b.mul(k, I64(blocks.turns))

                def one(slot: ir.Value) -> None:
                    to = e.at(self.scratch, (slot, blocks.pitches[0]))
                    self.copy(b.add(image, slot), to, turn)

                many = I64(1) if isinstance(count, int) else count
                e.loop(I64(0), many, 1, one)
                if self.tiles is None:
                    self._direct(goal, image, count, turn)
                    return
                each = slide.positions * slide.outputs
                z = e.at(self.loops.pointers[self.kernel.reads[1]], (image, each))
                fine = self._tiling.is_fine(
                    (self.scratch, b.mul(many, I64(blocks.pitches[0]))), (z, b.mul(many, I64(each)))
                )
                with b.if_else(fine) as (then, otherwise):
                    with then:
                        self._by_tiles(z, many, turn)
                    with otherwise:
                        self._direct(goal, image, count, turn)

            e.loop(I64(0), I64(blocks.bands), 1, band)

        e.loop(first, end, blocks.images, some)
        if self.tiles is not None:
            self._tiling.add_gradient(goal)

    def _by_tiles(self, z: ir.Value, images: ir.Value, turn: ir.Value) -> None:
        """What a band of some images adds to the transformed gradient, some tiles at a time."""
        e, b, blocks, slide, tiling = self.e, self.b, self.blocks, self.slide, self._tiling
        high, wide = (s.output for s in slide.sizes[-2:])
        down, places = tiling.tiles_of_band(turn)
        count = b.mul(b.mul(down, I64(tiling.tiles.across)), images)

        def patch(t: ir.Value) -> ir.Value:
            return e.at(
                self.scratch, *zip(places(t), blocks.pitches[:1] + blocks.pitches[2:], strict=True)
            )

        def take(t: ir.Value, o: ir.Value) -> list[list[ir.Value]]:
            image, y, x = places(t)
            y = b.add(y, turn)
            row = wide * slide.outputs
            start = e.at(z, (image, high * row), (o, 1))

            def one(i: int, j: int) -> ir.Value:
                own, beside, inside = b.add(y, I64(i)), b.add(x, I64(j)), []
                if i and high % 2:
                    inside.append(b.icmp_signed("<", own, I64(high)))
                    own = b.select(inside[-1], own, y)
                if j and wide % 2:
                    inside.append(b.icmp_signed("<", beside, I64(wide)))
                    beside = b.select(inside[-1], beside, x)
                value = e.load(e.at(start, (own, row), (beside, slide.outputs)), e.lanes)
                for condition in inside:
                    value = b.select(condition, value, e.zero)
                return value

            return [[one(i, j) for j in range(2)] for i in range(2)]

        def some(first: ir.Value, count: ir.Value) -> None:
            tiling.transform_inputs(first, count, patch)
            tiling.transform_gradient(first, count, take)
            tiling.add_products(count)

        tiling.each_some(count, some)

    def _direct(self, goal: ir.Value, image: ir.Value, images: Any, turn: ir.Value) -> None:
        for phases in self.slide.phases:
            if all(p.places for p in phases):
                self._phase(goal, image, images, turn, phases)

    def _phase(
        self, goal: ir.Value, image: ir.Value, images: Any, turn: ir.Value, phases: Sequence[Phase]
    ) -> None:
        """What some outputs add: those of a phase, in a band of some images."""
        e, b, blocks, slide = self.e, self.b, self.blocks, self.slide
        sizes, steps = slide.sizes, blocks.pitches[1:]
        places = [
            math.prod([s.output for s in sizes[k + 1 :]]) * slide.outputs for k in range(SIZES)
        ]
        z = e.at(
            self.loops.pointers[self.kernel.reads[1]], (image, slide.positions * slide.outputs)
        )
        loops: list[tuple[Any, int, int]] = [
            (images, blocks.pitches[0], slide.positions * slide.outputs)
        ]
        for k, p in enumerate(phases):
            count: Any = p.count
            z = e.at(z, (p.first, places[k]))
            if k == slide.banded and blocks.bands > 1:
                z = e.at(z, (turn, p.step * places[k]))
                count = e.least(b.sub(I64(p.count), turn), blocks.turns)
            loops.append((count, sizes[k].stride * steps[k], p.step * places[k]))
        nest, start = Nest(loops), e.at(self.scratch, (self.start(phases), 1))

        def group(g: ir.Value) -> None:
            def panel(j: ir.Value, wide: int) -> None:
                column = b.add(b.mul(g, I64(slide.wide)), j)
                left = e.at(start, (j, 1)) if blocks.by_lanes else e.at(start, (g, slide.inner))
                self._rows(left, e.at(z, (column, 1)), e.at(goal, (column, 1)), nest, wide, phases)

            e.pieces(I64(0), I64(blocks.width), blocks.width, blocks.columns, panel)

        e.loop(I64(0), I64(1 if blocks.by_lanes else slide.groups), 1, group)

    def _rows(
        self,
        a: ir.Value,
        z: ir.Value,
        goal: ir.Value,
        nest: Nest,
        wide: int,
        phases: Sequence[Phase],
    ) -> None:
        """All places and channels, by some columns."""
        e, blocks, slide = self.e, self.blocks, self.slide
        kernel = [s.kernel for s in slide.sizes]
        row = slide.outputs
        of_places = [math.prod(kernel[k + 1 :]) * slide.inner * row for k in range(SIZES)]
        to = e.at(goal, *((p.place, s) for p, s in zip(phases, of_places, strict=True)))
        counts = self.counts(wide)

        def add(
            a: ir.Value,
            goal: ir.Value,
            rows: Sequence[int],
            results: Sequence[int],
            channels: Sequence[int] = (),
        ) -> None:
            sums = self.sums(a, z, nest, rows, counts, channels)
            for r, offset in enumerate(results):
                for v, count in enumerate(counts):
                    at = e.at(goal, (offset + v * e.lanes, 1))
                    total = e.b.fadd(e.load(at, count), sums[r * len(counts) + v])
                    e.store(total, at, count)

        many, most = [p.places for p in phases], blocks.rows[1]
        from_a = [p.advance * step for p, step in zip(phases, blocks.pitches[1:], strict=True)]
        from_a.append(0 if blocks.spreads else slide.outputs if blocks.by_lanes else 1)
        from_goal = [p.next_place * s for p, s in zip(phases, of_places, strict=True)] + [row]
        shape = [*many, slide.inner]
        few = has_few_rows(slide, math.prod(many), blocks.by_lanes)
        if few or blocks.by_lanes:  # blocks of rows that lie anywhere
            inside = len(shape) if few else 2
            rows, results = (offsets(shape[-inside:], s[-inside:]) for s in (from_a, from_goal))
            outer, channels = shape[:-inside], [k % slide.inner for k in range(len(rows))]
        else:
            last = phases[-1]
            joins = slide.groups == 1 and (last.advance, last.next_place) == (1, 1)
            run = last.places * slide.inner if joins else slide.inner
            rows, results, channels, outer = [], [], [], many[:-1] if joins else many

        def enter(k: int, a: ir.Value, to: ir.Value) -> None:
            if k < len(outer):
                e.loop(
                    I64(0),
                    I64(outer[k]),
                    1,
                    lambda i: enter(k + 1, e.at(a, (i, from_a[k])), e.at(to, (i, from_goal[k]))),
                )
                return
            for first in range(0, len(rows), most):
                some = slice(first, first + most)
                add(a, to, rows[some], results[some], channels[some])
            if not rows:
                e.pieces(I64(0), I64(run), run, most, lambda i, high: neighbours(a, to, i, high))

        def neighbours(a: ir.Value, to: ir.Value, i: ir.Value, high: int) -> None:
            """Rows that lie one after another."""
            own = range(high)
            add(e.at(a, (i, 1)), e.at(to, (i, row)), [*own], [r * row for r in own])

        enter(0, a, to)
