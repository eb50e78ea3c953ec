"""What a convolution and the gradient of its kernel share: blocks of sums.

Order of summation: an element is a chain of multiply-adds (fused where the processor does that in
one instruction) in the order of the nest, so results do not depend on who does which unit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from ..ir_types import I8, I64
from ..plan.convolution import blocks_of
from ..plan.slides import Phase
from .loops import Loops
from .slide_operands import Operands
from .vectors import Values, Vectors

UNROLLED = 48  # multiply-adds of vectors, of an innermost loop


class Nest:
    """The loops around a block: for each (count, elements from one turn to the next of A, of B).

    channels   of a group, which are in one vector of A where it is shuffled, and the elements from
               one to the next of B
    """

    def __init__(
        self, loops: Sequence[tuple[Any, int, int]], channels: tuple[int, int] = (1, 0)
    ) -> None:
        self.loops: list[tuple[Any, int, int]] = []
        self.channels = channels
        for count, a, b in loops:
            if isinstance(count, int) and count == 1:
                continue
            if self.loops and isinstance(count, int):
                before, a_before, b_before = self.loops[-1]
                if (a_before, b_before) == (count * a, count * b) and isinstance(before, int):
                    self.loops[-1] = (before * count, a, b)
                    continue
            self.loops.append((count, a, b))


class SlideEmitter:
    """The loops of one convolution, or of the gradient of its kernel."""

    def __init__(self, loops: Loops) -> None:
        self.loops, self.b = loops, loops.builder
        self.main = loops.task.group.main
        self.kernel = loops.storage.kernel(self.main)
        self.blocks, self.tiles = blocks_of(self.kernel, loops.plan.target)
        self.slide = self.blocks.slide
        self.e = Vectors(self.b, self.blocks.lanes, self.slide.itemsize)

    def room(self, offset: int) -> ir.Value:
        """Scratch memory from some byte on."""
        return self.b.gep(self.loops.scratch, [I64(offset)], source_etype=I8)

    @property
    def scratch(self) -> ir.Value:
        """Where the copy of x begins."""
        raise NotImplementedError

    def copy(self, image: ir.Value, goal: ir.Value, turn: ir.Value) -> None:
        """The part of an image of x that the band from `turn` on meets."""
        self.loops.apart("copy", (image, goal, turn), lambda of: Operands(of, self.blocks).copy)

    def start(self, phases: Sequence[Phase]) -> int:
        """Where in the copy the first output of some phases meets the first place."""
        steps = self.blocks.pitches[1:]
        return sum(
            (p.begin - s.begin) * step
            for p, s, step in zip(phases, self.slide.sizes, steps, strict=True)
            if p.places
        )

    def sums(
        self,
        a: ir.Value,
        b: ir.Value,
        nest: Nest,
        rows: Sequence[int],
        counts: Sequence[int],
        channels: Sequence[int] = (),
    ) -> Values:
        """A block: an element of A times a vector of B, for each turn of the nest, by rows.

        rows      where the element of each row lies from `a` on
        counts    of the elements of each vector; after them B has zeros, or what is not stored
        channels  of a group: that of each row, where vectors are shuffled
        """
        e, by_lanes = self.e, self.blocks.by_lanes
        wide = len(counts)
        many, of_channel = nest.channels
        size = len(rows) * wide * many

        def multiply(a: ir.Value, b: ir.Value, j: int, sums: Values) -> None:
            y = [e.load(e.at(b, (v * e.lanes, 1)), n) for v, n in enumerate(counts)]
            for r, offset in enumerate(rows):
                at = e.at(a, (offset, 1))
                x = None if by_lanes else e.splat(e.element(at))
                for v in range(wide):
                    left = x
                    if left is None:
                        left = e.load(e.at(at, (v * e.lanes, 1)), counts[v])
                        left = self._spread(left, channels[r] if channels else j)
                    k = r * wide + v
                    sums[k] = e.intrinsic("fmuladd", e.vector, left, y[v], sums[k])

        def step(a: ir.Value, b: ir.Value, sums: Values) -> Values:
            sums = list(sums)
            for j in range(many):
                multiply(a, e.at(b, (j, of_channel)), j, sums)
            return sums

        def run(level: int, a: ir.Value, b: ir.Value, sums: Values) -> Values:
            if level == len(nest.loops):
                return step(a, b, sums)
            count, of_a, of_b = nest.loops[level]
            inside = level + 1 == len(nest.loops)
            if isinstance(count, int) and inside:
                if count * size <= UNROLLED:
                    for k in range(count):
                        sums = step(e.at(a, (k, of_a)), e.at(b, (k, of_b)), sums)
                    return sums
                most = max(UNROLLED // size, 1)
                at_once = next(u for u in range(min(most, 8), 0, -1) if count % u == 0)

                def some(k: ir.Value, *sums: ir.Value) -> Values:
                    left, right, values = e.at(a, (k, of_a)), e.at(b, (k, of_b)), list(sums)
                    for u in range(at_once):
                        values = step(e.at(left, (u, of_a)), e.at(right, (u, of_b)), values)
                    return values

                return e.loop(I64(0), I64(count), at_once, some, sums)
            stop = I64(count) if isinstance(count, int) else count
            return e.loop(
                I64(0),
                stop,
                1,
                lambda k, *sums: run(level + 1, e.at(a, (k, of_a)), e.at(b, (k, of_b)), list(sums)),
                sums,
            )

        zeros = [e.zero] * (len(rows) * wide)
        if any(isinstance(count, int) and count == 0 for count, _, _ in nest.loops):
            return zeros
        return run(0, a, b, zeros)

    def _spread(self, x: ir.Value, channel: int) -> ir.Value:
        """Of a vector that begins with a group: for each output that channel of its group."""
        if not self.blocks.spreads:
            return x
        size = self.slide.wide
        return self.e.shuffle(x, x, [k // size * size + channel for k in range(self.e.lanes)])

    def counts(self, wide: int) -> list[int]:
        """The elements of each vector of a block of so many columns."""
        return [min(self.e.lanes, wide - j) for j in range(0, wide, self.e.lanes)]


def offsets(counts: Sequence[int], steps: Sequence[int]) -> list[int]:
    """∑ index · step, for each index below the counts in row-major order."""
    return [
        sum(i * s for i, s in zip(index, steps, strict=True))
        for index in itertools.product(*map(range, counts))
    ]
