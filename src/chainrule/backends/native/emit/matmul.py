"""Matrix products as LLVM IR, tile by tile, cut as `blocking` says.

Order of summation: in broadcast and swapped an element of C is a chain of multiply-adds (fused
where the processor does that in one instruction) in the order of k. In dot, lane l of chain j takes
every (chains · lanes)-th product; the chains, then the lanes, are added in a fixed tree. A long k
is cut, and its pieces are added to C in turn. So results do not depend on who does which tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from ..plan.blocking import LATENCY, Plan, up

I1, I32, I64, POINTER = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.PointerType()
Values = list[ir.Value]
Finish = Callable[[ir.Value, ir.Value, ir.Value, int], None]
_Range = tuple[ir.Value, ir.Value]


@dataclass(frozen=True)
class View:
    """A matrix in memory, and the elements from one row, one column to the next."""

    pointer: ir.Value
    row: int
    column: int


class _Emitter:
    """The instructions that the parts of a product are made of."""

    def __init__(self, builder: ir.IRBuilder, plan: Plan):
        self.b, self.plan, self.lanes = builder, plan, plan.lanes
        self.itemsize = plan.spec.itemsize
        self.scalar = ir.FloatType() if self.itemsize == 4 else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, plan.lanes)
        self.zero = self.vector([0.0] * plan.lanes)

    # Control

    def loop(
        self,
        start: ir.Value,
        stop: ir.Value,
        step: int,
        body: Callable[..., Values | None],
        carried: Sequence[ir.Value] = (),
    ) -> Values:
        """for i in range(start, stop, step): carried = body(i, *carried)."""
        b, entry = self.b, self.b.block
        head, inside, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        index, *phis = [b.phi(value.type) for value in (start, *carried)]
        b.cbranch(b.icmp_signed("<", index, stop), inside, after)
        b.position_at_end(inside)
        results = [*(body(index, *phis) or ())]
        results.insert(0, b.add(index, I64(step)))
        for phi, first, later in zip([index, *phis], [start, *carried], results, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, b.block)
        b.branch(head)
        b.position_at_end(after)
        return phis

    def pieces(
        self,
        start: ir.Value,
        stop: ir.Value,
        extent: int,
        size: int,
        body: Callable[[ir.Value, int], None],
    ) -> None:
        """body(offset, size) for whole pieces in start..stop, then for the rest of `extent`."""
        rest = extent % size
        at_end = self.b.icmp_signed("==", stop, I64(extent))
        whole = self.b.select(at_end, I64(extent - rest), stop)
        if extent >= size:
            self.loop(start, whole, size, lambda at: body(at, size))
        if rest:
            with self.b.if_then(at_end):
                body(I64(extent - rest), rest)

    def least(self, value: ir.Value, most: int) -> ir.Value:
        """The value, or `most` if that is less."""
        return self.b.select(self.b.icmp_signed("<", value, I64(most)), value, I64(most))

    # Memory

    def at(self, pointer: ir.Value, *terms: tuple[ir.Value | int, int]) -> ir.Value:
        """pointer + Σ index · stride, in elements."""
        for index, stride in terms:
            step = I64(index * stride) if isinstance(index, int) else self.b.mul(index, I64(stride))
            if index != 0 and stride != 0:
                pointer = self.b.gep(pointer, [step], source_etype=self.scalar)
        return pointer

    def intrinsic(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        """Call llvm.<name> for this plan's vectors."""
        full = f"llvm.{name}.v{self.lanes}f{8 * self.itemsize}"
        kind = ir.FunctionType(result, [x.type for x in arguments])
        module = self.b.module
        return self.b.call(module.globals.get(full) or ir.Function(module, kind, full), arguments)

    def first(self, count: int) -> tuple[ir.Value, ir.Value]:
        """Alignment and mask of the first `count` lanes, as llvm.masked.* want them."""
        mask = ir.VectorType(I1, self.lanes)([i < count for i in range(self.lanes)])
        return I32(self.itemsize), mask

    def load(self, pointer: ir.Value, count: int) -> ir.Value:
        """The first `count` lanes from memory, zeros after them."""
        if count >= self.lanes:
            return self.b.load(pointer, typ=self.vector, align=self.itemsize)
        rest = *self.first(count), self.zero
        return self.intrinsic("masked.load", self.vector, pointer, *rest)

    def store(self, value: ir.Value, pointer: ir.Value, count: int) -> None:
        """The first `count` lanes to memory."""
        if count >= self.lanes:
            self.b.store(value, pointer, align=self.itemsize)
        else:
            self.intrinsic("masked.store", ir.VoidType(), value, pointer, *self.first(count))

    def element(self, pointer: ir.Value) -> ir.Value:
        return self.b.load(pointer, typ=self.scalar, align=self.itemsize)

    def load_rows(self, c: View, rows: int, count: int) -> Values:
        """`count` columns of C, a vector a row, whether C is stored by rows or by columns."""
        if c.column == 1:
            return [self.load(self.at(c.pointer, (i, c.row)), count) for i in range(rows)]
        result: Values = []
        for i in range(0, rows, self.lanes):
            at = [self.at(c.pointer, (i, 1), (x, c.column)) for x in range(count)]
            result += self.transpose([self.load(pointer, rows - i) for pointer in at])
        return result[:rows]

    def store_rows(self, values: Values, c: View, count: int) -> None:
        """The reverse of `load_rows`."""
        if c.column == 1:
            for i, value in enumerate(values):
                self.store(value, self.at(c.pointer, (i, c.row)), count)
            return
        for i in range(0, len(values), self.lanes):
            for x, value in enumerate(self.transpose(values[i : i + self.lanes])[:count]):
                at = self.at(c.pointer, (i, 1), (x, c.column))
                self.store(value, at, len(values) - i)

    # Vectors

    def shuffle(self, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
        return self.b.shuffle_vector(x, y, ir.VectorType(I32, self.lanes)(lanes))

    def added(self, before: ir.Value, value: ir.Value, fresh: ir.Value | bool) -> ir.Value:
        """before + value; the value alone where it is the first."""
        total = self.b.fadd(before, value)
        return total if fresh is False else self.b.select(fresh, value, total)

    def splat(self, scalar: ir.Value) -> ir.Value:
        first = self.b.insert_element(self.zero, scalar, I32(0))
        return self.shuffle(first, first, [0] * self.lanes)

    def interleave(self, rows: Values) -> Values:
        """Row i with row i + half, lane by lane: two rows, of their lower and upper lanes."""
        half = len(rows) // 2
        low = [i // 2 + self.lanes * (i % 2) for i in range(self.lanes)]
        high = [i + self.lanes // 2 for i in low]
        pairs = zip(rows[:half], rows[half:], strict=True)
        return [self.shuffle(x, y, order) for x, y in pairs for order in (low, high)]

    def transpose(self, rows: Values) -> Values:
        """Up to lanes rows, padded to a square. Each round moves the top bit of the row's number
        into the lane's number, and one bit back."""
        rows = rows + [self.zero] * (self.lanes - len(rows))
        for _ in range(self.lanes.bit_length() - 1):
            rows = self.interleave(rows)
        return rows

    def sums(self, rows: Values) -> ir.Value:
        """One vector: in lane r the sum of row r, upper half on lower half again and again."""
        rows = rows + [self.zero] * (self.lanes - len(rows))
        while len(rows) > 1:
            mixed = self.interleave(rows)
            rows = [self.b.fadd(x, y) for x, y in zip(mixed[::2], mixed[1::2], strict=True)]
        return rows[0]


def _pack(
    e: _Emitter, source: View, scratch: ir.Value, outer: int, inner: int, stride: int
) -> View:
    """Copy outer × inner elements so that rows are contiguous and `stride` apart."""
    packed = View(scratch, stride, 1)

    def copy(i: ir.Value) -> None:
        for j in range(0, inner, e.lanes):
            value = e.load(e.at(source.pointer, (i, source.row), (j, 1)), inner - j)
            e.store(value, e.at(scratch, (i, packed.row), (j, 1)), inner - j)

    def turn(i: ir.Value, high: int) -> None:
        def square(j: ir.Value, wide: int) -> None:
            start = e.at(source.pointer, (i, source.row), (j, source.column))
            rows = [e.load(e.at(start, (x, source.column)), high) for x in range(wide)]
            goal = e.at(scratch, (i, packed.row), (j, 1))
            for y, row in enumerate(e.transpose(rows)[:high]):
                e.store(row, e.at(goal, (y, packed.row)), wide)

        e.pieces(I64(0), I64(inner), inner, e.lanes, square)

    if source.column == 1 or inner == 1:
        e.loop(I64(0), I64(outer), 1, copy)
    else:
        e.pieces(I64(0), I64(outer), outer, e.lanes, turn)
    return packed


def _broadcast(
    e: _Emitter,
    a: View,
    b: View,
    c: View,
    rows: int,
    columns: int,
    depth: int,
    fresh: ir.Value | bool,
    put: Callable[[Values, int, int], None],
) -> None:
    """One block: an element of A times vectors of a row of B, for each k; added to C if not fresh.

    put   put(a vector of each row, its first column, how many columns) stores the result
    """
    counts = [min(e.lanes, columns - j) for j in range(0, columns, e.lanes)]
    wide = len(counts)
    sums = [e.zero] * (rows * wide)  # by rows
    unroll = next(u for u in (4, 2, 1) if u == 1 or (depth % u == 0 and u * len(sums) <= 64))

    def step(k: ir.Value, *before: ir.Value) -> Values:
        sums = list(before)
        for u in range(unroll):
            left, right = e.at(a.pointer, (k, a.column)), e.at(b.pointer, (k, b.row), (u, b.row))
            y = [e.load(e.at(right, (v * e.lanes, 1)), count) for v, count in enumerate(counts)]
            for i in range(rows):
                x = e.splat(e.element(e.at(left, (i * a.row + u * a.column, 1))))
                for v in range(wide):
                    old = sums[i * wide + v]
                    sums[i * wide + v] = e.intrinsic("fmuladd", e.vector, x, y[v], old)
        return sums

    sums = e.loop(I64(0), I64(depth), unroll, step, sums)
    for v, count in enumerate(counts):
        found = sums[v::wide]
        if fresh is not True:
            start = replace(c, pointer=e.at(c.pointer, (v * e.lanes, c.column)))
            before = e.load_rows(start, rows, count)
            found = [e.added(x, y, fresh) for x, y in zip(before, found, strict=True)]
        put(found, v * e.lanes, count)


def _dot(
    e: _Emitter,
    a: View,
    b: View,
    c: View,
    rows: int,
    columns: int,
    depth: int,
    fresh: ir.Value | bool,
) -> None:
    """One block: rows of A times columns of B (its view: column, k), both contiguous along k."""
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    chains = min(up(LATENCY, len(cells)), max(depth // e.lanes, 1))
    stride = chains * e.lanes
    whole = depth - depth % stride

    def vectors(source: View, k: ir.Value, many: int, count: int) -> Values:
        start = e.at(source.pointer, (k, 1))
        return [e.load(e.at(start, (i, source.row)), count) for i in range(many)]

    def add(sums: Values, chain: int, k: ir.Value, count: int) -> None:
        x, y = vectors(a, k, rows, count), vectors(b, k, columns, count)
        for at, (i, j) in enumerate(cells, chain * len(cells)):
            sums[at] = e.intrinsic("fmuladd", e.vector, x[i], y[j], sums[at])

    def step(k: ir.Value, *before: ir.Value) -> Values:
        sums = list(before)
        for chain in range(chains):
            add(sums, chain, e.b.add(k, I64(chain * e.lanes)), e.lanes)
        return sums

    sums = e.loop(I64(0), I64(whole), stride, step, [e.zero] * (chains * len(cells)))
    for k in range(whole, depth, e.lanes):
        add(sums, 0, I64(k), depth - k)
    for at in range(len(cells), len(sums)):
        sums[at % len(cells)] = e.b.fadd(sums[at % len(cells)], sums[at])
    for at, (i, j) in enumerate(cells):
        if at % e.lanes == 0:
            totals = e.sums(sums[: len(cells)][at : at + e.lanes])
        value = e.b.extract_element(totals, I32(at % e.lanes))
        goal = e.at(c.pointer, (i, c.row), (j, c.column))
        if fresh is not True:
            value = e.added(e.element(goal), value, fresh)
        e.b.store(value, goal)


def emit(
    builder: ir.IRBuilder,
    plan: Plan,
    a: ir.Value,
    b: ir.Value,
    c: ir.Value,
    scratch: ir.Value,
    begin: ir.Value,
    end: ir.Value,
    finish: Finish | None = None,
) -> None:
    """The tiles begin..end of the product; `scratch` belongs to this caller alone.

    Tiles count along rows first, then columns, then batch.

    finish   finish(vector, row, column, count) takes what would be stored of a `plain` product
    """
    e, spec = _Emitter(builder, plan), plan.spec
    pointers = (b, a, c) if plan.swapped else (a, b, c)
    strides = spec.a_strides, spec.b_strides, plan.c_strides
    high, wide = I64(plan.tile_rows), I64(plan.tile_columns)
    _, across, down = plan.grid

    def part(rows: _Range, columns: _Range, batch: ir.Value) -> None:
        views = (
            View(e.at(pointer, (batch, s[0])), *s[1:])
            for pointer, s in zip(pointers, strides, strict=True)
        )
        _part(e, (*views,), scratch, rows, columns, finish)

    def tile(k: ir.Value) -> None:
        row = builder.mul(builder.urem(k, I64(down)), high)
        k = builder.udiv(k, I64(down))
        column = builder.mul(builder.urem(k, I64(across)), wide)
        rows = row, e.least(builder.add(row, high), spec.m)
        columns = column, e.least(builder.add(column, wide), spec.n)
        part(rows, columns, builder.udiv(k, I64(across)))

    if spec.unit and plan.tiles:  # one tall tile, so that each panel is packed once
        with builder.if_then(builder.icmp_unsigned("<", begin, end)):
            rows = builder.mul(begin, high), e.least(builder.mul(end, high), spec.m)
            part(rows, (I64(0), I64(spec.n)), I64(0))
    elif plan.tiles:
        e.loop(begin, end, 1, tile)


def _part(
    e: _Emitter,
    views: tuple[View, ...],
    scratch: ir.Value,
    rows: _Range,
    columns: _Range,
    finish: Finish | None,
) -> None:
    """Some rows and columns of one product."""
    a, b, c = views
    plan, spec = e.plan, e.plan.spec

    def corner(view: View, i: ir.Value, j: ir.Value) -> View:
        return replace(view, pointer=e.at(view.pointer, (i, view.row), (j, view.column)))

    def through_k(k: ir.Value, depth: int) -> None:
        once = plan.depth >= spec.k
        fresh = not spec.accumulate and (once or e.b.icmp_signed("==", k, I64(0)))

        def panel(j: ir.Value, wide: int) -> None:
            right, outer, inner = corner(b, k, j), depth, wide
            if plan.dot:
                right, outer, inner = View(right.pointer, b.column, b.row), wide, depth
            if plan.packed:
                right = _pack(e, right, scratch, outer, inner, plan.panel_stride)

            def block(i: ir.Value, high: int) -> None:
                left = slab(i, depth) if plan.slabs else corner(a, i, k)
                out = corner(c, i, j)
                if plan.dot:
                    _dot(e, left, right, out, high, wide, depth, fresh)
                    return

                def put(values: Values, offset: int, count: int) -> None:
                    column = e.b.add(j, I64(offset))
                    if finish is None:
                        e.store_rows(values, corner(c, i, column), count)
                        return
                    for r, value in enumerate(values):
                        finish(value, e.b.add(i, I64(r)), column, count)

                _broadcast(e, left, right, out, high, wide, depth, fresh, put)

            e.pieces(*rows, spec.m, plan.rows, block)

        if plan.slabs:
            e.loop(*rows, e.lanes, lambda i: pack_slab(i, k, depth))
        e.pieces(*columns, spec.n, plan.columns, panel)

    def slab(i: ir.Value, depth: int) -> View:
        """Row i of A where `pack_slab` has put it: the rows of a vector lie together for each k."""
        own = e.b.sub(i, rows[0])
        whole, rest = e.b.udiv(own, I64(e.lanes)), e.b.urem(own, I64(e.lanes))
        start = e.at(scratch, (plan.panel_bytes // e.itemsize, 1))
        return View(e.at(start, (whole, e.lanes * depth), (rest, 1)), 1, e.lanes)

    def pack_slab(i: ir.Value, k: ir.Value, depth: int) -> None:
        source = corner(a, i, k)
        source = View(source.pointer, a.column, a.row)
        _pack(e, source, slab(i, depth).pointer, depth, e.lanes, e.lanes)

    if spec.k:
        e.pieces(I64(0), I64(spec.k), spec.k, plan.depth, through_k)
    else:
        through_k(I64(0), 0)
