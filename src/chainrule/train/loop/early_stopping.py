"""Early stopping: which value is monitored, when it is better, when to stop, the best weights."""

from __future__ import annotations

import difflib
import math
from typing import Any

from ...errors import ArgumentError
from ...graph import Array
from ..evaluation.metrics import METRICS, Metric


class EarlyStopping:
    """Compares the epochs by one column of the history, and keeps the weights of the best one.

    An epoch is better if its value is, or if the value is equal and its loss is less: few
    validation rows have few different accuracies.

    monitor           the column: "valid_loss", "valid_accuracy", …
    lower_is_better   False: higher is better
    patience          stop after this many epochs without a better value; None: never
    restore_best      whether the model gets the best weights at the end

    best, loss, weights   of the best epoch so far: the value and the loss (NaN before there is
                      one), the weights
    waited            epochs since then
    """

    def __init__(
        self, monitor: str, lower_is_better: bool, patience: int | None, restore_best: bool
    ) -> None:
        self.monitor, self.lower_is_better = monitor, lower_is_better
        self.patience, self.restore_best = patience, restore_best
        self.best, self.loss, self.waited = math.nan, math.nan, 0
        self.weights: dict[str, Array] | None = None

    def value(self, row: dict[str, Any]) -> float:
        """The monitored value of an epoch."""
        if self.monitor not in row:
            raise ArgumentError(
                "fit",
                f"got monitor {self.monitor!r}",
                f"expected one of {', '.join(row)}",
                f"monitor={next(n for n in row if 'loss' in n)!r}, or another of these columns",
            )
        return float(row[self.monitor])

    def improved(self, row: dict[str, Any], weights: dict[str, Array]) -> bool:
        """Whether an epoch is the best so far; its weights are kept if it is.

        Without patience and restore_best nothing is compared, and the last epoch counts as best.
        """
        if not self.restore_best and self.patience is None:
            return True
        value = self.value(row)
        loss = row.get("valid_loss", row["loss"])
        better = value < self.best if self.lower_is_better else value > self.best
        better = better or (value == self.best and loss < self.loss)
        if better or (math.isnan(self.best) and not math.isnan(value)):
            self.best, self.loss, self.waited, self.weights = value, loss, 0, weights
            return True
        self.waited += 1
        return False

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights."""
        return {"best_value": self.best, "best_loss": self.loss, "waited": self.waited}

    def load_state(self, state: dict[str, Any], weights: dict[str, Array] | None) -> None:
        self.best, self.waited, self.weights = state["best_value"], state["waited"], weights
        self.loss = state.get("best_loss", math.nan)  # absent from checkpoints of earlier versions

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience


def check_monitor(monitor: str | None, metrics: dict[str, Metric], validated: bool) -> None:
    names = ["loss", *([f"valid_{n}" for n in ("loss", *metrics)] if validated else metrics)]
    if monitor is None or monitor in names:
        return
    near = difflib.get_close_matches(f"valid_{monitor}" if validated else monitor, names, n=1)
    advice = f"did you mean {near[0]}?" if near else f"monitor={names[0]!r}"
    if monitor.startswith("valid_") and not validated:
        advice = "pass validation data, valid=(x, y)"
    raise ArgumentError(
        "fit", f"got monitor {monitor!r}", f"expected one of {', '.join(names)}", advice
    )


def lower_is_better(monitor: str | None, mode: str | None) -> bool:
    """Whether lower values of the monitor are better."""
    name = (monitor or "loss").removeprefix("valid_")
    if mode not in (None, "min", "max"):
        raise ArgumentError(
            "fit",
            f"got mode {mode!r}",
            'expected "min" or "max"',
            'mode="min" for errors, mode="max" for scores',
        )
    if name == "loss" and mode == "max":
        raise ArgumentError(
            "fit",
            'got mode="max" for the loss, where lower is better',
            "expected a monitor where higher is better",
            'monitor="valid_accuracy", or leave out mode',
        )
    falls = name in ("loss", "mae", "rmse") or (
        name not in METRICS and ("err" in name.lower() or "loss" in name.lower())
    )
    if mode is None and not falls and name not in METRICS:
        raise ArgumentError(
            "fit",
            f"got monitor {monitor!r}, a custom metric, without a mode",
            "expected a mode: whether lower or higher values are better",
            'pass mode="min" or mode="max"',
        )
    return falls if mode is None else mode == "min"
