"""What a table has to be before it is encoded: one check a mistake, each with its own message."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..graph import Array
from .columns import Column, Table, without_zone

_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?")
_STANDS_FOR_NOTHING = {
    "?",
    "??",
    "-",
    "--",
    "—",
    ".",
    "#n/a",
    "n.a.",
    "(null)",
    "missing",
    "unknown",
}
_FORMS = (  # text that is no category: a form, what to call it, what to do
    (r"[+-]?\d+,\d+", "commas in numbers",
     "write a decimal comma as a point, leave out one between thousands"),
    (r"[+-]?\d{1,3}([,.' ]\d{3})+([.,]\d+)?", "separators between thousands", "leave them out"),
    (r"[€$£¥]\s?[+-]?[\d.,]+|[+-]?[\d.,]+\s?[€$£¥%]", "a unit in numbers", "leave it out"),
    (r"(\d{1,2}/\d{1,2}/\d\d|\d{1,2}([./-])\d{1,2}\2\d{4}|\d{4}([./-])\d{1,2}\3\d{1,2})( .*)?",
     "dates of another form", "write them so"),
)  # fmt: skip
MOST_UNIQUE = 20  # more rows than these, each with a value of its own, look like an id


def nearest(name: str, names: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the names there are."""
    names = list(names)
    folded = {n.casefold(): n for n in names}
    close = difflib.get_close_matches(name.casefold(), folded, 1)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    return f"there are {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"


def natural(names: Iterable[str]) -> list[str]:
    """In the order that people count: a2 before a10."""

    def key(name: str) -> tuple[list[Any], str]:
        pieces: list[Any] = re.split(r"([0-9]+)", name)
        pieces[1::2] = [(len(p.lstrip("0")), p.lstrip("0")) for p in pieces[1::2]]
        return pieces, name

    return sorted(names, key=key)


