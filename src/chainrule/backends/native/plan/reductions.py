"""The order in which a reduction passes through its source.

A sum of many numbers is cut into blocks, and what the blocks give is added in float64. LLVM makes
several chains of a block in registers, and none of one on the stack. Where it may not, or blocks
would cost more than they save, all is added in float64. See docs/decisions/007-sums.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .... import ops
from ....dtypes import is_floating
from ....graph import Shape
from ....sums import BLOCK, FEW
from .buffers import Storage
from .kinds import TAKE
from .loop_nests import is_flat, merges, reduced_axes
from .rewrites import NORM_OF_SUMS

VECTORS = 256  # terms of a block in registers, which become one chain per lane of a vector
TILE = 2048  # elements
NARROW = 8  # elements of a tile for which blocks would cost more than they save


@dataclass(frozen=True)
class Order:
    """The loops of a reduction: over `free`, pieces of the tile, blocks of the terms, a block.

    axes    that are reduced
    free    that stay, and come first
    tile    that stay, and are passed through for each row of the source
    split   the reduced axis that blocks are cut along, each `size` of it and all axes after it;
            size 0: there are no blocks
    exact   running values are in float64
    """

    axes: list[int]
    free: list[int]
    tile: list[int]
    split: int = -1
    size: int = 0
    exact: bool = False


def ordered(shape: Sequence[int], axes: list[int], stay: list[int], many: bool) -> Order:
    """How to reduce the axes; `many` is whether it is a sum that needs blocks."""
    last = [a for a in axes if a > max(stay, default=-1)]
    if not many:
        return Order(axes, *tiled(shape, stay, axes[0] if last != axes else len(shape)))
    registers = last == axes or extent(shape, last) >= BLOCK
    among, most = (last, VECTORS) if registers else (axes, BLOCK)
    split, size, inside = among[0], shape[among[0]], 1
    for a in reversed(among):
        if inside * shape[a] > most:
            split, size = a, max(1, most // inside)
            break
        inside *= shape[a]
    free, tile = tiled(shape, stay, split)
    if tile and extent(shape, tile) <= NARROW:
        return Order(axes, free, tile, exact=True)
    return Order(axes, free, tile, split, size)


def tiled(shape: Sequence[int], stay: list[int], first: int) -> tuple[list[int], list[int]]:
    """Of the axes that stay those that are free, and the tile: what lies behind axis `first`."""
    tile = [a for a in stay if a > first]
    while extent(shape, tile[1:]) > TILE // 2:
        tile = tile[1:]
    return [a for a in stay if a not in tile], tile


def extent(shape: Sequence[int], axes: Iterable[int]) -> int:
    """The number of elements along some axes."""
    return math.prod([shape[a] for a in axes])


def order_of(storage: Storage, b: int) -> tuple[Shape, Order]:
    """The shape that the loops of a reduction run over, and their order."""
    kernel, dtype = storage.kernel(b), storage.buffers[b].dtype
    source = kernel.reads[-1]  # of a norm, its sums of squares
    shape = storage.buffers[source].shape
    axes, stay = reduced_axes(storage, b)
    if shape and not stay and is_flat(storage, source, shape, False):
        shape, axes = (*(1,) * (len(shape) - 1), math.prod(shape)), [len(shape) - 1]
    run = [*range(axes[0], axes[-1] + 1)] if axes else []
    if len(axes) > 1 and run == axes and merges(storage, source, shape, axes):
        whole = extent(shape, axes)
        shape = tuple(1 if a in axes[:-1] else n for a, n in enumerate(shape))
        shape, axes = (*shape[: axes[-1]], whole, *shape[axes[-1] + 1 :]), axes[-1:]
    summed = kernel.op in (ops.sum, ops.norm, NORM_OF_SUMS)
    many = summed and is_floating(dtype) and extent(shape, axes) > FEW
    order = ordered(shape, axes, stay, many)
    if order.size and not order.tile and not _in_memory_order(source, storage):
        order = replace(order, size=0, exact=True)
    return shape, order


def _in_memory_order(b: int, storage: Storage) -> bool:
    """Whether neighbours along the last axis are computed from neighbours in memory."""
    buffer = storage.buffers[b]
    if b in storage.stored:
        return True
    if buffer.kind is TAKE or (buffer.map is not None and not buffer.map.keeps_neighbours):
        return False
    return all(_in_memory_order(r, storage) for r in buffer.reads)
