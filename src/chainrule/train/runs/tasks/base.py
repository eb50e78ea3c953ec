"""The task of a run, by kind of data: reading, network, loss, metrics, fields of the report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .... import nn
from ....errors import ArgumentError
from ....graph import Array
from ....tensor import Tensor
from ...evaluation.metrics import Metric, confusion, metrics_by_name
from ...evaluation.objective import Objective
from ..recipe import Recipe

Batch = tuple[Any, Any]
TABLE_SETTINGS = ("target", "drop", "category", "decimal")
IMAGE_SETTINGS = ("size", "max_pixels", "max_unreadable", "channels", "augment")
TEXT_SETTINGS = ("length", "encoding", "tokens", "carry")


class Task(ABC):
    """The data of a recipe, split and encoded; after `restored`, only what prediction needs.

    unit                 what a row is called
    train, valid, test   (x, y), arrays or trees of arrays
    rows                 numbers of the test rows in the source, from 0
    names                names of the rows that `read` returned last, if they have names
    test_names           names of the test rows, if they have names
    facts, notes         for the report: properties of the data, and how it was changed
    """

    kind: ClassVar[str]
    unit: ClassVar[str] = "row"
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
        """The inverse of `to_json`, without training data."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The fitted preprocessing, as JSON has it."""

    @abstractmethod
    def defaults(self) -> dict[str, Any]:
        """Values for settings that a recipe leaves out."""

    def chosen(self, recipe: Recipe) -> str:
        """In one line, what was chosen for the data, with reasons; or an empty text."""
        return ""

    @abstractmethod
    def network(self, recipe: Recipe) -> nn.Module:
        """The model of a complete recipe."""

    @abstractmethod
    def read(self, source: Any, labelled: bool) -> Batch:
        """(x, y) of another source of the same form; y is None unless labelled."""

    def loss(self, recipe: Recipe) -> Any:
        """The loss for training."""
        weight = None
        if recipe.class_weight == "balanced":
            counts = np.bincount(self.train[1], minlength=len(self.classes))
            weight = Tensor((counts.sum() / (len(counts) * np.maximum(counts, 1))).astype("f4"))
        return nn.CrossEntropyLoss(weight=weight, label_smoothing=recipe.label_smoothing or 0.0)

    def augmentations(self, recipe: Recipe) -> list[Any]:
        """What a DataLoader changes in batches of the training data."""
        return []

    def metrics(self) -> dict[str, Metric]:
        """Metrics by name, in the units of the data, the main one first."""
        return metrics_by_name(("accuracy", "f1"), Objective("cross_entropy"))

    def decoded(self, output: Array) -> dict[str, list[Any]]:
        """Columns of a table of predictions."""
        scores = output - output.max(-1, keepdims=True)
        shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        names = [self.classes[k] for k in output.argmax(-1)]
        return {"prediction": names, "confidence": [round(float(s), 6) for s in shares.max(-1)]}

    def truth(self) -> list[Any]:
        """The targets of the test rows, in the words of the data."""
        return [self.classes[k] for k in self.test[1]]

    def report_fields(self, output: Array, target: Array) -> dict[str, Any]:
        """Fields of a Report about the predictions for the test rows."""
        return {
            "confusion": confusion(output, target, len(self.classes)),
            "classes": self.classes,
        }

    def pictures(self, recipe: Recipe, model: nn.Module, output: Array) -> dict[str, Any]:
        """Fields of a Report that show images, with the outputs for the test rows."""
        return {}


def fractions(recipe: Recipe) -> tuple[float, float, float]:
    """The shares of training, validation and test rows."""
    test = 0.2 if recipe.test is None else recipe.test
    valid = 0.1 if recipe.valid is None else recipe.valid
    if test + valid >= 1:
        raise ArgumentError(
            "train",
            f"got test {test} and valid {valid}",
            "expected shares that leave rows to train on",
            "--test 0.2 --valid 0.1",
        )
    return 1 - test - valid, valid, test


def expect_source(recipe: Recipe, *unused: str) -> None:
    """Raise for settings that this kind of data does not take."""
    for name in unused:
        if getattr(recipe, name) is not None:
            raise ArgumentError(
                "train",
                f"got {name} = {getattr(recipe, name)!r} for {recipe.source}",
                "expected settings for this kind of data",
                f"leave out {name}",
            )


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first names, with … if there are more."""
    return ", ".join([*names[:most], *["…"] * (len(names) > most)])


def epochs_for(rows: int, batch_size: int, steps: int, most: int) -> int:
    """The number of epochs with about `steps` steps, from 1 to `most`."""
    return max(1, min(most, round(steps * batch_size / max(rows, 1))))


def power_of_2(most: int) -> int:
    """The largest power of 2 up to `most`, at least 1."""
    return 1 << max(most.bit_length() - 1, 0)
