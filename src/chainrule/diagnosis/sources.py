"""Which elements of its operands an element of a result that is not finite comes from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..dtypes import is_bfloat16, is_floating
from ..graph import Array, Node, Operation

SOME = 8  # elements of many that are looked at
Index = tuple[int, ...]
# An operand that is not finite: which, and the element.
Source = tuple[int, Index]

_ALONG_AXES = {ops.sum, ops.prod, ops.norm, ops.max, ops.min}
_RUNNING = {ops.cumulative_sum, ops.cumulative_prod, ops.recurrence}


def wide(x: Array) -> Array:
    """Floats that NumPy can ask whether they are finite."""
    return x.astype(np.float32) if is_bfloat16(x.dtype) else x


def nonfinite(x: Any) -> Array:
    """Where an array is NaN or infinite."""
    if not is_floating(x.dtype):
        return np.zeros(x.shape, bool)
    return ~np.isfinite(wide(x))


def first_nonfinite_element(x: Array) -> Index | None:
    """The first element of an array that is not finite, or None."""
    if not is_floating(x.dtype):
        return None
    with np.errstate(all="ignore"):
        if np.isfinite(wide(x).sum(dtype=np.float64)):
            return None
    bad = np.flatnonzero(nonfinite(x))
    return _index(int(bad[0]), x.shape) if bad.size else None


def _index(flat: int, shape: Sequence[int]) -> Index:
    return tuple(int(k) for k in np.unravel_index(flat, tuple(shape)))


def sources(node: Node, xs: Sequence[Array], index: Index, item: int, is_nan: bool) -> list[Source]:
    """The elements of operands that make this element of the result NaN or infinite, some of them.

    Empty if all elements that it is computed from are finite: then it is the first.

    item     which result, of an operation with several
    is_nan   whether the element is NaN
    """
    op = node.op
    assert op is not None
    if not any(first_nonfinite_element(x) is not None for x in xs):
        return []
    if op in ops.POINTWISE:
        return [*_pointwise(op, xs, index)]
    if op in ops.MOVES:
        return [*_moved(node, xs, index)]
    regions = _regions(node, xs, index)
    if regions is None:
        return _by_trial(node, xs, index, item)
    return [*_in_regions(xs, regions, is_nan)]


def _pointwise(op: Operation, xs: Sequence[Array], index: Index) -> Iterator[Source]:
    chosen = range(len(xs))
    if op is ops.where:
        chosen = range(1, 2) if xs[0][index] else range(2, 3)
    for k in chosen:
        if nonfinite(xs[k][index]).any():
            yield k, index


def _moved(node: Node, xs: Sequence[Array], index: Index) -> Iterator[Source]:
    """By numbering the elements of the operands and moving the numbers; 0 is in none of them."""
    assert node.op is not None
    moving = range(len(xs))
    if node.op is ops.take:
        moving = range(1)
    elif node.op is ops.put_rows:
        moving = range(0, 3, 2)
    ends = [0, *itertools.accumulate(xs[k].size for k in moving)]
    numbers = [*xs]
    for k, first in zip(moving, ends, strict=False):
        numbers[k] = np.arange(first + 1, first + 1 + xs[k].size).reshape(xs[k].shape)
    number = int(node.op.evaluate(*numbers, **node.params)[index])
    for k, first in zip(moving, ends, strict=False):
        if first < number <= first + xs[k].size:
            yield k, _index(number - 1 - first, xs[k].shape)


def _regions(node: Node, xs: Sequence[Array], index: Index) -> list[tuple[Any, ...]] | None:
    """The part of each operand that the element is computed from; None if it is not known."""
    op, params = node.op, node.params
    if op in _ALONG_AXES:
        axes = params["axis"]
        return [tuple(slice(None) if k in axes else slice(i, i + 1) for k, i in enumerate(index))]
    if op in _RUNNING:
        axis = params["axis"]
        until = tuple(slice(0 if k == axis else i, i + 1) for k, i in enumerate(index))
        return [until] * len(xs)
    if op is ops.matmul:
        *batch, row, column = (slice(i, i + 1) for i in index)
        return [(*batch, row, slice(None)), (*batch, slice(None), column)]
    if op is ops.standardise:
        axes = params["axis"]
        part = tuple(slice(None) if k in axes else slice(i, i + 1) for k, i in enumerate(index))
        one = tuple(slice(0, 1) if k in axes else slice(i, i + 1) for k, i in enumerate(index))
        return [part, one][: len(xs)]
    if op is ops.convolution and set(params["input_dilation"]) == {1}:
        return _window(node, xs, index)
    if op is ops.convolution_weight:  # of all positions, of one channel each
        inside, outside = node.shape[-2:]
        group = index[-1] // (outside // params["groups"])
        channel = group * inside + index[-2]
        return [(..., slice(channel, channel + 1)), (..., slice(index[-1], index[-1] + 1))]
    return None


def _window(node: Node, xs: Sequence[Array], index: Index) -> list[tuple[Any, ...]]:
    """What one element of a convolution reads: a window of x, and the kernel of its channel."""
    (row, *places, channel), (x, w), params = index, xs, node.params
    reads = []
    for k, place in enumerate(places):
        first = place * params["stride"][k] - params["padding"][k][0]
        by = params["kernel_dilation"][k]
        end = min(x.shape[k + 1], first + (w.shape[k] - 1) * by + 1)
        reads.append(slice(first + by * max(0, -(first // by)), max(0, end), by))
    inside = w.shape[-2]
    group = channel // (w.shape[-1] // params["groups"])
    channels = slice(group * inside, (group + 1) * inside)
    return [(slice(row, row + 1), *reads, channels), (..., slice(channel, channel + 1))]


_BY_SAMPLE = {
    ops.convolution: 1,
    ops.max_pool: 1,
    ops.fold: 1,
    ops.attention: None,
    ops.attention_derivative: None,
}  # operations on each row of the first axis by itself; the operands that have it (None: all)


def _of_sample(node: Node, xs: Sequence[Array], index: Index) -> tuple[list[Array], int]:
    """The operands of one row, if the operation works row by row; and its number, else 0."""
    if node.op not in _BY_SAMPLE or not index:
        return [*xs], 0
    row, count = index[0], _BY_SAMPLE[node.op]
    rows = slice(0, count)
    cut = [x[row : row + 1] if x.ndim and x.shape[0] > 1 else x for x in xs[rows]]
    return [*cut, *xs[len(cut) :]], row


def _in_regions(
    xs: Sequence[Array], regions: Sequence[tuple[Any, ...]], is_nan: bool
) -> Iterator[Source]:
    """Of each operand's part some NaN, if the result is NaN and there are, else some infinities."""
    for k, (x, region) in enumerate(zip(xs, regions, strict=True)):
        part = wide(x[region])
        bad = nonfinite(part)
        if is_nan and np.isnan(part).any():
            bad = np.isnan(part)
        at = np.flatnonzero(bad)
        for flat in at[:: max(1, at.size // SOME)]:
            yield k, _moved_by(region, _index(int(flat), part.shape))


def _moved_by(region: tuple[Any, ...], inner: Index) -> Index:
    """The index in the whole of an element of a region."""
    slices = [*region]
    if ... in slices:
        at = slices.index(...)
        slices[at : at + 1] = [slice(None)] * (len(inner) - len(region) + 1)
    return tuple((s.start or 0) + i * (s.step or 1) for s, i in zip(slices, inner, strict=True))


def _by_trial(node: Node, xs: Sequence[Array], index: Index, item: int) -> list[Source]:
    """By computing it with some of the elements replaced by 0, halving their number."""
    assert node.op is not None
    evaluate, params = node.op.evaluate, node.params
    cut, row = _of_sample(node, xs, index)
    at = (0, *index[1:]) if node.op in _BY_SAMPLE else index
    bad = [np.flatnonzero(nonfinite(x)) for x in cut]
    ends = [0, *itertools.accumulate(len(b) for b in bad)]

    def breaks(count: int) -> bool:
        """Whether the first elements alone make the result NaN or infinite."""
        tried = [*cut]
        for k, first in enumerate(ends[:-1]):
            dropped = bad[k][max(0, count - first) :]
            if len(dropped):
                tried[k] = cut[k].copy()
                tried[k].reshape(-1)[dropped] = 0
        with np.errstate(all="ignore"):
            out = evaluate(*tried, **params)
        return bool(nonfinite((out[item] if isinstance(out, tuple) else np.asarray(out))[at]).any())

    if breaks(0):
        return []
    low, high = 0, ends[-1]  # the first `low` do not break it, the first `high` do
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if breaks(middle) else (middle, high)
    k = next(k for k, end in enumerate(ends[1:]) if high <= end)
    inner = _index(int(bad[k][high - 1 - ends[k]]), cut[k].shape)
    moved = row if cut[k].shape != xs[k].shape else 0
    return [(k, (inner[0] + moved, *inner[1:]) if inner else inner)]


def operands(node: Node, xs: Sequence[Array], index: Index) -> list[tuple[int, Index]]:
    """The elements of finite operands to blame: at the same index, else the largest of the part."""
    if node.op in ops.POINTWISE:
        return [(k, index) for k, x in enumerate(xs) if is_floating(x.dtype)]
    regions = _regions(node, xs, index)
    if regions is None:
        cut, row = _of_sample(node, xs, index)
        regions = [
            (slice(row, row + 1) if c.shape != x.shape else slice(None), ...) if x.ndim else ()
            for c, x in zip(cut, xs, strict=True)
        ]
    out = []
    for k, (x, region) in enumerate(zip(xs, regions, strict=True)):
        part = x[region]
        if is_floating(x.dtype) and math.prod(part.shape):
            inner = _index(int(np.argmax(np.abs(wide(part)))), part.shape)
            out.append((k, _moved_by(region, inner)))
    return out
