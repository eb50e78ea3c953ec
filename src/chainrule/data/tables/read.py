"""Tables from files (CSV, TSV, and Parquet through DuckDB), data frames and dicts of columns."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, FileError, ShapeError
from ..paths import expect_file
from .columns import Column, Table
from .delimited import column_names, empty, read_delimited
from .kinds import column

EXTENSIONS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
SPREADSHEETS = (".xlsx", ".xls", ".ods")
_LONG = re.compile(r"U?HUGEINT|DECIMAL\(\d+,0\)")
_READ_PARQUET = "FROM read_parquet($path, hive_partitioning=false)"


def read_table(
    source: Any, name: str | None = None, text: Iterable[str] = (), decimal: str = "."
) -> Table:
    """A table, its rows in order.

    source   a path (.csv, .tsv, either with .gz, or .parquet), a pandas or polars data frame, or a
             dict of columns
    name     its name in messages; by default the name of the file
    text     columns to read as text, even if they contain numbers
    decimal  the decimal mark in text files; with a comma, points separate thousands

    Numbers are float64. In text files a column with leading zeros (01970) is text, dates have the
    ISO form (2024-03-31, 2024-03-31 12:30), all else is text. In other sources bools are the
    categories "true" and "false", times of day are text. Blanks around a text are removed. A blank
    cell is missing; in text files NA, N/A, n/a, NULL, null and None are missing too.
    """
    if decimal not in (".", ","):
        raise ArgumentError(
            "read_table", f"got decimal {decimal!r}", 'expected "." or ","', 'decimal=","'
        )
    if isinstance(source, (str, Path)):
        return _read_file(Path(source), name or Path(source).name, set(text), decimal)
    is_frame = hasattr(source, "columns")  # pandas and polars, which are not imported here
    if not (isinstance(source, Mapping) or is_frame):
        raise ArgumentError(
            "read_table",
            f"got {type(source).__name__}",
            "expected a path, a data frame or a dict of columns",
            'give each column a name: {"area": x[:, 0], "rent": y}',
        )
    names = list(source) if isinstance(source, Mapping) else list(source.columns)
    _check_names(name or "the data", [str(n) for n in names])
    wanted = set(text)
    columns = {str(n): column(str(n), source[n], text=str(n) in wanted) for n in names}
    lengths = {n: len(c.values) for n, c in columns.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise ShapeError(
            "read_table",
            f"got {lengths[short]} rows in {short!r}, {lengths[long]} in {long!r}",
            "expected columns of equal length",
            "fill the shorter ones with None",
        )
    return _with_rows(Table(columns, name or "table"))


def _with_rows(table: Table) -> Table:
    if not len(table):
        raise ArgumentError(
            "read_table",
            f"got {table.name} with {len(table.columns)} columns and no rows",
            "expected one row or more",
            "check the filter or export that produced it",
        )
    return table


def _read_file(path: Path, name: str, text: set[str], decimal: str) -> Table:
    lower = path.name.lower()
    expect_file("read_table", path, "a file")
    if lower.endswith(SPREADSHEETS):
        raise FileError(
            "read_table",
            f"got {path.name}, a spreadsheet",
            f"expected one of {', '.join(EXTENSIONS)}",
            "save it as CSV UTF-8 in the spreadsheet",
        )
    if not lower.endswith(EXTENSIONS):
        raise FileError(
            "read_table",
            f"got {path.name}",
            f"expected one of {', '.join(EXTENSIONS)}",
            "rename it if it is one of them, or convert it",
        )
    if not path.stat().st_size:
        raise empty(path)
    if lower.endswith(".parquet"):
        return _with_rows(Table(_read_parquet(path, text), name))
    marks = "\t" if ".tsv" in lower[-7:] else ",\t;|"
    names, read, lines = read_delimited(path, marks, text, decimal)
    complete = column_names(names)
    _check_names(name, complete)
    columns = dict(zip(complete, read, strict=True))
    bare = [g for g, n in zip(complete, names, strict=True) if not n and columns[g].missing.all()]
    notes = [f"{g} has no name and no values; it is left out" for g in bare]
    named = {n: c for n, c in columns.items() if n not in bare}
    table = _with_rows(Table(named, name, "line", lines, decimal, notes))
    _check_single_header(table)
    return table


def _check_single_header(table: Table) -> None:
    """Raise if the header is repeated in a row, as in two files joined to one."""
    again = np.ones(len(table), bool)
    for name, cells in table.columns.items():
        again &= cells.values == name if cells.kind == "category" else False
    if again.any():
        raise ArgumentError(
            "read_table",
            f"got {table.name}, whose header is repeated in {table.place(int(np.argmax(again)))}",
            "expected one header, in the first line",
            "delete that line, where two files seem to be joined",
        )


def _literal(path: Path) -> str:
    """The path, escaped so that DuckDB reads no pattern or home folder in it."""
    return re.sub(r"([*?\[])", r"[\1]", os.path.abspath(path))


def _read_parquet(path: Path, text: Collection[str]) -> dict[str, Column]:
    """The columns of a Parquet file; large whole numbers, which DuckDB makes float64, are exact."""
    duckdb = _duckdb()
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        try:
            result = connection.execute(_READ_PARQUET, {"path": _literal(path)})
            kinds = {n: str(kind) for n, kind, *_ in result.description}
            long = [n for n, kind in kinds.items() if _LONG.fullmatch(kind)]
            if long:
                names = [n.replace('"', '""') for n in long]
                cast = ", ".join(f'CAST("{n}" AS VARCHAR) AS "{n}"' for n in names)
                sql = f"SELECT * REPLACE ({cast}) {_READ_PARQUET}"
                result = connection.execute(sql, {"path": _literal(path)})
            arrays = result.fetchnumpy()
        except duckdb.Error as error:
            raise _unreadable(path, str(error)) from None
        except RuntimeError as error:
            if "interrupted" in str(error).lower():  # by Ctrl-C
                raise KeyboardInterrupt from None
            raise
    columns = {}
    for n, cells in arrays.items():
        values, missing = np.ma.getdata(cells), np.ma.getmaskarray(cells)
        if n in long:
            whole = [0 if m else int(v) for v, m in zip(values, missing, strict=True)]
            values = np.array(whole, object)
        columns[n] = column(n, values, missing, n in text)
    zoned = {n for n, kind in kinds.items() if "TIME ZONE" in kind}
    return {n: replace(c, zoned=c.zoned or n in zoned) for n, c in columns.items()}


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise ArgumentError(
            "read_table",
            "got a Parquet file, but DuckDB is not installed",
            "expected DuckDB, which reads Parquet",
            "pip install duckdb",
        ) from None
    return duckdb


def _unreadable(path: Path, message: str) -> FileError:
    """The error for a file that DuckDB cannot read, with the useful line of its message."""
    what = re.sub(r"^[\w ]+ Error: ", "", message.splitlines()[0])
    what = what.replace(os.path.abspath(path), path.name).replace(str(path), path.name)
    return FileError(
        "read_table",
        f"got {path.name}, {what.replace(';', ',').rstrip('.')}",
        "expected a table that can be read",
        "check that the file is complete and that its ending is right",
    )


def _check_names(name: str, names: Sequence[str]) -> None:
    twice = [n for n, count in Counter(names).items() if count > 1]
    if twice or not names:
        what = f"two columns {twice[0]!r}" if twice else "no columns"
        raise ArgumentError(
            "read_table",
            f"got {name} with {what}",
            "expected columns with different names",
            "rename one of them" if twice else "add a line with the names of the columns",
        )
