"""Tables from files (CSV, TSV and Parquet, through DuckDB), data frames and dicts of columns."""

from __future__ import annotations

import codecs
import csv
import datetime
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileError, ShapeError
from .columns import Column, Table, column, without_zone

EXTENSIONS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_MISSING = ["", "NA", "N/A", "NULL", "null", "None"]
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")

# header and types: DuckDB reads the whole file before it settles a type; a row of another length is
# an error. The delimiter is given, because a guessed one makes a ragged file one column of text.
# Only numbers are told from text: what looks like a date or a truth value may differ from file to
# file.
_READ_CSV = """
FROM read_csv($path, delim=$delim, quote='"', escape='"', comment='', header=true, skip=$skip,
              compression=$compression, nullstr=$missing, sample_size=-1, strict_mode=true,
              hive_partitioning=false,
              auto_type_candidates=['BIGINT', 'DOUBLE', 'VARCHAR']{more})
"""
_READ_PARQUET = "FROM read_parquet($path, hive_partitioning=false)"


def read_table(source: Any, name: str | None = None, text: Iterable[str] = ()) -> Table:
    """A table, its rows in order.

    source   a path (.csv, .tsv, either with .gz, or .parquet), a pandas or polars data frame, or a
             dict of columns
    name     what messages call it; the file's name otherwise
    text     columns of a text file that are text, even where all of their cells are numbers

    Numbers are float64. In text files a column with leading zeros (01970) is text, dates have the
    ISO form (2024-03-31, 2024-03-31 12:30), all else is text; elsewhere bools are the categories
    "true" and "false", times of day text. An empty cell, NA, N/A, NULL, null and None are missing.
    """
    if isinstance(source, (str, Path)):
        return _read_file(Path(source), name or Path(source).name, set(text))
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
    return _with_rows(Table(columns, name or "table"))


def _with_rows(table: Table) -> Table:
    if not len(table):
        raise ArgumentError(
            "read_table", f"got {table.name} with {len(table.columns)} columns and no rows",
            "one row or more", "check the filter or the export that made it",
        )  # fmt: skip
    return table


def _read_file(path: Path, name: str, text: set[str]) -> Table:
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
    if not lower.endswith(EXTENSIONS):
        raise FileError(
            "read_table", f"got {path.name}", f"one of {', '.join(EXTENSIONS)} is needed",
            "rename it if it is one of them, or convert it",
        )  # fmt: skip
    if not path.stat().st_size:
        raise _empty(path)
    if lower.endswith(".parquet"):
        columns = _query(path, _READ_PARQUET, {"path": _literal(path)})
        return _with_rows(Table(columns, name))
    skip, delimiter, names = _header(path, "\t" if ".tsv" in lower[-7:] else ",\t;|")
    _check_names(name, [n for n in names if n])
    wanted = {
        "path": _literal(path), "skip": skip, "delim": delimiter, "missing": _MISSING,
        "compression": "gzip" if lower.endswith(".gz") else "none",
    }  # fmt: skip
    folded = Counter(n.casefold() for n in names)  # DuckDB does not tell A from a
    types = {n: "VARCHAR" for n in names if n in text and folded[n.casefold()] == 1}
    sql = _READ_CSV.format(more=", types=$types" if types else "")
    found = _query(path, sql, wanted | ({"types": types} if types else {}), len(names))
    columns = {
        n or f: c if n in types else _recognised(c)
        for n, (f, c) in zip(names, found.items(), strict=True)
    }
    return _with_rows(Table(columns, name, "line", skip + 2))


def _recognised(found: Column) -> Column:
    """A column of text as what all of its cells are: dates of the ISO form, or numbers.

    Numbers are text to DuckDB where inf or nan stands in the first row. Nothing is guessed from a
    file: a form that depends on the other cells would be read otherwise in the next file.
    """
    if found.kind != "category" or found.missing.all():
        return found
    present = found.values[~found.missing]
    try:
        if all(map(_ISO_DATE.fullmatch, present.tolist())):
            parts: Any = [without_zone(datetime.datetime.fromisoformat(c)) for c in present]
            filled = np.full(len(found.values), np.datetime64("NaT"), "M8[s]")
            filled[~found.missing] = parts
            return Column("date", filled, found.missing)
        if present[0].lower().lstrip("+-") in ("inf", "infinity", "nan"):
            filled = np.full(len(found.values), np.nan)
            filled[~found.missing] = present.astype(np.float64)
            return Column("number", filled, found.missing)
    except ValueError:  # the 30th of February, or a word after all
        pass
    return found


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
            found = connection.execute(sql, values).fetchnumpy()
        except duckdb.Error as error:
            message = str(error)
            if width is not None and "CSV Error on Line" not in message:
                message = _without_types(connection, values, width) or message
            raise _unreadable(path, message) from None
        except RuntimeError as error:
            if "interrupted" in str(error).lower():  # by Ctrl-C
                raise KeyboardInterrupt from None
            raise
    return {n: column(n, np.ma.getdata(v), np.ma.getmaskarray(v)) for n, v in found.items()}


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
    if max(map(len, found[best])) > limit:
        raise _no_text(path, f"a name of more than {limit} characters in the first line")
    return skip, best, [n.strip() for n in found[best]]


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
