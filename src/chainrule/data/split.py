"""Splits: which rows are training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np

from ..convert import expect_no_mask
from ..errors import ArgumentError, ShapeError, user_line
from ..graph import Array
from ..hints import check_arguments
from ..tensor import Tensor, make
from .loader import order
from .tables.columns import Table


def split(
    rows: Any, fractions: Sequence[float], seed: int = 0, stratify: Any = None
) -> list[Array]:
    """Sorted row numbers (int64), one array per fraction; each row is in exactly one of them.

    rows        the number of rows, or their labels, which then stratify the split
    fractions   shares above 0 that add up to 1; sizes are rounded by largest remainder
    stratify    labels (rows,): each part gets each class in proportion, to within one row, and a
                class with a single row goes to the first part
    """
    if not isinstance(rows, (int, np.integer)):
        stratify = rows if stratify is None else stratify
        rows = len(rows)
    shares = _shares(fractions)
    shuffled = order(int(rows), seed)
    classes = np.zeros(rows, np.int64) if stratify is None else _classes(stratify, rows)
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    sizes = _sizes(np.bincount(classes), shares)
    part = np.repeat(np.tile(np.arange(len(shares)), len(sizes)), sizes.ravel())
    parts = [np.sort(by_class[part == p]) for p in range(len(shares))]
    if not all(map(len, parts)):
        which = f" in {len(sizes)} classes" if len(sizes) > 1 else ""
        raise ArgumentError(
            "split",
            f"got {rows} rows{which} for the shares {', '.join(f'{s:g}' for s in shares)}",
            "expected at least one row in each part",
            "use more rows, or larger shares",
            user_line(),
        )
    return parts


def _sizes(counts: Array, shares: Array) -> Array:
    """Rows of each class in each part: (classes, parts), by largest remainder.

    What rounding takes from a part in one class is added in the next class, so that the sizes of
    the parts are in proportion too.
    """
    sizes = np.zeros((len(counts), len(shares)), np.int64)
    owed = np.zeros(len(shares))
    for size, count in zip(sizes, counts, strict=True):
        if count == 1 and len(counts) > 1:
            size[0] = 1
            continue
        exact = count * shares
        size[:] = np.floor(exact + 1e-9)
        owed += exact - size
        largest = np.argsort(-owed, kind="stable")[: count - size.sum()]
        size[largest] += 1
        owed[largest] -= 1
    return sizes


def _shares(fractions: Sequence[float]) -> Array:
    shares = np.asarray(fractions, np.float64)
    if shares.ndim != 1 or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ArgumentError(
            "split",
            f"got fractions {fractions}",
            "expected shares above 0 that add up to 1",
            "try (0.8, 0.2)",
            user_line(),
        )
    return shares


def _classes(labels: Any, rows: int) -> Array:
    """The labels as numbers from 0."""
    expect_no_mask("split", labels)
    try:
        array = np.asarray(labels)
    except ValueError:  # lists of several lengths
        array = np.empty(0, object)
    if array.shape != (rows,):
        raise ShapeError(
            "split",
            f"got labels {array.shape} for {rows} rows",
            f"expected ({rows},)",
            "pass one label per row",
            user_line(),
        )
    if (array != array).any() or (array == None).any():  # noqa: E711 - elementwise: NaN
        raise ArgumentError(
            "split",
            "got a missing label",
            "expected a label in each row",
            "remove these rows",
            user_line(),
        )
    return np.unique(array, return_inverse=True)[1]


@check_arguments(
    "train_test_split",
    positional="give the arrays by position and the rest by name",
)
def train_test_split(
    *arrays: Any, test_size: float = 0.2, seed: int = 0, stratify: Any = None
) -> list[Any]:
    """scikit-learn's order: the first array's training rows, its test rows, the second's…

    arrays      arrays, tensors, tables, data frames or lists of equal length
    test_size   the share of rows in the test part, or their number (a whole number from 1)
    """
    single = [a for a in arrays if not isinstance(a, Sized)]
    if single:
        raise ArgumentError(
            "train_test_split",
            f"got {single[0]!r} among the arrays",
            "expected arrays with rows",
            f"test_size={single[0]!r} if it is the share of the test rows: by name",
            user_line(),
        )
    for a in arrays:
        expect_no_mask("train_test_split", a)
    lengths = sorted({len(a) for a in arrays})
    if len(lengths) != 1:
        raise ShapeError(
            "train_test_split",
            f"got arrays of {' and '.join(map(str, lengths)) or 'no'} rows",
            "expected one or more arrays of equal length",
            "find the missing rows, or cut the longer arrays",
            user_line(),
        )
    rows = lengths[0]
    share = test_size / max(rows, 1) if isinstance(test_size, (int, np.integer)) else test_size
    if not 0 < share < 1:
        raise ArgumentError(
            "train_test_split",
            f"got test_size {test_size} for {rows} rows",
            "expected a share between 0 and 1, or fewer rows than there are",
            "test_size=0.2",
            user_line(),
        )
    parts = split(rows, (1 - share, share), seed, stratify)
    return [_take(a, part) for a in arrays for part in parts]


def _take(rows: Any, which: Array) -> Any:
    """Those rows, as the same type of object."""
    if isinstance(rows, Tensor):
        return make(rows.numpy()[which])
    if isinstance(rows, Table):
        return rows.select(which)
    if isinstance(rows, (list, tuple)):
        return type(rows)([rows[i] for i in which])
    if hasattr(rows, "iloc"):  # a pandas object; pandas is not imported here
        return rows.iloc[which]
    return rows[which]
