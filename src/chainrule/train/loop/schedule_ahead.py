"""A schedule advanced by several steps before they are run in one native call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph import Array
from ...optim import Optimizer
from ...tensor import Tensor


class ScheduleAhead:
    """Advances a schedule by `count` steps; `undo` takes that back if the steps cannot be run.

    varying   the settings that it changes, with the value at each step
    rate      the learning rate of the last step
    """

    def __init__(self, schedule: Any, optimizer: Optimizer, count: int) -> None:
        self._schedule, self._groups = schedule, optimizer.param_groups
        self.varying: list[tuple[Tensor, Array]] = []
        self.rate = self._groups[0]["lr"]
        if schedule is None:
            return
        self._before = [dict(group) for group in self._groups]
        self._state = schedule.state_dict()
        tensors = [t for group in self._groups for t in group.tensors()]
        values = []
        for _ in range(count):
            self.rate = self._groups[0]["lr"]
            values.append([t._value for t in tensors])
            schedule.step()
        columns = [np.array(column) for column in zip(*values, strict=True)]
        self.varying = [(t, c) for t, c in zip(tensors, columns, strict=True) if (c != c[0]).any()]

    def undo(self) -> None:
        """Restore the schedule and its settings."""
        if self._schedule is None:
            return
        self._schedule.load_state_dict(self._state)
        for group, values in zip(self._groups, self._before, strict=True):
            for name in (n for n, v in values.items() if group[n] != v):
                group[name] = values[name]
