"""How a matrix product is cut: C[batch, m, n] = A[batch, m, k] · B[batch, k, n], every shape known.

Strides say how A and B lie in memory: one of the last two is 1, so transpositions and broadcast
batches cost no copy. The product is cut three times, by the spec and the processor alone:

    tile    what one thread does at a time: some rows × some columns of one C
    panel   the part of B that one tile passes over again and again; packed where that pays
    block   the rows × columns of C that stay in registers while k runs

`choose` decides between three ways by an estimate of their cost:

    broadcast   vectors lie along n: an element of A times a row of B
    swapped     the same for Cᵀ = Bᵀ · Aᵀ, so vectors lie along m: for a narrow C
    dot         vectors lie along k: for a narrow C whose operands are contiguous along k

`emit/matmul_tiles.py` emits the code.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ..alignment import PAGE
from ..processor import Target

LATENCY = 8  # multiply-adds in flight that keep the units busy: 4 cycles on 2 units
DEPTH = 512  # steps of k between two visits of C, where k is long
AT_ONCE = 2 * DEPTH  # a k that is not cut: a block of C is ready before it is stored
DOT_DEPTH = 4096  # of vectors along k, each lane of which is a chain of its own
WIDEST = 6  # vectors (dot: columns) of a block
PANEL_BYTES = 256 * 1024  # a larger B is packed: it would not stay in the cache between blocks
SLAB_ROWS, SLAB_COLUMNS = 256, 512  # of a tile that copies its part of A
PACKED_ROWS = 256  # rows that share one packed panel
TILE_WORK = 250_000  # multiply-adds that are worth a tile of its own
COPY, TURN, START = 2, 6, 4  # cost of a vector copied, of one transposed, of starting a block


@dataclass(frozen=True)
class Contraction:
    """One product. Strides count elements: of A along (batch, m, k), of B along (batch, k, n)."""

    m: int
    n: int
    k: int
    batch: int
    dtype: str  # "float32" or "float64"
    a_strides: tuple[int, int, int]
    b_strides: tuple[int, int, int]
    accumulate: bool = False  # C += A · B
    unit: int = 0  # rows of C that a tile must have, over all columns; 0: as it is fastest
    plain: bool = False  # vectors must lie along n, and k be done at once

    @property
    def itemsize(self) -> int:
        return {"float32": 4, "float64": 8}[self.dtype]

    @property
    def swapped(self) -> Contraction:
        """The same product as Cᵀ = Bᵀ · Aᵀ."""
        (ab, am, ak), (bb, bk, bn) = self.a_strides, self.b_strides
        a, b = (bb, bn, bk), (ab, ak, am)
        return replace(self, m=self.n, n=self.m, a_strides=a, b_strides=b)


@dataclass(frozen=True)
class Blocking:
    """How a product is cut."""

    spec: Contraction  # swapped already, where `swapped`
    lanes: int
    swapped: bool
    dot: bool
    rows: int  # of a block
    columns: int  # of a block, and of a panel
    depth: int  # steps of k that a block does at once
    tile_rows: int
    tile_columns: int
    packed: bool  # B goes panel by panel through scratch
    slabs: bool  # and a tile's part of A, a vector of its rows for each k
    cost: float  # in multiply-adds of vectors

    @property
    def c_strides(self) -> tuple[int, int, int]:
        m, n = self.spec.m, self.spec.n
        return (m * n, 1, m) if self.swapped else (m * n, n, 1)

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """Tiles along batch, columns and rows."""
        spec = self.spec
        return spec.batch, up(spec.n, self.tile_columns), up(spec.m, self.tile_rows)

    @property
    def tiles(self) -> int:
        batch, columns, rows = self.grid
        return batch * columns * rows

    @property
    def panel_stride(self) -> int:
        """Elements between two packed rows: whole vectors."""
        return up(self.depth if self.dot else self.columns, self.lanes) * self.lanes

    @property
    def panel_bytes(self) -> int:
        """Of the packed panel of B."""
        outer = self.columns if self.dot else self.depth
        return outer * self.panel_stride * self.spec.itemsize if self.packed else 0

    @property
    def scratch_bytes(self) -> int:
        """Packing memory that each caller needs for itself, 64-byte aligned for speed."""
        slabs = self.depth * self.tile_rows * self.spec.itemsize if self.slabs else 0
        return self.panel_bytes + slabs


@functools.lru_cache(4096)  # equal layers ask again and again
def choose(spec: Contraction, target: Target) -> Blocking:
    """The cheapest way to cut the product."""
    turns = (False,) if spec.unit or spec.plain else (False, True)
    ways = [way for swapped in turns for way in _ways(spec, target, swapped)]
    return min(ways, key=lambda way: way.cost)


def _ways(spec: Contraction, target: Target, swapped: bool) -> Iterator[Blocking]:
    """Blocks that fit into the registers: their sums, vectors of a row of B, one element of A."""
    spec = spec.swapped if swapped else spec
    lanes = target.vector_bits // (8 * spec.itemsize)
    for dot in (False, True):
        if dot and (spec.plain or spec.n > lanes or (spec.a_strides[2] != 1 and spec.k > 1)):
            continue
        unit = 1 if dot else lanes
        for wide in range(1, min(up(max(spec.n, 1), unit), WIDEST) + 1):
            most = min((target.registers - 1 - wide) // wide, max(spec.m, 1))
            even = up(spec.m, up(spec.m, most)) if spec.m and not spec.unit else 1
            divisor = next(r for r in range(most, 0, -1) if (spec.unit or spec.m) % r == 0)
            for rows in sorted({even, divisor}):
                yield _blocked(spec, lanes, swapped, dot, rows, wide)


def up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def _parts(extent: int, size: int) -> Iterator[tuple[int, int]]:
    """(how many, of what size): whole blocks, then the rest."""
    if extent // size:
        yield extent // size, size
    if extent % size:
        yield 1, extent % size


def _in_slabs(spec: Contraction, lanes: int, rows: int) -> bool:
    """Whether a large product copies A too.

    Where A's steps along k are whole pages, they all fall into the same few places of a cache, and
    each into a page of its own. Tiles are large then, since each copies what it needs.
    """
    _, row, step = spec.a_strides
    pages = step > 0 and step * spec.itemsize % PAGE == 0
    large = spec.m * spec.n * spec.k >= 64 * TILE_WORK and spec.k >= lanes
    fits = spec.m % SLAB_ROWS == 0 and lanes % rows == 0
    return row == 1 and pages and large and fits and not spec.unit


def _blocked(
    spec: Contraction, lanes: int, swapped: bool, dot: bool, rows: int, wide: int
) -> Blocking:
    """Blocks of rows × `wide` vectors (dot: columns), and what the product then costs."""
    m, n, k = max(spec.m, 1), max(spec.n, 1), max(spec.k, 1)
    unit = 1 if dot else lanes
    columns = min(wide * unit, n)
    contiguous = spec.b_strides[1 if dot else 2] == 1 or (k if dot else n) == 1
    large = not dot and k * n * spec.itemsize > PANEL_BYTES and m > 2 * rows
    packed = large or not contiguous
    most, piece = (2 * DOT_DEPTH, DOT_DEPTH) if dot else (AT_ONCE, DEPTH)
    depth = k if k <= most else up(k, up(k, piece))

    tall = TILE_WORK // (columns * depth)
    tall = min(max(tall, (PACKED_ROWS if packed else 1), rows), m)
    tile_rows = up(up(m, up(m, tall)), rows) * rows
    tile_columns = columns * min(max(1, TILE_WORK // (tile_rows * columns * k)), up(n, columns))
    slabs = not dot and _in_slabs(spec, lanes, rows)
    if slabs:
        tile_rows = SLAB_ROWS
        tile_columns = columns * min(up(SLAB_COLUMNS, columns), up(n, columns))
    if spec.unit:  # costs are those of two threads
        tile_rows, tile_columns = spec.unit, columns * up(n, columns)

    cost = 0.0
    for many_r, r in _parts(m, rows):
        for many_c, c in _parts(n, columns):
            v = up(c, unit)
            step = max(r * v + 0.1 * (r + v), r + v, LATENCY)
            block = up(k, lanes) * step + 3 * r * v if dot else k * step + 2 * r * v
            turned = TURN * lanes * v if swapped and not dot and m > 1 else 0
            cost += many_r * many_c * (block + turned + START)
    if packed:
        copied = up(k, lanes) * n if dot else k * up(n, lanes)
        cost += copied * (COPY if contiguous else TURN) * up(m, tile_rows)
    cost *= 1 + 0.01 * len(list(_parts(m, rows))) * len(list(_parts(n, columns)))  # more code
    blocking = Blocking(
        spec,
        lanes,
        swapped,
        dot,
        rows,
        columns,
        depth,
        tile_rows,
        tile_columns,
        packed,
        slabs,
        cost,
    )
    few = spec.batch * m * n * k > 16 * TILE_WORK and blocking.tiles < 16
    return replace(blocking, cost=cost * 1.03) if few else blocking
