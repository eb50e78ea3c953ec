"""What the loss is: a mean over samples, −log of the probability of the right class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph import Node
from ..numbers import number_text
from .reading import Reading

CANDIDATES = 4  # values between steps, from the loss back, that are tried as scores
NEAR = 1e-3  # of a target that is computed from a gradient to 0 or 1


@dataclass
class Probabilities:
    """A loss that is the mean, or the sum, of −log of the probabilities of the right classes.

    scores   the node whose softmax or sigmoid the probabilities are
    right    the probabilities of the right classes, one per row
    classes  the number of classes; 2 of a sigmoid
    label    the right class of a single row, or None
    divisor  of the sum over the rows
    sigmoid  whether there is one score per row, that of class 1
    """

    scores: Node
    right: Any
    classes: int
    label: int | None
    divisor: float
    sigmoid: bool

    def text(self) -> str:
        """What the loss says, and what guessing would give."""
        rows = len(self.right)
        guess = number_text(rows * np.log(self.classes) / self.divisor, 4)
        ends = f"{number_text(self.right.min())} to {number_text(self.right.max())}"
        if rows == 1:
            what = (
                "−log of the probability that the network gives the right class, "
                f"{number_text(self.right[0])} for class {self.label}"
            )
        else:
            how = "mean" if self.divisor == rows else "sum"
            what = (
                f"the {how} of −log of the probabilities that the network gives the right classes, "
                f"which are {ends}"
            )
        yardstick = f"Guessing among {self.classes} would give {guess}; 0 is perfect."
        return f"This loss is {what}. {yardstick} Here log is the natural logarithm."

    def back(self, name: str) -> str:
        """What the gradient of the scores is."""
        divided = f", divided by {number_text(self.divisor)}" if self.divisor != 1 else ""
        if self.sigmoid:
            what = "of class 1 (sigmoid), minus 1 where that is right"
        else:
            what = "of its class (softmax), minus 1 for the right class"
        return f"The gradient of each of {name} is the probability {what}{divided}."


def probabilities(reading: Reading) -> Probabilities | None:
    """The loss as −log of probabilities, if loss and gradient are those of such a loss."""
    divisor = abs(1 / reading.samples.factor)
    outputs = [
        n for s in reversed(reading.derivation.steps) for n in s.outputs if n in reading.gradients
    ]
    for node in [n for n in outputs if n is not reading.derivation.loss][:CANDIDATES]:
        for sigmoid in (False, True):
            out = _matching(reading, node, divisor, sigmoid)
            if out is not None:
                return out
    return None


def _matching(reading: Reading, node: Node, n: float, sigmoid: bool) -> Probabilities | None:
    """The loss of these scores: where y = p − n · gradient is 0 or 1, and −∑ log p / n the loss."""
    scores = np.asarray(reading.value(node))
    gradient = np.asarray(reading.value(reading.gradients[node]), np.float64)
    if (
        scores.dtype.kind != "f"
        or not scores.ndim
        or not scores.size
        or scores.shape != gradient.shape
    ):
        return None
    s, g = (a.astype("f8").reshape(-1, scores.shape[-1]) for a in (scores, gradient))
    if sigmoid:
        s, g = s.reshape(-1, 1), g.reshape(-1, 1)
        s, g = np.hstack([np.zeros_like(s), s]), np.hstack([-g, g])
    with np.errstate(all="ignore"):
        logs = s - s.max(1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        y = np.exp(logs) - n * g
    right = y.round() == 1
    if s.shape[1] < 2 or not (np.abs(y - right) < NEAR).all() or not (right.sum(1) == 1).all():
        return None
    loss = float(reading.value(reading.derivation.loss).item())
    if n not in (1, len(s)) or not np.isclose(-logs[right].sum() / n, loss, 1e-4, 1e-6):
        return None
    label = int(right[0].argmax()) if len(s) == 1 else None
    return Probabilities(node, np.exp(logs[right]), s.shape[1], label, n, sigmoid)


def batch(reading: Reading) -> Iterator[str]:
    """That the loss is a mean or a sum over several samples, and what that makes of gradients."""
    s = reading.samples
    of = f"{s.count} samples"
    if s.terms != s.count:
        of = f"{s.terms} numbers of {of}"
    if s.kind == "sum":
        yield f"The loss is the sum over {of}: the gradients that they give a weight are added up."
    elif s.kind == "mean":
        yield (
            f"The loss is the mean over {of}: what they give to the gradient of a weight is "
            f"divided by {s.terms} and added up."
        )
