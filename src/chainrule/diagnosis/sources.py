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

_MOVES = {
    ops.alias,
    ops.stop_gradient,
    ops.broadcast_to,
    ops.reshape,
    ops.permute_dims,
    ops.slice,
    ops.pad,
    ops.concat,
    ops.flip,
    ops.take,
    ops.put_rows,
    ops.unfold,
}
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


def sources(node: Node, xs: Sequence[Array], index: Index, item: int = 0) -> list[Source]:
    """The elements of operands that make this element of the result NaN or infinite, some of them.

    Empty if all elements that it is computed from are finite: then it is the first.

    item   which result, of an operation with several
    """
    op = node.op
    assert op is not None
    if not any(first_nonfinite_element(x) is not None for x in xs):
        return []
    if op in ops.POINTWISE:
        return [*_pointwise(op, xs, index)]
    if op in _MOVES:
        return [*_moved(node, xs, index)]
    regions = _regions(node, xs, index)
    if regions is None:
        return _by_trial(node, xs, index, item)
    return [*_in_regions(xs, regions, _result(node, xs, item)[index])]


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
    return None


def _in_regions(
    xs: Sequence[Array], regions: Sequence[tuple[Any, ...]], result: Any
) -> Iterator[Source]:
    """Of each operand's part some NaN, if the result is NaN and there are, else some infinities."""
    for k, (x, region) in enumerate(zip(xs, regions, strict=True)):
        part = wide(x[region])
        bad = nonfinite(part)
        if np.isnan(float(result)) and np.isnan(part).any():
            bad = np.isnan(part)
        at = np.flatnonzero(bad)
        starts = [s.start or 0 for s in region]
        for flat in at[:: max(1, at.size // SOME)]:
            inner = _index(int(flat), part.shape)
            yield k, tuple(a + b for a, b in zip(starts, inner, strict=True))


def _result(node: Node, xs: Sequence[Array], item: int) -> Any:
    assert node.op is not None
    with np.errstate(all="ignore"):
        out = node.op.evaluate(*xs, **node.params)
    return out[item] if isinstance(out, tuple) else np.asarray(out)


def _by_trial(node: Node, xs: Sequence[Array], index: Index, item: int) -> list[Source]:
    """By computing it with some of the elements replaced by 0, halving their number."""
    bad = [(k, int(f)) for k, x in enumerate(xs) for f in np.flatnonzero(nonfinite(x))]

    def breaks(count: int) -> bool:
        """Whether the first elements alone make the result NaN or infinite."""
        tried = [x.copy() if is_floating(x.dtype) else x for x in xs]
        for k, flat in bad[count:]:
            tried[k].reshape(-1)[flat] = 0
        return bool(nonfinite(_result(node, tried, item)[index]).any())

    if breaks(0):
        return []
    low, high = 0, len(bad)  # the first `low` do not break it, the first `high` do
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if breaks(middle) else (middle, high)
    k, flat = bad[high - 1]
    return [(k, _index(flat, xs[k].shape))]


def operands(node: Node, xs: Sequence[Array], index: Index) -> list[tuple[int, Index]]:
    """The elements of finite operands to blame: at the same index, else the largest of the part."""
    if node.op in ops.POINTWISE:
        return [(k, index) for k, x in enumerate(xs) if is_floating(x.dtype)]
    regions = _regions(node, xs, index) or [(slice(None),) * x.ndim for x in xs]
    out = []
    for k, (x, region) in enumerate(zip(xs, regions, strict=True)):
        part = x[region]
        if is_floating(x.dtype) and math.prod(part.shape):
            inner = _index(int(np.argmax(np.abs(wide(part)))), part.shape)
            starts = [s.start or 0 for s in region]
            out.append((k, tuple(a + b for a, b in zip(starts, inner, strict=True))))
    return out
