"""Convolutions and the gradients of their kernels: how they are cut.

    y[n, p, o] = ∑ x[n, stride · p + dilation · k - padding, c] · w[k, c, o]      over k and c
    w[k, c, o] = ∑ x[n, stride · p + dilation · k - padding, c] · z[n, p, o]      over n and p

Both are sums of products of an element of x with a row of the other operand, so both are one
micro-kernel: a block of sums stays in registers, its rows are positions (of the kernel: its places
and channels), its columns outputs, while nested loops go through what is summed over. All steps of
these loops are constants, as every shape is.

    unit    an image, or some of its rows (a band): what a thread does at a time. The part of x that
            it reads is copied into the thread's scratch memory first, with zeros where the padding
            is; so no block knows about edges, and x may be an expression
    lanes   of groups with few outputs each: vectors lie along all outputs, and x is copied so that
            each output finds its own channels beside it. A depthwise convolution is the simplest

`emit/convolution.py` and `emit/convolution_weight.py` emit the code.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .... import ops
from ....graph import Array, Node, Operation, Shape, ShapeRule, Spec
from ...program import Kernel
from ..alignment import rounded
from ..processor import Target
from .blocking import LATENCY, START, TILE_WORK, TILES, WIDEST, up
from .buffers import Storage
from .cuts import FASTEST_FROM, UNIT, WHOLE, WORTH_CUTTING, Cut
from .slides import SIZES, Slide, slide_of

FEW_ROWS = 64  # of a kernel's gradient, each block of which has code of its own
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
    """

    slide: Slide
    lanes: int
    wide: int
    rows: tuple[int, int]
    turns: int
    images: int
    by_lanes: bool

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
    def depth(self) -> int:
        """Numbers that the copy of x has at each position."""
        slide = self.slide
        return slide.inner * slide.outputs if self.by_lanes else slide.channels

    @property
    def extents(self) -> tuple[int, ...]:
        """The sizes of the copy of a band of x."""
        banded = self.slide.banded
        return tuple(
            s.extent(self.turns if k == banded else s.turns) for k, s in enumerate(self.slide.sizes)
        )

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
    def parts(self) -> int:
        """Of the batch, each of which has a gradient of the kernel."""
        slide = self.slide
        worth = max(2, slide.batch * slide.positions // PART_WORK)
        return max(1, min(MOST_PARTS, slide.batch, worth))

    @property
    def in_part(self) -> int:
        """Images of a part of the batch: the last one may have fewer."""
        return up(self.slide.batch, self.parts)


def _step(rows: int, wide: int, by_lanes: bool, target: Target) -> float:
    """What a step of a block costs, in multiply-adds of vectors."""
    loads = rows * wide + wide if by_lanes else rows + wide
    return max(rows * wide + 0.1 * (rows + wide), target.load_cost * loads, LATENCY)


def _pieces(extent: int, size: int) -> Iterator[tuple[int, int]]:
    """(how many, of what size): whole pieces, then the rest."""
    if extent // size:
        yield extent // size, size
    if extent % size:
        yield 1, extent % size


@functools.lru_cache(1024)
def windows(slide: Slide, target: Target) -> Blocks:
    """How a convolution is cut."""
    lanes, by_lanes = target.lanes(8 * slide.itemsize), slide.by_lanes(target)
    width = slide.outputs if by_lanes else slide.wide
    high, long = slide.sizes[-2].turns, slide.sizes[-1].turns
    depth = slide.kernel * slide.inner
    room = target.caches.second.bytes // 2

    def cost(wide: int, rows: tuple[int, int]) -> float:
        total = 0.0
        for many_c, c in _pieces(width, wide * lanes):
            for (many_y, y), (many_x, x) in itertools.product(
                _pieces(high, rows[0]), _pieces(long, rows[1])
            ):
                v = up(c, lanes)
                block = depth * _step(y * x, v, by_lanes, target) + 2 * x * y * v + START
                total += many_c * many_y * many_x * block
        streamed = depth * wide * lanes * slide.itemsize > room  # from the third cache, each time
        return total * (2 if streamed and wide > 1 else 1)

    ways = []
    for wide in range(1, min(up(width, lanes), WIDEST) + 1):
        most = max((target.registers - 1 - wide) // wide, 1)
        along = up(long, up(long, most))
        for x in {along, min(most, long)}:
            ways += [(wide, (y, x)) for y in range(1, max(min(most // x, high), 1) + 1)]
    wide, rows = min(ways, key=lambda way: (cost(*way), way))
    blocks = Blocks(slide, lanes, wide, rows, 1, 1, by_lanes)
    own = 1 if slide.banded < SIZES - 2 else rows[slide.banded - SIZES + 2]
    return _banded(blocks, own, room, up(TILES, slide.batch))


@functools.lru_cache(1024)
def weights(slide: Slide, target: Target) -> Blocks:
    """How the gradient of a kernel is cut."""
    lanes, by_lanes = target.lanes(8 * slide.itemsize), slide.by_lanes(target)
    width = slide.outputs if by_lanes else slide.wide
    run = _run(slide, by_lanes)
    depth = min(slide.batch * slide.positions, ENOUGH)

    def cost(wide: int, rows: int) -> float:
        total = 0.0
        for many_c, c in _pieces(width, wide * lanes):
            for many_r, r in _pieces(run, rows):
                v = up(c, lanes)
                block = depth * _step(r, v, by_lanes, target) + 3 * r * v + START
                total += many_c * many_r * block
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


def _run(slide: Slide, by_lanes: bool) -> int:
    """Rows of a kernel's gradient that blocks are cut from."""
    places = math.prod(max(p.places for p in s.phases) for s in slide.sizes)
    if by_lanes or places * slide.inner <= FEW_ROWS:
        return places * slide.inner
    (*_, last) = slide.sizes
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


# ── in the table of kinds ────────────────────────────────────────────────────────────────────────


def _weight_shape(x: Spec, z: Spec, parts: int, **params: object) -> tuple[Shape, object]:
    shape, dtype = ops.convolution_weight.infer(x, z, **params)
    return (parts, math.prod(shape)), dtype


def _weight_evaluate(x: Array, z: Array, parts: int, **params: object) -> Array:
    whole = ops.convolution_weight.evaluate(x, z, **params)
    out = np.zeros((parts, whole.size), whole.dtype)
    out[0] = whole.reshape(-1)
    return out


# (parts, places · channels · outputs): of each part of the batch.
WEIGHT_PARTS = Operation(
    "convolution_weight_parts", "other", ShapeRule(_weight_shape), _weight_evaluate, ("x", "z")
)


def in_parts(kernel: Kernel, writes: int) -> list[Kernel]:
    """A gradient of a kernel as those of the parts of the batch, and their sum.

    writes   the buffer of the parts, and of their sum after it
    """
    slide, node = slide_of(kernel), kernel.node
    parts = Blocks(slide, 1, 1, (1, 1), 1, 1, False).parts
    params = {**kernel.params, "parts": parts}
    shape = (parts, math.prod(node.shape))
    each = Node(WEIGHT_PARTS, node.inputs, params, shape, node.dtype, None, False, node.source)
    axis = {"axis": (0,)}
    added = Node(ops.sum, (each,), axis, (1, shape[1]), node.dtype, None, False, node.source)
    last = {"shape": node.shape}
    whole = Node(ops.reshape, (added,), last, node.shape, node.dtype, None, False, node.source)
    return [
        Kernel(WEIGHT_PARTS, kernel.reads, writes, params, (), each),
        Kernel(ops.sum, (writes,), writes + 1, axis, (), added),
        Kernel(ops.reshape, (writes + 1,), kernel.writes, last, (), whole),
    ]


def is_native(kernel: Kernel) -> bool:
    """Whether there is something to do."""
    return all(math.prod(node.shape) for node in (kernel.node, *kernel.node.inputs))


def blocks_of(kernel: Kernel, target: Target) -> Blocks:
    """How a convolution, or the gradient of its kernel, is cut."""
    return (windows if kernel.op is ops.convolution else weights)(slide_of(kernel), target)


def operands_of_slide(kernel: Kernel, storage: Storage) -> Sequence[int]:
    """Of a convolution what the kernel is a view of; of its gradient the operand that is not x."""
    other = kernel.reads[1]
    if kernel.op is ops.convolution:
        return [storage.base(other)]
    return [other]


def work_of_slide(main: int, writes: Sequence[int], storage: Storage) -> float:
    return slide_of(storage.kernel(main)).work / 60


def cut_slide(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By images and bands; short ones by rows."""
    kernel = storage.kernel(main)
    blocks = blocks_of(kernel, target)
    if work < WORTH_CUTTING:
        return WHOLE
    if kernel.op is not ops.convolution:
        return Cut(blocks.parts)
    batch = blocks.slide.batch
    if work < FASTEST_FROM and batch >= 2 * UNIT and blocks.bands == 1:
        return Cut(up(batch, UNIT), 0, UNIT, batch, batch)
    return Cut(batch * blocks.bands)


def scratch_of_slide(
    main: int, writes: Sequence[int], cut: Cut, storage: Storage, target: Target
) -> int:
    """The copy of x, and a packed kernel."""
    kernel = storage.kernel(main)
    blocks = blocks_of(kernel, target)
    packed = blocks.packed_bytes if kernel.op is ops.convolution else 0
    return packed + blocks.copy_bytes
