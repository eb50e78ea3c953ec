"""Single cells: text as a number or a date, and values as text."""

from __future__ import annotations

import datetime
import math
import numbers
import re
from typing import Any

EXACT = 2**53  # from here on, not every whole number is a float64
_NUMBERS = {  # by decimal mark; with a decimal comma, points separate thousands
    ".": re.compile(r"[+\-−]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
    ",": re.compile(
        r"[+\-−]?(([0-9]+|[1-9][0-9]{0,2}(\.[0-9]{3})+),?[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?"
    ),
}
_NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
_ISO_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?"
)


def as_text(value: Any) -> str:
    """A cell as text: true, 3 for 3.0, 2024-03-31 for midnight."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return str(value).removesuffix(" 00:00:00")
    return str(int(value)) if is_whole(value) else number_text(value)


def number_text(value: float) -> str:
    """A number as text: 3 for 3.0, 1e+300 for very large numbers."""
    whole = float(value).is_integer() and abs(value) < 1e22
    return str(int(value)) if whole else repr(float(value))


def is_exact(number: float) -> bool:
    """Whether no other text of up to 15 digits, and no other whole number, is this float64."""
    if float(number).is_integer():
        return abs(number) < EXACT
    return len(repr(float(number)).split("e")[0].strip("-0.").replace(".", "")) <= 15


def is_whole(value: Any) -> bool:
    """Whether an object is exactly a whole number: an int, or a Decimal without a fraction."""
    exact = isinstance(value, numbers.Integral) or type(value).__name__ == "Decimal"
    return exact and math.isfinite(value) and value == int(value)


def as_number(text: str, decimal: str = ".") -> float | None:
    """A text as a number, or None."""
    if _NUMBERS[decimal].fullmatch(text):
        plain = text.replace("−", "-")
        return float(plain.replace(".", "").replace(",", ".") if decimal == "," else plain)
    return float(text) if _NOT_FINITE.fullmatch(text) else None


def has_date_form(text: str) -> bool:
    """Whether a text looks like 2024-03-31 or 2024-03-31 12:30."""
    return _ISO_DATE.fullmatch(text) is not None


def as_date(text: str) -> datetime.datetime | None:
    """A text of that form as a date, or None, as for 2024-02-30."""
    if not has_date_form(text):
        return None
    try:
        date = datetime.datetime.fromisoformat(text)
        without_zone(date)
    except (ValueError, OverflowError):
        return None
    return date


def without_zone(date: Any) -> Any:
    """The same time in UTC without a zone, as NumPy needs it."""
    if getattr(date, "tzinfo", None) is None:
        return date
    return date.astimezone(datetime.UTC).replace(tzinfo=None)
