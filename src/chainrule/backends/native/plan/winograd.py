"""Convolutions with kernels of 3 × 3 by Winograd's F(2 × 2, 3 × 3): 16 products instead of 36.

A tile is 2 × 2 outputs, which meet 4 × 4 inputs d. With the kernel g of 3 × 3 (Lavin and Gray,
"Fast algorithms for convolutional neural networks", 2015):

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

Summed over channels, the products are 16 matrix products (tiles × channels · channels × outputs).
The gradient of the kernel is the adjoint of that in g: Gᵀ [∑ (Bᵀ d B) ⊙ (A z Aᵀ)] G.

The transform of d subtracts elements, and so an infinity would spread to other outputs: an image
that has one, or a NaN, or a number above LARGEST_FINE is done directly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from ..alignment import ALIGNED
from ..processor import Target
from .blocking import WIDEST, pieces, up
from .slide_blocks import MORE_CODE, Blocks, block_cost
from .slides import Slide

PLACES = 16  # products per tile, channel and output
B_T = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
A_T = ((1, 1, 1, 0), (0, 1, -1, -1))
G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
A = tuple(zip(*A_T, strict=True))
G_T = tuple(zip(*G, strict=True))
LARGEST_FINE = 2.0**50  # products of these, added up, are finite
AT_A_TIME = 48  # tiles whose transforms are in scratch memory, about
AT_A_TIME_OF_WEIGHT = 64  # the same for the gradient of a kernel, which is visited once for them
FEWEST = 64  # tiles of a batch that make up for the transform of the kernel
FEWEST_AT_ONCE = 8  # tiles that make up for reading a transformed kernel that no cache holds


@dataclass(frozen=True)
class Tiles:
    """How a convolution, or the gradient of its kernel, is done by tiles.

    blocks   the direct way
    rows, wide   of a block of a product: rows, vectors
    at_once      tiles whose transforms are in scratch memory
    """

    blocks: Blocks
    rows: int
    wide: int
    at_once: int

    @property
    def columns(self) -> int:
        """Of a block."""
        return self.wide * self.blocks.lanes

    @property
    def panels(self) -> int:
        """Blocks side by side."""
        return up(self.blocks.slide.outputs, self.columns)

    @property
    def across(self) -> int:
        """Tiles in a row of an image."""
        return up(self.blocks.slide.sizes[-1].output, 2)

    @property
    def in_band(self) -> int:
        """Tiles of a band: the last one may have fewer."""
        return up(self.blocks.turns, 2) * self.across

    @property
    def kernel(self) -> int:
        """Elements from a place of the transformed kernel to the next: panels × channels × columns.

        Of its gradient there are as many: channels × outputs.
        """
        return self.panels * self.blocks.slide.channels * self.columns

    @property
    def inputs(self) -> int:
        """The same of transformed tiles of x: tiles × channels."""
        return self.at_once * self.blocks.slide.channels + self._line

    @property
    def outputs(self) -> int:
        """The same of the products, or of transformed tiles of z: tiles × outputs."""
        return self.at_once * self.blocks.slide.outputs + self._line

    @property
    def _line(self) -> int:
        """Elements of a line of a cache: without one more all places would be in the same sets."""
        return ALIGNED // self.blocks.slide.itemsize

    @property
    def bytes(self) -> int:
        """Of all places in scratch memory."""
        size = PLACES * self.blocks.slide.itemsize
        return size * (self.kernel + self.inputs + self.outputs)


def suits(slide: Slide, target: Target) -> bool:
    """Whether a convolution has a kernel of 3 × 3 that is done by tiles."""
    lanes = target.lanes(8 * slide.itemsize)
    first, *plane = slide.sizes
    flat = (first.input, first.output, first.kernel, first.low) == (1, 1, 1, 0)
    plain = all(
        (s.kernel, s.stride, s.input_dilation, s.kernel_dilation) == (3, 1, 1, 1) for s in plane
    )
    whole = slide.channels % lanes == 0 and slide.outputs % lanes == 0
    tiles = slide.batch * slide.positions // 4
    fine = slide.groups == 1 and slide.dtype == "float32" and target.winograd
    large = tiles >= FEWEST and all(s.output > 1 for s in plane)
    return flat and plain and whole and fine and large


@functools.lru_cache(1024)
def tiles_of(blocks: Blocks, target: Target, weight: bool) -> Tiles | None:
    """How a convolution (weight: the gradient of its kernel) is done by tiles; None: directly."""
    slide = blocks.slide
    large = (
        PLACES * slide.channels * slide.outputs * slide.itemsize > target.caches.second.bytes * 4
    )
    if not suits(slide, target) or (weight and large):
        return None
    turns = up(blocks.turns, 2) * 2
    turns = min(turns, up(slide.sizes[-2].output, 2) * 2)
    # What has an infinity is rare: the direct way for it is short code.
    even = replace(blocks, even=True, turns=turns, rows=(1, 1))
    most = AT_A_TIME_OF_WEIGHT if weight else AT_A_TIME
    whole = Tiles(even, 1, 1, 1)
    count = whole.in_band * even.images
    if large and count < FEWEST_AT_ONCE:
        return None
    at_once = up(count, up(count, most))
    high = slide.channels if weight else at_once
    depth = at_once if weight else slide.channels

    def cost(wide: int, rows: int) -> float:
        many = sum(n for n, _ in pieces(high, rows)) if weight else up(high, rows)
        columns = [*pieces(slide.outputs, wide * blocks.lanes)]
        total = sum(
            many * n * block_cost(depth, rows, up(c, blocks.lanes), False, target)
            for n, c in columns
        )
        return total * (1 + MORE_CODE * len(columns))

    ways = []
    for wide in range(1, min(slide.outputs // blocks.lanes, WIDEST) + 1):
        top = max((target.registers - 1 - wide) // wide, 1)
        ways += [(wide, rows) for rows in range(1, min(top, high) + 1)]
    wide, rows = min(ways, key=lambda way: (cost(*way), way))
    if not weight:
        at_once = up(at_once, rows) * rows
    return Tiles(even, rows, wide, at_once)
