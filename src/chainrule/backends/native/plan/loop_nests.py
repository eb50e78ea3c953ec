"""What loops run over: the shape of an elementwise loop nest, the axes of a reduction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ....graph import Shape
from .buffers import Storage


def is_flat(storage: Storage, b: int, shape: Shape, written: bool) -> bool:
    """Whether a buffer of the shape can be computed in one loop over all its elements.

    written   the loop writes it, so its own kernel counts
    """
    buffer = storage.buffers[b]
    if b in storage.stored and not written:
        return buffer.shape == shape
    if buffer.kind is None or buffer.shape != shape:
        return False
    if buffer.map is not None and buffer.map.stretches:
        return math.prod(buffer.map.source) == 1
    reads = dict.fromkeys(buffer.reads)
    return buffer.kind.pointwise and all(is_flat(storage, r, shape, False) for r in reads)


def merges(storage: Storage, b: int, shape: Shape, axes: Sequence[int]) -> bool:
    """Whether a loop over the last of some neighbouring axes can do for all of them.

    The others are at 0 then, and the last goes beyond its size: what is read there is the element
    with the same place in memory.
    """
    buffer = storage.buffers[b]
    if b in storage.stored:
        return buffer.shape == shape
    if buffer.kind is None or buffer.shape != shape:
        return False
    if buffer.map is not None and buffer.map.stretches:
        source = storage.buffers[buffer.reads[0]].shape
        same = buffer.map.axes is not None and len(source) == len(shape)
        return same and all(source[a] == 1 for a in axes)
    reads = dict.fromkeys(buffer.reads)
    return buffer.kind.pointwise and all(merges(storage, r, shape, axes) for r in reads)


def loop_shape(storage: Storage, writes: Sequence[int]) -> Shape:
    """The shape that the loops of an elementwise group run over: flat where that is the same."""
    shape = storage.buffers[writes[0]].shape
    if len(shape) > 1 and all(is_flat(storage, b, shape, True) for b in writes):
        return (*(1,) * (len(shape) - 1), math.prod(shape))
    return shape


def reduced_axes(storage: Storage, b: int) -> tuple[list[int], list[int]]:
    """The axes that a reduction takes away, and those that stay; none of size 1."""
    kernel = storage.kernel(b)
    shape = storage.buffers[kernel.reads[-1]].shape
    axes = [a for a in kernel.params["axis"] if shape[a] != 1]
    return axes, [a for a in range(len(shape)) if a not in axes and shape[a] != 1]
