"""Columns of text that seem to be meant as numbers or dates."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from ...errors import ArgumentError
from .cells import EXACT, as_date, as_number, has_date_form
from .columns import Table

_MARKS_OF_MISSING = {
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
_NUMBER_FORMS = (  # text that is a number in another form, and the name of the form
    (rf"{_SIGN}\d+,\d+", "commas in numbers"),
    (rf"{_SIGN}\d*\.\d+", "points in numbers"),
    (rf"{_SIGN}{_MARKED}", "separators between thousands"),
    (rf"[€$£¥]\s?{_UNIT}|{_UNIT}\s?[€$£¥%]", "a unit in numbers"),
    (rf"{_SIGN}\d+([.,٫]\d+)?", "digits of another script"),  # 0 to 9 alone are plain
)
_LOOSE_FORMS = (  # the same, for text that may be categories, if there are few
    (rf"[<>≤≥~≈]\s?{_UNIT}|\({_UNIT}\)", "signs at numbers"),
    (
        rf"{_UNIT}\s?(?P<after>[^\W\d_]{{1,5}}[²³]?)|(?P<before>[A-Z]{{3}})\s{_UNIT}",
        "a unit in numbers",
    ),
)
_DATES = r"(\d{1,2}/\d{1,2}/\d\d|\d{1,2}([./-])\d{1,2}\2\d{4}|\d{4}([./-])\d{1,2}\3\d{1,2})( .*)?"
_TIMES = (  # months and times, which are categories if there are few
    r"\d{1,2}:\d\d(:\d\d)?( ?[AaPp][Mm])?|(19|20)\d\d-(0[1-9]|1[0-2])|"
    r"[A-Z][a-z]{2,8}\.? \d{1,2},? \d{4}|\d{1,2}[- .][A-Z][a-z]{2,8}[- .]\d{2,4}"
)
_CODE = re.compile(rf"{_SIGN}0\d+")
_WHOLE = re.compile(rf"{_SIGN}[0-9]+")
MOST_NAMED = 100  # columns in options to paste
MOST_WORDS = 20  # different numbers that may be categories


@dataclass(frozen=True)
class Problem:
    """Why a column is an error: what it contains, what was expected, how to fix it."""

    what: str
    needed: str
    advice: str
    words: bool = False  # whether its cells may be categories


def drop_option(names: Iterable[str]) -> str:
    """Options to paste: --drop a --drop 'b c'; at most MOST_NAMED of them."""
    names = list(names)
    options = " ".join(f"--drop {shlex.quote(n)}" for n in names[:MOST_NAMED])
    return options + f" … ({len(names)} in all)" * (len(names) > MOST_NAMED)


def check_words(
    table: Table, target: str, text: Collection[str], notes: list[str]
) -> dict[str, Problem]:
    """Columns of text that seem to be meant as numbers or dates; doubtful ones only get a note.

    text   columns to read as text, even if they contain numbers
    """
    problems = {}
    for name, column in table.columns.items():
        if column.kind == "category" and name not in text and not column.missing.all():
            problem = _misread(table, name, name == target, notes)
            if problem:
                problems[name] = problem
    if target in problems:
        at_fault = problems[target]
        raise ArgumentError(
            "fit",
            f"got the target {target!r}, which {at_fault.what}",
            f"expected {at_fault.needed}",
            f"{at_fault.advice}, or pass another target"
            + f", or --category {shlex.quote(target)} if they are classes" * at_fault.words,
        )
    return problems


def inexact_whole_numbers(cells: Collection[str]) -> list[str]:
    """The whole numbers that float64 does not represent exactly, if all cells are whole numbers."""
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

    large = inexact_whole_numbers(distinct)
    if large:
        return (
            None
            if target
            else Problem(
                f"contains whole numbers beyond 2⁵³, {first(large)}",
                "numbers that float64 represents exactly",
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
            f"contains dates, but {first(wrong)}",
            "dates like 2024-03-31 and empty cells",
            "correct that cell, or leave it empty",
        )
    for form, most in ((_DATES, 0), (_TIMES, MOST_WORDS)):
        if all(re.fullmatch(form, c) for c in distinct):
            if len(distinct) > most:
                return Problem(
                    f"has dates in another form, {first(distinct)}",
                    "dates like 2024-03-31",
                    "write them like this",
                    True,
                )
            notes.append(f"column {name!r}: {first(distinct)} is read as a category, not a time")
            return None
    codes = {c for c in distinct if _CODE.fullmatch(c)}
    plain = {c for c in distinct - codes if as_number(c, decimal) is not None}
    forms = _forms(distinct - codes - plain)
    count, others = number_of(plain | forms.keys()), distinct - plain - forms.keys()
    many = len(plain) + len(forms) > MOST_WORDS
    if forms and not others:
        what, loose = forms[next(c for c in present if c in forms)]
        if loose and not many:
            notes.append(f"column {name!r}: {first(forms)} is read as a category, not a number")
            return None
        advice = "write them like this"
        if decimal == ",":
            advice += ", or leave out --decimal if points are decimal marks"
        elif any(re.search(r",\d+$", c) for c in forms):
            advice += ", or --decimal , if commas are decimal marks"
        return Problem(f"has {what}, {first(forms)}", f"numbers like {example}", advice, True)
    if not others or 2 * count < len(present):
        return None
    mixture = f"{count} of {len(present)} cells are numbers, but {first(others)}"
    odd = others - codes
    more = number_of(odd) - 1
    gaps = bool(plain) and {c.lower() for c in others} <= _MARKS_OF_MISSING
    if odd and (many or gaps):
        return Problem(
            f"contains numbers in {count} of {len(present)} cells, but {first(odd)}"
            + f" and {more} more" * (more > 0),
            f"numbers like {example} and empty cells",
            "leave unknown cells empty",
            True,
        )
    notes.append(f"column {name!r}: {mixture}; all are read as categories")
    return None


def _forms(cells: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Cells that are numbers in another form: its name, and whether it may be a category.

    Up to three different words are units; with more the cells are something else, such as streets.
    """
    recognised: dict[str, tuple[str, bool]] = {}
    words: dict[str, str] = {}
    for cell in cells:
        for form, what in (*_NUMBER_FORMS, *_LOOSE_FORMS):
            match = re.fullmatch(form, cell)
            if match:
                recognised[cell] = what, (form, what) in _LOOSE_FORMS
                word = "".join(filter(None, match.groupdict().values()))
                if word:
                    words[cell] = word
                break
    if len(set(words.values())) > 3:
        return {c: f for c, f in recognised.items() if c not in words}
    return recognised
