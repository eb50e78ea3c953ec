"""Data as batches (x, y): arrays, a DataLoader, or batches that are made elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ... import tree
from ...data import DataLoader
from ...errors import ArgumentError, ShapeError


def pair(batch: Any, where: str = "") -> tuple[Any, Any]:
    """A batch as (x, y); the error says where it is."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        parts = isinstance(batch, (tuple, list))
        what = f"{len(batch)} parts" if parts else type(batch).__name__
        raise ArgumentError(
            "fit",
            f"got a batch of {what}{where}",
            "pairs (x, y) of inputs and targets",
            "put several inputs into one tuple: ((a, b), y)" if parts else "pass a tuple (x, y)",
        )
    if not tree.flatten(batch[1])[0]:
        raise ArgumentError(
            "fit",
            "got a batch without targets",
            "pairs (x, y) of inputs and targets",
            "give the inputs twice, (x, x), if they are what the model is to return",
        )
    return batch[0], batch[1]


def are_arrays(data: Any) -> bool:
    """Whether these are the arrays (x, y), and not batches: a list of pairs is a list of batches.

    ((a, b), y) is one pair, whose inputs are two arrays; [(x, y), (x, y)] are two batches.
    """
    if not isinstance(data, list):
        return isinstance(data, tuple)
    return not data or not all(isinstance(d, (tuple, list)) and len(d) == 2 for d in data)


def arrays_of(data: Any) -> tuple[Any, Any]:
    """(x, y), with an array in the place of nested lists of numbers."""
    x, y = pair(data)
    return numbers(x, "inputs"), numbers(y, "targets")


def numbers(part: Any, what: str) -> Any:
    """Nested lists of numbers as an array; anything else, a list of arrays too, as it is."""
    leaves = tree.flatten(part)[0] if isinstance(part, list) else []
    if not leaves or not all(isinstance(leaf, (int, float, np.number)) for leaf in leaves):
        return part
    try:
        return np.asarray(part)
    except ValueError:
        raise ShapeError(
            "fit",
            f"got {what} whose lists have unequal lengths",
            "as many numbers in each row",
            "pad the short ones, with 0 for example",
        ) from None


def loader_of(data: Any, batch_size: int) -> Any:
    """Batches of (x, y): what was given, if it makes batches itself, or slices of arrays."""
    if are_arrays(data):
        return DataLoader(arrays_of(data), batch_size)
    return data if isinstance(data, DataLoader) else Batches(data)


class Batches:
    """Batches that are made elsewhere; each is looked at as it comes.

    `first` is the first one; an iterator's is kept and comes again.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        try:
            iterator = iter(source)
        except TypeError:
            raise ArgumentError(
                "fit",
                f"got data of type {type(source).__name__}",
                "arrays (x, y), a DataLoader, or batches (x, y)",
                "pass a tuple (x, y)",
            ) from None
        self.source = source
        self.check: Callable[[Any], None] | None = None  # of the targets
        self.once = iterator is source  # a generator: gone through a single time
        self.first = next(iterator, None)

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type] # TypeError if it has none, as usual

    def __iter__(self) -> Iterator[Any]:
        again = [self.first] if self.once and self.first is not None else []
        for batch in itertools.chain(again, self.source):
            for part, what in zip(pair(batch), ("inputs", "targets"), strict=True):
                for leaf in tree.flatten(part)[0]:
                    if not getattr(leaf, "shape", ()):
                        raise ArgumentError(
                            "fit",
                            f"got a batch whose {what} hold {leaf!r:.50}",
                            "arrays or tensors with rows",
                            "use np.array of the list",
                        )
            if self.check is not None:
                self.check(batch[1])
            yield batch
