"""What attention and its derivative share: their operands, rooms, loops over blocks, masks.

Vectors lie along the queries: see `plan/attention.py`. A room is an array in a thread's scratch
memory; most are matrices whose rows are as long as a block has queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from ..ir_types import I1, I8, I32, I64, POINTER, VOID
from ..math.elementary import exp_below_zero
from ..math.notation import Value
from ..plan.attention import Attention, HeadsOperand, Mask, attention_made
from ..plan.blocking import Blocking
from . import builder
from .loops import Loops
from .matmul_tiles import emit_tiles
from .vectors import Matrix, Values, Vectors


class BlockEmitter:
    """What attention and its derivative share: operands, rooms, loops over blocks, masks."""

    def __init__(self, loops: Loops) -> None:
        self.loops, self.b = loops, loops.builder
        self.plan: Attention = attention_made(
            loops.task.group.main, loops.storage, loops.plan.target
        )
        self.n, self.h, self.t, self.s, self.d, self.e = self.plan.sizes
        self.e_ = Vectors(self.b, self.plan.lanes, self.plan.dtype.itemsize)
        self.wide = self.plan.queries // self.plan.lanes
        self.results = {
            loops.storage.kernel(b).params["index"]: b
            for b in loops.task.writes
            if b != loops.task.group.main
        }

    # Memory

    def room(self, name: str) -> ir.Value:
        """An array in scratch memory."""
        return self.b.gep(self.loops.scratch, [I64(self.plan.places[name])], source_etype=I8)

    def matrix(self, of: HeadsOperand, batch: ir.Value, head: ir.Value) -> Matrix:
        """The rows of an operand, one per position, for a batch and head."""
        start = self.loops.element(of.buffer, of.offset)
        start = self.e_.at(start, (batch, of.batch), (head, of.head))
        return Matrix(start, of.position, 1)

    def result(self, index: int, batch: ir.Value, head: ir.Value) -> Matrix | None:
        """The same of a result; None if nothing uses it."""
        if index not in self.results:
            return None
        b = self.results[index]
        _, positions, heads, size = self.loops.buffers[b].shape
        start = self.e_.at(self.loops.pointers[b], (batch, positions * heads * size), (head, size))
        return Matrix(start, heads * size, 1)

    def clear(self, name: str) -> None:
        """Zeros in a room."""
        size = self.plan.rooms[name] * self.e_.itemsize
        kind = ir.FunctionType(VOID, [POINTER, I8, I64, I1])
        clear = self.b.module.declare_intrinsic("llvm.memset", [POINTER, I64], kind)
        self.b.call(clear, [self.room(name), I8(0), I64(size), I1(0)])

    def product(self, cut: Blocking, left: ir.Value, right: ir.Value, to: ir.Value) -> None:
        scratch = self.room("product")
        emit_tiles(self.b, cut, left, right, to, scratch, I64(0), I64(cut.tiles))

    # Loops

    def each_block(self, body: Callable[[ir.Value, ir.Value, ir.Value], None]) -> None:
        """body(batch, head, unit of the head) for this thread's units."""
        each = self.plan.units // max(self.n * self.h, 1)

        def unit(k: ir.Value) -> None:
            b = self.b
            head = b.udiv(k, I64(each))
            body(b.udiv(head, I64(self.h)), b.urem(head, I64(self.h)), b.urem(k, I64(each)))

        first, end = self.loops.part or (I64(0), I64(self.plan.units))
        self.loops.turns(first, end, unit)

    def each_key_block(self, first_query: ir.Value, body: Callable[[ir.Value, int], None]) -> None:
        """body(first key, keys in the block), but for what comes after all queries of a block."""
        b, plan = self.b, self.plan
        full = self.s // plan.keys
        reach = b.add(first_query, I64(plan.queries))
        if full:
            end: ir.Value = I64(full)
            if plan.causal:
                seen = b.udiv(b.add(reach, I64(plan.keys - 1)), I64(plan.keys))
                end = self.e_.least(seen, full)
            self.loops.turns(I64(0), end, lambda k: body(b.mul(k, I64(plan.keys)), plan.keys))
        if plan.last_keys:
            start = I64(full * plan.keys)
            if not plan.causal or not full:
                body(start, plan.last_keys)
                return
            with b.if_then(b.icmp_signed(">", reach, start)):
                body(start, plan.last_keys)

    def by_count(self, first_query: ir.Value, body: Callable[[int], None]) -> None:
        """body(how many queries the block has), which its code may depend on."""
        b, plan = self.b, self.plan
        if not plan.last_queries:
            body(plan.queries)
        elif self.t < plan.queries:
            body(plan.last_queries)
        else:
            whole = b.icmp_signed("<=", b.add(first_query, I64(plan.queries)), I64(self.t))
            with b.if_else(whole) as (then, otherwise):
                with then:
                    body(plan.queries)
                with otherwise:
                    body(plan.last_queries)

    def rows(self, count: int, body: Callable[..., Values | None], carried: Values) -> Values:
        """body(k, *carried) for each of `count` rows of a block; see `builder.carrying`."""
        return self.e_.loop(I64(0), I64(count), 1, body, carried)

    # Queries

    def at(self, name: str, row: ir.Value | int, v: int) -> ir.Value:
        """The address of a vector of a room whose rows are as long as a block has queries."""
        plan = self.plan
        return self.e_.at(self.room(name), (row, plan.queries), (v * plan.lanes, 1))

    def load(self, name: str, row: ir.Value | int = 0) -> Values:
        """The vectors of a row."""
        return [self.e_.load(self.at(name, row, v), self.plan.lanes) for v in range(self.wide)]

    def store(self, name: str, values: Values, row: ir.Value | int = 0) -> None:
        for v, value in enumerate(values):
            self.e_.store(value, self.at(name, row, v), self.plan.lanes)

    def turned(self, name: str, source: Matrix, size: int, count: int) -> None:
        """`count` rows of `size` elements into a room, as the columns of a matrix; then zeros."""
        if count < self.plan.queries:
            self.clear(name)
        self.turn(source, Matrix(self.room(name), self.plan.queries, 1), count, size)

    def turn(self, source: Matrix, to: Matrix, rows: int, columns: int) -> None:
        """The transposed matrix: rows × columns become columns × rows, square by square."""
        e = self.e_

        def strip(i: ir.Value, high: int) -> None:
            def square(j: ir.Value, wide: int) -> None:
                start = e.at(source.pointer, (i, source.row), (j, 1))
                goal = e.at(to.pointer, (j, to.row), (i, 1))
                lines = [e.load(e.at(start, (x, source.row)), wide) for x in range(high)]
                for y, row in enumerate(e.transpose(lines)[:wide]):
                    e.store(row, e.at(goal, (y, to.row)), high)

            e.pieces(I64(0), I64(columns), columns, e.lanes, square)

        e.pieces(I64(0), I64(rows), rows, e.lanes, strip)

    def copy(self, source: Matrix, to: Matrix, rows: ir.Value, columns: int) -> None:
        """Rows as they are."""
        e = self.e_

        def row(i: ir.Value) -> None:
            start, end = (e.at(x.pointer, (i, x.row)) for x in (source, to))

            def piece(j: ir.Value, wide: int) -> None:
                e.store(e.load(e.at(start, (j, 1)), wide), e.at(end, (j, 1)), wide)

            e.pieces(I64(0), I64(columns), columns, e.lanes, piece)

        e.loop(I64(0), rows, 1, row)

    def scaled(self, name: str, size: int) -> None:
        """The first `size` vectors of a room times the scale."""
        e, scale = self.e_, self.e_.vector([self.plan.scale] * self.plan.lanes)

        def one(k: ir.Value) -> None:
            at = e.at(self.room(name), (k, self.plan.lanes))
            e.store(self.b.fmul(e.load(at, self.plan.lanes), scale), at, self.plan.lanes)

        e.loop(I64(0), I64(size), 1, one)

    def numbers(self, name: str, source: Matrix, first: ir.Value, beyond: float) -> None:
        """One number for each query into a room; `beyond` after the last query."""
        e, b = self.e_, self.b

        def one(k: ir.Value) -> None:
            query = b.add(first, k)
            inside = b.icmp_signed("<", query, I64(self.t))
            place = b.select(inside, query, I64(0))
            value = e.element(e.at(source.pointer, (place, source.row)))
            value = b.select(inside, value, e.scalar(beyond))
            b.store(value, e.at(self.room(name), (k, 1)))

        e.loop(I64(0), I64(self.plan.queries), 1, one)

    # Masks

    def prepare_masks(
        self, batch: ir.Value, head: ir.Value, first: ir.Value, key: ir.Value, count: int
    ) -> None:
        """Masks of pairs of the block into their rooms: what is added to scores, by keys."""
        for k, mask in enumerate(self.plan.masks):
            if mask.query:
                start = self._of_mask(mask, (batch, mask.batch), (head, mask.head))
                self._turn_mask(k, mask, start, first, key, count)

    def _turn_mask(
        self, k: int, mask: Mask, start: ir.Value, first: ir.Value, key: ir.Value, count: int
    ) -> None:
        """Square by square of lanes; of queries after the last one that one's row again."""
        e, lanes, last = self.e_, self.plan.lanes, I64(self.t - 1)

        def square(j: ir.Value, wide: int) -> None:
            for v in range(self.wide):
                rows = []
                for x in range(lanes):
                    query = self.b.add(first, I64(v * lanes + x))
                    query = self.b.select(self.b.icmp_signed("<", query, last), query, last)
                    place = self._mask_at(
                        mask, start, (query, mask.query), (key, mask.key), (j, mask.key)
                    )
                    rows.append(self._mask_row(mask, place, wide))
                for y, row in enumerate(e.transpose(rows)[:wide]):
                    e.store(row, self.at(f"mask{k}", self.b.add(j, I64(y)), v), lanes)

        e.pieces(I64(0), I64(count), count, lanes, square)

    def _mask_row(self, mask: Mask, place: ir.Value, count: int) -> ir.Value:
        """Neighbouring keys of one query, as what is added."""
        e, b = self.e_, self.b
        if not mask.key:
            return e.splat(self._mask_element(mask, place))
        if not self._allows(mask):
            return e.load(place, count)
        kind = ir.VectorType(I8, self.plan.lanes)
        allowed = builder.load_lanes(b, place, kind, 1, count)
        return self._added(b.icmp_unsigned("!=", allowed, kind([0] * self.plan.lanes)))

    def _added(self, allowed: ir.Value) -> ir.Value:
        """What is added to a score: 0 where attending is allowed, else -inf."""
        zero, lowest = (self.e_.vector([x] * self.plan.lanes) for x in (0.0, -math.inf))
        return self.b.select(allowed, zero, lowest)

    def _mask_element(self, mask: Mask, place: ir.Value) -> ir.Value:
        if not self._allows(mask):
            return self.e_.element(place)
        allowed = self.b.icmp_unsigned("!=", self.b.load(place, typ=I8), I8(0))
        return self.b.select(allowed, self.e_.scalar(0.0), self.e_.scalar(-math.inf))

    def _allows(self, mask: Mask) -> bool:
        """Whether it is a bool mask."""
        return bool(self.loops.buffers[mask.buffer].dtype.kind == "b")

    def _of_mask(self, mask: Mask, *terms: tuple[ir.Value, int]) -> ir.Value:
        return self._mask_at(mask, self.loops.element(mask.buffer, mask.offset), *terms)

    def _mask_at(self, mask: Mask, start: ir.Value, *terms: tuple[ir.Value, int]) -> ir.Value:
        kind = I8 if self._allows(mask) else self.e_.scalar
        for index, stride in terms:
            if stride:
                step = self.b.mul(index, I64(stride))
                start = self.b.gep(start, [step], source_etype=kind)
        return start

    def masked(
        self,
        scores: Values,
        batch: ir.Value,
        head: ir.Value,
        first: ir.Value,
        key: ir.Value,
        row: ir.Value,
    ) -> Values:
        """The scores of all queries of a block with key + row, as the masks have it."""
        b, lanes = self.b, self.plan.lanes
        lowest = self.e_.vector([-math.inf] * lanes)
        place = b.add(key, row)
        for k, mask in enumerate(self.plan.masks):
            if mask.query:
                terms = self.load(f"mask{k}", row)
            else:
                parts = (batch, mask.batch), (head, mask.head), (place, mask.key)
                terms = [self.e_.splat(self._mask_element(mask, self._of_mask(mask, *parts)))]
                terms *= self.wide
            if self._allows(mask):  # not by adding: inf - inf is NaN
                below = [b.fcmp_ordered("<", x, self.e_.zero) for x in terms]
                scores = [b.select(m, lowest, s) for m, s in zip(below, scores, strict=True)]
            else:
                scores = [b.fadd(s, x) for s, x in zip(scores, terms, strict=True)]
        if self.plan.causal:
            ahead = self.lanes_below(b.sub(place, first))
            scores = [b.select(hidden, lowest, s) for hidden, s in zip(ahead, scores, strict=True)]
        return scores

    def lanes_below(self, bound: ir.Value) -> Values:
        """For each query of the block whether its number in it is below a bound."""
        b, lanes = self.b, self.plan.lanes
        kind = ir.VectorType(I32, lanes)
        one = b.insert_element(kind([0] * lanes), b.trunc(bound, I32), I32(0))
        limit = b.shuffle_vector(one, one, kind([0] * lanes))
        return [
            b.icmp_signed("<", kind([v * lanes + x for x in range(lanes)]), limit)
            for v in range(self.wide)
        ]

    @property
    def masks_anything(self) -> bool:
        return self.plan.causal or bool(self.plan.masks)

    # Numbers

    def exp(self, values: Values) -> Values:
        fused: bool = self.b.module.fused
        return [exp_below_zero(Value(self.b, x, fused)).ir for x in values]

    def zero_for(self, values: Values, number: float) -> Values:
        """The values, 0 in place of a number."""
        match = self.e_.vector([number] * self.plan.lanes)
        equal = [self.b.fcmp_ordered("==", x, match) for x in values]
        return [self.b.select(m, self.e_.zero, x) for m, x in zip(equal, values, strict=True)]
