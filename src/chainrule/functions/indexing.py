"""Reading and assigning parts of a tensor.

There are four operations: `slice` (basic indexing) and `take` along one axis (several index arrays
are joined into one); to assign, `where` with the assigned values, and `put_rows` (index arrays).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import cast, common_shape, expand
from ..dtypes import bool_, is_exact, is_floating, is_integer
from ..errors import (
    DtypeError,
    ShapeError,
    user_line,
)
from ..graph import Shape, spec_text
from ..hints import explain_arguments
from ..sparse import READERS, add_up
from ..tensor import Tensor, as_tensor, constant, make
from . import axes as _axes
from .elementwise import own
from .keys import Key, basic_and_arrays, bounds, entries_of, is_whole
from .shaping import flip, permute_dims, reshape


def getitem(x: Tensor, key: Key) -> Tensor:
    """x[key]: integers, slices, ..., None, integer and bool arrays, as in NumPy."""
    basic, arrays, together = basic_and_arrays(x, entries_of(x, key))
    part = _sliced(x, basic)
    return _gathered(part, arrays, together) if arrays else own(part, x)


def updated(x: Tensor, key: Key, value: Any) -> Tensor:
    """x with x[key] = value. Where an element is named twice the last one stays."""
    if is_exact(x.dtype) and not isinstance(value, (int, np.integer)):
        source = as_tensor(value)
        if is_floating(source.dtype) and source.size:
            raise DtypeError(
                "assign",
                f"got {spec_text(source)} for a part of {spec_text(x)}",
                "expected a value of the same kind",
                "convert one with astype, or round it",
                user_line(),
            )
    if type(value) is not Tensor:
        value = Tensor(value, dtype=x.dtype)
    value = cast(value, x.dtype)
    masked = type(key) is Tensor and key.dtype == bool_ and key.shape == x.shape
    if masked and not value.ndim:
        return ops.where(key, expand(value, x.shape), x)
    entries = entries_of(x, key)
    if not any(type(e) is Tensor for e in entries):
        return _patched(x, entries, value)
    arrays = [k for k, e in enumerate(entries) if type(e) is Tensor]
    if len(arrays) == 1 and all(e is entries[arrays[0]] or is_whole(e) for e in entries):
        index = entries[arrays[0]]
        if is_integer(index.dtype):
            return _put(x, arrays[0], index, value)
    places = getitem(make(np.arange(x.size).reshape(x.shape)), key)
    value = _fitted(value, places.shape)
    if not places.size:
        return x
    places, value = (reshape(t, (places.size,)) for t in (places, value))
    return reshape(ops.put_rows(reshape(x, (x.size,)), places, value), x.shape)


def _put(x: Tensor, axis: int, index: Tensor, value: Tensor) -> Tensor:
    """Whole slices along one axis assigned; where one is named twice the last value stays."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    value = _fitted(value, (*before, *index.shape, *after))
    rows = ops.checked_index(reshape(index, (index.size,)), size=x.shape[axis])
    value = reshape(value, (*before, index.size, *after))
    if not axis:
        return ops.put_rows(x, rows, value)
    first = (axis, *(a for a in range(x.ndim) if a != axis))
    moved = ops.put_rows(permute_dims(x, first), rows, permute_dims(value, first))
    return permute_dims(moved, tuple(first.index(a) for a in range(x.ndim)))


def _fitted(value: Tensor, shape: Shape) -> Tensor:
    if common_shape("assign", value.shape, shape) != shape:
        raise ShapeError(
            "assign",
            f"got {spec_text(value)} for a part of shape {shape}",
            "expected a value that broadcasts to the part",
            "check the key, or reshape the value",
            user_line(),
        )
    return expand(value, shape)


def _patched(x: Tensor, entries: list[Any], value: Tensor) -> Tensor:
    """Basic indexing assigned: the value padded to x's shape, chosen where the key points."""
    start, stop, step, flips, shape = bounds(x, entries)
    value = _fitted(value, shape)
    sizes = tuple(len(range(a, b, k)) for a, b, k in zip(start, stop, step, strict=True))
    if 0 in sizes:
        return x
    value = reshape(value, sizes)
    if flips:
        value = flip(value, axis=flips)
    if sizes == x.shape:
        return value.clone()
    last = [a + (n - 1) * k + 1 for a, n, k in zip(start, sizes, step, strict=True)]
    high = tuple(n - b for n, b in zip(x.shape, last, strict=True))
    where_to = {"low": start, "high": high, "interior": tuple(k - 1 for k in step)}
    chosen = ops.pad(constant(sizes, True, bool_), **where_to)
    return ops.where(chosen, ops.pad(value, **where_to), x)


def _sliced(x: Tensor, basic: list[Any]) -> Tensor:
    """Integers, slices and new axes: one slice operation, a flip for negative steps, a reshape."""
    start, stop, step, flips, shape = bounds(x, basic)
    whole = zip(x.shape, start, stop, step, strict=True)
    if any(a or b != n or k != 1 for n, a, b, k in whole):
        x = ops.slice(x, start=start, stop=stop, step=step)
    if flips:
        x = flip(x, axis=flips)
    return x if x.shape == shape else reshape(x, shape)


