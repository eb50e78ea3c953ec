"""The derivative of attention: the weights of a block are computed again, from their logsumexp.

For each block, with the weights p and x = v gᵀ:

    dv += pᵀ g,   ds = p (x - delta),   dk += dsᵀ q,   dq += ds k

A thread does whole heads: the sums of dk and dv are in its scratch memory, so no two threads add to
the same place, and results do not depend on their number.
"""

from __future__ import annotations

import math
from functools import partial
from typing import cast

from llvmlite import ir

from ..ir_types import I64
from ..plan.attention import AttentionDerivative
from .attention_blocks import BlockEmitter
from .loops import Loops
from .vectors import Matrix


def emit(loops: Loops) -> None:
    """This thread's heads."""
    Backward(loops).emit()


class Backward(BlockEmitter):
    """One head after the other."""

    def __init__(self, loops: Loops) -> None:
        super().__init__(loops)
        self.derivative = cast(AttentionDerivative, self.plan)

    def emit(self) -> None:
        if self.plan.units:
            self.each_block(self._head)

    def _head(self, batch: ir.Value, head: ir.Value, unit: ir.Value) -> None:
        for name in ("d_key", "d_value"):
            self.clear(name)
        if self.s:
            self.loops.turns(I64(0), I64(self.plan.rows), lambda k: self._queries(batch, head, k))
        for index, name in ((1, "d_key"), (2, "d_value")):
            to = self.result(index, batch, head)
            size = self.d if index == 1 else self.e
            if to is not None:
                self.copy(Matrix(self.room(name), size, 1), to, I64(self.s), size)

    def _queries(self, batch: ir.Value, head: ir.Value, unit: ir.Value) -> None:
        """All that a block of queries adds."""
        e, b, plan = self.e_, self.b, self.derivative
        first = b.mul(unit, I64(plan.queries))
        for name, operand, size in (("query", plan.query, self.d), ("g", plan.g, self.e)):
            source = self.matrix(operand, batch, head)
            source = Matrix(e.at(source.pointer, (first, source.row)), source.row, 1)
            self.by_count(first, partial(self._both_ways, name, source, size))
        for name in ("query", "query_rows"):
            self.scaled(name, self.d * self.wide)
        logsumexp, delta = (self.matrix(o, batch, head) for o in (plan.logsumexp, plan.delta))
        self.numbers("logsumexp", logsumexp, first, math.inf)
        self.numbers("delta", delta, first, 0.0)
        if plan.masks:  # of rows without any key
            self.store("logsumexp", self.zero_for(self.load("logsumexp"), -math.inf))
        self.clear("d_query")
        self.each_key_block(first, lambda k, count: self._block(batch, head, first, k, count))
        to = self.result(0, batch, head)
        if to is not None:
            self.scaled("d_query", self.d * self.wide)
            to = Matrix(e.at(to.pointer, (first, to.row)), to.row, 1)
            count = e.least(b.sub(I64(self.t), first), plan.queries)
            self.copy(Matrix(self.room("d_query"), self.d, 1), to, count, self.d)

    def _both_ways(self, name: str, source: Matrix, size: int, count: int) -> None:
        """Rows into two rooms: as they are, and as columns."""
        self.turned(name, source, size, count)
        if count < self.plan.queries:
            self.clear(f"{name}_rows")
        rows = Matrix(self.room(f"{name}_rows"), size, 1)
        self.copy(source, rows, I64(count), size)

    def _block(
        self, batch: ir.Value, head: ir.Value, first: ir.Value, start: ir.Value, count: int
    ) -> None:
        """What the pairs of a block add to the three results."""
        e, b, plan = self.e_, self.b, self.derivative
        self.prepare_masks(batch, head, first, start, count)
        keys, values = (
            e.at(x.pointer, (start, x.row))
            for x in (self.matrix(o, batch, head) for o in (plan.key, plan.value))
        )
        scores, above = self.room("scores"), self.room("above")
        self.product(plan.scores(count), keys, self.room("query"), scores)
        self.product(plan.above(count), values, self.room("g"), above)
        logs, deltas = self.load("logsumexp"), self.load("delta")
        inside = self._inside(first)

        def row(k: ir.Value) -> None:
            pairs = self.load("scores", k)
            if self.masks_anything:
                pairs = self.masked(pairs, batch, head, first, start, k)
            weights = self.exp([b.fsub(s, x) for s, x in zip(pairs, logs, strict=True)])
            if inside:
                weights = [b.select(m, w, e.zero) for m, w in zip(inside, weights, strict=True)]
            self.store("scores", weights, k)
            centred = [b.fsub(x, d) for x, d in zip(self.load("above", k), deltas, strict=True)]
            self.store("above", [b.fmul(w, x) for w, x in zip(weights, centred, strict=True)], k)

        self.rows(count, row, [])
        d_value = e.at(self.room("d_value"), (start, self.e))
        self.product(plan.d_rows(count, self.e), scores, self.room("g_rows"), d_value)
        d_key = e.at(self.room("d_key"), (start, self.d))
        self.product(plan.d_rows(count, self.d), above, self.room("query_rows"), d_key)
        self.product(plan.d_query(count), above, keys, self.room("d_query"))

    def _inside(self, first: ir.Value) -> list[ir.Value]:
        """Which queries there are, where masks may give others weights: those of the last row."""
        if not (self.plan.masks and self.plan.last_queries):
            return []
        return self.lanes_below(self.b.sub(I64(self.t), first))
