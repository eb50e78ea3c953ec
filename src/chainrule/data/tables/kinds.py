"""Which kind a column has, number, category or date: of data in memory and of cells of a file."""

from __future__ import annotations

import datetime
import math
import numbers
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...convert import expect_no_mask
from ...errors import DtypeError
from ...graph import Array
from .cells import EXACT, as_date, as_number, as_text, has_date_form, is_whole, without_zone
from .columns import Column

MISSING = frozenset(["", "NA", "N/A", "n/a", "NULL", "null", "None"])
_LEADING_ZERO = re.compile(r"\n[+\-−]?0[0-9]")
_NUMERIC = b"+-.0123456789eE\n"  # of such text float() takes what as_number takes
_NO_CELLS = (list, tuple, dict, set, bytes, bytearray, memoryview, np.ndarray)


def column(name: str, values: Any, missing: Array | None = None, text: bool = False) -> Column:
    """A column of any one-dimensional data.

    missing   which cells are missing; by default None, NaN and NaT. Blank text always is
    text      whether to make it a category, even if it contains numbers

    Text is stripped of blanks at its ends. Whole numbers from 2⁵³ on, which float64 does not
    represent exactly, are ids and become categories.
    """
    array = _array(values)
    if array.ndim != 1:
        raise DtypeError(
            "read_table",
            f"got column {name!r} of shape {array.shape}",
            "expected one value per row",
            "split it into several columns",
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
    empty = np.zeros(len(array), bool) if missing is None else missing
    if kind not in "MiufbO":
        raise _unsupported(name, str(array.dtype))
    if text or kind in "bO" or (kind in "iu" and _are_ids(array[~empty])):
        words = np.full(len(array), None, object)
        present = array[~empty]
        words[~empty] = (
            _dates_text(present) if kind == "M" else list(map(as_text, present.tolist()))
        )
        return Column("category", words, empty)
    if kind == "M":
        dates = np.where(empty, np.datetime64("NaT"), array.astype("M8[s]"))
        return Column("date", dates, empty, zoned)
    return Column("number", np.where(empty, np.nan, array.astype(np.float64)), empty)


def _dates_text(dates: Array) -> list[str]:
    """Dates as text like `as_text`, with fractions of seconds where there are any."""
    plain = [str(d).replace("T", " ") for d in np.datetime_as_string(dates)]
    short = [d.rstrip("0").rstrip(".") if "." in d else d for d in plain]
    return [d.removesuffix(" 00:00:00") for d in short]


def _array(values: Any) -> Array:
    if hasattr(values, "to_numpy"):  # pandas and polars, which are not imported here
        kind = str(getattr(values, "dtype", "")).lower()
        if re.match(r"u?int128", kind):  # in polars, not in NumPy
            return _array(values.to_list())
        array = np.asarray(values.to_numpy())
        whole = re.match(r"u?int\d", kind)
        if array.dtype.kind == "f" and whole:  # polars turns gaps among whole numbers into NaN
            return _array(values.to_list())
        return array
    if hasattr(values, "__array__"):  # NumPy's protocol
        expect_no_mask("read_table", values)
        return np.asarray(values)
    values = list(values)  # any iterable, also without a length
    return np.fromiter(values, object, len(values))


def _are_ids(numbers: Any) -> bool:
    """Whether some of these whole numbers are not exact in float64."""
    return len(numbers) > 0 and max(int(numbers.max()), -int(numbers.min())) >= EXACT


def _absent(value: Any) -> bool:
    """Whether an object means "missing": None, NaN, pandas' NA and NaT, blank text."""
    if type(value) is str:
        return not value
    nan = isinstance(value, (float, np.floating)) and value != value
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")


def _typed(name: str, array: Array, missing: Array, text: bool) -> Array:
    """Objects of one type as an array of that type; mixed objects as text."""
    present = array[~missing].tolist()
    types = set(map(type, present))
    if any(issubclass(t, _NO_CELLS) for t in types):
        raise _unsupported(name, next(t.__name__ for t in types))
    if types and all(issubclass(t, (bool, np.bool_)) for t in types):
        return np.where(missing, False, array).astype(bool)
    if types and all(issubclass(t, numbers.Real) or t.__name__ == "Decimal" for t in types):
        if text or (all(map(is_whole, present)) and _are_ids(array[~missing])):
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


def _unsupported(name: str, what: str) -> DtypeError:
    return DtypeError(
        "read_table",
        f"got column {name!r} of {what}",
        "expected numbers, text, bools or dates",
        "convert it, or drop it",
    )


def converted(column: Column, kind: str, decimal: str = ".") -> tuple[Column, int | None]:
    """The column as another kind; or unchanged, with the first row that cannot be converted."""
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
    """A float, str or datetime as that kind; None if it cannot be converted."""
    if kind == "category":
        return as_text(value)
    if not isinstance(value, str):
        return None
    if kind == "number":
        number = as_number(value, decimal)
        return number if number is not None and math.isfinite(number) else None
    return without_zone(as_date(value))


def numbers_of(cells: Sequence[str], decimal: str) -> tuple[Array, Array, bool] | None:
    """Cells of a text file as numbers: values, which are missing, whether all are whole numbers.

    None if a cell is not a number; codes with leading zeros are not.
    """
    text = "\n".join(["", *cells])
    if decimal == "." and not text.encode().translate(None, _NUMERIC):
        missing = np.zeros(len(cells), bool)
        plain = cells
        if not all(cells):
            missing = np.fromiter(map(len, cells), np.int64, len(cells)) == 0
            plain = [c or "nan" for c in cells]
        try:
            values = np.fromiter(map(float, plain), np.float64, len(cells))
        except ValueError:
            return None
        whole = not ("." in text or "e" in text or "E" in text)
        return None if _LEADING_ZERO.search(text) else (values, missing, whole)
    values, missing = np.full(len(cells), np.nan), np.zeros(len(cells), bool)
    whole = True
    for k, cell in enumerate(map(str.strip, cells)):
        if cell in MISSING:
            missing[k] = True
            continue
        number = as_number(cell, decimal)
        if number is None or _LEADING_ZERO.match(f"\n{cell}"):
            return None
        values[k] = number
        whole &= not {decimal, "e", "E"} & set(cell)
    return values, missing, whole


def dates_or_words(cells: Sequence[str], text: bool) -> Column:
    """Cells of a text file as dates if all have the ISO form, as categories otherwise.

    Other forms of dates are not guessed: the same cell could be read differently in another file.
    """
    stripped = [c.strip() for c in cells]
    words = np.fromiter(stripped, object, len(stripped))
    missing = np.fromiter((c in MISSING for c in stripped), bool, len(stripped))
    words[missing] = None
    present = words[~missing].tolist()
    if not text and present and all(map(has_date_form, present)):
        dates = [as_date(c) for c in present]
        if all(dates):
            filled = np.full(len(words), np.datetime64("NaT"), "M8[s]")
            parts: Any = [without_zone(d) for d in dates]
            filled[~missing] = parts
            return Column("date", filled, missing, any(d and d.tzinfo for d in dates))
    return Column("category", words, missing)
