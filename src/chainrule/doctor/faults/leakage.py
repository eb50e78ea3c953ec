"""Inputs that give the targets of the training away, and not those of held-out rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...diagnosis.finding import Change
from ...graph import Array
from ..facts import Facts
from ..training import Data
from .fault import Fault
from .rows import some_rows

COLUMNS = 10_000  # that are looked at
TELLS, SILENT = 0.98, 0.5  # share of the targets' variation that one column explains: of each set
FEWEST = 64, 20  # rows of the two sets


def leakage_faults(f: Facts) -> Iterator[Fault]:
    """A column that alone tells the targets that are trained on, but not those held out.

    What tells both may be a good input; it is measured, see `measured/data`.
    """
    shares = column_shares(f)
    if shares is None:
        return
    trained, unseen = shares
    column = int(np.argmax(trained))
    if trained[column] > TELLS and unseen[column] < SILENT:
        cause = (
            f"column {column} of the inputs alone explains {trained[column]:.0%} of the targets "
            f"of the training, and {max(unseen[column], 0):.0%} of those held out"
        )
        change = (Change("drop", "data.inputs", column),)
        yield Fault("label_leakage", "data.inputs", cause, 1.0, change, True)


def column_shares(f: Facts) -> tuple[Array, Array] | None:
    """For each column of the inputs the share of the targets that it alone explains.

    Of the rows that are trained on, and of those held out; None if these cannot be compared.
    """
    sets = [some_rows(*data, f.score.task) for data in (f.training.data, f.training.valid)]
    if not all(map(_comparable, sets, FEWEST)):
        return None
    trained, unseen = (_information(x[:, :COLUMNS], y) for x, y in sets)
    return trained, unseen


def _comparable(rows: Data, least: int) -> bool:
    """Whether there are enough rows, columns to be told from others, and targets that are a number
    or a class and not all the same."""
    x, y = rows
    one = y.shape[1] == 1 or bool(np.isin(y, (0, 1)).all())
    return len(x) >= least and x.shape[1] > 1 and one and bool(np.ptp(y, axis=0).any())


def _information(x: Array, y: Array) -> Array:
    """For each column the share of the targets' variation that neighbours in it explain.

    Rows are sorted by the column: 1 - (d - e) / (s - e), where d is the sum of the squared
    differences of a row's target to the next one's, e the same if rows are sorted by the target,
    and s = 2 ∑ (y - mean)², about which d is if the column says nothing (von Neumann 1941).
    """
    by_target = np.lexsort(y.T)
    order = [by_target, *np.argsort(x, axis=0, kind="stable").T]
    best, *steps = (float(np.square(np.diff(y[rows], axis=0)).sum()) for rows in order)
    nothing = 2 * float(np.square(y - y.mean(0)).sum())
    shares: Array = 1 - (np.array(steps) - best) / max(nothing - best, 1e-12)
    return shares
