"""Tables: a CSV or Parquet file, or one of the built-in tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn
from ...data import NAMES, Table, TableEncoder, load, read_table, split
from ...data.checks import nearest
from ...errors import ArgumentError
from ...graph import Array
from ..metrics import Metric, named
from ..models import TableNetwork
from ..recipe import Recipe
from .base import Batch, Task, epochs_for, expect_source, power_of_2


class TableTask(Task):
    """Predict one column of a table from the others."""

    kind = "table"

    def __init__(self, encoder: TableEncoder) -> None:
        self.encoder = encoder
        self.task, self.classes = encoder.task, list(encoder.classes)
        self.notes = list(encoder.notes)

    @classmethod
    def load(cls, recipe: Recipe) -> TableTask:
        expect_source(recipe, "size", "length", "channels")
        table, target = _table(recipe)
        goal = table.columns[target]
        fractions = _fractions(recipe)
        whole = TableEncoder.fit(table, target, recipe.task)  # complains of the data as a whole
        labels = whole.transform_target(table) if whole.task == "classification" else None
        parts = split(len(table), fractions, recipe.seed or 0, labels)
        train = table.select(parts[0])
        _expect_varied(train, target, recipe.source)
        self = cls(TableEncoder.fit(train, target, whole.task))
        self.train, self.valid, self.test = (self._encoded(table.select(p)) for p in parts)
        self.rows = parts[2]
        if goal.kind == "number" and self.classes and recipe.task is None:
            self.notes.insert(
                0, f"the {len(self.classes)} numbers in {target!r} are taken as classes; --task "
                "regression predicts a number",
            )  # fmt: skip
        self.facts = {
            "rows": len(table), "training rows": len(parts[0]), "validation rows": len(parts[1]),
            "test rows": len(parts[2]), "numeric inputs": len(self.encoder.feature_names),
            "categories": ", ".join(self.encoder.category_names) or "none", "target": target,
        }  # fmt: skip
        if labels is not None:
            self.facts["classes"] = len(self.classes)
        else:
            self.facts["target range"] = f"{np.nanmin(goal.values):g} to {np.nanmax(goal.values):g}"
        return self

    @classmethod
    def restored(cls, recipe: Recipe, values: dict[str, Any]) -> TableTask:
        return cls(TableEncoder.from_json(values))

    def to_json(self) -> dict[str, Any]:
        return self.encoder.to_json()

    def _encoded(self, table: Table) -> Batch:
        return self.encoder.transform(table), self.encoder.transform_target(table)

    def read(self, source: Any, labelled: bool) -> Batch:
        known = isinstance(source, str) and source in NAMES
        table = _builtin(source)[0] if known else read_table(source, text=self.encoder.text_names)
        x = self.encoder.transform(table)
        self.notes = list(self.encoder.last_notes)
        return x, self.encoder.transform_target(table) if labelled else None

    def defaults(self) -> dict[str, Any]:
        rows = len(self.train[1])
        size = max(8, min(256, power_of_2(rows // 30)))
        wide = rows > 5000
        return {
            "task": self.task, "test": 0.2, "valid": 0.1, "model": "mlp", "embedding": 16,
            "loss": None if self.task == "classification" else "mse",
            "hidden": [256, 128] if wide else [64, 32], "dropout": 0.0 if wide else 0.1,
            "batch_size": min(size, rows), "epochs": epochs_for(rows, size, 12000, 100),
            "optimizer": "adamw", "lr": 3e-3, "weight_decay": 1e-2, "schedule": "cosine",
            "clip_norm": 1.0, "patience": 20, "seed": 0,
        }  # fmt: skip

    def network(self, recipe: Recipe) -> nn.Module:
        assert recipe.embedding is not None
        outputs = len(self.classes) if self.task == "classification" else 1
        net = TableNetwork(
            len(self.encoder.feature_names), self.encoder.cardinalities, recipe.embedding,
            recipe.hidden or [], outputs, recipe.dropout or 0.0,
        )  # fmt: skip
        return net if self.task == "classification" else nn.Sequential(net, nn.Flatten(0))

    def loss(self, recipe: Recipe) -> Any:
        return super().loss(recipe) if self.task == "classification" else recipe.loss

    def metrics(self) -> dict[str, Metric]:
        if self.task == "classification":
            return super().metrics()
        return {name: self._in_units(m) for name, m in named(("r2", "mae", "rmse")).items()}

    def _in_units(self, metric: Metric) -> Metric:
        back = self.encoder.inverse_target
        return lambda output, target: metric(back(output), back(target))

    def decoded(self, output: Array) -> dict[str, list[Any]]:
        return super().decoded(output) if self.classes else {"prediction": self.truth(output)}

    def truth(self, target: Array) -> list[Any]:
        found = self.encoder.inverse_target(target)
        return list(found) if self.classes else [float(f"{v:.7g}") for v in found]

    def shown(self, output: Array, target: Array) -> dict[str, Any]:
        if self.task == "classification":
            return super().shown(output, target)
        back = self.encoder.inverse_target
        return {"truth": np.asarray(back(target)), "predicted": np.asarray(back(output))}


def _fractions(recipe: Recipe) -> tuple[float, float, float]:
    test = 0.2 if recipe.test is None else recipe.test
    valid = 0.1 if recipe.valid is None else recipe.valid
    if test + valid >= 1:
        raise ArgumentError(
            "train", f"got test {test} and valid {valid}", "shares that leave rows to train on",
            "lower them",
        )  # fmt: skip
    return 1 - test - valid, valid, test


def _table(recipe: Recipe) -> tuple[Table, str]:
    """The table without dropped columns, and the target's name."""
    if recipe.source in NAMES:
        table, target = _builtin(recipe.source)
        target = recipe.target or target
    else:
        table = read_table(recipe.source)
        if recipe.target is None:
            raise ArgumentError(
                "train", f"got the table {recipe.source} without a target",
                f"one of its columns: {', '.join(list(table.columns)[:8])}",
                "name the column to predict with --target",
            )  # fmt: skip
        target = recipe.target
    if target not in table.columns:
        raise ArgumentError(
            "train", f"got the target {target!r}", "a column of the table",
            nearest(target, table.columns),
        )  # fmt: skip
    if target in (recipe.drop or []):
        raise ArgumentError(
            "train", f"got {target!r} as target and as a column to leave out", "one of the two",
            "leave it out of --drop, or choose another target",
        )  # fmt: skip
    return table.drop(recipe.drop or []), target


def _builtin(name: str) -> tuple[Table, str]:
    found = load(name)
    if found.kind != "table":
        raise ArgumentError("predict", f"got {name}, images", "a table", "name a file")
    columns: dict[str, Any] = dict(zip(found.feature_names, found.x.T, strict=True))
    names = found.class_names
    columns["target"] = found.y if names is None else np.array(names, object)[found.y]
    return read_table(columns, name), "target"


def _expect_varied(train: Table, target: str, source: str) -> None:
    """Raise if a column varies only in the rows that are held out."""
    for name, column in train.columns.items():
        known = column.values[~column.missing]
        if name != target and (len(known) == 0 or bool(np.all(known == known[0]))):
            raise ArgumentError(
                "train", f"got the column {name!r}, the same in all training rows of {source}",
                "columns that vary", f"leave it out with --drop {name}",
            )  # fmt: skip
