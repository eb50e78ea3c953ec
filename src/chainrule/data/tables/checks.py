"""Checks of a table before it is encoded, each with its own message."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ...errors import ArgumentError
from ...graph import Array
from .cells import is_exact, number_text
from .columns import Column, Table
from .misread import MOST_NAMED, Problem, drop_option, inexact_whole_numbers
from .names import nearest

_MOMENTS = {"timestamp", "date", "datetime"}
_TIME_NAMES = _MOMENTS | {"time", "day", "month", "year"}
MOST_UNIQUE = 20  # rows; with more, a column of distinct values looks like an id


def require(operation: str, table: Table, names: Sequence[str]) -> None:
    """Raise if a table lacks one of these columns."""
    absent = [n for n in names if n not in table.columns]
    if absent:
        which = f"column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent[:5]))}"
        raise ArgumentError(
            operation,
            f"got {table.name} without the {which}{', …' if len(absent) > 5 else ''}",
            "expected each column by its name",
            nearest(absent[0], table.columns),
        )


def check_cells(operation: str, table: Table, name: str) -> None:
    """Raise for inf, and for NaN that is written in the data."""
    column = table.columns[name]
    if column.kind != "number":
        return
    bad = ~np.isfinite(column.values) & ~column.missing
    if bad.any():
        row = int(np.argmax(bad))
        raise ArgumentError(
            operation,
            f"got {number_text(column.values[row])} in column {name!r}, {table.place(row)} of "
            f"{table.name}",
            "expected finite numbers",
            "leave the cell empty if the value is not known",
        )


def check_size(table: Table, name: str, scaled: Array) -> None:
    """Raise for a number so far from those at fit that its standardised value overflows float32."""
    bad = np.abs(scaled) > np.finfo(np.float32).max
    if bad.any():
        row = int(np.argmax(bad))
        raise ArgumentError(
            "transform",
            f"got {number_text(table.columns[name].values[row])} in column {name!r}, "
            f"{table.place(row)} of {table.name}",
            "expected a number that float32 can represent once it is standardised",
            "correct that cell, or leave it empty",
        )


def missing_target(operation: str, table: Table, target: str) -> None:
    """Raise if the target of a row is missing."""
    missing = table.columns[target].missing
    if missing.any():
        count, first = int(missing.sum()), table.place(int(np.argmax(missing)))
        raise ArgumentError(
            operation,
            f"got {count} row{'s' * (count > 1)} without a {target!r}, the first in {first}",
            "expected a target in each row",
            "fill them in, or remove these rows",
        )


def check_target(table: Table, target: str, task: str | None, inferred: str, values: Array) -> None:
    """Raise for a target that nothing can be learned from.

    values   its distinct values, sorted
    """
    column = table.columns[target]
    whole = column.kind == "number" and bool((values == np.floor(values)).all())
    if task not in (None, "classification", "regression"):
        raise ArgumentError(
            "fit",
            f"got task {task!r}",
            "expected classification or regression",
            "leave it out to infer it from the target",
        )
    if (
        inferred == "regression"
        and column.kind == "category"
        and inexact_whole_numbers(values.tolist())
    ):
        raise ArgumentError(
            "fit",
            f"got the target {target!r} of a regression with whole numbers beyond 2⁵³",
            "expected numbers that float64 represents exactly",
            "divide them if they are amounts, or leave out the task if they are classes",
        )
    if column.kind == "date" or (inferred == "regression" and column.kind != "number"):
        raise ArgumentError(
            "fit",
            f"got the {column.kind} column {target!r} as target of a {inferred}",
            "expected a column of numbers" + (" or categories" if task is None else ""),
            "pass another target" + ("" if task is None else ", or task classification"),
        )
    if len(values) == 1:
        only = number_text(values[0]) if column.kind == "number" else values[0]
        what = "class" if inferred == "classification" else "value"
        raise ArgumentError(
            "fit",
            f"got the target {target!r} with only one {what}, {only!r}",
            "expected two or more",
            "pass another target, or more rows",
        )
    if inferred == "classification" and column.kind == "number":
        written = table.unit == "line"  # a fraction may have had more digits
        inexact = (v for v in values.tolist() if not is_exact(v) and (written or v.is_integer()))
        bad = next(inexact, None)
        if bad is not None:
            row = int(np.argmax(column.values == bad))
            raise ArgumentError(
                "fit",
                f"got the target {target!r} with more digits than float64 has, about "
                f"{number_text(bad)} in {table.place(row)} of {table.name}, as classes",
                "expected classes that float64 distinguishes",
                f"--category {shlex.quote(target)}, which keeps them as text",
            )
    rows, seen = len(table), ""
    unsure = inferred == "classification" or (whole and task is None)
    if unsure and len(values) == rows > MOST_UNIQUE:
        seen = f"which looks like an id: all {rows} values differ"
    elif inferred == "classification" and rows > MOST_UNIQUE:
        single = sum(n == 1 for n in Counter(column.values.tolist()).values())
        if 2 * single > rows:
            seen = f"where {single} of {rows} rows are the only one of their class"
    if seen:
        raise ArgumentError(
            "fit",
            f"got the target {target!r}, {seen}",
            "expected a target with values that repeat",
            "pass another target" + (", or task regression" if column.kind == "number" else ""),
        )


def looks_like_an_id(column: Column) -> bool:
    """Whether all values differ and are words or increasing whole numbers."""
    if len(column.values) <= MOST_UNIQUE or column.missing.any() or column.kind == "date":
        return False
    if column.kind == "category":
        return len(set(column.values.tolist())) == len(column.values)
    whole = (column.values == np.floor(column.values)).all()
    return bool(whole and (column.values[1:] > column.values[:-1]).all())


def looks_like_days(column: Column) -> bool:
    """Whether all numbers are days such as 20240331."""
    present = column.values[~column.missing]
    if column.kind != "number" or not len(present) or not 1900_00_00 < present[0] < 2100_00_00:
        return False
    year, month, day = present // 10000, present // 100 % 100, present % 100
    fits = (year >= 1900) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return bool((fits & (present == np.floor(present))).all())


def looks_like_time(name: str, column: Column) -> bool:
    """Whether a column is the time of a row: dates, days such as 20240331, or numbers of that name.

    Numbers that may be durations or years of manufacture have to increase as well.
    """
    if column.kind == "date" or looks_like_days(column):
        return True
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # orderDate
    named = _TIME_NAMES & set(re.split(r"[\W_]+", words.lower()))
    if column.kind != "number" or not named:
        return False
    if named & _MOMENTS:
        return True
    return bool((np.diff(column.values[~column.missing]) >= 0).all())


def constant(column: Column) -> str:
    """Why a column is unusable: it is empty or the same in each row; "" otherwise."""
    present = column.values[~column.missing]
    if not len(present):
        return "is empty"
    same = not column.missing.any() and bool((present == present[0]).all())
    return "is the same in each row" if same else ""


def check_inputs(table: Table, target: str, problems: dict[str, Problem]) -> None:
    """Raise if there is no input column, or for all unusable columns in one message."""
    names = [n for n in table.columns if n != target]
    if not names:
        raise ArgumentError(
            "fit",
            f"got {table.name} with no column but the target {target!r}",
            "expected one input column or more",
            "drop fewer columns",
        )
    unusable = {n: constant(table.columns[n]) for n in names}
    bad = {
        n: problems.get(n) or Problem(unusable[n], "columns that vary", "")
        for n in names
        if n in problems or unusable[n]
    }
    if not bad:
        return
    if len(bad) == 1:
        [(name, only)] = bad.items()
        arrived = f"column {name!r}, which {only.what}"
        drop = f"leave it out with {drop_option(bad)}"
        advice = f"{only.advice}, or {drop_option(bad)}" if only.advice else drop
    else:
        listed = ", ".join(f"{n!r} ({p.what})" for n, p in list(bad.items())[:10])
        arrived = f"{len(bad)} unusable columns: {listed}{', …' if len(bad) > 10 else ''}"
        advice = f"correct them, or leave them out with {drop_option(bad)}"
    words = [n for n, p in bad.items() if p.words]
    if words:
        options = " ".join(f"--category {shlex.quote(n)}" for n in words[:MOST_NAMED])
        advice += f", or {options} if they are categories"
    needed = ", ".join(dict.fromkeys(p.needed for p in bad.values()))
    raise ArgumentError("fit", f"got {arrived}", f"expected {needed}", advice)
