"""A training as the doctor sees it: it can be measured, changed, and run again.

`modules.ModuleTraining` is one of this library's models, `pytorch.modules.TorchTraining` one of
PyTorch's. What reads trainings (facts, faults, the search) needs no more than this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..diagnosis.finding import Change
from ..errors import ChainruleError
from ..graph import Array
from .score import Score

Data = tuple[Array, Array]  # inputs (N, …) and targets (N, …)
FROZEN = "frozen, requires_grad is False"  # why a parameter is not trained

# What arrays and changes that do not fit a model or a loss raise, whatever library they are of.
MISFITS = (
    *(ChainruleError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError),
    AssertionError,  # of a loss of the user's, say: that its inputs are probabilities
)


@dataclass(frozen=True)
class Layer:
    """A module without modules in it, as it ran on a batch.

    kind       "weights" (a linear layer, a convolution), "recurrent", "activation", "norm",
               "dropout", "custom" (the user's own), "other"
    name       the class
    output     (rows, …)
    features   the axis of the output that has the units or channels
    units      (units, fan_in): the weight by the units that it computes, or None
    gradient   ∂loss/∂weight, in the weight's order; None where nothing reaches it
    upstream   ∂loss/∂output, or None
    by_step    (T,) of a recurrent layer: the root mean square of ∂loss/∂input of each step, or None
    """

    path: str
    kind: str
    name: str
    output: Array
    features: int = -1
    units: Array | None = None
    gradient: Array | None = None
    upstream: Array | None = None
    by_step: Array | None = None

    @property
    def units_last(self) -> Array:
        """The output as (rows, …, units)."""
        return np.moveaxis(self.output, self.features, -1)

    @property
    def by_unit(self) -> Array:
        """The output as (rows and places, units)."""
        return self.units_last.reshape(-1, self.units_last.shape[-1])

    @property
    def upstream_by_unit(self) -> Array | None:
        """∂loss/∂output likewise."""
        if self.upstream is None:
            return None
        last = np.moveaxis(self.upstream, self.features, -1)
        return last.reshape(-1, last.shape[-1])


@dataclass(frozen=True)
class Observed:
    """One batch forward and backward: the layers in the order in which they ran."""

    layers: Sequence[Layer]
    output: Array
    loss: float

    def of_kind(self, *kinds: str) -> list[Layer]:
        """The layers of these kinds."""
        return [layer for layer in self.layers if layer.kind in kinds]


@dataclass
class Outcome:
    """What a training came to.

    losses      the mean of each epoch
    score       on the held-out rows; `rows` are the numbers whose mean it is
    fit         the score on rows of the training
    nonfinite   the first step whose loss is not finite, or None
    model       the trained model
    seconds     of processor time; `steady` without what only a first run takes, as compilation
    """

    score: float
    losses: list[float] = field(default_factory=list)
    rows: Array | None = None
    fit: float = -math.inf
    nonfinite: int | None = None
    steps: int = 0
    model: Any = None
    seconds: float = 0.0
    steady: float = 0.0


class Training(Protocol):
    """A training before its first step; whatever is done with it, it stays as it is.

    model            with its first weights
    optimizer        before its first step: its groups of parameters are `param_groups`
    optimizer_name   the class of the optimizer
    settings         of its first group of parameters
    """

    @property
    def model(self) -> Any: ...
    @property
    def optimizer(self) -> Any: ...
    @property
    def data(self) -> Data: ...
    @property
    def valid(self) -> Data: ...
    @property
    def batch(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def shuffle(self) -> bool: ...
    @property
    def optimizer_name(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...

    def loss_value(self, outputs: Array, targets: Array) -> float:
        """The loss of these outputs; NaN where it cannot be computed."""

    def observe(self, model: Any = None) -> Observed:
        """A batch of the training through the first weights, or through a trained model."""

    def outputs(self, model: Any, x: Array) -> Array:
        """The outputs of a trained model in evaluation mode, float64."""

    def first_step(self) -> float:
        """∑ gradient · change over all weights in the first step: negative, if it descends."""

    def sharpness(self, rows: int, seconds: float) -> tuple[float, float]:
        """The largest eigenvalue of the loss's Hessian at the first weights, and its error.

        Of a batch of `rows` rows; NaN where it cannot be computed.
        seconds   of processor time after the first Hessian-vector product
        """

    def gradients(self, count: int, rows: int) -> Array:
        """(count, P): the gradients at the first weights of batches of `rows` rows."""

    def untrained(self) -> dict[str, str]:
        """The parameters that the first step does not train, each with the reason."""

    def of_one_batch(self, rows: int, steps: int) -> Training:
        """The training on one batch alone, on which it is scored too."""

    def changed(self, changes: Sequence[Change]) -> Training:
        """The training with these changes."""

    def run(self, score: Score, seed: int = 0, seconds: float = math.inf) -> Outcome:
        """Train a copy, for at most so much processor time.

        It may overrun by an epoch; the first one, which may compile, does not count.
        """
