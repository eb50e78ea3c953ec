"""Tables from files (CSV, TSV and Parquet, through DuckDB), data frames and dicts of columns."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileError, ShapeError
from .checks import converted
from .columns import Column, Table, as_date, as_number, column, has_date_form, without_zone

EXTENSIONS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
SPREADSHEETS = (".xlsx", ".xls", ".ods")
_MISSING = ["", "NA", "N/A", "n/a", "NULL", "null", "None"]
_DATA = re.compile(r"[+\-−][0-9]+|[+\-−]?[0-9]*[.,][0-9]+")  # no name of a column
_LEADING_ZERO = re.compile(r"[+\-−]?0[0-9]")

# header and types: DuckDB reads the whole file before it settles a type; a row of another length is
# an error. The delimiter is given, because a guessed one makes a ragged file one column of text.
# Only numbers are told from text: what looks like a date or a truth value may differ from file to
# file.
_READ_CSV = """
FROM read_csv($path, delim=$delim, quote='"', escape='"', comment='', header=true, skip=$skip,
              compression=$compression, nullstr=$missing, sample_size=-1, strict_mode=true,
              hive_partitioning=false, auto_type_candidates=$candidates{more})
"""
_READ_PARQUET = "FROM read_parquet($path, hive_partitioning=false)"


def read_table(
    source: Any, name: str | None = None, text: Iterable[str] = (), decimal: str = "."
) -> Table:
    """A table, its rows in order.

    source   a path (.csv, .tsv, either with .gz, or .parquet), a pandas or polars data frame, or a
             dict of columns
    name     what messages call it; the file's name otherwise
    text     columns that are text, even where all of their cells are numbers
    decimal  the decimal mark in text files; with a comma, points are marks between thousands

    Numbers are float64. In text files a column with leading zeros (01970) is text, dates have the
    ISO form (2024-03-31, 2024-03-31 12:30), all else is text; elsewhere bools are the categories
    "true" and "false", times of day text. Blanks around a text do not count. A blank cell is
    missing; in text files NA, N/A, n/a, NULL, null and None are missing as well.
    """
    if decimal not in (".", ","):
        raise ArgumentError("read_table", f"got decimal {decimal!r}", '"." or ","', "choose one")
    if isinstance(source, (str, Path)):
        return _read_file(Path(source), name or Path(source).name, set(text), decimal)
    names = list(source) if isinstance(source, Mapping) else list(source.columns)
    _check_names(name or "the data", [str(n) for n in names])
    columns = {str(n): column(str(n), source[n]) for n in names}
    lengths = {n: len(c.values) for n, c in columns.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise ShapeError(
            "read_table",
            f"got {lengths[short]} rows in {short!r}, {lengths[long]} in {long!r}",
            "as many rows in each column", "fill the shorter ones with None",
        )  # fmt: skip
    return _with_rows(Table(_as_text(columns, text), name or "table"))


def _as_text(columns: dict[str, Column], names: Iterable[str]) -> dict[str, Column]:
    """The columns, those of these names as text."""
    return {
        n: converted(c, "category")[0] if n in names and c.kind != "category" else c
        for n, c in columns.items()
    }


def _with_rows(table: Table) -> Table:
    if not len(table):
        raise ArgumentError(
            "read_table", f"got {table.name} with {len(table.columns)} columns and no rows",
            "one row or more", "check the filter or the export that made it",
        )  # fmt: skip
    return table


def _read_file(path: Path, name: str, text: set[str], decimal: str) -> Table:
    lower = path.name.lower()
    if path.is_dir():
        raise FileError(
            "read_table", f"got the folder {path}", "a table file is needed", "name one file in it"
        )
    if not path.exists():
        raise FileError(
            "read_table", f"got {path}, which does not exist", "a file is needed",
            "check the path and the folder that you are in",
        )  # fmt: skip
    if lower.endswith(SPREADSHEETS):
        raise FileError(
            "read_table", f"got {path.name}, a spreadsheet",
            f"one of {', '.join(EXTENSIONS)} is needed", "save it as CSV UTF-8 in the spreadsheet",
        )  # fmt: skip
    if not lower.endswith(EXTENSIONS):
        raise FileError(
            "read_table", f"got {path.name}", f"one of {', '.join(EXTENSIONS)} is needed",
            "rename it if it is one of them, or convert it",
        )  # fmt: skip
    if not path.stat().st_size:
        raise _empty(path)
    if lower.endswith(".parquet"):
        columns = _query(path, _READ_PARQUET, {"path": _literal(path)})
        return _with_rows(Table(_as_text(columns, text), name))
    skip, delimiter, names = _header(path, "\t" if ".tsv" in lower[-7:] else ",\t;|")
    given = [n or f"column {k}" for k, n in enumerate(names, 1)]
    _check_names(name, given)
    wanted = {
        "path": _literal(path), "skip": skip, "delim": delimiter, "missing": _MISSING,
        "compression": "gzip" if lower.endswith(".gz") else "none",
        "candidates": ["BIGINT", "DOUBLE"] * (decimal == ".") + ["VARCHAR"],
    }  # fmt: skip
    folded = Counter(n.casefold() for n in names)  # DuckDB does not tell A from a
    types = {n: "VARCHAR" for n in names if n in text and folded[n.casefold()] == 1}
    sql = _READ_CSV.format(more=", types=$types" if types else "")
    found = _query(path, sql, wanted | ({"types": types} if types else {}), len(names))
    columns = {
        n: _recognised(c, n in types, decimal)
        for n, c in zip(given, found.values(), strict=True)
    }  # fmt: skip
    bare = [g for g, n in zip(given, names, strict=True) if not n and columns[g].missing.all()]
    notes = [f"{g} has no name and no values; it is left out" for g in bare]
    kept = {n: c for n, c in columns.items() if n not in bare}
    table = _with_rows(Table(_as_text(kept, text), name, "line", skip + 2, decimal, notes))
    _check_single_header(table)
    return table


def _check_single_header(table: Table) -> None:
    """Refuse a row that is the header again: two files that were put together."""
    again = np.ones(len(table), bool)
    for name, found in table.columns.items():
        again &= found.values == name if found.kind == "category" else False
    if again.any():
        raise ArgumentError(
            "read_table", f"got {table.name}, whose header stands in "
            f"{table.place(int(np.argmax(again)))} again", "one header, in the first line",
            "delete that line, where two files seem to be joined",
        )  # fmt: skip


def _recognised(found: Column, text: bool, decimal: str) -> Column:
    """A column of text as what all of its cells are: dates of the ISO form, or numbers.

    Nothing is guessed from a file: a form that depends on the other cells would be read otherwise
    in the next file.
    """
    if found.kind != "category":
        return found
    missing = np.array([c is None or c in _MISSING for c in found.values.tolist()], bool)
    words = found.values.copy()
    words[missing] = None
    present = words[~missing].tolist()
    if text or not present:
        return Column("category", words, missing)
    if all(map(has_date_form, present)):
        dates = [as_date(c) for c in present]
        if all(dates):
            filled = np.full(len(words), np.datetime64("NaT"), "M8[s]")
            parts: Any = [without_zone(d) for d in dates]
            filled[~missing] = parts
            return Column("date", filled, missing, any(d and d.tzinfo for d in dates))
    elif all(as_number(c, decimal) is not None and not _LEADING_ZERO.match(c) for c in present):
        filled = np.full(len(words), np.nan)
        filled[~missing] = [as_number(c, decimal) for c in present]
        return Column("number", filled, missing)
    return Column("category", words, missing)


def _literal(path: Path) -> str:
    """The path with nothing in it that DuckDB would take for a pattern or a home folder."""
    return re.sub(r"([*?\[])", r"[\1]", os.path.abspath(path))


def _query(
    path: Path, sql: str, values: dict[str, Any], width: int | None = None
) -> dict[str, Column]:
    """The columns that DuckDB finds; the width is that of a text file's header."""
    duckdb = _duckdb()
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        try:
            result = connection.execute(sql, values)
            zoned = {n for n, kind, *_ in result.description if "TIME ZONE" in str(kind)}
            found = result.fetchnumpy()
        except duckdb.Error as error:
            message = str(error)
            if width is not None and "CSV Error on Line" not in message:
                message = _without_types(connection, values, width) or message
            raise _unreadable(path, message) from None
        except RuntimeError as error:
            if "interrupted" in str(error).lower():  # by Ctrl-C
                raise KeyboardInterrupt from None
            raise
    columns = {n: column(n, np.ma.getdata(v), np.ma.getmaskarray(v)) for n, v in found.items()}
    return {n: replace(c, zoned=c.zoned or n in zoned) for n, c in columns.items()}


