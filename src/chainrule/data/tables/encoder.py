"""Encoding tables for a network: standardised numbers, integer codes, and the target."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from ...errors import ArgumentError
from ...graph import Array
from .cells import as_number, as_text, is_exact, number_text
from .checks import (
    check_cells,
    check_inputs,
    check_size,
    check_target,
    looks_like_an_id,
    looks_like_days,
    missing_target,
    require,
)
from .columns import Column, Table
from .kinds import converted
from .misread import check_words, drop_option
from .names import natural

MOST_CATEGORIES = 1000
MOST_CLASSES = 20
ROWS_PER_CLASS = 5  # on average; with fewer, numbers are not classes
FAR = 20  # standard deviations from the mean; numbers beyond get a note
DATE_PARTS = ("year", "month", "day", "weekday", "hour")


@dataclass(frozen=True)
class Input:
    """How one column is encoded.

    number     (x - mean) / std: one part; NaN becomes 0, the mean
    date       the same for each of its parts that varies
    category   the code of its value: 1 + its place in values, 0 for anything else

    missing    whether a last column says 1 where the cell is missing, 0 where it is not
    """

    name: str
    kind: str
    parts: list[str] = dataclasses.field(default_factory=list)
    means: list[float] = dataclasses.field(default_factory=list)
    stds: list[float] = dataclasses.field(default_factory=list)
    missing: bool = False
    values: list[str] = dataclasses.field(default_factory=list)

    def feature_names(self) -> list[str]:
        """The names of its numeric columns."""
        names = [f"{self.name} {part}".rstrip() for part in self.parts]
        return [*names, f"{self.name} is missing"] if self.missing else names

    def numeric(self, column: Column) -> Iterator[Array]:
        """The numeric columns (N,), float64."""
        for part, mean, std in zip(self.parts, self.means, self.stds, strict=True):
            values = _scaled(_part(column, part), mean, std)
            yield np.where(column.missing, 0.0, values)
        if self.missing:
            yield column.missing.astype(np.float64)

    def codes(self, column: Column) -> Array:
        """The codes (N,), int64."""
        code = {value: k for k, value in enumerate(self.values, 1)}
        codes = map(code.get, column.values.tolist(), repeat(0))
        return np.fromiter(codes, np.int64, len(column.values))


class TableEncoder:
    """Encodes tables, fitted to the training rows.

    task           "classification" or "regression"
    target         the column to predict
    classes        its values, for classification; code k stands for classes[k]
    target_mean    and target_std: regression targets are standardised with these
    inputs         how each other column is encoded
    notes          what was missing, cut or expanded at fit, one line each
    last_notes     what was missing or unknown in the last transform
    """

    def __init__(
        self,
        target: str,
        task: str,
        classes: list[str],
        target_mean: float,
        target_std: float,
        inputs: list[Input],
        notes: list[str],
    ) -> None:
        self.target, self.task, self.classes = target, task, classes
        self.target_mean, self.target_std = target_mean, target_std
        self.inputs, self.notes = inputs, notes
        self.last_notes: list[str] = []

    @classmethod
    def fit(
        cls, table: Table, target: str, task: str | None = None, text: Collection[str] = ()
    ) -> TableEncoder:
        """The encoder for this table; by default the task is inferred from the target.

        text   columns that are text, even if it looks like numbers or dates

        A target of categories is a classification, and so is one of at most 20 distinct whole
        numbers with 5 rows each on average.
        """
        require("fit", table, [target])
        for name in table.columns:
            check_cells("fit", table, name)
        notes = list(table.notes)
        problems = check_words(table, target, text, notes)
        goal = table.columns[target]
        missing_target("fit", table, target)
        words = goal.kind == "category"
        distinct = sorted(set(goal.values.tolist())) if words else np.unique(goal.values)
        values = np.asarray(distinct, goal.values.dtype)
        inferred = task or _task(goal, values)
        check_target(table, target, task, inferred, values)
        check_inputs(table, target, problems)
        inputs = [_input(n, c, notes) for n, c in table.columns.items() if n != target]
        classes, mean, std = [], 0.0, 1.0
        if inferred == "regression":
            mean, std = _mean_std(goal.values)
        else:
            counts = Counter(_names(goal))
            classes = list(map(number_text, values)) if goal.kind == "number" else natural(counts)
            single = [c for c in classes if counts[c] == 1]
            if single:
                named = ", ".join(map(repr, single[:5])) + (", …" if len(single) > 5 else "")
                notes.append(f"classes with a single row: {named} ({len(single)} in all)")
        return cls(target, inferred, classes, mean, std, inputs, notes)

    @property
    def feature_names(self) -> list[str]:
        """The names of the F numeric columns."""
        return [n for i in self.inputs if i.kind != "category" for n in i.feature_names()]

    @property
    def category_names(self) -> list[str]:
        """The names of the K columns of codes."""
        return [i.name for i in self.inputs if i.kind == "category"]

    @property
    def text_names(self) -> list[str]:
        """The columns of text, with the target if it was fitted as classes."""
        return [*self.category_names, *[self.target] * bool(self.classes)]

    @property
    def cardinalities(self) -> list[int]:
        """The number of codes of each of the K columns of codes, with 0."""
        return [len(i.values) + 1 for i in self.inputs if i.kind == "category"]

    def transform(self, table: Table) -> tuple[Array, Array]:
        """Numbers (N, F) float32 and codes (N, K) int64; the table needs no target."""
        require("transform", table, [i.name for i in self.inputs])
        numeric: list[Array] = []
        codes: list[Array] = []
        self.last_notes = []
        for i in self.inputs:
            column = _as_kind(table, i.name, i.kind)
            missing = int(column.missing.sum())
            if column.zoned:  # those of training may have had none
                self.last_notes.append(f"column {i.name!r}: times with a zone are read as UTC")
            if i.kind == "category":
                codes.append(i.codes(column))
                unknown = Counter(column.values[(codes[-1] == 0) & ~column.missing].tolist())
                if unknown:
                    self.last_notes.append(
                        f"column {i.name!r}: {_cells(unknown.total())} with values not known "
                        f"from fit ({_listed(unknown)}), encoded as the code 0"
                    )
            else:
                parts = list(i.numeric(column))
                if i.kind == "number":
                    self._note_far(table, i.name, column, parts[0])
                numeric += parts
            if missing:
                self.last_notes.append(_missing_note(i, missing))
        rows = len(table)
        return (
            np.stack(numeric, 1).astype(np.float32) if numeric else np.zeros((rows, 0), np.float32),
            np.stack(codes, 1) if codes else np.zeros((rows, 0), np.int64),
        )

    def _note_far(self, table: Table, name: str, column: Column, scaled: Array) -> None:
        """Raise for numbers that overflow float32, note those far from the numbers at fit."""
        check_size(table, name, scaled)
        far = np.abs(scaled) > FAR
        if far.any():
            row = int(np.argmax(far))
            self.last_notes.append(
                f"column {name!r}: {_cells(int(far.sum()))} more than {FAR} standard deviations "
                f"from the mean, the first {number_text(column.values[row])} in {table.place(row)}"
            )

    def transform_target(self, table: Table) -> Array:
        """Codes of classes (N,) int64, or standardised values (N,) float32."""
        require("transform_target", table, [self.target])
        missing_target("transform_target", table, self.target)
        if self.task == "regression":
            column = _as_kind(table, self.target, "number")
            scaled = _scaled(column.values, self.target_mean, self.target_std)
            check_size(table, self.target, scaled)
            return scaled.astype(np.float32)
        names = _names(table.columns[self.target])
        code = {name: k for k, name in enumerate(self.classes)}
        for name in set(names) - code.keys():  # 1.0 or +1 for the class 1
            number = as_number(name, table.decimal)
            if number is not None and is_exact(number) and number_text(number) in code:
                code[name] = code[number_text(number)]
        codes = np.fromiter(map(code.get, names, repeat(-1)), np.int64, len(names))
        if (codes < 0).any():
            row = int(np.argmax(codes < 0))
            raise ArgumentError(
                "transform_target",
                f"got the class {names[row]!r} in {table.place(row)} of {table.name}",
                f"expected one of {_listed(self.classes)}",
                "train with rows of that class, or remove them",
            )
        return codes

    def inverse_target(self, array: Any) -> Array:
        """Names of classes (str objects) for codes, or values in their own units (float64)."""
        values = np.asarray(array)
        if self.task == "regression":
            return values.astype(np.float64) * self.target_std + self.target_mean
        return np.array(self.classes, object)[values]

    def to_json(self) -> dict[str, Any]:
        """The encoder as JSON has it; floats are exact."""
        names = ("target", "task", "classes", "target_mean", "target_std", "notes")
        values = {name: getattr(self, name) for name in names}
        return {**values, "inputs": [dict(vars(i)) for i in self.inputs]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableEncoder:
        """The encoder that `to_json` wrote."""
        return cls(**{**data, "inputs": [Input(**i) for i in data["inputs"]]})


def _task(goal: Column, values: Array) -> str:
    whole = goal.kind == "number" and bool((values == np.floor(values)).all())
    few = whole and len(values) <= min(MOST_CLASSES, len(goal.values) // ROWS_PER_CLASS)
    return "classification" if goal.kind == "category" or few else "regression"


def _names(column: Column) -> list[str]:
    """The class of each row."""
    words = column if column.kind == "category" else converted(column, "category")[0]
    return words.values.tolist()


def _input(name: str, column: Column, notes: list[str]) -> Input:
    """How to encode that column of the training rows."""
    missing = int(column.missing.sum())
    if column.kind == "category":
        counts = Counter(column.values[~column.missing].tolist())
        values = natural(counts)
        if len(counts) > MOST_CATEGORIES:
            values = natural(sorted(values, key=counts.__getitem__, reverse=True)[:MOST_CATEGORIES])
            notes.append(
                f"column {name!r} has {len(counts)} values; the {MOST_CATEGORIES} most frequent "
                "have codes, the others get the code 0"
            )
        encoded = Input(name, "category", values=values)
    else:
        parts = [""] if column.kind == "number" else _varying(column)
        if column.kind == "date":
            zone = ", read as UTC" * column.zoned
            notes.append(f"column {name!r} is a date{zone}; it becomes {', '.join(parts)}")
        elif looks_like_days(column):
            notes.append(
                f"column {name!r}: its numbers look like dates such as 20240331, but are read as "
                "numbers; write dates like 2024-03-31"
            )
        moments = [_mean_std(_part(column, p)[~column.missing]) for p in parts]
        means, stds = [m for m, _ in moments], [s for _, s in moments]
        encoded = Input(name, column.kind, parts, means, stds, missing > 0)
    if missing:
        notes.append(_missing_note(encoded, missing))
    if looks_like_an_id(column):
        notes.append(
            f"column {name!r} looks like an id: all {len(column.values)} values differ; leave it "
            f"out with {drop_option([name])} if it is one"
        )
    return encoded


def _missing_note(column: Input, count: int) -> str:
    becomes = "the code 0" if column.kind == "category" else "the mean"
    flag = f", and {column.name + ' is missing'!r} is 1 there" if column.missing else ""
    return f"column {column.name!r}: {_cells(count)} missing, encoded as {becomes}{flag}"


def _cells(count: int) -> str:
    return f"{count} cell{'s' * (count != 1)}"


def _scaled(values: Array, mean: float, std: float) -> Array:
    """Standardised values; inf where they overflow float64."""
    with np.errstate(over="ignore"):
        return (values - mean) / std


def _varying(column: Column) -> list[str]:
    """The parts of a date that differ between rows; the day if none does."""
    present = column.select(~column.missing)
    parts = [p for p in DATE_PARTS if np.ptp(_part(present, p))]
    return parts or ["day"]


def _part(column: Column, part: str) -> Array:
    """A number column itself, or a part of a date, as float64; undefined where it is missing."""
    if column.kind == "number":
        return column.values
    day = column.values.astype("M8[D]")
    month = column.values.astype("M8[M]")
    parts = {
        "year": month.astype("M8[Y]").astype(np.int64) + 1970,
        "month": month.astype(np.int64) % 12 + 1,
        "day": (day - month).astype(np.int64) + 1,
        "weekday": (day.astype(np.int64) - 4) % 7,  # Monday is 0; 1970 began on a Thursday
        "hour": (column.values - day).astype(np.int64) / 3600,
    }
    return parts[part].astype(np.float64)


def _as_kind(table: Table, name: str, kind: str) -> Column:
    """The column as its kind at fit; a row that cannot be converted is an error."""
    check_cells("transform", table, name)
    column = table.columns[name]
    if kind == column.kind:
        return column
    column, bad = converted(column, kind, table.decimal)
    if bad is not None:
        cell = as_text(column.values[bad : bad + 1].tolist()[0])
        raise ArgumentError(
            "transform",
            f"got {cell!r} in column {name!r}, {table.place(bad)} of {table.name}",
            f"expected a {kind}, as in training",
            "correct that cell, or leave it empty",
        )
    return column


def _mean_std(values: Array) -> tuple[float, float]:
    """Mean and standard deviation, safe from overflow; a deviation of 0 counts as 1."""
    scale = math.ldexp(1.0, math.frexp(np.abs(values).max())[1] - 1)  # exact: a power of two
    mean, std = float((values / scale).mean()) * scale, float((values / scale).std()) * scale
    return mean, std if std and values.min() < values.max() else 1.0


def _listed(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:most])) + (", …" if len(names) > most else "")
