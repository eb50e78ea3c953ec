"""Data as batches (x, y): from arrays, a DataLoader, or any iterable of batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ... import tree
from ...data import DataLoader
from ...errors import ArgumentError, ShapeError


def pair(batch: Any, where: str = "") -> tuple[Any, Any]:
    """A batch as (x, y).

    where   for the error: where the batch comes from
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        parts = isinstance(batch, (tuple, list))
        what = f"{len(batch)} parts" if parts else type(batch).__name__
        raise ArgumentError(
            "fit",
            f"got a batch of {what}{where}",
            "expected pairs (x, y) of inputs and targets",
            "put several inputs into one tuple: ((a, b), y)" if parts else "pass a tuple (x, y)",
        )
    if not tree.flatten(batch[1])[0]:
        raise ArgumentError(
            "fit",
            "got a batch without targets",
            "expected pairs (x, y) of inputs and targets",
            "pass the inputs twice, (x, x), if the model is to return them",
        )
    return batch[0], batch[1]


def fitting_batch_size(rows: int, size: int) -> int:
    """The size, or the next smaller one that leaves no last batch of a single row; else all rows.

    A batch normalization has no statistics of one value.
    """
    return next((s for s in range(min(size, rows), 1, -1) if rows % s != 1), rows)


def are_arrays(data: Any) -> bool:
    """Whether this is a pair of arrays (x, y), not batches: a list of pairs is a list of batches.

    ((a, b), y) is one pair, whose inputs are two arrays; [(x, y), (x, y)] are two batches.
    """
    if not isinstance(data, list):
        return isinstance(data, tuple)
    return not data or not all(isinstance(d, (tuple, list)) and len(d) == 2 for d in data)


def arrays_of(data: Any) -> tuple[Any, Any]:
    """(x, y), with nested lists of numbers as arrays."""
    x, y = pair(data)
    return numbers(x, "inputs"), numbers(y, "targets")


def numbers(part: Any, what: str) -> Any:
    """Nested lists of numbers as an array; anything else, also a list of arrays, unchanged."""
    leaves = tree.flatten(part)[0] if isinstance(part, list) else []
    if not leaves or not all(isinstance(leaf, (int, float, np.number)) for leaf in leaves):
        return part
    try:
        return np.asarray(part)
    except ValueError:
        raise ShapeError(
            "fit",
            f"got {what} whose lists have unequal lengths",
            "expected the same number of values in each row",
            "pad the short ones, with 0 for example",
        ) from None


def loader_of(data: Any, batch_size: int) -> Any:
    """Batches of (x, y): slices of arrays, or the data itself if it is in batches."""
    if are_arrays(data):
        return DataLoader(arrays_of(data), batch_size)
    return data if isinstance(data, DataLoader) else Batches(data)


class Batches:
    """An iterable of batches; each is checked when it is read.

    `first` is the first batch; if the source is an iterator, it is yielded again.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        try:
            iterator = iter(source)
        except TypeError:
            raise ArgumentError(
                "fit",
                f"got data of type {type(source).__name__}",
                "expected arrays (x, y), a DataLoader, or batches (x, y)",
                "pass a tuple (x, y)",
            ) from None
        self.source = source
        self.check: Callable[[Any], None] | None = None  # of the targets
        self.once = iterator is source  # a generator, which can be read once
        self.first = next(iterator, None)

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type] # TypeError if its length is unknown

    def __iter__(self) -> Iterator[Any]:
        again = [self.first] if self.once and self.first is not None else []
        for batch in itertools.chain(again, self.source):
            for part, what in zip(pair(batch), ("inputs", "targets"), strict=True):
                for leaf in tree.flatten(part)[0]:
                    if not getattr(leaf, "shape", ()):
                        raise ArgumentError(
                            "fit",
                            f"got a batch whose {what} contain {leaf!r:.50}",
                            "expected arrays or tensors with rows",
                            "pass np.array([…]), with a row per sample",
                        )
            if self.check is not None:
                self.check(batch[1])
            yield batch
