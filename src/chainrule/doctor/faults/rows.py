"""Some rows of a training as columns of numbers, and the nearest rows of each."""

from __future__ import annotations

import numpy as np

from ...graph import Array
from ..training import Data

ROWS = 600  # that are looked at
NEAREST = 5
FEWEST = 20  # of a set that is compared with the other


def some_rows(x: Array, y: Array, task: str, most: int = ROWS) -> Data:
    """Up to `most` rows, in random order: inputs (rows, columns), targets (rows, 1 or classes).

    Rows in the order of their classes would make every column tell the next one.
    """
    some = np.random.default_rng(0).permutation(len(x))[: min(most, ROWS)]
    x, y = (a[some].reshape(len(some), -1) for a in (x, y))
    if task == "classes" and y.shape[1] == 1:
        y = one_hot(y[:, 0])
    return x.astype(np.float64), y.astype(np.float64)


def one_hot(y: Array) -> Array:
    """Classes (rows,) as (rows, classes that there are)."""
    there, numbers = np.unique(y, return_inverse=True)
    return np.eye(len(there))[numbers]


def nearest(x: Array) -> Array:
    """The numbers of the nearest other rows of each, (rows, NEAREST), of standardised columns."""
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    square = (x**2).sum(1)
    apart = square[:, None] + square[None] - 2 * x @ x.T
    np.fill_diagonal(apart, np.inf)
    near: Array = np.argsort(apart, axis=1)[:, :NEAREST]
    return near
