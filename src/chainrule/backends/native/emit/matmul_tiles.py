"""Matrix products as LLVM IR, tile by tile, cut as `blocking` says.

Order of summation: in broadcast and swapped an element of C is a chain of multiply-adds (fused
where the processor does that in one instruction) in the order of k. In dot, lane l of chain j takes
every (chains · lanes)-th product; the chains, then the lanes, are added in a fixed tree. A long k
is cut, and its pieces are added to C in turn. So results do not depend on who does which tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from llvmlite import ir

from ..ir_types import I32, I64
from ..plan.blocking import LATENCY, Blocking, up
from .vectors import Matrix, Values, Vectors

Finish = Callable[[ir.Value, ir.Value, ir.Value, int], None]
_Range = tuple[ir.Value, ir.Value]


def _pack(
    e: Vectors, source: Matrix, scratch: ir.Value, outer: int, inner: int, stride: int
) -> Matrix:
    """Copy outer × inner elements so that rows are contiguous and `stride` apart."""
    packed = Matrix(scratch, stride, 1)

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


def _broadcast_block(
    e: Vectors,
    a: Matrix,
    b: Matrix,
    c: Matrix,
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
        block = sums[v::wide]
        if fresh is not True:
            start = replace(c, pointer=e.at(c.pointer, (v * e.lanes, c.column)))
            before = e.load_rows(start, rows, count)
            block = [e.added(x, y, fresh) for x, y in zip(before, block, strict=True)]
        put(block, v * e.lanes, count)


def _dot_block(
    e: Vectors,
    a: Matrix,
    b: Matrix,
    c: Matrix,
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

    def vectors(source: Matrix, k: ir.Value, many: int, count: int) -> Values:
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


def emit_tiles(
    builder: ir.IRBuilder,
    cut: Blocking,
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
    e, spec = Vectors(builder, cut), cut.spec
    pointers = (b, a, c) if cut.swapped else (a, b, c)
    strides = spec.a_strides, spec.b_strides, cut.c_strides
    high, wide = I64(cut.tile_rows), I64(cut.tile_columns)
    _, across, down = cut.grid

    def part(rows: _Range, columns: _Range, batch: ir.Value) -> None:
        views = (
            Matrix(e.at(pointer, (batch, s[0])), *s[1:])
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

    if spec.unit and cut.tiles:  # one tall tile, so that each panel is packed once
        with builder.if_then(builder.icmp_unsigned("<", begin, end)):
            rows = builder.mul(begin, high), e.least(builder.mul(end, high), spec.m)
            part(rows, (I64(0), I64(spec.n)), I64(0))
    elif cut.tiles:
        e.loop(begin, end, 1, tile)


def _part(
    e: Vectors,
    views: tuple[Matrix, ...],
    scratch: ir.Value,
    rows: _Range,
    columns: _Range,
    finish: Finish | None,
) -> None:
    """Some rows and columns of one product."""
    a, b, c = views
    cut, spec = e.cut, e.cut.spec

    def corner(view: Matrix, i: ir.Value, j: ir.Value) -> Matrix:
        return replace(view, pointer=e.at(view.pointer, (i, view.row), (j, view.column)))

    def through_k(k: ir.Value, depth: int) -> None:
        once = cut.depth >= spec.k
        fresh = not spec.accumulate and (once or e.b.icmp_signed("==", k, I64(0)))

        def panel(j: ir.Value, wide: int) -> None:
            right, outer, inner = corner(b, k, j), depth, wide
            if cut.dot:
                right, outer, inner = Matrix(right.pointer, b.column, b.row), wide, depth
            if cut.packed:
                right = _pack(e, right, scratch, outer, inner, cut.panel_stride)

            def block(i: ir.Value, high: int) -> None:
                left = slab(i, depth) if cut.slabs else corner(a, i, k)
                out = corner(c, i, j)
                if cut.dot:
                    _dot_block(e, left, right, out, high, wide, depth, fresh)
                    return

                def put(values: Values, offset: int, count: int) -> None:
                    column = e.b.add(j, I64(offset))
                    if finish is None:
                        e.store_rows(values, corner(c, i, column), count)
                        return
                    for r, value in enumerate(values):
                        finish(value, e.b.add(i, I64(r)), column, count)

                _broadcast_block(e, left, right, out, high, wide, depth, fresh, put)

            e.pieces(*rows, spec.m, cut.rows, block)

        if cut.slabs:
            e.loop(*rows, e.lanes, lambda i: pack_slab(i, k, depth))
        e.pieces(*columns, spec.n, cut.columns, panel)

    def slab(i: ir.Value, depth: int) -> Matrix:
        """Row i of A where `pack_slab` has put it: the rows of a vector lie together for each k."""
        own = e.b.sub(i, rows[0])
        whole, rest = e.b.udiv(own, I64(e.lanes)), e.b.urem(own, I64(e.lanes))
        start = e.at(scratch, (cut.panel_bytes // e.itemsize, 1))
        return Matrix(e.at(start, (whole, e.lanes * depth), (rest, 1)), 1, e.lanes)

    def pack_slab(i: ir.Value, k: ir.Value, depth: int) -> None:
        source = corner(a, i, k)
        source = Matrix(source.pointer, a.column, a.row)
        _pack(e, source, slab(i, depth).pointer, depth, e.lanes, e.lanes)

    if spec.k:
        e.pieces(I64(0), I64(spec.k), spec.k, cut.depth, through_k)
    else:
        through_k(I64(0), 0)
