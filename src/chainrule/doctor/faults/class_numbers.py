"""Numbers of classes as the targets of a regression."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...diagnosis.finding import Change
from ..facts import Facts
from .fault import Fault
from .outputs import of_scores
from .rows import FEWEST, nearest, one_hot, some_rows

CLASSES = 3, 20  # at least and at most
TOLD = 0.5  # share of the errors of the most frequent class that the nearest rows avoid
UNORDERED = 0.5  # distance of the targets of near rows of two classes, beyond 1, over that of any
WORSE = 0.1  # accuracy of rounded outputs below that of the nearest rows


def class_number_faults(f: Facts) -> Iterator[Fault]:
    """Whole numbers whose order says nothing, and which one output tells badly.

    The nearest rows tell the number, so it is a class; and where they tell another one, it is not
    nearer than that of any row. Ages, counts or grades are nearer.
    """
    x, y = f.training.data
    numbers = np.unique(y)
    few, many = CLASSES
    if (
        f.score.task != "numbers"
        or f.end is None
        or y.size != len(x)
        or not few <= len(numbers) <= many
    ):
        return
    if numbers[0] not in (0, 1) or (np.diff(numbers) != 1).any() or len(x) < FEWEST:
        return
    rows, targets = some_rows(x, y, "numbers")
    near, t = nearest(rows), targets[:, 0]
    hot = one_hot(t)
    right = float(np.mean(hot[near].sum(1).argmax(1) == hot.argmax(1)))
    frequent = float(hot.mean(0).max())
    near_apart, apart = (_mean_of_unlike(t[:, None] - a) for a in (t[near], t[None]))
    rounded = _rounded(f)
    if (
        right - frequent > TOLD * (1 - frequent)
        and near_apart - 1 > UNORDERED * (apart - 1)
        and rounded < right - WORSE
    ):
        cause = (
            f"the targets {numbers[0]:.0f} to {numbers[-1]:.0f} are classes, not amounts: where a "
            f"similar row has another one, it is {near_apart:.2g} away, and {apart:.2g} by chance; "
            f"similar rows tell the class of {right:.0%} of the rows, the rounded output of "
            f"{rounded:.0%}; classes need an output each, and cross-entropy"
        )
        yield Fault("loss_wrong", "loss", cause, 1.0, _scores(f, int(numbers[-1]) + 1), True)


def _scores(f: Facts, count: int) -> tuple[Change, ...]:
    """So many outputs, and cross-entropy, where the last layer with weights is a linear one."""
    last = f.weights[-1] if f.weights else None
    if last is None or last.name != "Linear":
        return ()
    return Change("units", last.path, count), *of_scores(f, "cce_logits")


def _mean_of_unlike(differences: np.ndarray) -> float:
    """The mean size of the differences that are not 0; 0 if all are."""
    sizes = np.abs(differences[differences != 0])
    return float(sizes.mean()) if sizes.size else 0.0


def _rounded(f: Facts) -> float:
    """The share of held-out targets that the rounded outputs are, after the training."""
    x, y = f.training.valid
    outputs = f.training.outputs(f.outcome.model, x)
    return float(np.mean(np.rint(outputs).ravel() == y.ravel()))
