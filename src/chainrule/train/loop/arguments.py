"""Checks of the arguments of `fit`, before any data is looked at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ArgumentError
from ...optim import OneCycleLR, Optimizer, ReduceLROnPlateau


def check_schedule(schedule: Any, per: str, optimizer: Optimizer) -> None:
    made = not isinstance(schedule, type) and hasattr(schedule, "state_dict")
    if schedule is not None and not (made and callable(getattr(schedule, "step", None))):
        raise ArgumentError(
            "fit",
            f"got the schedule {getattr(schedule, '__name__', None) or repr(schedule)}",
            "one of optim, made with the optimizer",
            "schedule=optim.CosineAnnealingLR(optimizer, T_max=10); of a function of your own, "
            "optim.LambdaLR(optimizer, function)",
        )
    if per not in ("step", "epoch"):
        raise ArgumentError("fit", f"got schedule_per {per!r}", "step or epoch", "choose one")
    if isinstance(schedule, ReduceLROnPlateau) and per == "step":
        raise ArgumentError(
            "fit",
            'got ReduceLROnPlateau with schedule_per="step"',
            "an epoch, after which there is a value to look at",
            "leave schedule_per out",
        )
    if getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise ArgumentError(
            "fit",
            "got a schedule of another optimizer",
            "one of the optimizer that is used",
            "pass the optimizer that the schedule was made with, optimizer=…",
        )


def check_cycle(schedule: Any, per: str, loader: Any, epochs: int) -> None:
    """Refuse a one-cycle schedule that is over before the training is."""
    if not isinstance(schedule, OneCycleLR):
        return
    try:
        steps = epochs * (len(loader) if per == "step" else 1)
    except TypeError:  # batches that do not say how many they are
        return
    if schedule.total_steps < steps:
        raise ArgumentError(
            "fit",
            f"got OneCycleLR for {schedule.total_steps} steps and a training of {steps}",
            "a cycle for the whole training",
            f"set total_steps to {steps}",
        )


def check_numbers(
    epochs: int,
    accumulate: int,
    patience: int | None,
    clip_norm: float | None,
    every: float,
    optimizer: Optimizer,
    schedule: Any,
) -> None:
    for name, value in (("epochs", epochs), ("accumulate", accumulate), ("patience", patience)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not (whole and value > 0):
            raise ArgumentError("fit", f"got {name} {value!r}", "a whole number from 1", "check it")
    if clip_norm is not None and not (_is_number(clip_norm) and 0 < clip_norm < math.inf):
        raise ArgumentError(
            "fit", f"got clip_norm {clip_norm!r}", "a number above 0, finite", "1.0 is usual"
        )
    if not (_is_number(every) and every >= 0):
        raise ArgumentError("fit", f"got checkpoint_every {every!r}", "seconds from 0", "try 5")
    if schedule is None and all(group["lr"] == 0 for group in optimizer.param_groups):
        raise ArgumentError("fit", "got lr 0", "above 0", "1e-3 is a usual start")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