def _gathered(x: Tensor, arrays: list[Any], together: bool) -> Tensor:
    """Index arrays: their axes moved together and joined, then one take."""
    where = [k for k, a in enumerate(arrays) if a is not None]
    indices = [arrays[k] for k in where]
    for a in indices:
        if not is_integer(a.dtype):
            raise DtypeError(
                "index",
                f"got indices {spec_text(a)}",
                "expected an integer or bool dtype",
                "convert with astype(indices, int64)",
                user_line(),
            )
    if len(where) == 1:
        return _taken(x, indices[0], where[0])
    rest = [k for k in range(x.ndim) if k not in where]
    front = where[0] if together else 0
    order = rest[:front] + where + rest[front:]
    sizes = [x.shape[k] for k in where]
    moved = permute_dims(x, order)
    joined = (*moved.shape[:front], math.prod(sizes), *moved.shape[front + len(where) :])
    return ops.take(reshape(moved, joined), join_indices(indices, sizes), axis=front)


def join_indices(indices: list[Tensor], sizes: list[int]) -> Tensor:
    """Index arrays for several axes, each checked, as one for the axes joined."""
    shape = common_shape("index", *(a.shape for a in indices))
    flat: Tensor | None = None
    for index, n in zip(indices, sizes, strict=True):
        upward = expand(ops.checked_index(index, size=n), shape)
        flat = upward if flat is None else flat * n + upward
    assert flat is not None
    return flat


@explain_arguments
def take(x: Any, indices: Any, /, axis: int | None = None) -> Tensor:
    """The slices at `indices` along an axis; an index array of any shape takes the axis' place."""
    x, indices = as_tensor(x), as_tensor(indices)
    if axis is None:
        x, axis = (x, 0) if x.ndim == 1 else (reshape(x, (x.size,)), 0)
    return _taken(x, indices, _axes.one("take", axis, x.ndim))


def _taken(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """The slices; of a table that an optimizer brings up to date row by row, as they are by now."""
    taken = ops.take(x, indices, axis=axis)
    if READERS and not axis and (read := READERS.get(id(x))) is not None:
        now = read(x, indices)
        return taken + (now - taken.detach()) if now is not None else taken
    return taken


@explain_arguments
def take_along_axis(x: Any, indices: Any, /, axis: int = -1) -> Tensor:
    """For each place the element that `indices` names along the axis; other axes broadcast."""
    x, indices = as_tensor(x), as_tensor(indices)
    axis = _axes.one("take_along_axis", axis, x.ndim)
    if indices.ndim != x.ndim:
        raise ShapeError(
            "take_along_axis",
            f"got {spec_text(indices)} for {spec_text(x)}",
            f"expected {x.ndim} axes, like x",
            "expand_dims the indices",
            user_line(),
        )
    rest = common_shape(
        "take_along_axis",
        (*x.shape[:axis], 1, *x.shape[axis + 1 :]),
        (*indices.shape[:axis], 1, *indices.shape[axis + 1 :]),
    )
    n, m = x.shape[axis], indices.shape[axis]
    x = expand(x, (*rest[:axis], n, *rest[axis + 1 :]))
    indices = expand(indices, (*rest[:axis], m, *rest[axis + 1 :]))
    grid: list[Tensor] = []
    for k, size in enumerate(indices.shape):
        line = np.arange(size).reshape([size if j == k else 1 for j in range(x.ndim)])
        grid.append(indices if k == axis else make(line))
    flat = join_indices(grid, list(x.shape))
    return ops.take(reshape(x, (x.size,)), flat, axis=0)


@explain_arguments
def scatter_add(updates: Any, indices: Any, /, *, size: int, axis: int = 0) -> Tensor:
    """Zeros of `size` along the axis, with each update added at its index: the adjoint of take."""
    updates, indices = as_tensor(updates), as_tensor(indices)
    axis = _axes.one("scatter_add", axis, updates.ndim - indices.ndim + 1)
    size = _axes.count("scatter_add", size)
    result: Tensor = add_up(updates, indices, axis=axis, size=size)
    return result


def gather(x: Any, dim: int, index: Any) -> Tensor:
    """PyTorch's `gather`: `take_along_axis` for an index that may be smaller on the other axes.

    On those axes it takes the first elements of x; nothing broadcasts.
    """
    x, index = as_tensor(x), as_tensor(index)
    axis = _axes.one("gather", dim, x.ndim)
    others = [k for k in range(x.ndim) if k != axis]
    if index.ndim != x.ndim or any(index.shape[k] > x.shape[k] for k in others):
        raise ShapeError(
            "gather",
            f"got the index {spec_text(index)} for {spec_text(x)}",
            f"expected {x.ndim} axes, and no size above x's except on axis {axis}",
            "slice the index, or use take_along_axis, where sizes of 1 repeat",
            user_line(),
        )
    part = tuple(slice(None) if k == axis else slice(n) for k, n in enumerate(index.shape))
    return take_along_axis(getitem(x, part), index, axis=axis)


def nonzero(x: Any, /) -> tuple[Tensor, ...]:
    """The positions of the elements that are not 0, one tensor per axis."""
    x = as_tensor(x)
    if not x.shape:
        raise ShapeError("nonzero", "got a scalar", "expected an axis", "use bool(x)", user_line())
    return tuple(make(places) for places in np.nonzero(x._concrete("nonzero", leaves=False)))
