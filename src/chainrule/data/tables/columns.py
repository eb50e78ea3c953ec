"""What a table is in memory: columns of numbers, categories or dates, some cells missing."""

from __future__ import annotations

import datetime
import difflib
import math
import numbers
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...convert import expect_no_mask
from ...errors import ArgumentError, DtypeError, printable
from ...graph import Array

EXACT = 2**53  # from here on not every whole number is a float64
_NUMBERS = {  # by the decimal mark; a point is the mark between thousands where it is not that
    ".": re.compile(r"[+\-−]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
    ",": re.compile(
        r"[+\-−]?(([0-9]+|[1-9][0-9]{0,2}(\.[0-9]{3})+),?[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?"
    ),
}
_NO_CELLS = (list, tuple, dict, set, bytes, bytearray, memoryview, np.ndarray)
_NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
_ISO_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?"
)


@dataclass(frozen=True)
class Column:
    """One column: its kind, its values, and where they are missing.

    kind      "number" (float64), "category" (str objects) or "date" (datetime64[s])
    values    (rows,); NaN, None or NaT where missing
    missing   bool (rows,); a NaN that is not missing stood in the data as such
    zoned     whether dates came with a time zone, and are now in UTC
    """

    kind: str
    values: Array
    missing: Array
    zoned: bool = False

    def select(self, rows: Any) -> Column:
        """These rows of it."""
        return Column(self.kind, self.values[rows], self.missing[rows], self.zoned)


class Table:
    """Columns by name, in order, with as many rows each.

    unit     "line" of a text file or "row" of anything else: what origin counts
    origin   the number of the first row, or of each: int64 (rows,)
    decimal  the decimal mark of numbers in its text
    notes    what was left out when it was read
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        name: str,
        unit: str = "row",
        origin: Any = 0,
        decimal: str = ".",
        notes: Iterable[str] = (),
    ) -> None:
        self.columns, self.name, self.unit = dict(columns), name, unit
        self.decimal, self.notes = decimal, list(notes)
        self._rows = len(next(iter(self.columns.values())).values) if self.columns else 0
        self.origin = np.arange(self._rows) + origin if isinstance(origin, int) else origin

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        kinds = ", ".join(f"{printable(name)}: {c.kind}" for name, c in self.columns.items())
        return f"Table({self.name!r}, {len(self)} rows, {kinds})"

    def place(self, row: int) -> str:
        """Where that row comes from: `line 12` of a text file, `row 10` of anything else."""
        return f"{self.unit} {self.origin[row]}"

    def select(self, rows: Any) -> Table:
        """These rows (row numbers, a mask or a slice), which keep their places."""
        chosen = {name: c.select(rows) for name, c in self.columns.items()}
        return self._like(chosen, self.origin[rows])

    def drop(self, names: Iterable[str]) -> Table:
        """All columns but these."""
        gone = [names] if isinstance(names, str) else list(names)
        for name in gone:
            if name not in self.columns:
                near = difflib.get_close_matches(name, self.columns, 1)
                raise ArgumentError(
                    "drop",
                    f"got {name!r}",
                    f"one of {_listed(self.columns)}",
                    f"did you mean {near[0]!r}?" if near else "check the spelling",
                )
        kept = {name: c for name, c in self.columns.items() if name not in gone}
        return self._like(kept, self.origin)

    def _like(self, columns: Mapping[str, Column], origin: Array) -> Table:
        return Table(columns, self.name, self.unit, origin, self.decimal, self.notes)


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def column(name: str, values: Any, missing: Array | None = None, text: bool = False) -> Column:
    """A column of any one-dimensional data.

    text   whether it is a category whatever it holds

    Missing cells are None, NaN or NaT unless said, and blank text; text loses blanks at its ends.
    Whole numbers that float64 does not tell apart, from 2⁵³ on, are ids and become categories.
    """
    array = _array(values)
    if array.ndim != 1:
        raise DtypeError(
            "read_table",
            f"got column {name!r} of shape {array.shape}",
            "one value a row",
            "spread it over several columns",
        )
    zoned = False
    if array.dtype.kind in "OSUT":
        cells = [str(c).strip() if isinstance(c, str) else c for c in array.astype(object).tolist()]
        array = np.fromiter(cells, object, len(cells))
        absent = np.fromiter(map(_absent, cells), bool, len(cells))
        missing = absent if missing is None else missing | absent
        zoned = any(type(c) is not str and getattr(c, "tzinfo", None) is not None for c in cells)
        array = _typed(name, array, missing, text)
    kind = array.dtype.kind
    if missing is None:
        missing = np.isnat(array) if kind == "M" else np.isnan(array) if kind == "f" else None
    gone = np.zeros(len(array), bool) if missing is None else missing
    if kind not in "MiufbO":
        raise _unsupported(name, str(array.dtype))
    if text or kind in "bO" or (kind in "iu" and _are_ids(array[~gone])):
        words = np.full(len(array), None, object)
        present = array[~gone]
        words[~gone] = _dates_text(present) if kind == "M" else list(map(as_text, present.tolist()))
        return Column("category", words, gone)
    if kind == "M":
        dates = np.where(gone, np.datetime64("NaT"), array.astype("M8[s]"))
        return Column("date", dates, gone, zoned)
    return Column("number", np.where(gone, np.nan, array.astype(np.float64)), gone)


def as_text(value: Any) -> str:
    """A cell as people write it: true, 3 for 3.0, 2024-03-31 at midnight."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return str(value).removesuffix(" 00:00:00")
    return str(int(value)) if _is_whole(value) else number_text(value)


