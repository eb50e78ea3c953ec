"""All that decides the result of a training of modules, this library's or PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np

from ..errors import ArgumentError
from ..graph import Array
from .training import Data

T = TypeVar("T")
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
        parts = self.copied((self.model, self.optimizer, self.schedule))
        model, optimizer, schedule = parts
        return replace(self, model=model, optimizer=optimizer, schedule=schedule)

    def copied(self, parts: T) -> T:
        """Deep copies of the model and what belongs to it; ArgumentError if there are none."""
        return deep_copy(parts, self.model, {})


def deep_copy(parts: T, model: Any, known: dict[int, Any]) -> T:
    """As `copy.deepcopy`, whose memo is `known`; an error names the attribute of the model."""
    try:
        return copy.deepcopy(parts, known.copy())
    except Exception as error:  # of whatever class the user's attributes are
        place = _without_copy(model, known)
        reason = f"{type(error).__name__}, {' '.join(str(error).split())}"
        raise ArgumentError(
            "diagnose",
            f"got {place or 'a model, optimizer or schedule'} that cannot be copied: {reason}",
            "expected what copy.deepcopy copies: each trial is of a copy",
            "keep it outside the model, as a global variable, or give its class __deepcopy__",
        ) from error


def _without_copy(model: Any, known: dict[int, Any]) -> str:
    """The innermost attribute of a model that cannot be copied; "" if there is none."""
    for path, module in reversed([*model.named_modules()]):
        for name, value in vars(module).items():
            try:
                copy.deepcopy(value, known.copy())
            except Exception:
                return f"model.{path}.{name}".replace("..", ".")
    return ""
