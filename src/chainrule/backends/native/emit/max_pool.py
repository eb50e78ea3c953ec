"""max_pool: the largest of each window, and its number in the window."""

from __future__ import annotations

import itertools
import math

import numpy as np
from llvmlite import ir

from ....dtypes import is_floating, is_signed
from ..ir_types import I32, I64, in_memory
from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """Both results of this thread's images, or those of them that are used."""
    _MaxPool(loops).emit()


class _MaxPool:
    def __init__(self, loops: Loops) -> None:
        self.loops, self.b = loops, loops.builder
        self.kernel = loops.storage.kernel(loops.task.group.main)
        self.results = {
            loops.storage.kernel(b).params["index"]: b
            for b in loops.task.writes
            if b != loops.task.group.main
        }
        self.x = self.kernel.reads[0]
        self.size = loops.buffers[self.x].shape[1:-1]
        params = self.kernel.params
        self.window, self.padding = params["window"], params["padding"]
        self.steps = [*zip(params["stride"], params["dilation"], strict=True)]
        self.padded = any(map(any, self.padding))

    def emit(self) -> None:
        shape = self.kernel.node.shape[0]
        self.loops.nest(shape, self._one, self.loops.task.cut.axis if self.loops.part else None)

    def _one(self, index: Index) -> None:
        """One window: the first of the largest, or the first NaN."""
        loops, b = self.loops, self.b
        dtype = loops.buffers[self.x].dtype
        kind = in_memory(dtype)
        number: ir.Value = self._first(index) if self.padded else I32(0)
        lowest = -math.inf if is_floating(dtype) else np.iinfo(dtype).min
        best: ir.Value = ir.Constant(kind, lowest)
        for k, place in enumerate(itertools.product(*map(range, self.window))):
            at, inside = self._place(index, place)
            x = loops.value(self.x, (index[0], *at, index[-1]))
            if k == 0 and not self.padded:
                best = x
                continue
            if is_floating(dtype):  # NaN is larger than any number, but not than a NaN before it
                larger = b.fcmp_unordered(">", x, best)
                larger = b.and_(larger, b.fcmp_ordered("ord", best, best))
            else:
                compare = b.icmp_signed if is_signed(dtype) else b.icmp_unsigned
                larger = compare(">", x, best)
            if inside is not None:
                larger = b.and_(larger, inside)
            best = b.select(larger, x, best)
            number = b.select(larger, I32(k), number)
        for which, value in ((0, best), (1, number)):
            if which in self.results:
                result = self.results[which]
                if which and loops.buffers[result].dtype.itemsize == 1:
                    value = b.trunc(value, ir.IntType(8))
                loops.store_raw(result, index, value)

    def _place(
        self, index: Index, place: tuple[int, ...]
    ) -> tuple[list[ir.Value], ir.Value | None]:
        """Where a place of the window lies in x, and whether it does."""
        loops, b = self.loops, self.b
        at, inside = [], None
        for i, k, size, (stride, gap), (low, high) in zip(
            index[1:-1], place, self.size, self.steps, self.padding, strict=True
        ):
            own = loops.weighted((i, stride), (k * gap - low, 1))
            if (low or high) and not isinstance(own, int):
                here = b.icmp_unsigned("<", own, I64(size))
                own = b.select(here, own, I64(0))
                inside = here if inside is None else b.and_(inside, here)
            elif low or high:
                here = ir.IntType(1)(0 <= own < size)
                own = min(max(own, 0), size - 1)
                inside = here if inside is None else b.and_(inside, here)
            at.append(own)
        return at, inside

    def _first(self, index: Index) -> ir.Value:
        """The number of the first place of a window that lies in x."""
        b, number = self.b, I32(0)
        for i, many, (stride, gap), (low, _) in zip(
            index[1:-1], self.window, self.steps, self.padding, strict=True
        ):
            own = self.loops.weighted((i, -stride), (low + gap - 1, 1))
            if isinstance(own, int):
                skipped = I64(max(own, 0) // gap)
            else:
                below = b.icmp_signed("<", own, I64(0))
                skipped = b.udiv(b.select(below, I64(0), own), I64(gap))
            number = b.add(b.mul(number, I32(many)), b.trunc(skipped, I32))
        return number
