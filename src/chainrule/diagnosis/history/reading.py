"""What findings read of a history, and how they give advice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..finding import LIKELY, Remedy
from ..wording import place

RISEN = 0.2  # of what a loss fell by, how much it rose again
LEARNED = 0.5  # of the way from guessing to the least loss: training data was learned well
HARDLY = 0.2  # of that way: little was learned
NOTICE = 0.4  # a confidence below that of a warning
ENOUGH = 5  # epochs that show the trend of a loss
SOON = 300  # steps within which healthy trainings learn a little, at the default rate
SETTLED = 3  # epochs after which a training that still runs is judged by what it has learned
FAR = 2.0  # a first loss over that of a guess
SHOWN = 3  # places in a sentence


class GradientNorms(Protocol):
    """Norms of the gradient: a list per step, one per layer; NaN where the layer was frozen."""

    layers: list[str]
    steps: list[int]
    norms: list[list[float]]


class Probes(Protocol):
    """Numbers of the layers, in the order of the model, at measured steps.

    They are as those of `train.loop.history.Probes`, which computes `values` and `by_step` at each
    reading.
    """

    @property
    def steps(self) -> list[int]: ...
    @property
    def values(self) -> dict[str, dict[str, list[float]]]: ...
    @property
    def by_step(self) -> dict[str, list[list[float]]]: ...


Values = Mapping[str, Mapping[str, Sequence[float]]]  # of probes
BySteps = Mapping[str, Sequence[Sequence[float]]]


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
    def untrained(self) -> list[str]: ...
    @property
    def first(self) -> dict[str, float]: ...
    @property
    def guess(self) -> tuple[float, float] | None: ...
    @property
    def probes(self) -> Probes: ...


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
    if len(losses) < (1 if history.guess else 2):
        return None
    start, least = history.guess or (losses[0], 0.0)
    return (start - losses[-1]) / (start - least) if start > least else None


def harm(history: TrainingHistory) -> float:
    """The confidence that what a probe shows harms: 0 for a training that has learned its data, or
    that is too young to judge."""
    share = learned(history)
    young = not history.stopped and len(history.epochs) < SETTLED
    if share is None or share >= LEARNED or young:
        return 0.0
    return 0.8 if share < HARDLY else NOTICE


def steps_of(history: TrainingHistory) -> int:
    """The steps of the complete epochs."""
    return history.epochs[-1]["step"] if history.epochs else 0


def if_known(history: TrainingHistory, confidence: float, steps: int = 0) -> float:
    """The confidence in what harms only as little was learned; that of a notice after fewer steps,
    or if the loss of a guess is unknown: then the network may have been good from the start."""
    known = history.guess is not None and steps_of(history) >= steps
    return confidence if known or confidence < LIKELY else NOTICE


def first_output(values: Values) -> float:
    """The root mean square of the output before the first step; NaN if it is unknown."""
    means, spreads = values.get("mean", {}), values.get("spread", {})
    last = next(reversed([*spreads]), None)
    return math.nan if last is None else math.hypot(means[last][0], spreads[last][0])


def early(values: Sequence[float]) -> float:
    """The median of the first measured steps, without the very first ones; NaN without any."""
    return _median(values[2:10])


def late(values: Sequence[float]) -> float:
    """The median of the last quarter of the measured steps; NaN without any."""
    return _median(values[-max(1, len(values) // 4) :])


def _median(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.median(known)) if known else math.nan


def listed(paths: Sequence[str]) -> str:
    """Modules by their paths: "layer 0, layer 2 and 3 more"."""
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return f"{', '.join(map(place, paths[:SHOWN]))}{more}"
