"""The key of `x[key]`: as one entry per axis, then as bounds and index arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import bool_, int64
from ..errors import (
    ArgumentError,
    AxisError,
    ChainruleError,
    DtypeError,
    RangeError,
    TraceError,
    user_line,
)
from ..graph import Shape, spec_text
from ..tensor import Tensor, as_tensor, make

Key = Any


def is_whole(entry: Any) -> bool:
    """Whether the entry takes a whole axis."""
    return isinstance(entry, slice) and entry == slice(None)


def entries_of(x: Tensor, key: Key) -> list[Any]:
    """The key as a full list of one entry per axis, plus None for new axes."""
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


def basic_and_arrays(x: Tensor, entries: list[Any]) -> tuple[list[Any], list[Any], bool]:
    """A basic index (whole slices in place of arrays), the arrays by place, and together.

    together   whether the arrays are adjacent: then the axes that they make are there too
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
            positions = np.nonzero(mask) if e.ndim else (np.arange(int(mask)),)
            if not e.ndim:
                basic.append(None)
            else:
                basic.extend([slice(None)] * e.ndim)
            arrays.extend(make(p) for p in positions)
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
        if isinstance(error, ChainruleError):  # of a tensor that is not an integer
            raise
        ends = (part.start, part.stop, part.step)
        raise ArgumentError(
            "index",
            f"got a slice from {ends[0]!r} to {ends[1]!r} with step {ends[2]!r}",
            "expected whole numbers, and a step other than 0",
            "x[::1] takes all",
            user_line(),
        ) from None


def bounds(x: Tensor, basic: list[Any]) -> tuple[Shape, Shape, Shape, Shape, Shape]:
    """start, stop and step (above 0) for every axis, the axes to flip, the part's shape."""
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
            if k < 0:  # the same elements upwards, then flipped
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
