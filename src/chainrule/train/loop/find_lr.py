"""A learning rate to begin with: raise it step by step and watch the loss (Smith, 2015)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import random
from ...data import DataLoader
from ...errors import ArgumentError
from ...nn import Module
from ...optim import Adam, Optimizer
from ...tensor import Tensor
from ..charts import Chart, lines
from ..evaluation.batches import are_arrays, arrays_of, loader_of, pair
from ..evaluation.modes import in_mode
from ..evaluation.objective import Objective
from .step import make_step

SMOOTHED = 0.95  # weight of the running mean of the loss at each step
TOO_HIGH = 4.0  # times the best loss: where the search ends


@dataclass(repr=False)
class Rates:
    """The rates tried by `find_lr`, and the running mean of the loss at each.

    suggestion   a tenth of the rate with the lowest loss
    """

    rates: list[float]
    losses: list[float]
    suggestion: float

    def __repr__(self) -> str:
        return f"Rates(suggestion {self.suggestion:.2g}, {len(self.rates)} rates tried)"

    def plot(self) -> Chart:
        """The loss over the rate's power of ten, the suggestion marked."""
        at = [math.log10(r) for r in self.rates]
        mark = [(math.log10(self.suggestion), f"{self.suggestion:.1e}")]
        return lines(
            {"loss": self.losses},
            title="Learning rate",
            x=at,
            x_label="log₁₀ of the rate",
            y_label="loss",
            marks=mark,
        )


def find_lr(
    model: Module,
    train: Any,
    *,
    loss: Any,
    optimizer: Optimizer | None = None,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
    batch_size: int = 32,
    seed: int = 0,
) -> Rates:
    """Try rates from low to high, evenly in their logarithm; weights and all state are restored.

    train   (x, y) arrays, a DataLoader, or a list of batches; read again if there are too few
    It ends early when the loss is four times its best.
    """
    if not (0 < low < high < math.inf) or steps < 10:
        raise ArgumentError(
            "find_lr",
            f"got low {low}, high {high}, steps {steps}",
            "expected 0 < low < high, and 10 steps or more",
            "low=1e-6, high=1.0, steps=100",
        )
    optimizer = Adam(model.named_parameters()) if optimizer is None else optimizer
    loader = loader_of(train, batch_size)
    if are_arrays(train):
        loader = DataLoader(
            arrays_of(train), min(batch_size, loader.samples), shuffle=True, seed=seed
        )
    before = model.state_dict(), optimizer.state_dict(), random.default.state
    step = make_step(model, Objective(loss), optimizer)
    tried = low * (high / low) ** np.linspace(0, 1, steps)
    try:
        with in_mode(model, training=True):
            rates, losses = _sweep(step, loader, optimizer, tried)
    finally:
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        random.default.set_state(before[2])
    return Rates(rates, losses, rates[int(np.argmin(losses))] / 10)


def _sweep(
    step: Any, loader: Any, optimizer: Optimizer, rates: np.ndarray[Any, Any]
) -> tuple[list[float], list[float]]:
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    mean, weight, tried = 0.0, 0.0, list[float]()
    losses: list[float] = []
    for rate, batch in zip(rates.tolist(), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, *_ = step(*pair(batch))
        assert isinstance(loss, Tensor)
        if not float(loss):  # a batch in which no target counts says nothing about the rate
            continue
        mean = SMOOTHED * mean + (1 - SMOOTHED) * float(loss)
        weight = SMOOTHED * weight + (1 - SMOOTHED)
        smooth = mean / weight
        if not math.isfinite(smooth) or (losses and smooth > TOO_HIGH * min(losses)):
            break
        tried.append(rate)
        losses.append(smooth)
    if not losses:
        raise ArgumentError(
            "find_lr",
            "got a loss that is 0, or not finite, from the first step on",
            "expected a finite loss",
            "scale the inputs to mean 0 and standard deviation 1",
        )
    return tried, losses
