"""A training with a schedule, which each copy makes for its own optimizer and number of steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ArgumentError
from ..optim import Optimizer, ReduceLROnPlateau, Schedule
from .modules import ModuleTraining
from .score import Score
from .training import Outcome

Scheduling = Callable[[Optimizer, int], Schedule]  # of an optimizer, for a number of steps


@dataclass(frozen=True)
class ScheduledTraining(ModuleTraining):
    """As `ModuleTraining`, whose schedule is the one that `scheduling` makes before the first step.

    So a change of the learning rate, of the batch or of the epochs changes the schedule too.
    """

    scheduling: Scheduling | None = None

    def run(self, score: Score, seed: int = 0, seconds: float = math.inf) -> Outcome:
        """As `Training.run`."""
        if self.scheduling is None or self.schedule is not None:
            return super().run(score, seed, seconds)
        t = self.fork()
        t = replace(t, schedule=self._schedule(t.optimizer))
        return ModuleTraining.run(t, score, seed, seconds)

    def check(self) -> None:
        """Raise if `scheduling` makes no schedule."""
        if self.scheduling is not None:
            self._schedule(self.fork().optimizer)

    def _schedule(self, optimizer: Optimizer) -> Any:
        steps = math.ceil(len(self.data[0]) / self.batch)
        advice = "schedule=lambda optimizer, steps: optim.WarmupCosine(optimizer, 100, steps)"
        expected = "expected a function (optimizer, steps) that returns a schedule of optim"
        if isinstance(self.scheduling, Schedule) or not callable(self.scheduling):
            what = type(self.scheduling).__name__
            raise ArgumentError("diagnose", f"got a schedule of type {what}", expected, advice)
        schedule = self.scheduling(optimizer, steps * self.epochs)
        if not isinstance(schedule, Schedule) or isinstance(schedule, ReduceLROnPlateau):
            what = type(schedule).__name__
            raise ArgumentError("diagnose", f"got a schedule that is {what}", expected, advice)
        return schedule if schedule.per == "step" else _PerEpoch(schedule, steps)


class _PerEpoch:
    """A schedule that moves on after each epoch, as one that is told of each step."""

    def __init__(self, schedule: Schedule, steps: int) -> None:
        self.schedule, self.steps, self.count = schedule, steps, 0

    def step(self) -> None:
        self.count += 1
        if self.count % self.steps == 0:
            self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
        self.schedule.load_state_dict(state["schedule"])
