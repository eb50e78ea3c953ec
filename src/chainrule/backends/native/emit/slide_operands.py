"""The operands of convolutions as their sums read them: copied, with zeros where padding is.

These are loops of scalars, in functions of their own.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from ..ir_types import I64
from ..plan.slide_blocks import Blocks
from ..plan.slides import SIZES
from .loops import Loops
from .vectors import Vectors


class Operands:
    """What a convolution, or the gradient of its kernel, copies to scratch memory."""

    def __init__(self, loops: Loops, blocks: Blocks) -> None:
        self.loops, self.b, self.blocks, self.slide = loops, loops.builder, blocks, blocks.slide
        self.e = Vectors(self.b, blocks.lanes, self.slide.itemsize)
        self._kernel = loops.storage.kernel(loops.task.group.main)
        self._x = self._kernel.reads[0]
        self.rank = len(self._kernel.node.inputs[0].shape) - 2

    def copy(self, image: ir.Value, goal: ir.Value, turn: ir.Value) -> None:
        """The part of an image that the band from `turn` on meets."""
        self._copy_size(0, (image,), goal, turn)

    def _copy_size(self, k: int, index: tuple[Any, ...], goal: ir.Value, turn: ir.Value) -> None:
        """What lies along the sizes from k on, at an index of those before."""
        size, extent, step = self.slide.sizes[k], self.blocks.extents[k], self.blocks.pitches[k + 1]
        e, b = self.e, self.b
        if k == self.slide.banded and self.blocks.bands > 1:
            begin = b.add(b.mul(turn, I64(size.stride)), I64(size.begin))

            def one(r: ir.Value) -> None:
                at, to = b.add(begin, r), e.at(goal, (r, step))
                with b.if_else(b.icmp_unsigned("<", at, I64(size.input))) as (inside, outside):
                    with inside:
                        self._copy_inside(k, (*index, at), to, turn)
                    with outside:
                        self.e.clear(to, step)

            e.loop(I64(0), I64(extent), 1, one)
            return
        first = min(max(-size.begin, 0), extent)
        last = max(min(size.input - size.begin, extent), first)
        self.e.clear(goal, first * step)
        rest = e.at(goal, (last, step))
        if last > first:
            start = e.at(goal, (first, step))
            source = I64(size.begin + first)
            if k == SIZES - 1 and self._run() is not None:
                self._copy_run(index, source, start, (last - first) * step)
            else:

                def other(r: ir.Value) -> None:
                    self._copy_inside(k, (*index, b.add(source, r)), e.at(start, (r, step)), turn)

                self.loops.turns(I64(0), I64(last - first), other)
        self.e.clear(rest, (extent - last) * step)

    def _copy_inside(self, k: int, index: tuple[Any, ...], goal: ir.Value, turn: ir.Value) -> None:
        if k + 1 < SIZES:
            self._copy_size(k + 1, index, goal, turn)
        else:
            self._copy_channels(index, goal)

    def _run(self) -> tuple[int, tuple[int, ...], int] | None:
        """Where x lies in memory, if its last size and its channels lie there without gaps."""
        lies = self.loops.storage.strided(self._x)
        if lies is None or self.blocks.expands:
            return None
        channels = self.slide.channels
        near = lies[1][-1] == 1 or channels == 1
        return lies if near and lies[1][-2] == channels else None

    def _copy_run(
        self, index: tuple[Any, ...], first: ir.Value, goal: ir.Value, count: int
    ) -> None:
        lies = self._run()
        assert lies is not None
        source, strides, offset = lies
        e = self.e
        pairs = zip(self._own((*index, first)), strides[:-1], strict=True)
        at = e.at(self.loops.element(source, offset), *pairs)
        e.pieces(
            I64(0),
            I64(count),
            count,
            e.lanes,
            lambda k, wide: e.store(e.load(e.at(at, (k, 1)), wide), e.at(goal, (k, 1)), wide),
        )

    def _copy_channels(self, index: tuple[Any, ...], goal: ir.Value) -> None:
        """All channels of one element of x; expanded, for each of a group those of all outputs."""
        loops, b, slide = self.loops, self.b, self.slide

        def put(at: ir.Value, channel: ir.Value) -> None:
            loops.elsewhere()
            b.store(loops.value(self._x, (*self._own(index), channel)), self.e.at(goal, (at, 1)))

        if not self.blocks.expands:
            loops.turns(I64(0), I64(slide.channels), lambda c: put(c, c))
            return

        def inner(j: ir.Value) -> None:
            def output(o: ir.Value) -> None:
                group = b.udiv(o, I64(slide.wide))
                channel = b.add(b.mul(group, I64(slide.inner)), j)
                put(b.add(b.mul(j, I64(slide.outputs)), o), channel)

            loops.turns(I64(0), I64(slide.outputs), output)

        loops.turns(I64(0), I64(slide.inner), inner)

    def _own(self, index: tuple[Any, ...]) -> tuple[Any, ...]:
        """An index of an image and three sizes as one of the sizes that x has."""
        return (index[0], *index[1 + SIZES - self.rank :])

    def pack(self, goal: ir.Value) -> None:
        """The kernel: (groups, panels, *places, channels, columns), with zeros at the end."""
        loops, e, b, blocks, slide = self.loops, self.e, self.b, self.blocks, self.slide
        w, width = self._kernel.reads[1], blocks.width
        kernel = [s.kernel for s in slide.sizes]
        groups = 1 if blocks.by_lanes else slide.groups
        inside = (*kernel, slide.inner)
        steps = [math.prod(inside[k + 1 :]) * blocks.columns for k in range(len(inside))]

        def group(g: ir.Value) -> None:
            def panel(j: ir.Value, wide: int) -> None:
                whole = b.udiv(j, I64(blocks.columns))
                start = e.at(goal, (g, blocks.panels * blocks.panel), (whole, blocks.panel))
                first = b.add(b.mul(g, I64(slide.wide)), j)

                def row(index: list[ir.Value]) -> None:
                    to = e.at(start, *zip(index, steps, strict=True))
                    own = index[SIZES - self.rank :]

                    def one(o: ir.Value) -> None:
                        loops.elsewhere()
                        value = loops.value(w, (*own, b.add(first, o)))
                        b.store(value, e.at(to, (o, 1)))

                    loops.turns(I64(0), I64(wide), one)
                    for o in range(wide, blocks.columns):
                        b.store(e.scalar(0.0), e.at(to, (o, 1)))

                def enter(index: list[ir.Value]) -> None:
                    if len(index) == len(inside):
                        row(index)
                    else:
                        e.loop(I64(0), I64(inside[len(index)]), 1, lambda k: enter([*index, k]))

                enter([])

            e.pieces(I64(0), I64(width), width, blocks.columns, panel)

        e.loop(I64(0), I64(groups), 1, group)
