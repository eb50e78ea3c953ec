"""What a table has to be before it is encoded: one check a mistake, each with its own message."""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ArgumentError
from ...graph import Array
from .columns import (
    EXACT,
    Column,
    Table,
    as_date,
    as_number,
    as_text,
    has_date_form,
    is_exact,
    number_text,
    without_zone,
)

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
_SIGN = r"[+\-−]?"
_PLAIN = r"\d+([.,]\d+)?"
_MARKED = r"\d{1,3}([.,'’ _\xa0\u202f]\d{3})+([.,]\d+)?"  # with marks between thousands
_UNIT = rf"{_SIGN}({_MARKED}|{_PLAIN})"
_NUMBER_FORMS = (  # text that is a number in another form, and what that form is called
    (rf"{_SIGN}\d+,\d+", "commas in numbers"),
    (rf"{_SIGN}\d*\.\d+", "points in numbers"),
    (rf"{_SIGN}{_MARKED}", "separators between thousands"),
    (rf"[€$£¥]\s?{_UNIT}|{_UNIT}\s?[€$£¥%]", "a unit in numbers"),
    (rf"{_SIGN}\d+([.,٫]\d+)?", "digits of another script"),  # 0 to 9 alone are plain
)
_LOOSE_FORMS = (  # the same of what may be categories, if they are few
    (rf"[<>≤≥~≈]\s?{_UNIT}|\({_UNIT}\)", "signs at numbers"),
    (
        rf"{_UNIT}\s?(?P<after>[^\W\d_]{{1,5}}[²³]?)|(?P<before>[A-Z]{{3}})\s{_UNIT}",
        "a unit in numbers",
    ),
)
_DATES = r"(\d{1,2}/\d{1,2}/\d\d|\d{1,2}([./-])\d{1,2}\2\d{4}|\d{4}([./-])\d{1,2}\3\d{1,2})( .*)?"
_TIMES = (  # months and times, which are good categories if they are few
    r"\d{1,2}:\d\d(:\d\d)?( ?[AaPp][Mm])?|(19|20)\d\d-(0[1-9]|1[0-2])|"
    r"[A-Z][a-z]{2,8}\.? \d{1,2},? \d{4}|\d{1,2}[- .][A-Z][a-z]{2,8}[- .]\d{2,4}"
)
_CODE = re.compile(rf"{_SIGN}0\d+")
_WHOLE = re.compile(rf"{_SIGN}[0-9]+")
_MOMENTS = {"timestamp", "date", "datetime"}
_TIME_NAMES = _MOMENTS | {"time", "day", "month", "year"}
MOST_NAMED = 100  # columns in an option to paste
MOST_WORDS = 20  # more different numbers than these are no categories
MOST_UNIQUE = 20  # more rows than these, each with a value of its own, look like an id


