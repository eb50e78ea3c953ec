"""Rows of data that are not in memory: they are made when they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Array


class RowSource(ABC):
    """An array whose rows are made when they are read, such as images of files.

    A DataLoader takes it in place of an array, and prepares batches of it ahead.

    shape, dtype   of all rows, as an array would have them
    """

    shape: tuple[int, ...]
    dtype: Any

    @abstractmethod
    def take(self, rows: Sequence[int] | Array, axis: int = 0) -> Array:
        """The rows of these numbers: an array (n, …)."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that differs for other data."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Array:
        return self.take(np.arange(len(self))[part])
