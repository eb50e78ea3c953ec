"""A program: a recipe with its arrays, and the parts that are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim

from . import losses, network, optimizers, patches, remedies

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Arrays:
    """Inputs (N, …) in float32, images channels last; targets, classes in int64 or float32."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


@dataclass(frozen=True)
class Built:
    """All that is trained, and how: what may be looked at to find a fault.

    penalties   the coefficient of ∑w² that is added to the loss, by the path of a weight
    clip_norm   the largest norm of the gradients, if they are clipped
    shuffle     whether each epoch has its own order
    as_logits   whether the score is that of the predictions' sigmoid
    augment     how images are changed at random: noise, probability, erase_probability, erase_area
    """

    arrays: Arrays
    model: nn.Module
    loss: losses.Loss
    optimizer: optim.Optimizer
    schedule: optim.Schedule | None
    penalties: dict[str, float]
    clip_norm: float | None
    batch: int
    epochs: int
    shuffle: bool
    as_logits: bool
    augment: dict[str, Any] | None


@dataclass(frozen=True)
class Program:
    """A recipe, and the function that makes the arrays of its field `data`."""

    recipe: patches.Recipe
    load: Callable[[dict[str, Any]], Mapping[str, Array]]

    @cached_property
    def arrays(self) -> Arrays:
        """The data as it is trained on."""
        loaded = self.load(self.recipe["data"])
        x, x_test = (np.ascontiguousarray(loaded[k], np.float32) for k in ("x", "x_test"))
        kind = np.int64 if np.issubdtype(loaded["y"].dtype, np.integer) else np.float32
        y, y_test = (np.ascontiguousarray(loaded[k], kind) for k in ("y", "y_test"))
        return Arrays(x, y, x_test, y_test)

    def patched(self, items: Iterable[patches.Item]) -> Program:
        """The program after a patch."""
        return Program(patches.patched(self.recipe, items), self.load)

    def treated(self, remedy: Iterable[remedies.Change]) -> Program:
        """The program after the changes of a remedy."""
        return self.patched([remedies.as_patch(remedy, self.recipe)])

    def build(self, seed: int = 0) -> Built:
        """The model with fresh weights, from the seed, and all else that is trained."""
        recipe, arrays = self.recipe, self.arrays
        cr.random.seed(seed)
        model, penalties = network.network(recipe["layers"], arrays.x.shape[1:])
        optimizer = optimizers.optimizer(recipe["optimizer"], model)
        return Built(
            arrays=arrays,
            model=model,
            loss=losses.loss(recipe["loss"]),
            optimizer=optimizer,
            schedule=optimizers.schedule(recipe["optimizer"], optimizer),
            penalties=penalties,
            clip_norm=recipe["optimizer"].get("clipnorm"),
            batch=recipe["batch"],
            epochs=recipe["epochs"],
            shuffle=recipe.get("shuffle", True),
            as_logits=recipe["loss"]["name"] == "bce_logits",
            augment=recipe.get("augment"),
        )
