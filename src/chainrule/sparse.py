"""Row-sparse gradients: the gradient of a table from which a step reads only some rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import ops
from .dtypes import float64, int64, is_floating, uint8, uint16, uint32
from .graph import Dtype, Shape
from .sums import FEW

_ROW_DTYPES = (uint8, uint16, uint32, int64)  # sorting takes a pass per byte


# By the identity of a table whose rows are not up to date until they are read: from a table and
# indices to the rows as they should be.
READERS: dict[int, Callable[[Any, Any], Any]] = {}


def add_up(values: Any, indices: Any, axis: int, size: int) -> Any:
    """Zeros of `size` along the axis, with each value added at its index.

    More than FEW floats are added in float64: all may go to one place.
    """
    dtype = values.dtype
    if not is_floating(dtype) or dtype == float64 or math.prod(indices.shape) <= FEW:
        return ops.scatter_add(values, indices, axis=axis, size=size)
    wide = ops.astype(values, dtype=float64)
    return ops.astype(ops.scatter_add(wide, indices, axis=axis, size=size), dtype=dtype)


class RowSparse:
    """A tensor of `shape` that is zero except in the rows `indices`, where `values` are added.

    indices (n,) integers, possibly repeated; values (n, *shape[1:]).
    """

    __slots__ = ("indices", "shape", "values")

    def __init__(self, indices: Any, values: Any, shape: Shape) -> None:
        self.indices, self.values, self.shape = indices, values, shape

    @property
    def dtype(self) -> Dtype:
        dtype: Dtype = self.values.dtype
        return dtype

    def to_dense(self) -> Any:
        """The same as an ordinary tensor; repeated rows add up."""
        return add_up(self.values, self.indices, axis=0, size=self.shape[0])

    def by_row(self) -> tuple[Any, Any, Any, Any]:
        """The entries in the order of their rows: that order, the rows from 0, their sums, and
        which end their row.

        A sum is that of the row's entries so far, in their order here: the one at the end has all.
        Nothing in it is as large as the whole.
        """
        (n,), size = self.indices.shape, self.shape[0]
        indices = ops.checked_index(self.indices, size=size)
        narrow = next(d for d in _ROW_DTYPES if d is int64 or size <= 1 << 8 * d.itemsize)
        order = ops.argsort(ops.astype(indices, dtype=narrow), axis=0, descending=False)
        rows = ops.take(indices, order, axis=0)
        sums = ops.cumulative_sum_by_key(ops.take(self.values, order, axis=0), rows, axis=0)
        later = ops.slice(rows, start=(min(n, 1),), stop=(n,), step=(1,))
        return order, rows, sums, rows != ops.concat(later, rows._full((min(n, 1),), -1), axis=0)

    def coalesced(self) -> RowSparse:
        """The same with repeated rows added in the last of their entries; the others are 0."""
        _, rows, sums, ends = self.by_row()
        ends = ops.reshape(ends, shape=(*ends.shape, *(1,) * (len(self.shape) - 1)))
        ends = ops.broadcast_to(ends, shape=sums.shape)
        return RowSparse(rows, ops.where(ends, sums, 0.0), self.shape)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, RowSparse):
            indices = [self.indices, other.indices]
            if self.indices.dtype != other.indices.dtype:  # a row's number fits into int64
                indices = [ops.astype(i, dtype=int64) for i in indices]
            values = ops.concat(self.values, other.values, axis=0)
            return RowSparse(ops.concat(*indices, axis=0), values, self.shape)
        return self.to_dense() + other

    __radd__ = __add__

    def _new_handle(self) -> RowSparse:
        """The same gradient as another object."""
        return RowSparse(self.indices._new_handle(), self.values._new_handle(), self.shape)

    def __mul__(self, other: Any) -> Any:
        """Times a (finite) number it stays row-sparse: the other rows are 0."""
        if isinstance(other, (int, float)) or getattr(other, "shape", None) == ():
            return RowSparse(self.indices, self.values * other, self.shape)
        return self.to_dense() * other

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, (int, float)) or getattr(other, "shape", None) == ():
            return RowSparse(self.indices, self.values / other, self.shape)
        return self.to_dense() / other

    def __rsub__(self, other: Any) -> Any:
        return other - self.to_dense()

    def __pow__(self, other: Any) -> Any:
        return self.to_dense() ** other

    def __eq__(self, other: Any) -> Any:
        return self.to_dense() == other

    __hash__ = object.__hash__

    def __sub__(self, other: Any) -> Any:
        return self.to_dense() - other

    def __getitem__(self, key: Any) -> Any:
        return self.to_dense()[key]

    def __neg__(self) -> RowSparse:
        return RowSparse(self.indices, -self.values, self.shape)

    def __getattr__(self, name: str) -> Any:
        """Anything else is asked of the dense tensor."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.to_dense(), name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.to_dense().__array__(dtype, copy)

    def __repr__(self) -> str:
        return f"RowSparse({self.indices.shape[0]} rows of {self.dtype}{self.shape})"
