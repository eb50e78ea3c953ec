"""How convolutions and the gradients of their kernels are cut into blocks and bands.

A block of sums stays in registers: its rows are positions (of the kernel: its places and channels),
its columns outputs. The estimate of cost that decides is that of matrix products (`blocking`).
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace

from ..alignment import rounded
from ..processor import Target
from .blocking import LATENCY, START, TILE_WORK, TILES, WIDEST, pieces, up
from .cuts import UNIT
from .slides import SIZES, Slide

FEW_ROWS = 64  # of a kernel's gradient with few channels, each block of which has code of its own
FEW_CHANNELS = 8
ENOUGH_FOR_KERNEL = 128  # positions that a kernel too large for a cache is read once for
FAR_LINE = 8  # multiply-adds in the time that a line of the third cache takes
BANDS = 8  # of a batch, at least, if it is much work
MORE_CODE = 0.02  # of the cost of a convolution, for each kind of block that it has
ENOUGH = 512  # positions that are summed up between two visits of a kernel's gradient
MOST_PARTS = 8  # of a batch, whose gradients of the kernel are added at the end
PART_WORK = 2048  # positions that make one of these worth it


@dataclass(frozen=True)
class Blocks:
    """How a slide is cut.

    lanes     of a vector
    wide      vectors of a block
    rows      of a block: positions along the last two sizes (of a kernel's gradient: 1, rows)
    turns     outputs of each phase in a band
    images    that are done together
    by_lanes  see `Slide.by_lanes`
    even      the copy of x is as large as an even number of outputs needs it
    """

    slide: Slide
    lanes: int
    wide: int
    rows: tuple[int, int]
    turns: int
    images: int
    by_lanes: bool
    even: bool = False

    @property
    def columns(self) -> int:
        """Of a block."""
        return self.wide * self.lanes

    @property
    def width(self) -> int:
        """The outputs that share a row of x: those of a group, or all."""
        return self.slide.outputs if self.by_lanes else self.slide.wide

    @property
    def panels(self) -> int:
        """Blocks side by side, of a group."""
        return up(self.width, self.columns)

    @property
    def bands(self) -> int:
        """Parts of an image."""
        return up(self.slide.sizes[self.slide.banded].turns, self.turns)

    @property
    def spreads(self) -> bool:
        """By lanes: whether the channels of a vector of outputs are one vector, to be shuffled."""
        slide = self.slide
        return self.by_lanes and slide.inner == slide.wide > 1 and self.lanes % slide.wide == 0

    @property
    def expands(self) -> bool:
        """By lanes: whether the copy of x has the channels of a group for each of its outputs."""
        slide = self.slide
        return self.by_lanes and not self.spreads and (slide.inner, slide.wide) != (1, 1)

    @property
    def depth(self) -> int:
        """Numbers that the copy of x has at each position."""
        slide = self.slide
        return slide.inner * slide.outputs if self.expands else slide.channels

    @property
    def extents(self) -> tuple[int, ...]:
        """The sizes of the copy of a band of x."""
        slide = self.slide
        turns = [self.turns if k == slide.banded else s.turns for k, s in enumerate(slide.sizes)]
        if self.even:
            turns[-2:] = [up(n, 2) * 2 for n in turns[-2:]]
        return tuple(s.extent(n) for s, n in zip(slide.sizes, turns, strict=True))

    @property
    def pitches(self) -> tuple[int, ...]:
        """Elements of the copy from one image to the next, and so on for each size."""
        return tuple(self.depth * math.prod(self.extents[k:]) for k in range(SIZES + 1))

    @property
    def copy_bytes(self) -> int:
        return rounded(self.images * self.pitches[0] * self.slide.itemsize)

    @property
    def panel(self) -> int:
        """Elements of a packed panel of w."""
        return self.slide.kernel * self.slide.inner * self.columns

    @property
    def packed_bytes(self) -> int:
        groups = 1 if self.by_lanes else self.slide.groups
        return rounded(groups * self.panels * self.panel * self.slide.itemsize)

    @property
    def in_part(self) -> int:
        """Images of a part of the batch: the last one may have fewer."""
        return up(self.slide.batch, parts_of(self.slide))


def parts_of(slide: Slide) -> int:
    """The parts of the batch, each of which has a gradient of the kernel."""
    worth = max(2, slide.batch * slide.positions // PART_WORK)
    return max(1, min(MOST_PARTS, slide.batch, worth))


def block_cost(depth: int, rows: int, wide: int, by_lanes: bool, target: Target) -> float:
    """What a block costs, in multiply-adds of vectors."""
    loads = rows * wide + wide if by_lanes else rows + wide
    step = max(rows * wide + 0.1 * (rows + wide), target.load_cost * loads, LATENCY)
    return depth * step + 2 * rows * wide + START


@functools.lru_cache(1024)
def windows(slide: Slide, target: Target) -> Blocks:
    """How a convolution is cut."""
    lanes, by_lanes = target.lanes(8 * slide.itemsize), slide.by_lanes(target)
    width = slide.outputs if by_lanes else slide.wide
    high, long = slide.sizes[-2].turns, slide.sizes[-1].turns
    depth = slide.kernel * slide.inner
    room = target.caches.second.bytes // 4

    def cost(wide: int, rows: tuple[int, int]) -> float:
        total = 0.0
        for many_c, c in pieces(width, wide * lanes):
            for (many_y, y), (many_x, x) in itertools.product(
                pieces(high, rows[0]), pieces(long, rows[1])
            ):
                v = up(c, lanes)
                block = block_cost(depth, y * x, v, by_lanes, target)
                if depth * v * lanes * slide.itemsize > room:  # read from the third cache each time
                    block = max(block, depth * v * FAR_LINE)
                total += many_c * many_y * many_x * block
        kinds = math.prod(
            len([*pieces(*cut)])
            for cut in ((width, wide * lanes), (high, rows[0]), (long, rows[1]))
        )
        return total * (1 + MORE_CODE * kinds * len(slide.phases))

    ways = []
    for wide in range(1, min(up(width, lanes), WIDEST) + 1):
        most = max((target.registers - 1 - wide) // wide, 1)
        along = up(long, up(long, most))
        for x in {along, min(most, long)}:
            ways += [(wide, (y, x)) for y in range(1, max(min(most // x, high), 1) + 1)]
    wide, rows = min(ways, key=lambda way: (cost(*way), way))
    blocks = Blocks(slide, lanes, wide, rows, 1, 1, by_lanes)
    own = 1 if slide.banded < SIZES - 2 else rows[slide.banded - SIZES + 2]
    blocks = _banded(blocks, own, room, up(BANDS, slide.batch))
    large = depth * slide.outputs * slide.itemsize > room
    if not large or blocks.bands > 1:
        return blocks
    most = min(up(ENOUGH_FOR_KERNEL, slide.positions), slide.batch // 4, UNIT)
    images = max((k for k in (1, 2, 4, 8, 16) if k <= most), default=1)
    return replace(blocks, images=images)


@functools.lru_cache(1024)
def weights(slide: Slide, target: Target) -> Blocks:
    """How the gradient of a kernel is cut."""
    lanes, by_lanes = target.lanes(8 * slide.itemsize), slide.by_lanes(target)
    width = slide.outputs if by_lanes else slide.wide
    run = _run(slide, by_lanes)
    depth = min(slide.batch * slide.positions, ENOUGH)

    def cost(wide: int, rows: int) -> float:
        total = 0.0
        for many_c, c in pieces(width, wide * lanes):
            for many_r, r in pieces(run, rows):
                total += many_c * many_r * block_cost(depth, r, up(c, lanes), by_lanes, target)
        return total

    ways = []
    for wide in range(1, min(up(width, lanes), WIDEST) + 1):
        most = max((target.registers - 1 - wide) // wide, 1)
        ways += [(wide, rows) for rows in {up(run, up(run, most)), min(most, run)}]
    wide, rows = min(ways, key=lambda way: (cost(*way), way))
    blocks = Blocks(slide, lanes, wide, (1, rows), 1, 1, by_lanes)
    room = target.caches.second.bytes // 2
    blocks = _banded(blocks, 1, room, 1)
    if blocks.bands > 1:
        return blocks
    both = blocks.pitches[0] + slide.positions * slide.outputs
    images = min(room // (both * slide.itemsize), up(ENOUGH, slide.positions), blocks.in_part)
    return replace(blocks, images=max(images, 1))


def has_few_rows(slide: Slide, places: int, by_lanes: bool) -> bool:
    """Whether each block of a kernel's gradient has code of its own."""
    few = by_lanes or slide.inner <= FEW_CHANNELS
    return few and places * slide.inner <= FEW_ROWS


def _run(slide: Slide, by_lanes: bool) -> int:
    """Rows of a kernel's gradient that blocks are cut from."""
    places = math.prod(max(p.places for p in s.phases) for s in slide.sizes)
    if has_few_rows(slide, places, by_lanes):
        return max(places * slide.inner, 1)
    (*_, last) = slide.sizes
    if by_lanes:
        return max(p.places for p in last.phases) * slide.inner
    joins = slide.groups == 1 and all((p.advance, p.next_place) == (1, 1) for p in last.phases)
    return max(p.places for p in last.phases) * slide.inner if joins else slide.inner


def _banded(blocks: Blocks, own: int, room: int, parts: int) -> Blocks:
    """With bands that fit into the room: multiples of `own`, and `parts` of them where it is much.

    room   bytes
    """
    slide = blocks.slide
    size = slide.sizes[slide.banded]
    whole = replace(blocks, turns=size.turns)
    each = whole.pitches[slide.banded + 1] * slide.itemsize
    for k in range(slide.banded):
        each *= whole.extents[k]
    fit = (room // each - size.extent(1)) // size.stride + 1
    turns = min(max(fit, 1), size.turns)
    if slide.work > TILES * TILE_WORK:
        turns = min(turns, up(size.turns, parts))
    turns = up(size.turns, up(size.turns, turns))
    return replace(blocks, turns=min(up(turns, own) * own, size.turns))
