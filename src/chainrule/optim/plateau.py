"""A schedule that follows a metric: the rate falls when the metric does not improve."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..errors import ArgumentError, user_line
from ..hints import check_arguments
from .optimizer import Optimizer
from .schedules import BY_NAME, expect_optimizer, expect_outside


class ReduceLROnPlateau:
    """lr · factor when the metric given to `step` has not improved for `patience` steps.

    mode        "min": lower is better. `fit` sets it, by what is better for its monitor
    threshold   the least improvement that counts: relative to the best metric, or with
                threshold_mode "abs" absolute
    cooldown    steps after a reduction that do not count
    eps         reductions up to this size are left out
    """

    per: ClassVar[str] = "epoch"

    @check_arguments(None, BY_NAME, kinds=True)
    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        expect_optimizer(self, optimizer)
        if mode not in ("min", "max") or not 0 < factor < 1:
            raise ArgumentError(
                "ReduceLROnPlateau",
                f"got mode {mode!r}, factor {factor}",
                "expected min or max, and a factor between 0 and 1",
                "leave them out: min, 0.1",
            )
        if threshold_mode not in ("rel", "abs"):
            raise ArgumentError(
                "ReduceLROnPlateau",
                f"got threshold_mode {threshold_mode!r}",
                'expected "rel" or "abs"',
                'leave it out: "rel"',
            )
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_steps, self.resting = 0, 0

    def step(self, metric: float) -> None:
        """Move on by one step, with the metric that was reached."""
        expect_outside(self)
        try:
            value = float(metric)
        except (TypeError, ValueError):
            raise ArgumentError(
                "ReduceLROnPlateau",
                f"got the metric {metric!r}",
                "expected a number",
                "step(loss) follows the loss of each epoch",
                user_line(),
            ) from None
        sign = 1 if self.mode == "max" else -1
        by = sign * self.threshold
        goal = self.best * (1 + by) if self.threshold_mode == "rel" else self.best + by
        if math.isinf(self.best):  # none yet
            goal = -sign * math.inf
        better = sign * value > sign * goal
        self.bad_steps = 0 if better else self.bad_steps + 1
        self.best = value if better else self.best
        if self.resting:
            self.resting -= 1
            self.bad_steps = 0
        if self.bad_steps > self.patience:
            for group in self.optimizer.param_groups:
                rate = max(group["lr"] * self.factor, self.min_lr)
                if group["lr"] - rate > self.eps:
                    group["lr"] = rate
            self.resting, self.bad_steps = self.cooldown, 0

    def state_dict(self) -> dict[str, Any]:
        """The numbers from which `load_state_dict` continues."""
        return {"best": self.best, "bad_steps": self.bad_steps, "resting": self.resting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.best, self.bad_steps = float(state["best"]), int(state["bad_steps"])
        self.resting = int(state["resting"])
