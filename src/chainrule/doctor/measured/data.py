"""Inputs and targets: how many rows each class has, and columns that tell nothing or everything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...graph import Array
from ..facts import Facts
from ..faults.leakage import TELLS, column_shares
from ..score import RARE
from .measurement import Measurement

ROWS = 1000  # that are looked at where every column is
COLUMNS = 256  # of more, none is looked at
CLASSES = 100  # more are words, of which most are rare
PIXELS = 50  # from this number on columns are of one kind, and some may be constant
DEPENDENT = 1e-6  # share of a column's variance that others leave unexplained
OTHERS = 0.9  # share of the targets that other columns explain at most, if one tells them
LISTED = 6


def of_data(f: Facts) -> Iterator[Measurement]:
    """Classes and columns."""
    classes = classes_of(f, f.training.data[1])
    if classes is not None and classes.max(initial=0) < CLASSES:
        yield _rarest(classes)
    x = f.training.data[0]
    if x.ndim != 2 or any(a.name == "Embedding" for a in f.start.layers):
        return
    varies = x.max(0) > x.min(0)
    constant, varying = np.flatnonzero(~varies), np.flatnonzero(varies)
    remark = f"{_columns(constant)} always the same" if len(constant) and _is_table(x) else ""
    yield _count("constant_columns", constant, remark)
    if len(varying) > COLUMNS:
        return
    some = np.random.default_rng(0).permutation(len(x))[:ROWS]
    if len(some) > 2 * len(varying):
        dependent = varying[_dependent(x[some][:, varying].astype(np.float64))]
        remark = f"{_columns(dependent)} the sum of others" if len(dependent) else ""
        yield _count("dependent_columns", dependent, remark * _is_table(x))
    yield from _telling(f, varying)


def classes_of(f: Facts, y: Array) -> Array | None:
    """(N,) class numbers, of one-hot targets too; None if the targets are no classes."""
    if f.score.task == "numbers":
        return None
    flat = y.reshape(len(y), -1)
    if flat.shape[1] > 1:
        one_hot = f.score.task == "labels" and (flat.sum(1) == 1).all()
        return flat.argmax(1) if one_hot else None
    column = flat[:, 0].astype(np.int64)
    return column if (column >= 0).all() else None


def _is_table(x: Array) -> bool:
    return x.shape[1] < PIXELS


def _count(name: str, columns: Array, remark: str) -> Measurement:
    names = tuple(f"column {k}" for k in columns)
    return Measurement(name, len(columns), "none", "data.inputs", remark, names)


def _columns(columns: Array) -> str:
    """In words: "columns 3 and 7 are"."""
    shown = [*map(str, columns[:LISTED])]
    more = len(columns) - len(shown)
    shown += [f"{more} more"] * (more > 0)
    if len(shown) == 1:
        return f"column {shown[0]} is"
    return f"columns {', '.join(shown[:-1])} and {shown[-1]} are"


def _rarest(classes: Array) -> Measurement:
    names, counts = np.unique(classes, return_counts=True)
    share, even = float(counts.min() / len(classes)), 1 / len(names)
    remark = f"class {names[counts.argmin()]} is rare" if share < RARE * even else ""
    items = (f"{k}: {count}" for k, count in zip(names, counts, strict=True))
    expected = f"about {even:.3g}, an even share"
    return Measurement("rarest_class", share, expected, "data.targets", remark, tuple(items))


def _dependent(x: Array) -> list[int]:
    """The columns that are sums of those before them, except for those of two values.

    Each column loses its parts along those before it (Gram and Schmidt). Of the columns of a
    category, each 0 or 1, the last always is 1 minus the others.
    """
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-30) / np.sqrt(len(x))
    basis: list[Array] = []
    out: list[int] = []
    for k, column in enumerate(x.T):
        rest = column
        for _ in range(2 if basis else 0):  # again, for what rounding left
            q = np.array(basis)
            rest = rest - q.T @ (q @ rest)
        left = float(rest @ rest)
        if left > DEPENDENT:
            basis.append(rest / np.sqrt(left))
        elif len(np.unique(column)) > 2 or np.abs(x.T[:k] @ column).max(initial=0) > 1 - DEPENDENT:
            out.append(k)
    return out


def _telling(f: Facts, columns: Array) -> Iterator[Measurement]:
    """Columns that alone tell the targets, of held-out rows too, where no other does.

    What only the rows of the training give away is a fault: `faults/leakage`.
    """
    shares = column_shares(f) if len(columns) > 1 else None
    if shares is None:
        return
    explained = np.minimum(*shares)[columns]
    best = int(np.argmax(explained))
    tells = bool(explained[best] > TELLS and np.delete(explained, best).max() <= OTHERS)
    remark = (
        f"column {columns[best]} alone explains {explained[best]:.1%} of the targets, of held-out "
        "rows too: does it hold the answer?"
    )
    yield _count("telling_columns", columns[[best] * tells], remark * tells)
