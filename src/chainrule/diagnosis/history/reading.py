"""What findings read of a history, and how they give advice."""

from __future__ import annotations

import math
from typing import Any, Protocol

from ..finding import Remedy

RISEN = 0.2  # of what a loss fell by, how much it rose again
LEARNED = 0.5  # of the way from guessing to the least loss: training data was learned well
ENOUGH = 5  # epochs that show the trend of a loss


class GradientNorms(Protocol):
    """Norms of the gradient: a list per step, one per layer; NaN where the layer was frozen."""

    layers: list[str]
    steps: list[int]
    norms: list[list[float]]


class Probes(Protocol):
    """Numbers of the layers at measured steps (from 0).

    values    by measure and path: a number per measured step, NaN where there is none
    by_step   by path of a recurrent layer: for each measured step the norms of the gradient with
              respect to its input or state, one per time step
    """

    steps: list[int]
    values: dict[str, dict[str, list[float]]]
    by_step: dict[str, list[list[float]]]


class TrainingHistory(Protocol):
    """What findings read of a `History`, which is defined above them."""

    @property
    def epochs(self) -> list[dict[str, Any]]: ...
    @property
    def best_epoch(self) -> int | None: ...
    @property
    def stopped(self) -> str: ...
    @property
    def gradients(self) -> GradientNorms: ...
    @property
    def refused(self) -> list[dict[str, Any]]: ...
    @property
    def guess(self) -> tuple[float, float] | None: ...


def advice(*texts: str) -> tuple[Remedy, ...]:
    """Alternatives in words, which were not tried."""
    return tuple(Remedy((), text) for text in texts)


def path_of(layer: str) -> str:
    """The path of a layer of the gradient norms: "2" of "2 Linear", "" of "Linear"."""
    return layer.rpartition(" ")[0]


def finite(history: TrainingHistory, name: str) -> list[float]:
    """A column of the epochs, without what is absent or not finite."""
    values = [row.get(name) for row in history.epochs]
    return [v for v in values if v is not None and math.isfinite(v)]


def learned(history: TrainingHistory) -> float | None:
    """How far the training loss went from a guess (else the first epoch) to the least loss."""
    losses = finite(history, "loss")
    if len(losses) < 2:
        return None
    start, least = history.guess or (losses[0], 0.0)
    return (start - losses[-1]) / (start - least) if start > least else None
