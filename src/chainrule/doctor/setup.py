"""All that decides the result of a training of modules, this library's or PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from ..graph import Array
from .training import Data

Loss = Callable[[Any, Any], Any]  # of a prediction and a target
Augmentation = Callable[[Array, np.random.Generator], Array]  # of the inputs of a batch


@dataclass(frozen=True)
class Setup:
    """A training before its first step.

    model       with its first weights
    optimizer   of its parameters, before the first step; so is the schedule, which goes by steps
                (only this library's)
    data        (x, y) that is trained on; `valid` is held out
    shuffle     whether each epoch has its own order
    clip_norm   the largest global norm of the gradients
    """

    model: Any
    loss: Loss
    optimizer: Any
    data: Data
    valid: Data
    batch: int
    epochs: int
    shuffle: bool = True
    clip_norm: float | None = None
    schedule: Any = None
    augment: Augmentation | None = None

    def fork(self) -> Self:
        """The same with another model, optimizer and schedule, which are equal to these."""
        model, optimizer, schedule = copy.deepcopy((self.model, self.optimizer, self.schedule))
        return replace(self, model=model, optimizer=optimizer, schedule=schedule)