def nearest(name: str, names: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the names there are."""
    names = list(names)
    folded = {n.casefold(): n for n in names}
    close = difflib.get_close_matches(name.casefold(), folded, 1)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    return f"there are {', '.join(names[:30])}{', …' if len(names) > 30 else ''}"


def natural(names: Iterable[str]) -> list[str]:
    """In the order that people count: a2 before a10."""

    def key(name: str) -> tuple[list[Any], str]:
        pieces: list[Any] = re.split(r"([0-9]+)", name)
        pieces[1::2] = [(len(p.lstrip("0")), p.lstrip("0")) for p in pieces[1::2]]
        return pieces, name

    return sorted(names, key=key)


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
    if inferred == "regression" and column.kind == "category" and _large(values.tolist()):
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


@dataclass(frozen=True)
class Problem:
    """Why a column is refused: what it is or has, what was needed, how to mend it."""

    what: str
    needed: str
    advice: str
    words: bool = False  # whether its cells may be meant as categories


def drop_option(names: Iterable[str]) -> str:
    """What to paste: --drop a --drop 'b c'; more than can be pasted are only begun."""
    names = list(names)
    told = " ".join(f"--drop {shlex.quote(n)}" for n in names[:MOST_NAMED])
    return told + f" … ({len(names)} in all)" * (len(names) > MOST_NAMED)


def check_words(
    table: Table, target: str, text: Collection[str], notes: list[str]
) -> dict[str, Problem]:
    """Columns of text that seem to be meant as numbers or dates; note what is only doubtful.

    text   columns that are text whatever they hold
    """
    problems = {}
    for name, column in table.columns.items():
        if column.kind == "category" and name not in text and not column.missing.all():
            found = _misread(table, name, name == target, notes)
            if found:
                problems[name] = found
    if target in problems:
        at_fault = problems[target]
        raise ArgumentError(
            "fit",
            f"got the target {target!r}, which {at_fault.what}",
            at_fault.needed,
            f"{at_fault.advice}, or choose another target"
            + f", or --category {shlex.quote(target)} if they are classes" * at_fault.words,
        )
    return problems


def _large(cells: Collection[str]) -> list[str]:
    """Those that are whole numbers which float64 does not tell apart, if all are whole numbers."""
    if not all(map(_WHOLE.fullmatch, cells)):
        return []
    return [c for c in cells if len(c) > 15 and abs(int(c.replace("−", "-"))) >= EXACT]


def _misread(table: Table, name: str, target: bool, notes: list[str]) -> Problem | None:
    column, decimal = table.columns[name], table.decimal
    example = f"1234{decimal}5"
    rows = np.flatnonzero(~column.missing)
    present = column.values[rows].tolist()
    distinct = set(present)

    def first(cells: Collection[str]) -> str:
        k = next(k for k, cell in enumerate(present) if cell in cells)
        return f"{present[k]!r} in {table.place(int(rows[k]))} of {table.name}"

    def number_of(cells: Collection[str]) -> int:
        return sum(cell in cells for cell in present)

    large = _large(distinct)
    if large:
        return (
            None
            if target
            else Problem(
                f"holds whole numbers beyond 2⁵³, {first(large)}",
                "numbers that float64 tells apart",
                "divide them if they are amounts",
                True,
            )
        )
    dates = {c for c in distinct if has_date_form(c)}
    if 2 * number_of(dates) >= len(present):
        wrong = (distinct - dates) | {c for c in dates if as_date(c) is None}
        if not wrong:
            return None
        return Problem(
            f"holds dates, but {first(wrong)}",
            "dates like 2024-03-31 and empty cells",
            "mend that cell, or leave it empty",
        )
    for form, most in ((_DATES, 0), (_TIMES, MOST_WORDS)):
        if all(re.fullmatch(form, c) for c in distinct):
            if len(distinct) > most:
                return Problem(
                    f"has dates of another form, {first(distinct)}",
                    "dates like 2024-03-31",
                    "write them so",
                    True,
                )
            notes.append(f"column {name!r}: {first(distinct)} is taken as a category, not a time")
            return None
    codes = {c for c in distinct if _CODE.fullmatch(c)}
    plain = {c for c in distinct - codes if as_number(c, decimal) is not None}
    forms = _forms(distinct - codes - plain)
    count, others = number_of(plain | forms.keys()), distinct - plain - forms.keys()
    many = len(plain) + len(forms) > MOST_WORDS
    if forms and not others:
        what, loose = forms[next(c for c in present if c in forms)]
        if loose and not many:
            notes.append(f"column {name!r}: {first(forms)} is taken as a category, not a number")
            return None
        advice = "write them so"
        if decimal == ",":
            advice += ", or leave --decimal out if points are decimal marks"
        elif any(re.search(r",\d+$", c) for c in forms):
            advice += ", or --decimal , if commas are decimal marks"
        return Problem(f"has {what}, {first(forms)}", f"numbers like {example}", advice, True)
    if not others or 2 * count < len(present):
        return None
    told = f"{count} of {len(present)} cells are numbers, but {first(others)}"
    odd = others - codes
    more = number_of(odd) - 1
    gaps = bool(plain) and {c.lower() for c in others} <= _STANDS_FOR_NOTHING
    if odd and (many or gaps):
        return Problem(
            f"holds numbers in {count} of {len(present)} cells, but {first(odd)}"
            + f" and {more} more" * (more > 0),
            f"numbers like {example} and empty cells",
            "leave unknown cells empty",
            True,
        )
    notes.append(f"column {name!r}: {told}; all are taken as categories")
    return None


def _forms(cells: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Cells that are numbers in another form: what it is called, and whether it is a loose one.

    Up to three different words are units; more are something else, such as house numbers.
    """
    found: dict[str, tuple[str, bool]] = {}
    words: dict[str, str] = {}
    for cell in cells:
        for form, what in (*_NUMBER_FORMS, *_LOOSE_FORMS):
            match = re.fullmatch(form, cell)
            if match:
                found[cell] = what, (form, what) in _LOOSE_FORMS
                word = "".join(filter(None, match.groupdict().values()))
                if word:
                    words[cell] = word
                break
    if len(set(words.values())) > 3:
        return {c: f for c, f in found.items() if c not in words}
    return found


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


def as_kind(table: Table, name: str, kind: str) -> Column:
    """The column as the kind that it had at fit; the first row that does not fit is an error."""
    check_cells("transform", table, name)
    column = table.columns[name]
    if kind == column.kind:
        return column
    column, bad = converted(column, kind, table.decimal)
    if bad is not None:
        cell = _cell(column.values[bad : bad + 1].tolist()[0], "category", ".")
        raise ArgumentError(
            "transform",
            f"got {cell!r} in column {name!r}, {table.place(bad)} of {table.name}",
            f"a {kind}, as in training",
            "mend that cell, or leave it empty",
        )
    return column


def converted(column: Column, kind: str, decimal: str = ".") -> tuple[Column, int | None]:
    """The column as another kind; or itself, and the first row whose value does not fit."""
    distinct, place = np.unique(column.values[~column.missing], return_inverse=True)
    cells = np.array([_cell(v, kind, decimal) for v in distinct.tolist()], object)
    bad = np.array([c is None for c in cells], bool)[place]
    if bad.any():
        return column, int(np.flatnonzero(~column.missing)[np.argmax(bad)])
    dtype = {"number": "f8", "category": "O", "date": "M8[s]"}[kind]
    values = np.full(len(column.values), None, dtype)  # NaN, None or NaT
    values[~column.missing] = cells[place]
    return Column(kind, values, column.missing), None


def _cell(value: Any, kind: str, decimal: str) -> Any:
    """A float, str or datetime as that kind; None where it does not fit."""
    if kind == "category":
        return as_text(value)
    if not isinstance(value, str):
        return None
    if kind == "number":
        number = as_number(value, decimal)
        return number if number is not None and math.isfinite(number) else None
    return without_zone(as_date(value))