def number_text(value: float) -> str:
    """A number as people write it: 3 for 3.0, 1e+300 for what has too many digits."""
    whole = float(value).is_integer() and abs(value) < 1e22
    return str(int(value)) if whole else repr(float(value))


def is_exact(number: float) -> bool:
    """Whether no other text of up to 15 digits, and no other whole number, is the same float64."""
    if float(number).is_integer():
        return abs(number) < EXACT
    return len(repr(float(number)).split("e")[0].strip("-0.").replace(".", "")) <= 15


def _dates_text(dates: Array) -> list[str]:
    """Dates as as_text writes them, with the digits that their seconds have."""
    plain = [str(d).replace("T", " ") for d in np.datetime_as_string(dates)]
    short = [d.rstrip("0").rstrip(".") if "." in d else d for d in plain]
    return [d.removesuffix(" 00:00:00") for d in short]


def _array(values: Any) -> Array:
    if hasattr(values, "to_numpy"):
        kind = str(getattr(values, "dtype", "")).lower()
        if re.match(r"u?int128", kind):  # polars has them, NumPy has not
            return _array(values.to_list())
        array = np.asarray(values.to_numpy())
        whole = re.match(r"u?int\d", kind)
        if array.dtype.kind == "f" and whole:  # polars makes gaps in whole numbers NaN
            return _array(values.to_list())
        return array
    if hasattr(values, "__array__"):
        expect_no_mask("read_table", values)
        return np.asarray(values)
    values = list(values)  # any collection, also one that has no length
    return np.fromiter(values, object, len(values))


def _are_ids(numbers: Any) -> bool:
    """Whether these whole numbers are not all told apart by float64."""
    return len(numbers) > 0 and max(int(numbers.max()), -int(numbers.min())) >= EXACT


def _absent(value: Any) -> bool:
    """Whether an object stands for nothing: None, NaN, pandas' NA and NaT, blank text."""
    if type(value) is str:
        return not value
    nan = isinstance(value, (float, np.floating)) and value != value
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")


def _typed(name: str, array: Array, missing: Array, text: bool) -> Array:
    """Objects of one kind as an array of it; anything mixed as text."""
    present = array[~missing].tolist()
    types = set(map(type, present))
    if any(issubclass(t, _NO_CELLS) for t in types):
        raise _unsupported(name, next(t.__name__ for t in types))
    if types and all(issubclass(t, (bool, np.bool_)) for t in types):
        return np.where(missing, False, array).astype(bool)
    if types and all(issubclass(t, numbers.Real) or t.__name__ == "Decimal" for t in types):
        if text or (all(map(_is_whole, present)) and _are_ids(array[~missing])):
            array = array.copy()
            array[~missing] = list(map(as_text, present))
            return array
        return np.where(missing, np.nan, array).astype(np.float64)
    if types and all(issubclass(t, (datetime.date, np.datetime64)) for t in types):
        dates = np.full(len(array), np.datetime64("NaT"), "M8[us]")
        dates[~missing] = [without_zone(d) for d in present]
        return dates
    if types - {str}:
        array = array.copy()
        array[~missing] = list(map(str, present))
    return array


def _is_whole(value: Any) -> bool:
    """Whether that object is exactly a whole number: an int, or a Decimal without digits below."""
    exact = isinstance(value, numbers.Integral) or type(value).__name__ == "Decimal"
    return exact and math.isfinite(value) and value == int(value)


def as_number(text: str, decimal: str = ".") -> float | None:
    """The number that a text is, or None."""
    if _NUMBERS[decimal].fullmatch(text):
        plain = text.replace("−", "-")
        return float(plain.replace(".", "").replace(",", ".") if decimal == "," else plain)
    return float(text) if _NOT_FINITE.fullmatch(text) else None


def has_date_form(text: str) -> bool:
    """Whether a text looks like 2024-03-31 or 2024-03-31 12:30."""
    return _ISO_DATE.fullmatch(text) is not None


def as_date(text: str) -> datetime.datetime | None:
    """The date that a text of that form is, or None: there is no 2024-02-30."""
    if not has_date_form(text):
        return None
    try:
        date = datetime.datetime.fromisoformat(text)
        without_zone(date)
    except (ValueError, OverflowError):
        return None
    return date


def without_zone(date: Any) -> Any:
    """The same time in UTC, as NumPy takes it."""
    if getattr(date, "tzinfo", None) is None:
        return date
    return date.astimezone(datetime.UTC).replace(tzinfo=None)


def _unsupported(name: str, what: str) -> DtypeError:
    return DtypeError(
        "read_table",
        f"got column {name!r} of {what}",
        "numbers, text, bools or dates",
        "convert it, or leave it out of the table",
    )
