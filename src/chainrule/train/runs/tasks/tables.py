"""Tables: a CSV or Parquet file, or one of the built-in tables."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection
from typing import Any

import numpy as np

from .... import nn
from ....data import NAMES, Table, TableEncoder, load, read_table, split
from ....data.tables.cells import EXACT, as_number, number_text
from ....data.tables.checks import constant, looks_like_time
from ....data.tables.columns import Column
from ....data.tables.encoder import MOST_CLASSES
from ....data.tables.names import nearest
from ....errors import ArgumentError
from ....graph import Array
from ...evaluation.metrics import Metric, metrics_by_name
from ..networks import TableNetwork
from ..recipe import Recipe
from .base import (
    IMAGE_SETTINGS,
    TEXT_SETTINGS,
    Batch,
    Task,
    epochs_for,
    expect_source,
    fractions,
    power_of_2,
)

MOST_EMBEDDED = 1000  # columns of categories: compiling an embedding takes some 50 ms


class TableTask(Task):
    """Predict one column of a table from the others."""

    kind = "table"
    _goals: Array  # targets of the test rows, in units of the table

    def __init__(self, encoder: TableEncoder, decimal: str) -> None:
        self.encoder, self.decimal = encoder, decimal
        self.task, self.classes = encoder.task, list(encoder.classes)
        self.notes = list(encoder.notes)

    @classmethod
    def load(cls, recipe: Recipe) -> TableTask:
        expect_source(recipe, *IMAGE_SETTINGS, *TEXT_SETTINGS)
        table, target = _table(recipe)
        goal, text = table.columns[target], recipe.category or ()
        shares = fractions(recipe)
        whole = TableEncoder.fit(table, target, recipe.task, text)  # raises for unusable data
        if len(whole.category_names) > MOST_EMBEDDED:
            raise ArgumentError(
                "train",
                f"got {len(whole.category_names)} columns of categories",
                f"expected at most {MOST_EMBEDDED}, because each gets an embedding",
                "remove some from the file, or write them as numbers (0 and 1 for no and yes)",
            )
        labels = whole.transform_target(table) if whole.task == "classification" else None
        parts = _split(table, shares, recipe.seed or 0, labels, goal.kind == "number")
        train = table.select(parts[0])
        reasons = {n: constant(c) for n, c in train.columns.items() if n != target}
        unusable = [n for n in reasons if reasons[n]]
        encoder = TableEncoder.fit(train.drop(unusable), target, whole.task, text)
        self = cls(encoder, recipe.decimal or ".")
        self.notes += [
            f"column {n!r} is left out: in the training rows it {reasons[n]}" for n in unusable
        ]
        self.train, self.valid, self.test = (self._encoded(table.select(p)) for p in parts)
        self.rows, self._goals = parts[2], goal.values[parts[2]]
        times = [n for n, c in table.columns.items() if n != target and looks_like_time(n, c)]
        if times:
            self.notes.append(
                f"rows are split at random, but {times[0]!r} is a time: if later rows are to be "
                "predicted from earlier ones, the metrics are too good; train on a file of the "
                "earlier rows, and test on the later ones with chainrule evaluate"
            )
        if goal.kind == "number" and recipe.task is None:
            note = _note_of_task(target, goal, self.task)
            self.notes[:0] = [note] * bool(note)
        self.facts = {
            "rows": len(table),
            "training rows": len(parts[0]),
            "validation rows": len(parts[1]),
            "test rows": len(parts[2]),
            "numeric inputs": len(self.encoder.feature_names),
            "categories": ", ".join(self.encoder.category_names) or "none",
            "target": target,
        }
        if labels is not None:
            self.facts["classes"] = len(self.classes)
        else:
            least, most = self._rounded(np.array([goal.values.min(), goal.values.max()]))
            self.facts["target range"] = f"{number_text(least)} to {number_text(most)}"
        return self

    @classmethod
    def restored(cls, recipe: Recipe, values: dict[str, Any]) -> TableTask:
        return cls(TableEncoder.from_json(values), recipe.decimal or ".")

    def to_json(self) -> dict[str, Any]:
        return self.encoder.to_json()

    def _encoded(self, table: Table) -> Batch:
        return self.encoder.transform(table), self.encoder.transform_target(table)

    def read(self, source: Any, labelled: bool) -> Batch:
        is_builtin = isinstance(source, str) and source in NAMES
        table = (
            _builtin(source)[0]
            if is_builtin
            else read_table(source, text=self.encoder.text_names, decimal=self.decimal)
        )
        x = self.encoder.transform(table)
        self.notes = list(self.encoder.last_notes)
        return x, self.encoder.transform_target(table) if labelled else None

    def defaults(self) -> dict[str, Any]:
        rows = len(self.train[1])
        size = max(8, min(256, power_of_2(rows // 30)))
        wide = rows > 5000
        return {
            "task": self.task,
            "test": 0.2,
            "valid": 0.1,
            "model": "mlp",
            "embedding": 16,
            "loss": None if self.task == "classification" else "mse",
            "hidden": [256, 128] if wide else [64, 32],
            "dropout": 0.0 if wide else 0.1,
            "batch_size": min(size, rows),
            "epochs": epochs_for(rows, size, 12000, 100),
            "optimizer": "adamw",
            "lr": 3e-3,
            "weight_decay": 1e-2,
            "schedule": "cosine",
            "clip_norm": 1.0,
            "patience": 20,
            "seed": 0,
        }

    def network(self, recipe: Recipe) -> nn.Module:
        assert recipe.embedding is not None
        outputs = len(self.classes) if self.task == "classification" else 1
        net = TableNetwork(
            len(self.encoder.feature_names),
            self.encoder.cardinalities,
            recipe.embedding,
            recipe.hidden or [],
            outputs,
            recipe.dropout or 0.0,
        )
        return net if self.task == "classification" else nn.Sequential(net, nn.Flatten(0))

    def loss(self, recipe: Recipe) -> Any:
        return super().loss(recipe) if self.task == "classification" else recipe.loss

    def metrics(self) -> dict[str, Metric]:
        if self.task == "classification":
            return super().metrics()
        return {
            name: self._in_units(m) for name, m in metrics_by_name(("r2", "mae", "rmse")).items()
        }

    def _in_units(self, metric: Metric) -> Metric:
        back = self.encoder.inverse_target
        return lambda output, target: metric(back(output), back(target))

    def decoded(self, output: Array) -> dict[str, list[Any]]:
        if self.classes:
            return super().decoded(output)
        return {"prediction": self._rounded(self.encoder.inverse_target(output))}

    def _rounded(self, values: Array) -> list[float]:
        """Values rounded to six digits of the target's standard deviation."""
        digits = 5 - math.floor(math.log10(self.encoder.target_std))
        return [round(v, digits) for v in values.tolist()]

    def truth(self) -> list[Any]:
        if self.classes:
            return super().truth()
        return [int(v) if v.is_integer() and abs(v) < EXACT else v for v in self._goals.tolist()]

    def report_fields(self, output: Array, target: Array) -> dict[str, Any]:
        if self.task == "classification":
            return super().report_fields(output, target)
        back = self.encoder.inverse_target
        return {"truth": np.asarray(back(target)), "predicted": np.asarray(back(output))}


