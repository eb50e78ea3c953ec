"""Matrix products as LLVM IR, tile by tile, cut as `blocking` says.

Order of summation: in broadcast and swapped an element of C is a chain of multiply-adds (fused
where the processor does that in one instruction) in the order of k. In dot, lane l of chain j takes
every (chains · lanes)-th product; the chains, then the lanes, are added in a fixed tree. A long k
is cut, and its pieces are added to C in turn. So results do not depend on who does which tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llvmlite import ir

from ..ir_types import I32, I64
from ..plan.blocking import LATENCY, Blocking, up
from .vectors import Matrix, Values, Vectors

Finish = Callable[[ir.Value, ir.Value, ir.Value, int], None]
_Range = tuple[ir.Value, ir.Value]


class TileVectors(Vectors):
    """The instructions of one product."""

    def __init__(self, b: ir.IRBuilder, cut: Blocking) -> None:
        super().__init__(b, cut.lanes, cut.spec.itemsize)
        self.cut = cut


def _pack(
    e: TileVectors, source: Matrix, scratch: ir.Value, outer: int, inner: int, stride: int
) -> None:
    """Copy outer × inner elements so that rows are contiguous and `stride` apart."""
    packed = Matrix(scratch, stride, 1)

    def copy(i: ir.Value) -> None:
        e.copy(e.at(source.pointer, (i, source.row)), e.at(scratch, (i, packed.row)), inner)

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


def _broadcast_block(
    e: TileVectors,
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
    wide, panel = len(counts), e.cut.spec.panel
    at_columns = [v * e.lanes for v in range(wide)]
    if panel:  # the next columns are in the next panel
        at_columns = [at // panel * e.cut.spec.k * panel + at % panel for at in at_columns]
    sums = [e.zero] * (rows * wide)  # by rows
    most = e.lanes * e.itemsize  # multiply-adds that are written out: twice the registers
    unroll = next(u for u in (4, 2, 1) if u == 1 or (depth % u == 0 and u * len(sums) <= most))

    def step(k: ir.Value, *before: ir.Value) -> Values:
        sums = list(before)
        for u in range(unroll):
            left, right = e.at(a.pointer, (k, a.column)), e.at(b.pointer, (k, b.row), (u, b.row))
            y = [
                e.load(e.at(right, (at, 1)), count)
                for at, count in zip(at_columns, counts, strict=True)
            ]
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
    e: TileVectors,
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
    e, spec = TileVectors(builder, cut), cut.spec
    pointers = (b, a, c) if cut.swapped else (a, b, c)
    strides = spec.a_strides, spec.b_strides, cut.c_strides
    high, wide = I64(cut.tile_rows), I64(cut.tile_columns)
    _, across, down = cut.grid

    def group(k: ir.Value) -> None:
        """The tiles of this thread that have the same columns: their rows lie together."""
        before = builder.mul(k, I64(down))
        first, last = builder.sub(begin, before), builder.sub(end, before)
        first = e.most(first, 0)
        rows = builder.mul(first, high), e.least(builder.mul(last, high), spec.m)
        column = builder.mul(builder.urem(k, I64(across)), wide)
        columns = column, e.least(builder.add(column, wide), spec.n)
        batch = builder.udiv(k, I64(across))
        left, right, goal = (
            Matrix(e.at(pointer, (batch, s[0])), *s[1:])
            for pointer, s in zip(pointers, strides, strict=True)
        )
        _Part(e, left, right, goal, scratch, rows, columns, finish).emit()

    if cut.tiles == down:
        group(I64(0))
    elif cut.tiles:
        with builder.if_then(builder.icmp_unsigned("<", begin, end)):
            last = builder.udiv(builder.add(end, I64(down - 1)), I64(down))
            e.loop(builder.udiv(begin, I64(down)), last, 1, group)


@dataclass(frozen=True)
class _Part:
    """Some rows and columns of one product."""

    e: TileVectors
    a: Matrix
    b: Matrix
    c: Matrix
    scratch: ir.Value
    rows: _Range
    columns: _Range
    finish: Finish | None

    def emit(self) -> None:
        k = self.e.cut.spec.k
        if k:
            self.e.pieces(I64(0), I64(k), k, self.e.cut.depth, self._through_k)
        else:
            self._through_k(I64(0), 0)

    def _through_k(self, k: ir.Value, depth: int) -> None:
        """A piece of k: strip by strip, each panel by panel."""
        e, cut = self.e, self.e.cut
        if not cut.strips:
            self._strip(self.rows, k, depth)
            return
        if cut.packed:
            self._pack_panels(k, depth)

        def strip(i: ir.Value) -> None:
            stop = e.b.add(i, I64(cut.strip_rows))
            lower = e.b.icmp_signed("<", stop, self.rows[1])
            self._strip((i, e.b.select(lower, stop, self.rows[1])), k, depth)

        e.loop(*self.rows, cut.strip_rows, strip)

    def _strip(self, rows: _Range, k: ir.Value, depth: int) -> None:
        e, cut, spec = self.e, self.e.cut, self.e.cut.spec
        once = cut.depth >= spec.k
        fresh = not spec.accumulate and (once or e.b.icmp_signed("==", k, I64(0)))

        def slab(i: ir.Value) -> Matrix:
            """Row i of A where it is packed: the rows of a vector lie together for each k."""
            own = e.b.sub(i, rows[0])
            whole, rest = e.b.udiv(own, I64(e.lanes)), e.b.urem(own, I64(e.lanes))
            start = e.at(self.scratch, (cut.panel_bytes // e.itemsize, 1))
            return Matrix(e.at(start, (whole, cut.slab_pitch), (rest, 1)), 1, e.lanes)

        def pack_column(x: ir.Value) -> None:
            """Column k + x of A, which is contiguous: its lines are read once."""
            column = e.b.add(k, x)

            def copy(i: ir.Value) -> None:
                value = e.load(e.corner(self.a, i, column).pointer, e.lanes)
                e.store(value, e.at(slab(i).pointer, (x, e.lanes)), e.lanes)

            e.loop(*rows, e.lanes, copy)

        def panel(j: ir.Value, wide: int) -> None:
            if cut.packed and not cut.strips:
                self._pack_panel(j, wide, k, depth)
            right = self._panel(j, k)

            def block(i: ir.Value, high: int) -> None:
                left = slab(i) if cut.slabs else e.corner(self.a, i, k)
                out = e.corner(self.c, i, j)
                if cut.dot:
                    _dot_block(e, left, right, out, high, wide, depth, fresh)
                    return

                def put(values: Values, offset: int, count: int) -> None:
                    column = e.b.add(j, I64(offset))
                    if self.finish is None:
                        e.store_rows(values, e.corner(self.c, i, column), count)
                        return
                    for r, value in enumerate(values):
                        self.finish(value, e.b.add(i, I64(r)), column, count)

                _broadcast_block(e, left, right, out, high, wide, depth, fresh, put)

            e.pieces(*rows, spec.m, cut.rows, block)

        if cut.slabs:
            e.loop(I64(0), I64(depth), 1, pack_column)
        self._panels(panel)

    def _panels(self, body: Callable[[ir.Value, int], None]) -> None:
        """body(first column, how many) for each panel."""
        self.e.pieces(*self.columns, self.e.cut.spec.n, self.e.cut.columns, body)

    def _panel(self, j: ir.Value, k: ir.Value) -> Matrix:
        """The columns of B from j on as a matrix: of dot its columns are the rows."""
        e, cut = self.e, self.e.cut
        panel = cut.spec.panel
        if panel:
            whole, rest = e.b.udiv(j, I64(panel)), e.b.urem(j, I64(panel))
            start = e.at(self.b.pointer, (whole, cut.spec.k * panel), (k, panel), (rest, 1))
            return Matrix(start, panel, 1)
        if not cut.packed:
            right = e.corner(self.b, k, j)
            return Matrix(right.pointer, right.column, right.row) if cut.dot else right
        start = self.scratch
        if cut.strips:  # all panels are there
            own = e.b.udiv(e.b.sub(j, self.columns[0]), I64(cut.columns))
            start = e.at(start, (own, cut.panel_pitch))
        return Matrix(start, cut.panel_stride, 1)

    def _pack_panels(self, k: ir.Value, depth: int) -> None:
        """All panels of these columns; rows of B, where they are contiguous, from end to end."""
        e = self.e
        if e.cut.dot or self.b.column != 1:
            self._panels(lambda j, wide: self._pack_panel(j, wide, k, depth))
            return

        def row(x: ir.Value) -> None:
            def copy(j: ir.Value, wide: int) -> None:
                goal = e.at(self._panel(j, k).pointer, (x, e.cut.panel_stride))
                e.copy(e.corner(self.b, e.b.add(k, x), j).pointer, goal, wide)

            self._panels(copy)

        e.loop(I64(0), I64(depth), 1, row)

    def _pack_panel(self, j: ir.Value, wide: int, k: ir.Value, depth: int) -> None:
        e, cut = self.e, self.e.cut
        source, outer, inner = e.corner(self.b, k, j), depth, wide
        if cut.dot:
            source, outer, inner = Matrix(source.pointer, source.column, source.row), wide, depth
        goal = self._panel(j, k).pointer
        _pack(e, source, goal, outer, inner, cut.panel_stride)
