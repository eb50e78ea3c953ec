"""How a matrix product is cut: C[batch, m, n] = A[batch, m, k] · B[batch, k, n], every shape known.

Strides say how A and B lie in memory: one of the last two is 1, so transpositions and broadcast
batches cost no copy. The product is cut by the spec and the processor alone:

    tile    what threads share out: some rows × some columns of one C
    strip   the rows of a thread's tiles that it goes through at a time, so that their part of A,
            and what is written of C, stay in the second-level cache
    panel   columns of B that a strip passes over, from the first-level cache; packed where it pays
    block   the rows × columns of C that stay in registers while k runs

`choose` decides between three ways by an estimate of their cost:

    broadcast   vectors lie along n: an element of A times a row of B
    swapped     the same for Cᵀ = Bᵀ · Aᵀ, so vectors lie along m: for a narrow C
    dot         vectors lie along k: for a narrow C whose operands are contiguous along k

`emit/matmul_tiles.py` emits the code.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from ..alignment import ALIGNED
from ..processor import Cache, Target

LATENCY = 8  # multiply-adds in flight that keep the units busy: 4 cycles on 2 units
DEPTH = 512  # steps of k between two visits of C: a panel stays in the first-level cache
AT_ONCE = 1024  # the same where A is contiguous along k, so that its rows are read from end to end
DOT_DEPTH = 4096  # of vectors along k, each lane of which is a chain of its own
WIDEST = 6  # vectors (dot: columns) of a block
GROUP_BYTES = 1024 * 1024  # packed panels that lie side by side
GROUP_COLUMNS = 256  # that a thread should have to itself where C is tall; a quarter otherwise
TALL = 1024  # rows, among which the packing of a panel by two threads does not count
TILES = 16  # that a large product should have, to be shared out
TILE_WORK = 250_000  # multiply-adds that are worth a tile of its own
# Costs, in multiply-adds of vectors: of a vector copied, of one transposed, of starting a block.
COPY, TURN, START = 2, 6, 4
# Of a line that the second-level cache has, and of one that it has not: of B, and of A, of which
# there is one for many multiply-adds.
LINE_OF_B, LINE_OF_A = (3, 12), (0.1, 12)


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
    plain: bool = False  # vectors must lie along n, and k, at most AT_ONCE, be done at once
    panel: int = 0  # columns of the panels in which B lies packed; 0: it is a matrix

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
    strip_rows: int
    tile_rows: int
    tile_columns: int
    packed: bool  # B goes through scratch: panel by panel, or all that a thread's strips need
    slabs: bool  # and a strip's part of A: for each k a vector of its rows
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
    def panel_pitch(self) -> int:
        """Elements from one packed panel to the next: a line more, or all began in the same set."""
        size = (self.columns if self.dot else self.depth) * self.panel_stride
        return size + ALIGNED // self.spec.itemsize

    @property
    def slab_pitch(self) -> int:
        """The same of slabs, which are written side by side."""
        return self.depth * self.lanes + ALIGNED // self.spec.itemsize

    @property
    def strips(self) -> bool:
        """Whether a thread may have more than one strip: it packs all panels before the first."""
        return self.spec.m > self.strip_rows

    @property
    def panel_bytes(self) -> int:
        """Of the packed panels of B that are there at a time."""
        count = up(self.tile_columns, self.columns) if self.strips else 1
        return count * self.panel_pitch * self.spec.itemsize if self.packed else 0

    @property
    def scratch_bytes(self) -> int:
        """Packing memory that each caller needs for itself, 64-byte aligned for speed."""
        slabs = min(self.strip_rows, self.spec.m) // self.lanes if self.slabs else 0
        return self.panel_bytes + slabs * self.slab_pitch * self.spec.itemsize


@functools.lru_cache(4096)  # equal layers ask again and again
def choose(spec: Contraction, target: Target) -> Blocking:
    """The cheapest way to cut the product."""
    turns = (False,) if spec.unit or spec.plain or spec.panel else (False, True)
    ways = [way for swapped in turns for way in _ways(spec, target, swapped)]
    return min(ways, key=lambda way: way.cost)


def _ways(spec: Contraction, target: Target, swapped: bool) -> Iterator[Blocking]:
    """Blocks that fit into the registers: their sums, vectors of a row of B, one element of A."""
    spec = spec.swapped if swapped else spec
    lanes = target.vector_bits // (8 * spec.itemsize)
    for dot in (False, True):
        narrow = spec.n <= lanes and (spec.a_strides[2] == 1 or spec.k <= 1)
        if dot and (spec.plain or spec.panel or not narrow):
            continue
        unit = 1 if dot else lanes
        for wide in range(1, min(up(max(spec.n, 1), unit), WIDEST) + 1):
            if spec.panel and spec.panel % (wide * unit) and wide * unit % spec.panel:
                continue  # blocks begin at different columns of a panel
            most = min((target.registers - 1 - wide) // wide, max(spec.m, 1))
            even = up(spec.m, up(spec.m, most)) if spec.m and not spec.unit else 1
            divisor = next(r for r in range(most, 0, -1) if (spec.unit or spec.m) % r == 0)
            for rows in sorted({even, divisor}):
                yield _blocked(spec, target, swapped, dot, rows, wide)


def up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def pieces(extent: int, size: int) -> Iterator[tuple[int, int]]:
    """(how many, of what size): whole blocks, then the rest."""
    if extent // size:
        yield extent // size, size
    if extent % size:
        yield 1, extent % size


def _price(rows: int, step: int, wide: int, prices: tuple[float, float], target: Target) -> float:
    """What it costs to read a line again, of rows of `wide` lines each, `step` bytes apart.

    Rows that lie a power of two apart fall into a few sets of a cache.
    """

    def stay(cache: Cache, ways: int) -> bool:
        places = cache.way // math.gcd(step, cache.way) * wide
        sets = min(places, cache.way // cache.line)
        return min(rows * wide, up(rows * step, cache.line) + wide) <= sets * ways

    first, second = target.caches.first, target.caches.second
    near, far = prices
    if stay(first, first.ways - 2):  # two for what else passes
        return 0
    return near if stay(second, second.ways) else far


def _blocked(
    spec: Contraction, target: Target, swapped: bool, dot: bool, rows: int, wide: int
) -> Blocking:
    """Blocks of rows × `wide` vectors (dot: columns), and what the product then costs."""
    m, n, k, size = max(spec.m, 1), max(spec.n, 1), max(spec.k, 1), spec.itemsize
    lanes = target.vector_bits // (8 * size)
    unit = 1 if dot else lanes
    columns = min(wide * unit, n)
    line = target.caches.first.line
    piece = DOT_DEPTH if dot else AT_ONCE if spec.a_strides[2] == 1 else DEPTH
    depth = k if spec.plain else up(k, up(k, piece))
    cost = 0.0
    for many_r, r in pieces(m, rows):
        for many_c, c in pieces(n, columns):
            v = up(c, unit)
            step = max(r * v + 0.1 * (r + v), target.load_cost * (r + v), LATENCY)
            block = up(k, lanes) * step + 3 * r * v if dot else k * step + 2 * r * v
            turned = TURN * lanes * v if swapped and not dot and m > 1 else 0
            cost += many_r * many_c * (block + turned + START)

    contiguous = spec.b_strides[1 if dot else 2] == 1 or (k if dot else n) == 1
    blocks, panels = up(m, rows), up(n, columns)
    pack = (up(k, lanes) * n if dot else k * up(n, lanes)) * (COPY if contiguous else TURN)
    reread = 0.0
    if contiguous and not dot:
        per_row = up(columns * size, line)
        price = _price(depth, spec.b_strides[1] * size, per_row, LINE_OF_B, target)
        reread = price * k * per_row * panels * max(blocks - 2, 0)  # packing reads them twice too
    packed = not spec.panel and (not contiguous or pack < reread)
    cost += pack if packed else reread

    slabs = False
    if not dot and spec.a_strides[1] == 1 and m > 1 and k > 1:
        price = _price(depth, spec.a_strides[2] * size, 1, LINE_OF_A, target)
        reread = price * k * panels * blocks
        copied = 2 * COPY * m * k / lanes
        fits = m % lanes == 0 and lanes % rows == 0 and spec.unit % lanes == 0
        slabs = fits and copied < reread
        cost += copied if slabs else reread

    bodies = len(list(pieces(m, rows))) * len(list(pieces(n, columns)))
    cost *= 1 + (0.02 if swapped else 0.01) * bodies  # more code; C is transposed in it
    tile = _tile(spec, target, rows, columns, depth, slabs)
    blocking = Blocking(spec, lanes, swapped, dot, rows, columns, depth, *tile, packed, slabs, cost)
    tiles = blocking.tiles
    if spec.batch * m * n * k > TILES * TILE_WORK and tiles < TILES:
        idle = 2 * up(tiles, 2) / tiles - 1  # of the second of two threads
        cost *= 1.03 + idle / 2
    return replace(blocking, cost=cost)


def _tile(
    spec: Contraction, target: Target, rows: int, columns: int, depth: int, slabs: bool
) -> tuple[int, int, int]:
    """(rows of a strip, rows of a tile, columns of a tile)."""
    m, n, k, size = max(spec.m, 1), max(spec.n, 1), max(spec.k, 1), spec.itemsize
    wanted = min(TILES, spec.batch * m * n * k // TILE_WORK)
    panels = up(n, columns)
    groups = up(panels, max(1, GROUP_BYTES // (depth * columns * size)))
    step = math.lcm(target.lanes(8 * size) if slabs else rows, spec.unit or 1)
    strip = target.caches.second.bytes // 2 // ((depth + up(n, groups)) * size)
    strip = up(up(m, max(1, round(m / max(strip, 1)))), step) * step
    if spec.unit:
        return strip, spec.unit, panels * columns
    least = GROUP_COLUMNS if m >= TALL else GROUP_COLUMNS // 4
    if not slabs and (m <= strip or n >= 2 * least):  # no panel is packed twice
        groups = max(groups, min(wanted, panels) if m <= strip else 2)
    tile_columns = up(panels, groups) * columns
    across = spec.batch * up(n, tile_columns)
    tile_rows = up(up(m, max(1, up(wanted, across))), step) * step
    return strip, tile_rows, tile_columns