def _split(
    table: Table, fractions: tuple[float, ...], seed: int, labels: Array | None, numeric: bool
) -> list[Array]:
    """The rows of each part; for a numeric target the error also suggests a regression."""
    try:
        return split(len(table), fractions, seed, labels)
    except ArgumentError as error:
        if labels is None or not numeric:
            raise
        raise ArgumentError(
            error.operation, error.arrived, error.needed, f"{error.advice}, or --task regression"
        ) from None


def _note_of_task(target: str, goal: Column, task: str) -> str:
    """A note on few whole numbers: they could be classes or numbers."""
    distinct = np.unique(goal.values)
    if task == "classification":
        return (
            f"the {len(distinct)} numbers in {target!r} are taken as classes; --task regression "
            "predicts a number"
        )
    if len(distinct) > MOST_CLASSES or (distinct != np.floor(distinct)).any():
        return ""
    return (
        f"the {len(distinct)} numbers in {target!r} are taken as numbers; --task classification "
        "predicts which of them it is"
    )


def _table(recipe: Recipe) -> tuple[Table, str]:
    """The table without dropped columns, and the name of the target."""
    text, hint = recipe.category or [], ""
    if recipe.source in NAMES:
        table, target = _builtin(recipe.source, text)
        target = recipe.target or target
    else:
        table = read_table(recipe.source, text=text, decimal=recipe.decimal or ".")
        if any(as_number(n) is not None for n in table.columns):
            hint = ", or put a header above the data if the first line is data"
        if recipe.target is None:
            listed = list(table.columns)
            more = ", …" if len(listed) > 30 else ""
            raise ArgumentError(
                "train",
                f"got the table {recipe.source} without a target",
                f"expected one of its columns: {', '.join(listed[:30])}{more}",
                f"name the column to predict with --target{hint}",
            )
        target = recipe.target
    for name, what in ((target, "the target"), *((n, "the category") for n in text)):
        if name not in table.columns:
            raise ArgumentError(
                "train",
                f"got {what} {name!r}",
                "expected a column of the table",
                nearest(name, table.columns) + hint,
            )
    drop = [n for name in recipe.drop or [] for n in _parts(name, table)]
    if target in drop:
        raise ArgumentError(
            "train",
            f"got {target!r} as target and as a column to drop",
            "expected a target that is not dropped",
            f"remove --drop {shlex.quote(target)}, or pass another --target",
        )
    return table.drop(drop), target


def _parts(name: str, table: Table) -> list[str]:
    """The columns that a name to drop means: `a,b` is two columns if no column has that name."""
    parts = [part.strip() for part in name.split(",")]
    return [name] if name in table.columns or not set(parts) <= set(table.columns) else parts


def _builtin(name: str, text: Collection[str] = ()) -> tuple[Table, str]:
    data = load(name)
    if data.kind != "table":
        raise ArgumentError(
            "predict",
            f"got {name}, images",
            "expected a table",
            "pass a file, or one of the built-in tables: iris, wine, …",
        )
    columns: dict[str, Any] = dict(zip(data.feature_names, data.x.T, strict=True))
    names = data.class_names
    columns["target"] = data.y if names is None else np.array(names, object)[data.y]
    return read_table(columns, name, text), "target"
