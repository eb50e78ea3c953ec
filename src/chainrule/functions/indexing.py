"""Reading and assigning parts of a tensor.

Everything comes down to three operations: `slice` (basic indexing), `take` along one axis (index
arrays, several of which are joined to one), and, to assign, `where` with what was put in place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import cast, common_shape, expand
from ..dtypes import bool_, int64, is_exact, is_floating, is_integer
from ..errors import (
    ArgumentError,
    AxisError,
    ChainruleError,
    DtypeError,
    RangeError,
    ShapeError,
    TraceError,
    user_line,
)
from ..graph import Shape, spec_text
from ..hints import explain_arguments
from ..sparse import add_up
from ..tensor import Tensor, as_tensor, full, make
from . import axes as _axes
from .elementwise import own
from .shaping import flip, permute_dims, reshape

Key = Any


def getitem(x: Tensor, key: Key) -> Tensor:
    """x[key]: integers, slices, ..., None, integer and bool arrays, as in NumPy."""
    basic, arrays, together = _basic(x, _entries(x, key))
    part = _sliced(x, basic)
    return _gathered(part, arrays, together) if arrays else own(part, x)


def updated(x: Tensor, key: Key, value: Any) -> Tensor:
    """x with x[key] = value. Where an element is named twice the last one stays."""
    if is_exact(x.dtype) and not isinstance(value, (int, np.integer)):
        given = as_tensor(value)
        if is_floating(given.dtype) and given.size:
            raise DtypeError(
                "assign",
                f"got {spec_text(given)} for a part of {spec_text(x)}",
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
    entries = _entries(x, key)
    if not any(type(e) is Tensor for e in entries):
        return _patched(x, entries, value)
    arrays = [k for k, e in enumerate(entries) if type(e) is Tensor]
    if len(arrays) == 1 and all(e is entries[arrays[0]] or _whole(e) for e in entries):
        index = entries[arrays[0]]
        if is_integer(index.dtype):
            return _put(x, arrays[0], index, value)
    places = getitem(make(np.arange(x.size).reshape(x.shape)), key)
    value = _fitted(value, places.shape)
    if not places.size:
        return x
    value = reshape(value, (places.size,))
    last = ops.last_position(reshape(places, (places.size,)), size=x.size)
    put = ops.take(value, ops.where(last < 0, 0, last), axis=0)
    kept = ops.where(last < 0, reshape(x, (x.size,)), put)
    return reshape(kept, x.shape)


def _whole(entry: Any) -> bool:
    return isinstance(entry, slice) and entry == slice(None)


def _put(x: Tensor, axis: int, index: Tensor, value: Tensor) -> Tensor:
    """Whole slices along one axis assigned: for each place the last value that names it, or x."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    value = _fitted(value, (*before, *index.shape, *after))
    n, size = index.size, x.shape[axis]
    if not n:
        return x
    rows = reshape(value, (*before, n, *after))
    last = ops.last_position(reshape(index, (n,)), size=size)
    missing = last < 0
    put = ops.take(rows, ops.where(missing, 0, last), axis=axis)
    kept = reshape(missing, (*(1,) * axis, size, *(1,) * len(after)))
    return ops.where(expand(kept, x.shape), x, put)


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
    start, stop, step, flips, shape = _bounds(x, entries)
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
    chosen = ops.pad(full(sizes, True, bool_), **where_to)
    return ops.where(chosen, ops.pad(value, **where_to), x)


def _entries(x: Tensor, key: Key) -> list[Any]:
    """The key as a full list of one entry an axis, plus None for new axes."""
    entries: list[Any] = []
    for k in key if isinstance(key, tuple) else (key,):
        if k is None or k is Ellipsis or isinstance(k, slice):
            entries.append(k)
        elif isinstance(k, (bool, np.bool_)):
            entries.append(Tensor(bool(k)))
        elif isinstance(k, (Tensor, np.ndarray, list)):
            entries.append(
                as_tensor(k) if not (isinstance(k, list) and not k) else Tensor([], dtype=int64)
            )
        else:
            try:
                entries.append(k.__index__())
            except (AttributeError, TypeError):
                raise DtypeError(
                    "index",
                    f"got {type(k).__name__}",
                    "expected a whole number, slice, ..., None or an integer or bool array",
                    "convert it with int()",
                    user_line(),
                ) from None
    used = sum(
        0 if e is None or e is Ellipsis else e.ndim if type(e) is Tensor and e.dtype == bool_ else 1
        for e in entries
    )
    dots = [k for k, e in enumerate(entries) if e is Ellipsis]
    if used > x.ndim or len(dots) > 1:
        raise RangeError(
            "index",
            f"got {used} indices for {spec_text(x)}",
            f"expected at most {x.ndim} and one ...",
            "index fewer axes",
            user_line(),
        )
    at = dots[0] if dots else len(entries)
    rest: list[Any] = [slice(None)] * (x.ndim - used)
    if dots and not rest and any(type(e) is Tensor for e in entries):
        rest = [Ellipsis]  # even where it stands for no axis it keeps index arrays apart
    return entries[:at] + rest + entries[at + 1 :]


