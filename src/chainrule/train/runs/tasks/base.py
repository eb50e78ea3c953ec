"""What a kind of data brings to a run: reading, a network, a loss, metrics, what a report shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .... import nn
from ....errors import ArgumentError
from ....graph import Array
from ....tensor import Tensor
from ...evaluation.metrics import Metric, confusion, named
from ..recipe import Recipe

Batch = tuple[Any, Any]
OF_TABLES = ("target", "drop", "category", "decimal")  # settings


class Task(ABC):
    """A recipe's data, split and encoded; or, made by `restored`, only what prediction needs.

    train, valid, test   (x, y), arrays or trees of arrays
    rows                 where the test rows stand in the source, from 0
    names                what the rows that were read last are called, if they have names
    test_names           what the test rows are called, if they have names
    facts, notes         what the report says of the data, and of what was done to it
    """

    kind: ClassVar[str]
    train: Batch
    valid: Batch
    test: Batch
    rows: Array
    names: list[str] | None = None
    test_names: list[str] | None = None
    facts: dict[str, Any]
    notes: list[str]
    task: str = "classification"
    classes: list[str]

    @classmethod
    @abstractmethod
    def load(cls, recipe: Recipe) -> Task:
        """Read the source, split it and fit the preprocessing on the training part."""

    @classmethod
    @abstractmethod
    def restored(cls, recipe: Recipe, values: dict[str, Any]) -> Task:
        """From what `to_json` gave: no training data."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The fitted preprocessing, as plain values."""

    @abstractmethod
    def defaults(self) -> dict[str, Any]:
        """What a recipe leaves out."""

    @abstractmethod
    def network(self, recipe: Recipe) -> nn.Module:
        """The model of a complete recipe."""

    @abstractmethod
    def read(self, source: Any, labelled: bool) -> Batch:
        """(x, y) of another source of the same form; y is None unless it is labelled."""

    def loss(self, recipe: Recipe) -> Any:
        """What is trained."""
        weight = None
        if recipe.class_weight == "balanced":
            counts = np.bincount(self.train[1], minlength=len(self.classes))
            weight = Tensor((counts.sum() / (len(counts) * np.maximum(counts, 1))).astype("f4"))
        return nn.CrossEntropyLoss(weight=weight, label_smoothing=recipe.label_smoothing or 0.0)

    def metrics(self) -> dict[str, Metric]:
        """Metrics by name, in the units of the data, the main one first."""
        return named(("accuracy", "f1"))

    def decoded(self, output: Array) -> dict[str, list[Any]]:
        """Columns of a table of predictions."""
        scores = output - output.max(-1, keepdims=True)
        shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        names = [self.classes[k] for k in output.argmax(-1)]
        return {"prediction": names, "confidence": [round(float(s), 6) for s in shares.max(-1)]}

    def truth(self) -> list[Any]:
        """The targets of the test rows, as the data names them."""
        return [self.classes[k] for k in self.test[1]]

    def shown(self, output: Array, target: Array) -> dict[str, Any]:
        """Fields of a Report about the predictions for the test rows."""
        return {
            "confusion": confusion(output, target, len(self.classes)),
            "classes": self.classes,
        }


def expect_source(recipe: Recipe, *unused: str) -> None:
    """Raise for settings that this kind of data does not take."""
    for name in unused:
        if getattr(recipe, name) is not None:
            raise ArgumentError(
                "train",
                f"got {name} = {getattr(recipe, name)!r} for {recipe.source}",
                "settings that this kind of data takes",
                f"leave {name} out",
            )


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first names, and … where there are more."""
    return ", ".join([*names[:most], *["…"] * (len(names) > most)])


def epochs_for(rows: int, batch_size: int, steps: int, most: int) -> int:
    """So many epochs that about `steps` steps are made, at least 1 and at most `most`."""
    return max(1, min(most, round(steps * batch_size / max(rows, 1))))


def power_of_2(most: int) -> int:
    """The largest power of 2 that is not above it; 1 at least."""
    return 1 << max(most.bit_length() - 1, 0)
