"""Rows of data that are not in memory: they are made when they are read."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, RangeError
from ..graph import Array
from ..memory import expect_room


class RowSource(ABC):
    """An array whose rows are made when they are read, such as images of files.

    A DataLoader takes it in place of an array, and prepares batches of it ahead.

    shape, dtype   of all rows, as an array would have them
    """

    shape: tuple[int, ...]
    dtype: Any

    @abstractmethod
    def _take(self, rows: Array) -> Array:
        """The rows of these numbers, int64 (n,) from 0: an array (n, …)."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that differs for other data."""

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Sequence[int] | Array, axis: int = 0) -> Array:
        """The rows of these numbers: an array (n, …)."""
        numbers = np.asarray(rows)
        if axis != 0 or numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise ArgumentError(
                type(self).__name__,
                f"got take of {numbers.dtype} {numbers.shape} on axis {axis}",
                "expected whole numbers of rows (n,), on axis 0",
                "np.flatnonzero(mask), or a slice: source[10:20]",
            )
        return self._take(self._numbers(numbers.astype(np.int64)))

    def __getitem__(self, part: Any) -> Array:
        """A row, or the rows of a slice, a mask or numbers."""
        numbers = self._numbers(part)
        return self._take(numbers) if numbers.ndim else self._take(numbers[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        size = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        expect_room(type(self).__name__, "all rows as an array, which need", size, "read fewer")
        return self[:].astype(dtype or self.dtype, copy=False)

    def _numbers(self, part: Any) -> Array:
        """The numbers of the rows that an index of NumPy selects: int64 () or (n,), from 0."""
        try:
            numbers = np.asarray(np.arange(len(self))[part])
        except (IndexError, TypeError, ValueError):
            numbers = np.empty((0, 0))
        if numbers.ndim > 1:
            raise RangeError(
                type(self).__name__,
                f"got {part!r:.60} as rows of {len(self)}",
                f"expected numbers from 0 to {len(self) - 1}, a slice, or a mask",
                "source[:10], then an index of the array for other axes",
            )
        return numbers