def _without_types(connection: Any, values: dict[str, Any], width: int) -> str:
    """What DuckDB says of the file when it looks for no types: then it names the line."""
    columns = ", ".join(f"'c{k}': 'VARCHAR'" for k in range(width))
    more = f", auto_detect=false, columns={{{columns}}}"
    given = {k: v for k, v in values.items() if k != "types"}
    try:
        connection.execute(_READ_CSV.format(more=more), given).fetchall()
    except Exception as error:
        return str(error)
    return ""


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise ArgumentError(
            "read_table", "got a table file, but DuckDB is not installed", "DuckDB reads it",
            "pip install duckdb",
        ) from None  # fmt: skip
    return duckdb


def _empty(path: Path) -> FileError:
    return FileError(
        "read_table", f"got {path.name}, which is empty", "a header and rows are needed",
        "check the export that made it",
    )  # fmt: skip


def _unreadable(path: Path, message: str) -> FileError:
    """The error for a file that DuckDB refuses, with the one useful line of what it says."""
    lines = message.splitlines()
    what = re.sub(r"^[\w ]+ Error: ", "", lines[0]).replace(os.path.abspath(path), path.name)
    what = what.replace(str(path), path.name).replace(";", ",")
    line = re.search(r"CSV Error on Line: (\d+)", message)
    if "invalid state" in message:
        return FileError(
            "read_table", f"got {path.name}, whose lines seem to end in two ways, \\r\\n and \\n",
            "one kind of line end in the whole file", "save it again in an editor, or run dos2unix",
        )  # fmt: skip
    if line:  # what is wrong stands before the advice, below the line itself
        before = message.split("\nPossible")[0].split("\n")
        what = f"line {line[1]}: {[s for s in before if s][-1]}"
    return FileError(
        "read_table", f"got {path.name}, {what.rstrip('.')}", "a table that can be read is needed",
        "mend that line" if line else "check that the file is whole and what its name says",
    )  # fmt: skip