def number_text(value: float) -> str:
    """A number as people write it: 3 for 3.0."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def require(operation: str, table: Table, names: Sequence[str]) -> None:
    """Refuse a table without these columns."""
    lost = [n for n in names if n not in table.columns]
    if lost:
        which = f"column{'s' if len(lost) > 1 else ''} {', '.join(map(repr, lost[:5]))}"
        raise ArgumentError(
            operation, f"got {table.name} without the {which}{', …' if len(lost) > 5 else ''}",
            "each column by its name", nearest(lost[0], table.columns),
        )  # fmt: skip


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
            "finite numbers are needed", "leave the cell empty where the value is not known",
        )  # fmt: skip


def missing_target(operation: str, table: Table, target: str) -> None:
    """Refuse rows whose target is missing."""
    gone = table.columns[target].missing
    if gone.any():
        count, first = int(gone.sum()), table.place(int(np.argmax(gone)))
        raise ArgumentError(
            operation,
            f"got {count} row{'s' * (count > 1)} without a {target!r}, the first in {first}",
            "a target in each row", "fill them in, or leave these rows out",
        )  # fmt: skip


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
    if column.kind == "date" or (inferred == "regression" and column.kind != "number"):
        raise ArgumentError(
            "fit", f"got the {column.kind} column {target!r} as target of a {inferred}",
            "a column of numbers" + (" or categories" if task is None else ""),
            "choose another target" + ("" if task is None else ", or task classification"),
        )  # fmt: skip
    if len(values) == 1:
        only = number_text(values[0]) if column.kind == "number" else values[0]
        what = "class" if inferred == "classification" else "value"
        raise ArgumentError(
            "fit", f"got the target {target!r} with one {what} only, {only!r}", "two or more",
            "choose another target, or more rows",
        )  # fmt: skip
    unsure = column.kind == "category" or (whole and task is None) or inferred == "classification"
    if unsure and len(values) == len(table) > MOST_UNIQUE:
        raise ArgumentError(
            "fit",
            f"got the target {target!r}, which looks like an id: all {len(table)} values differ",
            "a target with values that repeat",
            "choose another target" + (", or task regression" if column.kind == "number" else ""),
        )  # fmt: skip


def looks_like_an_id(column: Column) -> bool:
    """Whether each row has a value of its own, and these are words or whole numbers that rise."""
    if len(column.values) <= MOST_UNIQUE or column.missing.any() or column.kind == "date":
        return False
    if column.kind == "category":
        return len(set(column.values.tolist())) == len(column.values)
    whole = (column.values == np.floor(column.values)).all()
    return bool(whole and (column.values[1:] > column.values[:-1]).all())


def check_words(table: Table, notes: list[str]) -> None:
    """Refuse text that is numbers or dates in another form; note what is numbers but for a few."""
    for name, column in table.columns.items():
        if column.kind != "category" or column.missing.all():
            continue
        present = column.values[~column.missing].tolist()
        for form, what, advice in _FORMS:
            if all(re.fullmatch(form, cell) for cell in present):
                raise ArgumentError(
                    "fit", f"got column {name!r} of {table.name} with {what}, {present[0]!r}",
                    "numbers like 1234.5, dates like 2024-03-31", f"{advice}, or --drop {name}",
                )  # fmt: skip
        _check_mixed(table, name, present, notes)


def _check_mixed(table: Table, name: str, present: list[str], notes: list[str]) -> None:
    others = [k for k, cell in enumerate(present) if not _NUMBER.fullmatch(cell)]
    if not others or len(others) > 0.2 * len(present):
        return
    rows = np.flatnonzero(~table.columns[name].missing)
    where = f"{present[others[0]]!r} in {table.place(int(rows[others[0]]))}"
    told = f"{len(present) - len(others)} of {len(present)} cells are numbers"
    if {present[k].lower() for k in others} <= _STANDS_FOR_NOTHING:
        raise ArgumentError(
            "fit", f"got column {name!r} of {table.name}, of which {told}, but {where}",
            "numbers and empty cells", f"leave unknown cells empty, or --drop {name}",
        )  # fmt: skip
    notes.append(f"column {name!r}: {told}, but {where}; all are taken as categories")


def check_inputs(table: Table, target: str) -> None:
    """Refuse a table with nothing to learn from, or with a column that is the same in each row."""
    names = [n for n in table.columns if n != target]
    if not names:
        raise ArgumentError(
            "fit", f"got {table.name} with no column but the target {target!r}",
            "one input column or more", "check which columns were left out",
        )  # fmt: skip
    for name in names:
        column = table.columns[name]
        present = column.values[~column.missing]
        same = not len(present) or bool((present == present[0]).all())
        if same and not (len(present) and column.missing.any()):
            what = "is empty" if not len(present) else "is the same in each row"
            raise ArgumentError(
                "fit", f"got column {name!r}, which {what}", "columns that vary",
                f"leave it out with --drop {name}",
            )  # fmt: skip


def as_kind(table: Table, name: str, kind: str) -> Column:
    """The column as the kind that it had at fit; the first row that does not fit is an error."""
    check_cells("transform", table, name)
    column = table.columns[name]
    if kind == column.kind:
        return column
    column, bad = converted(column, kind)
    if bad is not None:
        cell = _cell(column.values[bad : bad + 1].tolist()[0], "category")
        raise ArgumentError(
            "transform", f"got {cell!r} in column {name!r}, {table.place(bad)} of {table.name}",
            f"a {kind}, as in training", "mend that cell, or leave it empty",
        )  # fmt: skip
    return column


def converted(column: Column, kind: str) -> tuple[Column, int | None]:
    """The column as another kind; or itself, and the first row whose value does not fit."""
    distinct, place = np.unique(column.values[~column.missing], return_inverse=True)
    cells = np.array([_cell(v, kind) for v in distinct.tolist()], object)
    bad = np.array([c is None for c in cells], bool)[place]
    if bad.any():
        return column, int(np.flatnonzero(~column.missing)[np.argmax(bad)])
    dtype = {"number": "f8", "category": "O", "date": "M8[s]"}[kind]
    values = np.full(len(column.values), None, dtype)  # NaN, None or NaT
    values[~column.missing] = cells[place]
    return Column(kind, values, column.missing), None


def _cell(value: Any, kind: str) -> Any:
    """A float, str or datetime as that kind; None where it does not fit."""
    if kind == "category":
        return value if isinstance(value, str) else _text(value)
    if not isinstance(value, str):
        return None
    try:
        number = float(value) if kind == "number" else datetime.fromisoformat(value)
    except ValueError:
        return None
    if isinstance(number, float):
        return number if math.isfinite(number) else None
    return without_zone(number)


def _text(value: float | datetime) -> str:
    """A number or date as people write it."""
    if isinstance(value, datetime):
        return str(value).removesuffix(" 00:00:00")
    return number_text(value)