def _basic(x: Tensor, entries: list[Any]) -> tuple[list[Any], list[Any], bool]:
    """Split into a basic index (whole slices where arrays stand) and the arrays by place.

    And whether the arrays stand next to each other: then the axes they make stand there too.
    Bool arrays become the positions of their true elements, which must be known.
    """
    basic: list[Any] = []
    arrays: list[Any] = []
    axis = 0
    advanced = any(type(e) is Tensor for e in entries)
    for e in entries:
        if type(e) is Tensor and e.dtype == bool_:
            sizes = x.shape[axis : axis + e.ndim]
            if any(n not in (m, 0) for n, m in zip(e.shape, sizes, strict=True)):
                raise AxisError(
                    "index",
                    f"got a mask {spec_text(e)} for {spec_text(x)}",
                    f"expected a mask of shape {sizes}",
                    "put the mask at the axes whose sizes it has",
                    user_line(),
                )
            if e._value is None:
                raise TraceError(
                    "index",
                    "got a traced mask",
                    "expected a mask whose values, and so the size of the result, are known",
                    "use cr.where(mask, x, 0) and reduce, or index outside the compiled step",
                    user_line(),
                )
            mask = e._concrete("index")
            found = np.nonzero(mask) if e.ndim else (np.arange(int(mask)),)
            if not e.ndim:
                basic.append(None)
            else:
                basic.extend([slice(None)] * e.ndim)
            arrays.extend(make(f) for f in found)
            axis += e.ndim
        elif e is Ellipsis:
            continue
        elif type(e) is Tensor:
            basic.append(slice(None))
            arrays.append(e)
            axis += 1
        elif e is None:
            basic.append(None)
            arrays.append(None)
        elif isinstance(e, slice) or not advanced:
            basic.append(e)
            arrays.append(None)
            axis += 1
        else:  # an integer beside arrays takes part in their broadcasting
            _in_range(e, x.shape[axis])
            basic.append(slice(None))
            arrays.append(Tensor(e, dtype=int64))
            axis += 1
    places = [k for k, e in enumerate(entries) if type(e) is Tensor or isinstance(e, int)]
    together = places == list(range(places[0], places[-1] + 1)) if advanced else True
    return basic, arrays if advanced else [], together


def _in_range(k: int, n: int) -> int:
    if not -n <= k < n:
        raise RangeError(
            "index",
            f"got {k} for an axis of size {n}",
            f"expected {-n} to {n - 1}" if n else "expected a non-empty axis",
            "check the loop's bounds",
            user_line(),
        )
    return k + n if k < 0 else k


def _ends(part: slice, n: int) -> tuple[int, int, int]:
    try:
        return part.indices(n)
    except (TypeError, ValueError) as error:
        if isinstance(error, ChainruleError):  # of a tensor that is no whole number
            raise
        given = (part.start, part.stop, part.step)
        raise ArgumentError(
            "index",
            f"got a slice from {given[0]!r} to {given[1]!r} with step {given[2]!r}",
            "expected whole numbers, and a step other than 0",
            "x[::1] takes all",
            user_line(),
        ) from None


def _bounds(x: Tensor, basic: list[Any]) -> tuple[Shape, Shape, Shape, Shape, Shape]:
    """start, stop and step (above 0) for every axis, the axes to turn round, the part's shape."""
    start, stop, step, flips = [], [], [], []
    shape: list[int] = []
    axis = 0
    for e in basic:
        if e is None:
            shape.append(1)
            continue
        n = x.shape[axis]
        if isinstance(e, slice):
            a, b, k = _ends(e, n)
            count = len(range(a, b, k))
            if k < 0:  # the same elements upwards, then turned round
                flips.append(axis)
                a, b, k = a + (count - 1) * k, a + 1, -k
            if not count:
                a = b = 0
            shape.append(count)
        else:
            a = _in_range(e, n)
            b, k = a + 1, 1
        start.append(a)
        stop.append(b)
        step.append(k)
        axis += 1
    return tuple(start), tuple(stop), tuple(step), tuple(flips), tuple(shape)


def _sliced(x: Tensor, basic: list[Any]) -> Tensor:
    """Integers, slices and new axes: one slice operation, a flip for negative steps, a reshape."""
    start, stop, step, flips, shape = _bounds(x, basic)
    whole = zip(x.shape, start, stop, step, strict=True)
    if any(a or b != n or k != 1 for n, a, b, k in whole):
        x = ops.slice(x, start=start, stop=stop, step=step)
    if flips:
        x = flip(x, axis=flips)
    return x if x.shape == shape else reshape(x, shape)


def _gathered(x: Tensor, arrays: list[Any], together: bool) -> Tensor:
    """Index arrays: their axes moved together and joined, then one take."""
    where = [k for k, a in enumerate(arrays) if a is not None]
    given = [arrays[k] for k in where]
    for a in given:
        if not is_integer(a.dtype):
            raise DtypeError(
                "index",
                f"got indices {spec_text(a)}",
                "expected an integer or bool dtype",
                "convert with astype(indices, int64)",
                user_line(),
            )
    if len(where) == 1:
        return ops.take(x, given[0], axis=where[0])
    rest = [k for k in range(x.ndim) if k not in where]
    front = where[0] if together else 0
    order = rest[:front] + where + rest[front:]
    sizes = [x.shape[k] for k in where]
    moved = permute_dims(x, order)
    joined = (*moved.shape[:front], math.prod(sizes), *moved.shape[front + len(where) :])
    return ops.take(reshape(moved, joined), join_indices(given, sizes), axis=front)


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
    return ops.take(x, indices, axis=_axes.one("take", axis, x.ndim))


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

    There it has the elements of x that come first; nothing broadcasts.
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
    """The positions of the elements that are not 0, one tensor an axis."""
    x = as_tensor(x)
    if not x.shape:
        raise ShapeError("nonzero", "got a scalar", "expected an axis", "use bool(x)", user_line())
    return tuple(make(found) for found in np.nonzero(x._concrete("nonzero", leaves=False)))