def _header(path: Path, delimiters: str) -> tuple[int, str, list[str]]:
    """Blank lines before the header, the delimiter that finds the most names in it, the names."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            raw = file.read(1 << 22)  # DuckDB takes no line as long as this
        start = codecs.getincrementaldecoder("utf-8-sig")().decode(raw)  # the end may be cut
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _no_text(path, f"line {line} is not UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, str(error)) from None
    start = start.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in start:
        raise _no_text(path, "it holds NUL bytes")
    if not start.strip("\n "):
        raise _empty(path)
    skip = len(start) - len(start.lstrip("\n"))
    limit = csv.field_size_limit(len(start) + 1)  # a wide header is one field of other delimiters
    try:
        found = {d: next(csv.reader(io.StringIO(start[skip:]), delimiter=d)) for d in delimiters}
    except csv.Error as error:
        raise _no_text(path, f"{error} in the first line") from None
    finally:
        csv.field_size_limit(limit)
    best = max(delimiters, key=lambda d: len(found[d]))
    _check_header(path, start[skip:], found[best], delimiters)
    if max(map(len, found[best])) > limit:
        raise _no_text(path, f"a name of more than {limit} characters in the first line")
    return skip, best, [n.strip() for n in found[best]]


def _check_header(path: Path, start: str, names: list[str], delimiters: str) -> None:
    """Refuse a first line that is no header: a mark, a title, data; or delimiters of another kind.

    Names that are whole numbers (years, pixels) are left alone.
    """
    lines = [line for line in start.split("\n", 20)[:20] if line.strip()]
    below = [line[:40_000] for line in lines[1:4]]
    widths = [{len(r) for r in csv.reader(below, delimiter=d)} for d in delimiters]
    numbers = [n for n in names if _DATA.fullmatch(n)]
    what = ""
    if re.fullmatch(r"sep=.", lines[0].strip()):
        what, advice = "whose first line, sep=, is a mark for spreadsheets", "delete that line"
    elif numbers:
        what = f"whose first line seems to hold data, {numbers[0]!r}"
        advice = "put a line with the names above it"
    elif len(names) == 1 and any(len(w) == 1 and w != {1} for w in widths):
        what = f"whose first line, {names[0][:40].replace(';', ' ')!r}, seems to be a title"
        advice = "delete what stands above the header"
    elif len(names) == 1 and len(lines) > 1:
        for mark, called in ((":", "colons"), (None, "blanks")):
            rows = [line.split(mark) for line in lines]
            held = any(_DATA.fullmatch(c) or c.isdecimal() for c in rows[1])
            if held and len(rows[0]) > 1 and len(set(map(len, rows))) == 1:
                what = f"which seems to have {called} between its columns"
                advice = "save it with commas"
    if what:
        raise FileError(
            "read_table", f"got {path.name}, {what}",
            "a header with names, and commas, semicolons, tabs or bars between them", advice,
        )  # fmt: skip


def _no_text(path: Path, why: str) -> FileError:
    return FileError(
        "read_table", f"got {path.name}, {why}", "UTF-8 text is needed",
        "save it as UTF-8 CSV, or check that it is a table",
    )  # fmt: skip


def _check_names(name: str, names: Sequence[str]) -> None:
    twice = [n for n, count in Counter(names).items() if count > 1]
    if twice or not names:
        what = f"two columns {twice[0]!r}" if twice else "no columns"
        raise ArgumentError(
            "read_table", f"got {name} with {what}",
            "columns with names of their own", "rename one of them" if twice else "check the file",
        )  # fmt: skip
