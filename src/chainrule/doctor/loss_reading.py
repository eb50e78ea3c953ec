"""What a loss function computes, by experiments: it may be any Python function.

It is called on made-up outputs, and its values are compared with formulas. Faults of the formula
show in the same way: a sum in place of a mean, each output against every target, a logarithm
without protection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..graph import Array

ROWS = 12
SAME = 2e-4  # relative difference of equal losses in float32

Loss = Callable[[Array, Array], float]  # of outputs and targets
Formula = Callable[[Array, Array], Array]  # the loss of each element, of outputs and targets (N, K)


@dataclass(frozen=True)
class LossReading:
    """What a loss is.

    name        "cross_entropy", "binary_cross_entropy", "mse", "mae", "poisson", "" if it is none
                of them
    takes       "logits", "probabilities" (whose logarithm it takes), "logarithms" (of them),
                "numbers", "logarithms of rates"; "" unknown; "softened logits": it applies softmax,
                and then a loss that applies it again
    reduction   "mean" over the rows, "sum", "sum_over_rows" (and the mean over classes); "" unknown
    coupled     whether each output is compared with the targets of all rows
    protected   whether it is finite where a probability is 0 or 1
    negative    whether it has the wrong sign
    """

    name: str = ""
    takes: str = ""
    reduction: str = ""
    coupled: bool = False
    protected: bool = True
    negative: bool = False


def read_loss(loss: Loss, outputs: tuple[int, ...], y: Array) -> LossReading:
    """What the loss is for outputs (rows, *outputs) and targets like these.

    Of outputs with places, such as (rows, steps, units), each place counts as a row.
    """
    rng = np.random.default_rng(0)
    y = y[rng.permutation(len(y))[:ROWS]]
    shape = len(y), *outputs
    examples = [rng.uniform(0.05, 0.95, shape).astype(np.float32) for _ in range(2)]
    values = [loss(out, y) for out in examples]
    ends = [np.full(shape, v, np.float32) for v in (0.0, 1.0)]
    protected = all(math.isfinite(loss(out, y)) for out in ends)
    places, units = math.prod(outputs[:-1]), outputs[-1] if outputs else 1
    fits = places > 1 and y.size % (len(y) * places) == 0
    columns = y.reshape(len(y) * places, -1) if fits else y
    for name, takes, formula in FORMULAS:
        if takes == "numbers" and len(examples) == 2:  # of outputs far from targets all look alike
            examples.append(rng.uniform(y.min(), y.max(), shape).astype(np.float32))
            values.append(loss(examples[-1], y))
        for targets in _as_columns(columns, units, name):
            if len(targets) != len(examples[0]) * places:
                continue
            for reduction, coupled, reduced in _reductions(name, formula, targets):
                with np.errstate(all="ignore"):
                    expected = [reduced(out.reshape(-1, units).astype(float)) for out in examples]
                for sign in (1, -1):
                    if _same(values, [sign * value for value in expected]):
                        return LossReading(name, takes, reduction, coupled, protected, sign < 0)
    return LossReading(protected=protected)


def _as_columns(y: Array, units: int, name: str) -> Iterator[Array]:
    """The targets as (N, units): as they are, and class numbers as one-hot rows."""
    flat = y.reshape(len(y), -1).astype(np.float64)
    if flat.shape[1] == units and (units > 1 or name != "cross_entropy"):
        yield flat
    if flat.shape[1] == 1 < units:
        yield np.eye(units)[np.clip(flat[:, 0].astype(np.int64), 0, units - 1)]


def _reductions(
    name: str, formula: Formula, t: Array
) -> Iterator[tuple[str, bool, Callable[[Array], float]]]:
    """How the losses of the elements may become one number: its name, whether rows are mixed."""
    each = 1 if name == "cross_entropy" else t.shape[1]  # of classes the mean is of their sum
    yield "mean", False, lambda out: float(formula(out, t).sum(1).mean() / each)
    yield "sum", False, lambda out: float(formula(out, t).sum())
    yield "sum_over_rows", False, lambda out: float(formula(out, t).sum(0).mean())
    yield "mean", True, lambda out: float(formula(out[None], t[:, None]).mean())
    if each > 1:
        yield "mean", False, lambda out: float(formula(out, t).sum(1).mean())


def _softened(z: Array) -> Array:
    return np.exp(_log_softmax(z))


def _log_softmax(z: Array) -> Array:
    z = z - z.max(-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(-1, keepdims=True)))


FORMULAS: list[tuple[str, str, Formula]] = [
    ("cross_entropy", "logits", lambda z, t: -t * _log_softmax(z)),
    ("cross_entropy", "softened logits", lambda z, t: -t * _log_softmax(_softened(z))),
    ("cross_entropy", "probabilities", lambda p, t: -t * np.log(p / p.sum(-1, keepdims=True))),
    ("cross_entropy", "probabilities", lambda p, t: -t * np.log(p)),
    ("binary_cross_entropy", "logits", lambda z, t: np.logaddexp(0, z) - t * z),
    (
        "binary_cross_entropy",
        "probabilities",
        lambda p, t: -(t * np.log(p) + (1 - t) * np.log(1 - p)),
    ),
    ("cross_entropy", "logarithms", lambda z, t: -t * z),
    ("poisson", "logarithms of rates", lambda z, t: np.exp(z) - t * z),
    ("poisson", "numbers", lambda a, t: a - t * np.log(a)),
    ("mse", "numbers", lambda a, t: (a - t) ** 2),
    ("mae", "numbers", lambda a, t: np.abs(a - t)),
]


def _same(values: list[float], expected: list[float]) -> bool:
    return all(
        math.isfinite(v) and abs(v - e) <= SAME * max(abs(v), 1e-6)
        for v, e in zip(values, expected, strict=True)
    )
