"""What the loss is: a mean over samples, −log of the probability of the right class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import ops
from ...graph import Node
from ..derivation import Derivation
from .numbers import number
from .reading import MOVES, Reading

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
        guess = number(rows * np.log(self.classes) / self.divisor, 4)
        ends = f"{number(self.right.min())} to {number(self.right.max())}"
        if rows == 1:
            what = (
                "−log of the probability that the network gives the right class, "
                f"{number(self.right[0])} for class {self.label}"
            )
        else:
            how = "mean" if self.divisor == rows else "sum"
            what = (
                f"the {how} of −log of the probabilities that the network gives the right classes, "
                f"which are {ends}"
            )
        yardstick = f"Guessing among {self.classes} would give {guess}; 0 is perfect."
        return f"This loss is {what}. {yardstick}"

    def back(self, name: str) -> str:
        """What the gradient of the scores is."""
        divided = f", divided by {number(self.divisor)}" if self.divisor != 1 else ""
        if self.sigmoid:
            what = "of class 1 (sigmoid), minus 1 where that is right"
        else:
            what = "of its class (softmax), minus 1 for the right class"
        return f"The gradient of each of {name} is the probability {what}{divided}."


def probabilities(reading: Reading) -> Probabilities | None:
    """The loss as −log of probabilities, if loss and gradient are those of such a loss."""
    divisor = abs(1 / _last_sum(reading)[1])
    outputs = [n for s in reversed(reading.steps) for n in s.outputs if n in reading.gradients]
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
    count, (numbers, factor) = samples(reading.derivation), _last_sum(reading)
    scale = abs(factor)
    if count is None or count < 2 or numbers % count:
        return
    if not (np.isclose(scale, 1) or np.isclose(scale * numbers, 1)):
        return
    of = f"{count} samples" if numbers == count else f"{numbers} numbers of {count} samples"
    if np.isclose(scale, 1):
        yield f"The loss is the sum over {of}: the gradients that they give a weight are added up."
    else:
        yield (
            f"The loss is the mean over {of}: what they give to the gradient of a weight is "
            f"divided by {numbers} and added up."
        )


def samples(derivation: Derivation) -> int | None:
    """The number of samples: the first size that all data have in common, if some are tables."""
    shapes = [np.shape(i.value) for i in derivation.inputs.values() if i.kind == "data"]
    sizes = {shape[0] for shape in shapes if shape}
    return sizes.pop() if len(sizes) == 1 and any(len(s) > 1 for s in shapes) else None


def _last_sum(reading: Reading) -> tuple[int, float]:
    """The loss as a multiple of a sum: of how many numbers, and the factor."""
    node, scale = reading.derivation.loss, 1.0
    while node.op is not None:
        first, *others = node.inputs
        if node.op is ops.sum and np.size(reading.value(first)) > 1:
            return int(np.size(reading.value(first))), scale
        if node.op is ops.negative:
            scale = -scale
        elif node.op in (ops.multiply, ops.divide) and others[0] not in reading.moving:
            factor = np.asarray(reading.value(others[0]), "f8")
            if factor.size != 1 or not factor.item():
                break
            scale = scale * factor.item() if node.op is ops.multiply else scale / factor.item()
        elif node.op not in (*MOVES, ops.sum):
            break
        node = first
    return 1, scale
