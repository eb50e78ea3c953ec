"""Checks of the arguments of `fit`, before any data is looked at."""

from __future__ import annotations

import inspect
import math
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...errors import ArgumentError
from ...nn import Module
from ...optim import OneCycleLR, Optimizer, ReduceLROnPlateau


@runtime_checkable
class ScheduleMethods(Protocol):
    """The methods that `fit` needs of a schedule, which may be one of optim or another object."""

    def step(self) -> Any: ...
    def state_dict(self) -> Any: ...


def check_optimizer(optimizer: Any, model: Module) -> None:
    """Raise unless it is an optimizer of parameters of the model."""
    advice = "optimizer=optim.Adam(model.named_parameters(), lr=1e-3)"
    if not isinstance(optimizer, Optimizer):
        what = getattr(optimizer, "__name__", None) or repr(optimizer)
        raise ArgumentError(
            "fit",
            f"got optimizer {what}",
            "expected an optimizer with the parameters that it trains",
            advice,
        )
    trained = {id(p) for group in optimizer.param_groups for p in group.params}
    if trained.isdisjoint(map(id, model.parameters())):
        raise ArgumentError(
            "fit",
            "got an optimizer that has none of this model's parameters",
            "expected an optimizer of the parameters of this model",
            f"{advice}, after the model is complete",
        )


def check_schedule(schedule: Any, per: str, optimizer: Optimizer) -> None:
    is_class = isinstance(schedule, type)
    if schedule is not None and (is_class or not isinstance(schedule, ScheduleMethods)):
        raise ArgumentError(
            "fit",
            f"got the schedule {getattr(schedule, '__name__', None) or repr(schedule)}",
            "expected a schedule of optim, built with the optimizer",
            "schedule=optim.CosineAnnealingLR(optimizer, T_max=10), or for a custom function "
            "optim.LambdaLR(optimizer, function)",
        )
    if per not in ("step", "epoch"):
        raise ArgumentError(
            "fit",
            f"got schedule_per {per!r}",
            'expected "step" or "epoch"',
            'leave it out, or pass "epoch"',
        )
    if isinstance(schedule, ReduceLROnPlateau) and per == "step":
        raise ArgumentError(
            "fit",
            'got ReduceLROnPlateau with schedule_per="step"',
            "expected an epoch, after which there is a value to compare",
            "leave out schedule_per",
        )
    if getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise ArgumentError(
            "fit",
            "got a schedule of another optimizer",
            "expected a schedule of the optimizer that is used",
            "pass the optimizer that the schedule was built with, optimizer=…",
        )


def check_state(model: Module) -> None:
    """Raise if forward does not take a state, which tbptt carries."""
    try:
        inspect.signature(model.forward).bind(None, None)
    except TypeError:
        raise ArgumentError(
            "fit",
            f"got tbptt and {type(model).__name__}, whose forward takes no state",
            "expected forward(self, x, state=None) that returns (prediction, state)",
            "pass the state to nn.LSTM and return the one that it returns, or leave out tbptt",
        ) from None


def check_cycle(schedule: Any, per: str, loader: Any, epochs: int) -> None:
    """Raise if a one-cycle schedule is shorter than the training."""
    if not isinstance(schedule, OneCycleLR):
        return
    try:
        steps = epochs * (len(loader) if per == "step" else 1)
    except TypeError:  # batches of unknown number
        return
    if schedule.total_steps < steps:
        raise ArgumentError(
            "fit",
            f"got OneCycleLR for {schedule.total_steps} steps and a training of {steps}",
            "expected a cycle for the whole training",
            f"set total_steps to {steps}",
        )


def check_numbers(
    epochs: int,
    accumulate: int,
    tbptt: int | None,
    patience: int | None,
    clip_norm: float | None,
    every: float,
    optimizer: Optimizer,
    schedule: Any,
) -> None:
    for name, value, suggestion in (
        ("epochs", epochs, 10),
        ("accumulate", accumulate, 1),
        ("tbptt", tbptt, 64),
        ("patience", patience, 5),
    ):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not (whole and value > 0):
            raise ArgumentError(
                "fit",
                f"got {name} {value!r}",
                "expected a whole number from 1",
                f"{name}={suggestion}",
            )
    if tbptt is not None and accumulate > 1:
        raise ArgumentError(
            "fit",
            f"got tbptt={tbptt} and accumulate={accumulate}",
            "expected one of them: the state that is carried belongs to a whole batch",
            "leave out accumulate, and pass a smaller batch_size",
        )
    if clip_norm is not None and not (_is_number(clip_norm) and 0 < clip_norm < math.inf):
        raise ArgumentError(
            "fit",
            f"got clip_norm {clip_norm!r}",
            "expected a finite number above 0",
            "clip_norm=1.0",
        )
    if not (_is_number(every) and every >= 0):
        raise ArgumentError(
            "fit",
            f"got checkpoint_every {every!r}",
            "expected seconds, 0 or more",
            "checkpoint_every=5",
        )
    if schedule is None and all(group["lr"] == 0 for group in optimizer.param_groups):
        raise ArgumentError("fit", "got lr 0", "expected a learning rate above 0", "lr=1e-3")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
