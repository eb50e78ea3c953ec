"""How good predictions are: 1 is perfect, for every task, so that losses can be exchanged.

An R² below 0 becomes R² / (1 − R²): −1 is the worst, and of two bad ones the better one is higher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..graph import Array
from .loss_reading import LossReading

CHANCE = 2.5  # standard errors
FEW = 20  # held-out rows below which trials prove nothing
RARE = 0.5  # the share of the smallest class over that of an even one: then classes count the same


@dataclass(frozen=True)
class Score:
    """A score by the kind of targets.

    task     "classes", "labels" (each column one of two values), "numbers"; see `task_of`
    name     "accuracy", "balanced accuracy", "R²"
    logits   whether an output above 0 means 1, instead of one above 0.5
    rates    whether outputs are logarithms of numbers
    """

    task: str
    name: str
    classes: int = 0
    logits: bool = False
    rates: bool = False

    @property
    def guess(self) -> float:
        """The score of a constant."""
        return 0.0 if self.task == "numbers" else 1 / max(self.classes, 2)

    def of_constant(self, y: Array, valid: Array) -> Array:
        """The rows of the targets `valid`, of the constant that fits the targets y best."""
        if self.task == "numbers":
            best = y.mean(0, dtype=np.float64)
        elif self.task == "labels":
            best = np.where((y > middle(y)).mean(0) > 0.5, 1.0, -1.0)
        else:
            classes = max(self.classes, 2)
            counts = np.bincount(y[y >= 0].astype(np.int64).ravel(), minlength=classes)
            one_hot = np.eye(1, classes, int(counts.argmax()))[0]
            best = np.broadcast_to(one_hot, (*y.shape[1:], classes))
        with np.errstate(divide="ignore"):
            best = np.log(best) if self.rates else best
        return self.rows(np.broadcast_to(best, (len(valid), *best.shape)), valid)

    def __call__(self, out: Array, y: Array) -> float:
        value = float(self.rows(out, y).mean())
        if not np.isfinite(value):
            return self.worst
        return value if value > 0 else value / (1 - value)

    def shown(self, value: float) -> float:
        """A score as people know it: R² without a bound below."""
        if value >= 0:
            return value
        return value / (1 + value) if value > -1 else -math.inf

    @property
    def threshold(self) -> float:
        """Above which one output means 1."""
        return 0.0 if self.logits else 0.5

    def guesses(self, out: Array, count: int) -> Array:
        """The classes that outputs tell of so many targets, (count,)."""
        out = out.reshape(count, -1)
        return (out[:, 0] > self.threshold).astype(int) if out.shape[1] == 1 else out.argmax(1)

    @property
    def worst(self) -> float:
        """The score of predictions that are not finite."""
        return -1.0 if self.task == "numbers" else 0.0

    def rows(self, out: Array, y: Array) -> Array:
        """A number for each row, whose mean is the score."""
        out = np.nan_to_num(out, nan=-1e30)
        if self.task == "numbers":
            out, y = out.reshape(len(out), -1), y.reshape(len(y), -1)
            if out.shape[1] > y.shape[1] == 1:  # scores of classes that have these numbers
                out = out.argmax(1)[:, None]
            with np.errstate(over="ignore", invalid="ignore"):
                out = np.exp(out) if self.rates else out
                error = np.square(out - y).sum(1)
            spread = float(np.square(y - y.mean(0)).sum()) / len(y)
            return 1 - error / max(spread, 1e-30)
        if self.task == "labels":
            return ((out > self.threshold) == (y > middle(y))).reshape(len(y), -1).mean(1)
        y = y.reshape(-1).astype(np.int64)
        guess, real = self.guesses(out, len(y)), y >= 0  # others are ignored
        y = y[real]
        hit = (guess[real] == y).astype(np.float64)
        if self.name == "accuracy":
            return hit
        counts = np.bincount(y)
        return hit * len(y) / (np.count_nonzero(counts) * counts[y])


def middle(y: Array) -> float:
    """Between the two values of labels: 0.5 of 0 and 1, 0 of -1 and 1."""
    return float(y.min() / 2 + y.max() / 2)


def are_few(rows: int, same: bool) -> bool:
    """Whether so many held-out rows prove nothing by trials.

    same   whether they are the rows that are trained on: then they are no sample of others
    """
    return rows < FEW and not same


def is_chance(before: Array | None, after: Array | None) -> bool:
    """Whether rows may be better by the choice of the held-out rows alone."""
    if before is None or after is None:
        return False
    differ = np.maximum(after, -1) - np.maximum(before, -1)
    return bool(differ.mean() <= CHANCE * differ.std() / math.sqrt(len(differ)))


def task_of(y: Array, valid: Array, outputs: tuple[int, ...], loss: LossReading) -> str:
    """What targets are: "classes", "labels" or "numbers", by what the network gives for them.

    outputs   the shape of the outputs of a row

    Several outputs for each target are the scores of classes. One output tells two classes at most,
    so whole numbers other than 0 and 1 are numbers then: ages, counts, prices. If they are numbers
    of classes, that is a fault, see `faults/class_numbers`.
    """
    values = np.concatenate([y.ravel(), valid.ravel()])
    whole = y.dtype.kind in "iub"
    several = y[0].size != math.prod(outputs)
    if several and (whole or (loss.name == "cross_entropy" and bool((values % 1 == 0).all()))):
        return "classes"
    if np.isin(values, (0, 1)).all():
        return "classes" if whole and outputs[-1:] in ((), (1,)) else "labels"
    if loss.name == "binary_cross_entropy" and len(np.unique(values)) == 2:
        return "labels"  # it takes the two for 0 and 1, see `faults/data`
    return "numbers"


def score_for(
    y: Array, valid: Array, outputs: tuple[int, ...] = (1,), loss: LossReading | None = None
) -> Score:
    """The score for targets like these; `outputs` and the loss are those of `task_of`."""
    loss = LossReading() if loss is None else loss
    task = task_of(y, valid, outputs, loss)
    logits = loss.takes == "logits" and outputs in ((), (1,))
    if task == "classes":
        both = np.concatenate([y.ravel(), valid.ravel()])
        both = both[both >= 0]
        counts = np.bincount(both.astype(np.int64).ravel())
        counts = counts[counts > 0]
        even = counts.min() >= RARE * counts.mean() if len(counts) else True
        name = "accuracy" if even else "balanced accuracy"
        return Score("classes", name, int(both.max(initial=0)) + 1, logits)
    if task == "labels":
        return Score("labels", "accuracy", 2, logits)
    return Score("numbers", "R²", rates=loss.takes == "logarithms of rates")
