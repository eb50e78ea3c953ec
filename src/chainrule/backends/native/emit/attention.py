"""Attention, block by block: queries by keys, with a running maximum and sum for each query.

Dao, "FlashAttention: fast and memory-efficient exact attention" (2022). Vectors lie along the
queries: see `plan/attention.py`. Keys that no query of a block may attend to are not visited.
"""

from __future__ import annotations

import math

from llvmlite import ir

from ..ir_types import I64
from ..math.elementary import log
from ..math.notation import Value
from .attention_blocks import BlockEmitter
from .loops import Loops
from .vectors import Matrix, Values


def emit(loops: Loops) -> None:
    """This thread's blocks of queries."""
    Forward(loops).emit()


class Forward(BlockEmitter):
    """The results: yᵀ of a block, (e, queries), adds up in scratch memory."""

    def emit(self) -> None:
        if self.plan.units and self.s:
            self.each_block(self._block)
        elif self.plan.units:
            self.each_block(self._nothing)

    def _block(self, batch: ir.Value, head: ir.Value, unit: ir.Value) -> None:
        e, b, plan = self.e_, self.b, self.plan
        first = b.mul(unit, I64(plan.queries))
        query = self.matrix(plan.query, batch, head)
        query = Matrix(e.at(query.pointer, (first, query.row)), query.row, 1)
        self.by_count(first, lambda count: self.turned("query", query, self.d, count))
        self.scaled("query", self.d * self.wide)
        self.store("top", [e.vector([-math.inf] * plan.lanes)] * self.wide)
        self.store("total", [e.zero] * self.wide)
        if plan.several:
            self.clear("results")
        key, value = (self.matrix(o, batch, head) for o in (plan.key, plan.value))

        def block(start: ir.Value, count: int) -> None:
            self.prepare_masks(batch, head, first, start, count)
            keys = e.at(key.pointer, (start, key.row))
            self.product(plan.scores(count), keys, self.room("query"), self.room("scores"))
            self._weights(batch, head, first, start, count)
            values = e.at(value.pointer, (start, value.row))
            self.product(plan.results(count), values, self.room("scores"), self.room("results"))

        self.each_key_block(first, block)
        self._finish(batch, head, first)

    def _weights(
        self, batch: ir.Value, head: ir.Value, first: ir.Value, start: ir.Value, count: int
    ) -> None:
        """Scores become exp(scores - maximum), and what there is of sums and results shrinks."""
        e, b = self.e_, self.b

        def highest(k: ir.Value, *tops: ir.Value) -> Values:
            scores = self.load("scores", k)
            if self.masks_anything:
                scores = self.masked(scores, batch, head, first, start, k)
                self.store("scores", scores, k)
            higher = [b.fcmp_ordered(">", s, top) for s, top in zip(scores, tops, strict=True)]
            return [b.select(m, s, t) for m, s, t in zip(higher, scores, tops, strict=True)]

        before = self.load("top")
        tops = self.rows(count, highest, before)
        self.store("top", tops)
        tops = self.zero_for(tops, -math.inf)  # of rows without any key so far

        def power(k: ir.Value, *totals: ir.Value) -> Values:
            scores = self.load("scores", k)
            powers = self.exp([b.fsub(s, t) for s, t in zip(scores, tops, strict=True)])
            self.store("scores", powers, k)
            return [b.fadd(x, p) for x, p in zip(totals, powers, strict=True)]

        totals = self.rows(count, power, [e.zero] * self.wide)
        if not self.plan.several:
            self.store("total", totals)
            return
        shrink = self.exp([b.fsub(x, t) for x, t in zip(before, tops, strict=True)])
        old = [b.fmul(x, f) for x, f in zip(self.load("total"), shrink, strict=True)]
        self.store("total", [b.fadd(x, t) for x, t in zip(old, totals, strict=True)])

        def shrunk(k: ir.Value) -> None:
            values = zip(self.load("results", k), shrink, strict=True)
            self.store("results", [b.fmul(x, f) for x, f in values], k)

        self.rows(self.e, shrunk, [])

    def _finish(self, batch: ir.Value, head: ir.Value, first: ir.Value) -> None:
        """Divide by the sums; results and logarithms to where they belong."""
        e, b, fused = self.e_, self.b, self.b.module.fused
        totals, one = self.load("total"), e.vector([1.0] * self.plan.lanes)
        divisors = totals
        if self.plan.masks:  # a row without any key is 0
            none = [b.fcmp_ordered("==", x, e.zero) for x in totals]
            divisors = [b.select(m, one, x) for m, x in zip(none, totals, strict=True)]
        factors = [b.fdiv(one, x) for x in divisors]

        def divided(k: ir.Value) -> None:
            values = zip(self.load("results", k), factors, strict=True)
            self.store("results", [b.fmul(x, f) for x, f in values], k)

        self.rows(self.e, divided, [])
        out, logsumexp = (self.result(k, batch, head) for k in range(2))
        if out is not None:
            place = Matrix(e.at(out.pointer, (first, out.row)), out.row, 1)
            whole = Matrix(self.room("results"), self.plan.queries, 1)
            self.by_count(first, lambda count: self.turn(whole, place, self.e, count))
        if logsumexp is not None:
            tops = self.zero_for(self.load("top"), -math.inf)
            logs = [log(Value(b, x, fused)).ir for x in totals]
            self.store("top", [b.fadd(x, t) for x, t in zip(logs, tops, strict=True)])
            self._store_numbers("top", logsumexp, first)

    def _store_numbers(self, name: str, to: Matrix, first: ir.Value) -> None:
        """One number for each query of the block from a room."""
        e, b = self.e_, self.b

        def one(k: ir.Value) -> None:
            value = e.element(e.at(self.room(name), (k, 1)))
            b.store(value, e.at(to.pointer, (b.add(first, k), to.row)))

        count = e.least(b.sub(I64(self.t), first), self.plan.queries)
        e.loop(I64(0), count, 1, one)

    def _nothing(self, batch: ir.Value, head: ir.Value, unit: ir.Value) -> None:
        """There are no keys: results of 0, and the logarithm of 0."""
        e, b = self.e_, self.b
        first = b.mul(unit, I64(self.plan.queries))
        out, logsumexp = (self.result(k, batch, head) for k in range(2))
        self.clear("results")
        self.store("top", [e.vector([-math.inf] * self.plan.lanes)] * self.wide)
        if out is not None:
            place = Matrix(e.at(out.pointer, (first, out.row)), out.row, 1)
            whole = Matrix(self.room("results"), self.plan.queries, 1)
            self.by_count(first, lambda count: self.turn(whole, place, self.e, count))
        if logsumexp is not None:
            self._store_numbers("top", logsumexp, first)
