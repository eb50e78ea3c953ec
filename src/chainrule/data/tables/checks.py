"""What a table has to be before it is encoded: one check per mistake, each with its own message."""

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
MOST_UNIQUE = 20  # more rows than these, each with a value of its own, look like an id


def require(operation: str, table: Table, names: Sequence[str]) -> None:
    """Refuse a table without these columns."""
    lost = [n for n in names if n not in table.columns]
    if lost:
        which = f"column{'s' if len(lost) > 1 else ''} {', '.join(map(repr, lost[:5]))}"
        raise ArgumentError(
            operation,
            f"got {table.name} without the {which}{', …' if len(lost) > 5 else ''}",
            "each column by its name",
            nearest(lost[0], table.columns),
        )


def check_cells(operation: str, table: Table, name: str) -> None:
    """Refuse inf, and NaN that stands in the data as such."""
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
            "finite numbers are needed",
            "leave the cell empty where the value is not known",
        )


def check_size(table: Table, name: str, scaled: Array) -> None:
    """Refuse a number so far from those at fit that its standardised value is no float32."""
    bad = np.abs(scaled) > np.finfo(np.float32).max
    if bad.any():
        row = int(np.argmax(bad))
        raise ArgumentError(
            "transform",
            f"got {number_text(table.columns[name].values[row])} in column {name!r}, "
            f"{table.place(row)} of {table.name}",
            "what float32 can hold once it is standardised",
            "mend that cell, or leave it empty",
        )


def missing_target(operation: str, table: Table, target: str) -> None:
    """Refuse rows whose target is missing."""
    gone = table.columns[target].missing
    if gone.any():
        count, first = int(gone.sum()), table.place(int(np.argmax(gone)))
        raise ArgumentError(
            operation,
            f"got {count} row{'s' * (count > 1)} without a {target!r}, the first in {first}",
            "a target in each row",
            "fill them in, or leave these rows out",
        )


def check_target(table: Table, target: str, task: str | None, inferred: str, values: Array) -> None:
    """Refuse a target that nothing can be learnt from; values are its distinct ones, sorted."""
    column = table.columns[target]
    whole = column.kind == "number" and bool((values == np.floor(values)).all())
    if task not in (None, "classification", "regression"):
        raise ArgumentError(
            "fit",
            f"got task {task!r}",
            "classification or regression",
            "choose one, or leave it out",
        )
    if (
        inferred == "regression"
        and column.kind == "category"
        and inexact_whole_numbers(values.tolist())
    ):
        raise ArgumentError(
            "fit",
            f"got the target {target!r} of a regression with whole numbers beyond 2⁵³",
            "numbers that float64 tells apart",
            "divide them if they are amounts, or leave the task out if they are classes",
        )
    if column.kind == "date" or (inferred == "regression" and column.kind != "number"):
        raise ArgumentError(
            "fit",
            f"got the {column.kind} column {target!r} as target of a {inferred}",
            "a column of numbers" + (" or categories" if task is None else ""),
            "choose another target" + ("" if task is None else ", or task classification"),
        )
    if len(values) == 1:
        only = number_text(values[0]) if column.kind == "number" else values[0]
        what = "class" if inferred == "classification" else "value"
        raise ArgumentError(
            "fit",
            f"got the target {target!r} with one {what} only, {only!r}",
            "two or more",
            "choose another target, or more rows",
        )
    if inferred == "classification" and column.kind == "number":
        written = table.unit == "line"  # where a fraction may have had more digits
        found = (v for v in values.tolist() if not is_exact(v) and (written or v.is_integer()))
        bad = next(found, None)
        if bad is not None:
            row = int(np.argmax(column.values == bad))
            raise ArgumentError(
                "fit",
                f"got the target {target!r} with more digits than float64 has, about "
                f"{number_text(bad)} in {table.place(row)} of {table.name}, as classes",
                "classes that can be told apart",
                f"--category {shlex.quote(target)}, which keeps them as they are written",
            )
    rows, seen = len(table), ""
    unsure = inferred == "classification" or (whole and task is None)
    if unsure and len(values) == rows > MOST_UNIQUE:
        seen = f"which looks like an id: all {rows} values differ"
    elif inferred == "classification" and rows > MOST_UNIQUE:
        single = sum(n == 1 for n in Counter(column.values.tolist()).values())
        if 2 * single > rows:
            seen = f"of which {single} of {rows} rows have a class of their own"
    if seen:
        raise ArgumentError(
            "fit",
            f"got the target {target!r}, {seen}",
            "a target with values that repeat",
            "choose another target" + (", or task regression" if column.kind == "number" else ""),
        )


def looks_like_an_id(column: Column) -> bool:
    """Whether each row has a value of its own, and these are words or whole numbers that rise."""
    if len(column.values) <= MOST_UNIQUE or column.missing.any() or column.kind == "date":
        return False
    if column.kind == "category":
        return len(set(column.values.tolist())) == len(column.values)
    whole = (column.values == np.floor(column.values)).all()
    return bool(whole and (column.values[1:] > column.values[:-1]).all())


def looks_like_days(column: Column) -> bool:
    """Whether all numbers are days such as 20240331."""
    found = column.values[~column.missing]
    if column.kind != "number" or not len(found) or not 1900_00_00 < found[0] < 2100_00_00:
        return False
    year, month, day = found // 10000, found // 100 % 100, found % 100
    fits = (year >= 1900) & (year < 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return bool((fits & (found == np.floor(found))).all())


def looks_like_time(name: str, column: Column) -> bool:
    """Whether it says when a row was: dates, days such as 20240331, or numbers of that name.

    Numbers that may be a duration, or when something was made, have to rise as well.
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
    """What makes a column of no use: that it is empty or the same in each row; "" otherwise."""
    present = column.values[~column.missing]
    if not len(present):
        return "is empty"
    same = not column.missing.any() and bool((present == present[0]).all())
    return "is the same in each row" if same else ""


def check_inputs(table: Table, target: str, problems: dict[str, Problem]) -> None:
    """Refuse a table with nothing to learn from, and all columns of no use in one message."""
    names = [n for n in table.columns if n != target]
    if not names:
        raise ArgumentError(
            "fit",
            f"got {table.name} with no column but the target {target!r}",
            "one input column or more",
            "check which columns were left out",
        )
    useless = {n: constant(table.columns[n]) for n in names}
    found = {
        n: problems.get(n) or Problem(useless[n], "columns that vary", "")
        for n in names
        if n in problems or useless[n]
    }
    if not found:
        return
    if len(found) == 1:
        [(name, only)] = found.items()
        arrived = f"column {name!r}, which {only.what}"
        drop = f"leave it out with {drop_option(found)}"
        advice = f"{only.advice}, or {drop_option(found)}" if only.advice else drop
    else:
        told = ", ".join(f"{n!r} ({p.what})" for n, p in list(found.items())[:10])
        arrived = f"{len(found)} columns of no use: {told}{', …' if len(found) > 10 else ''}"
        advice = f"mend them, or leave them out with {drop_option(found)}"
    words = [n for n, p in found.items() if p.words]
    if words:
        options = " ".join(f"--category {shlex.quote(n)}" for n in words[:MOST_NAMED])
        advice += f", or {options} if they are categories"
    needed = ", ".join(dict.fromkeys(p.needed for p in found.values()))
    raise ArgumentError("fit", f"got {arrived}", needed, advice)
