"""Schedules: how the learning rate changes from step to step (or epoch to epoch).

Each is made with the optimizer; its `step()` sets the rates of all groups. The formulas are those
of PyTorch's `lr_scheduler` of the same name. `per` says when to call `step()`: "step", after each
step of the optimizer, for schedules that know the number of all of them (OneCycleLR, WarmupCosine);
"epoch", after each pass over the data, for the others.

An optimizer may have several schedules, one after the other or side by side. Those that multiply
(StepLR, MultiStepLR, ExponentialLR, LinearLR, CosineAnnealingLR) continue from the present rate,
which another schedule, or you, may have set. LambdaLR and WarmupCosine set the rate from
group["initial_lr"], the rate when the first schedule was made; OneCycleLR sets its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..errors import ArgumentError, TraceError, user_line
from ..hints import check_arguments
from ..trace import state
from .optimizer import Optimizer

BY_NAME = "give all but the optimizer by name"


def expect_optimizer(schedule: object, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        name = type(schedule).__name__
        raise ArgumentError(
            name,
            f"got an optimizer of type {type(optimizer).__name__}",
            "expected the optimizer whose rate it changes",
            f"optimizer = optim.Adam(…), then {name}(optimizer, …)",
            user_line(),
        )


def expect_outside(schedule: object) -> None:
    """Raise inside a compiled function: it would move once, while it is traced."""
    if state.trace is not None:
        name = type(schedule).__name__
        raise TraceError(
            name,
            f"got a step of {name} inside a compiled function",
            "expected it outside: it calculates with Python's numbers",
            "call schedule.step() after the compiled step, which reads the new rate",
            user_line(),
        )


class Schedule:
    """Base: the rate of each group as a function of how many steps were taken (`last_epoch`).

    base_lrs   the rate of each group when the first schedule of the optimizer was made
    """

    per: ClassVar[str] = "epoch"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            known = check_arguments(None, BY_NAME, kinds=True)
            cls.__init__ = known(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, optimizer: Optimizer) -> None:
        expect_optimizer(self, optimizer)
        self.optimizer = optimizer
        self.base_lrs = [g.first_rate() for g in optimizer.param_groups]
        self.last_epoch = 0
        self._apply()

    def rate(self, now: float, base: float, t: int) -> float:
        """The rate after t steps, from the one now (at t = 0: before the schedule) and the base."""
        raise NotImplementedError

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.rate(group["lr"], base, self.last_epoch)

    def step(self) -> None:
        """Move on by one step."""
        expect_outside(self)
        self.last_epoch += 1
        self._apply()

    def get_last_lr(self) -> list[float]:
        """The rates of the groups now."""
        return [g["lr"] for g in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The numbers from which `load_state_dict` continues."""
        return {
            "last_epoch": self.last_epoch,
            "base_lrs": list(self.base_lrs),
            "rates": self.get_last_lr(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, at the rates that it has."""
        groups, bases = self.optimizer.param_groups, list(state["base_lrs"])
        if len(bases) != len(groups):
            raise ArgumentError(
                type(self).__name__,
                f"got the state of {len(bases)} groups of parameters",
                f"expected that of {len(groups)}",
                "make the optimizer with the same groups",
                user_line(),
            )
        self.last_epoch, self.base_lrs = int(state["last_epoch"]), bases
        for group, rate in zip(groups, state.get("rates", self.get_last_lr()), strict=True):
            group["lr"] = rate


class LambdaLR(Schedule):
    """lr · f(t), with the initial lr."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        if not callable(lr_lambda):
            raise ArgumentError(
                "LambdaLR",
                f"got lr_lambda={lr_lambda!r}",
                "expected one function of the number of steps",
                "lr_lambda=lambda t: 0.95**t",
                user_line(),
            )
        self._factor = lr_lambda
        super().__init__(optimizer)

    def rate(self, now: float, base: float, t: int) -> float:
        return base * self._factor(t)


class StepLR(Schedule):
    """lr · γ^⌊t / step_size⌋: the present rate times γ at each multiple of step_size."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise ArgumentError(
                "StepLR", f"got step_size {step_size}", "expected 1 or more", "step_size=30 works"
            )
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def rate(self, now: float, base: float, t: int) -> float:
        return now * self.gamma if t and t % self.step_size == 0 else now


class MultiStepLR(Schedule):
    """lr · γ at each milestone."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        steps = [*milestones] if isinstance(milestones, Iterable) else [None]
        if not all(isinstance(m, (int, np.integer)) and not isinstance(m, bool) for m in steps):
            raise ArgumentError(
                "MultiStepLR",
                f"got milestones={milestones!r}",
                "expected whole numbers, the steps after which the rate falls",
                "milestones=[30, 80]",
                user_line(),
            )
        self.milestones, self.gamma = sorted(steps), gamma
        super().__init__(optimizer)

    def rate(self, now: float, base: float, t: int) -> float:
        return float(now * self.gamma ** self.milestones.count(t))


class ExponentialLR(Schedule):
    """lr · γᵗ."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, now: float, base: float, t: int) -> float:
        return now * self.gamma if t else now


class CosineAnnealingLR(Schedule):
    """From lr down to eta_min along half a cosine of T_max steps (Loshchilov and Hutter, 2016).

    lrₜ - eta_min = (1 + cos πt/T) / (1 + cos π(t-1)/T) · (lrₜ₋₁ - eta_min); after the lowest point
    up again from there.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:  # noqa: N803
        if T_max < 1:
            raise ArgumentError(
                "CosineAnnealingLR",
                f"got T_max {T_max}",
                "expected 1 or more",
                "T_max is the number of epochs",
            )
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def _height(self, t: int) -> float:
        return 1 + math.cos(math.pi * t / self.T_max)

    def rate(self, now: float, base: float, t: int) -> float:
        if t == 0:
            return now
        if (t - 1 - self.T_max) % (2 * self.T_max) == 0:  # up from the lowest point
            return now + (base - self.eta_min) * self._height(self.T_max - 1) / 2
        return self.eta_min + (now - self.eta_min) * self._height(t) / self._height(t - 1)


class LinearLR(Schedule):
    """lr times a factor that grows linearly from start_factor to end_factor: a warm-up."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1 or total_iters < 1:
            raise ArgumentError(
                "LinearLR",
                f"got start_factor {start_factor}, end_factor {end_factor}, "
                f"total_iters {total_iters}",
                "expected a factor above 0 and up to 1, one from 0 to 1, and 1 or more steps",
                "start_factor=0.1 warms up from a tenth",
                user_line(),
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, now: float, base: float, t: int) -> float:
        if t > self.total_iters:
            return now
        return now * (self._factor(t) / self._factor(t - 1) if t else self.start_factor)

    def _factor(self, t: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * t / self.total_iters


class WarmupCosine(Schedule):
    """Linearly up from 0 for `warmup` steps, then along half a cosine down to eta_min at total."""

    per = "step"

    def __init__(self, optimizer: Optimizer, warmup: int, total: int, eta_min: float = 0.0) -> None:
        if not 0 <= warmup < total:
            raise ArgumentError(
                "WarmupCosine",
                f"got warmup {warmup}, total {total}",
                "expected warmup below total",
                "both count steps: total is epochs times batches",
            )
        self.warmup, self.total, self.eta_min = warmup, total, eta_min
        super().__init__(optimizer)

    def rate(self, now: float, base: float, t: int) -> float:
        if t < self.warmup:
            return base * (t + 1) / self.warmup
        share = min(1.0, (t - self.warmup) / (self.total - self.warmup))
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * share)) / 2


class OneCycleLR(Schedule):
    """From max_lr / div_factor up to max_lr, then down to nearly 0 (Smith and Topin, 2017).

    pct_start   the share of total_steps in which the rate rises
    Momentum (or β₁), if there is any, goes the opposite way between base_momentum and max_momentum.
    """

    per = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        *,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
    ) -> None:
        if total_steps < 1 or not 0 <= pct_start <= 1:
            raise ArgumentError(
                "OneCycleLR",
                f"got total_steps {total_steps}, pct_start {pct_start}",
                "expected 1 or more, and 0 to 1",
                "total_steps is epochs times batches, pct_start=0.3 the default",
            )
        self.max_lr, self.total_steps, self.pct_start = max_lr, total_steps, pct_start
        self.first, self.last = max_lr / div_factor, max_lr / div_factor / final_div_factor
        self.momenta = (base_momentum, max_momentum) if cycle_momentum else None
        expect_optimizer(self, optimizer)
        for group in optimizer.param_groups:
            group["initial_lr"] = self.first
        super().__init__(optimizer)

    def _between(self, low: float, high: float, final: float, t: int) -> float:
        top = self.pct_start * self.total_steps - 1
        end = self.total_steps - 1
        if t <= top:
            start, stop, share = low, high, t / top if top else 1.0
        else:
            start, stop, share = high, final, (t - top) / (end - top)
        return stop + (start - stop) / 2 * (1 + math.cos(math.pi * share))

    def rate(self, now: float, base: float, t: int) -> float:
        if t > self.total_steps:
            raise ArgumentError(
                "OneCycleLR",
                f"got step {t + 1} of {self.total_steps}",
                "expected total_steps at most",
                "set total_steps to epochs × batches",
            )
        return self._between(self.first, self.max_lr, self.last, min(t, self.total_steps - 1))

    def _apply(self) -> None:
        super()._apply()
        self._apply_momentum()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, at the rates and momentum that it has."""
        super().load_state_dict(state)
        self._apply_momentum()

    def _apply_momentum(self) -> None:
        if self.momenta is None:
            return
        low, high = self.momenta
        m = self._between(high, low, high, min(self.last_epoch, self.total_steps - 1))
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (m, group["betas"][1])
            elif group.get("momentum"):
                group["momentum"] = m
