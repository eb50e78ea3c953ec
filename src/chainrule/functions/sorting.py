"""Order, sets and search."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import numerics, ops
from ..broadcasting import cast
from ..convert import promote
from ..dtypes import bool_, int64, uint8
from ..errors import ArgumentError, ShapeError
from ..graph import spec_text
from ..hints import explain_arguments
from ..tensor import Tensor, as_tensor, constant, make
from . import axes as _axes
from .elementwise import minimum, pair, where
from .indexing import take, take_along_axis
from .shaping import reshape


@explain_arguments
def argsort(x: Any, /, axis: int = -1, descending: bool = False, *, stable: bool = True) -> Tensor:
    """The positions that put x in order along the axis; always stable."""
    x, descending = as_tensor(x), _axes.flag("sort", "descending", descending)
    return ops.argsort(x, axis=_axes.one("argsort", axis, x.ndim), descending=descending)


@explain_arguments
def sort(x: Any, /, axis: int = -1, descending: bool = False, *, stable: bool = True) -> Tensor:
    """x in order along the axis; each gradient goes back to where its element came from."""
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


@explain_arguments
def top_k(x: Any, k: int, /, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) along the axis, in order, and their positions."""
    x = as_tensor(x)
    axis, k = _axes.one("top_k", axis, x.ndim), _axes.count("top_k", k)
    if k > x.shape[axis]:
        raise ShapeError(
            "top_k",
            f"got k {k} for a size of {x.shape[axis]}",
            f"expected at most {x.shape[axis]}",
            f"pass k={x.shape[axis]} for all",
        )
    order = argsort(x, axis=axis, descending=_axes.flag("top_k", "largest", largest))
    at = order[(*(slice(None),) * axis, slice(0, k))]
    return take_along_axis(x, at, axis=axis), at


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Where each v of x2 would go in the ordered vector x1 to keep it ordered, NaN last.

    That is the number of elements < v (side="left") or <= v (side="right"), by bisection.
    `sorter` puts x1 in order if it is not.
    """
    if side not in ("left", "right"):
        raise ArgumentError(
            "searchsorted", f"got side {side!r}", "expected left or right", 'leave it out: "left"'
        )
    x1, x2 = pair(x1, x2)
    if x1.ndim != 1:
        raise ShapeError(
            "searchsorted", f"got {spec_text(x1)}", "expected one axis", "flatten and sort it"
        )
    dtype = promote(x1.dtype, x2.dtype)
    dtype = uint8 if dtype == bool_ else dtype
    row = cast(x1 if sorter is None else take(x1, sorter), dtype)
    v, n = cast(x2, dtype), row.shape[0]
    low, high = constant(v.shape, 0, int64), constant(v.shape, n, int64)
    for _ in range(n.bit_length()):
        middle = (low + high) // 2
        at = take(row, minimum(middle, n - 1))
        before = _precedes(at, v) if side == "left" else ~_precedes(v, at)
        unsure = low < high
        low = where(unsure & before, middle + 1, low)
        high = where(unsure & ~before, middle, high)
    return low


def _precedes(a: Tensor, b: Tensor) -> Tensor:
    """Whether a comes before b in order, where NaN comes after every number."""
    return (a < b) | ((a == a) & (b != b))


class UniqueAll(NamedTuple):
    """Distinct values, where each first is, where each element's is, and its count."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Distinct values and how often each occurs."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Distinct values and, for each element, which of them it is."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Any, /) -> UniqueAll:
    """Distinct values in order (each NaN is distinct), with positions, inverse and counts."""
    value = as_tensor(x)._concrete("unique_all")
    values, first, inverse, counts = np.unique(
        numerics.ordered(value),
        return_index=True,
        return_inverse=True,
        return_counts=True,
        equal_nan=False,
    )
    values, inverse = values.astype(value.dtype), inverse.reshape(value.shape)
    return UniqueAll(make(values), make(first), make(inverse), make(counts))


def unique_counts(x: Any, /) -> UniqueCounts:
    """Distinct values in order and how often each occurs."""
    unique = unique_all(x)
    return UniqueCounts(unique.values, unique.counts)


def unique_inverse(x: Any, /) -> UniqueInverse:
    """Distinct values in order and, for each element, which of them it is."""
    unique = unique_all(x)
    return UniqueInverse(unique.values, unique.inverse_indices)


def unique_values(x: Any, /) -> Tensor:
    """Distinct values in order."""
    return unique_all(x).values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Tensor:
    """For each element of x1 whether it is one of x2's."""
    x1, x2 = pair(x1, x2)
    if not x2.size:
        return constant(x1.shape, invert, bool_)
    row = sort(reshape(x2, (x2.size,)))
    matches = take(row, minimum(searchsorted(row, x1), x2.size - 1)) == x1
    return ~matches if invert else matches
