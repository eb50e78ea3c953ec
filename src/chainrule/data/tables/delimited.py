"""Tables in text files, CSV and TSV, optionally with gzip, read by Python's csv module."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FileError
from ...graph import Array
from .cells import EXACT
from .columns import Column
from .kinds import dates_or_words, numbers_of

LONGEST = 1 << 24  # characters of the header line, or of a cell
_NAME = 1 << 17  # characters of a column name
_BLOCK = 250_000  # cells per block
_LINE_ENDS = re.compile(rb"\r\n?|\n")
_DATA = re.compile(r"[+\-−][0-9]+|[+\-−]?[0-9]*[.,][0-9]+")  # no name of a column


@dataclass
class _Cells:
    """A column while it is read: numbers while all of its cells are, text otherwise.

    late   whether a later cell is not a number: the text of the earlier ones is lost by then
    """

    decimal: str
    words: list[str] | None = None
    numbers: list[Array] = field(default_factory=list)
    gaps: list[Array] = field(default_factory=list)
    whole: bool = True
    large: bool = False
    late: bool = False

    def add(self, cells: Sequence[str]) -> None:
        """The next cells."""
        if self.late:
            return
        block = numbers_of(cells, self.decimal) if self.words is None else None
        if block is not None:
            values, missing, whole = block
            self.numbers.append(values)
            self.gaps.append(missing)
            self.whole &= whole
            self.large |= bool((np.isfinite(values) & (np.abs(values) >= EXACT)).any())
            self.late = self.whole and self.large
        elif self.numbers:
            self.late, self.numbers = True, []
        else:
            self.words = self.words or []
            self.words += cells

    def column(self, text: bool) -> Column:
        """The column of these cells."""
        if self.words is not None or not self.numbers:
            return dates_or_words(self.words or [], text)
        missing = np.concatenate(self.gaps)
        if missing.all():
            return Column("category", np.full(len(missing), None, object), missing)
        return Column("number", np.concatenate(self.numbers), missing)


def read_delimited(
    path: Path, delimiters: str, text: Collection[str], decimal: str
) -> tuple[list[str], list[Column], Array]:
    """The names in the header ("" for an empty one), the columns, the line where each row begins.

    delimiters   candidates; the one that gives the most names is used
    text         columns to read as text, even if they contain numbers
    """
    with _file_errors(path):
        delimiter = _delimiter(path, delimiters)
        names, cells, lines = _scan(path, delimiter, decimal, text)
        late = {k for k, column in enumerate(cells) if column.late}
        if late:  # again, for these columns only
            again = _scan(path, delimiter, decimal, text, late)[1]
            cells = [again[k] if k in late else column for k, column in enumerate(cells)]
    return names, [c.column(n in text) for n, c in zip(names, cells, strict=True)], lines


def column_names(names: Sequence[str]) -> list[str]:
    """The names of columns, `column 3` where the header is empty."""
    return [n or f"column {k}" for k, n in enumerate(names, 1)]


def _scan(
    path: Path, delimiter: str, decimal: str, text: Collection[str], only: Collection[int] = ()
) -> tuple[list[str], list[_Cells], Array]:
    """One pass over the file.

    only   the columns to read, as text; empty: all columns
    """
    with _opened(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        names, line = _header(path, reader)
        cells = [
            _Cells(decimal, words=[] if n in text or k in only else None)
            for k, n in enumerate(column_names(names))
        ]
        lines: list[Array] = [np.zeros(0, np.int64)]
        for places, block in _blocks(path, reader, len(names), line):
            lines.append(np.array(places))
            for k in only or range(len(names)):
                cells[k].add(block[k :: len(names)])
    return names, cells, np.concatenate(lines)


def _header(path: Path, reader: Any) -> tuple[list[str], int]:
    """The names in the first line that is not blank, and the number of the next line."""
    try:
        row: list[str] = next(r for r in reader if any(map(str.strip, r)))
    except csv.Error as error:
        raise _malformed(path, 1, error) from None
    return [n.strip() for n in row], reader.line_num + 1


def _blocks(path: Path, reader: Any, width: int, line: int) -> Iterator[tuple[Any, list[str]]]:
    """Blocks of rows: the lines where they begin, and their cells in one list."""
    most = max(16, _BLOCK // width)
    rows = iter(reader)
    while True:
        places: list[int] = []
        cells: list[str] = []  # flat: the garbage collector would traverse lists of lists
        try:
            for row in rows:
                if len(row) == width:
                    places.append(line)
                    cells += row
                elif len(row) > 1 or (row and row[0].strip()):  # else the line is blank
                    count = f"{len(row)} cell{'s' * (len(row) > 1)}"
                    raise _at(path, line, f"{count}, where the header has {width}")
                line = reader.line_num + 1
                if len(places) == most:
                    break
        except csv.Error as error:
            raise _malformed(path, line, error) from None
        if not places:
            return
        if "\0" in "".join(cells):
            k = next(k for k, cell in enumerate(cells) if "\0" in cell)
            raise _not_text(path, f"line {places[k // width]} contains NUL bytes")
        yield places, cells


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper]:
    """The file as text with its line ends, without a byte order mark."""
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
        yield file


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """Errors of reading as FileError; cells may be longer than csv allows by default."""
    limit = csv.field_size_limit(LONGEST)
    try:
        yield
    except UnicodeDecodeError:
        with gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb") as file:
            raw = file.read()
        try:
            raw.decode()
            line = 1
        except UnicodeDecodeError as error:
            line = 1 + len(_LINE_ENDS.findall(raw[: error.start]))
        raise _not_text(path, f"line {line} is not UTF-8") from None
    except FileError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise FileError(
            "read_table",
            f"got {path.name}, {what.replace(';', ',')}",
            "expected a file that can be read",
            "check that it is complete, and that its ending is right",
        ) from None
    finally:
        csv.field_size_limit(limit)


def _delimiter(path: Path, delimiters: str) -> str:
    """The delimiter that gives the most names in the header, which is checked."""
    with _opened(path) as file:
        lines = [file.readline(LONGEST)]
        while lines[0] and not lines[0].strip():
            lines = [file.readline(LONGEST)]
        lines += [file.readline(LONGEST) for _ in range(19)]
    start = "".join(lines)
    if not start:
        raise empty(path)
    if "\0" in start:
        raise _not_text(path, "it contains NUL bytes")
    if len(lines[0]) == LONGEST:
        raise _not_text(path, f"a first line of {LONGEST} characters or more")
    try:
        headers = {d: next(csv.reader(lines, delimiter=d)) for d in delimiters}
    except csv.Error as error:
        raise _not_text(path, f"{error} in the first line") from None
    best = max(delimiters, key=lambda d: len(headers[d]))
    _check_header(path, lines, headers[best], delimiters)
    if max(map(len, headers[best])) > _NAME:
        raise _not_text(path, f"a name of more than {_NAME} characters in the first line")
    return best


def _check_header(path: Path, start: list[str], names: list[str], delimiters: str) -> None:
    """Raise if the first line is not a header, or columns are separated in another way.

    Names that are whole numbers (years, pixels) are allowed.
    """
    lines = [line.rstrip("\r\n") for line in start if line.strip()]
    below = [line[:40_000] for line in lines[1:4]]
    widths = [{len(r) for r in csv.reader(below, delimiter=d)} for d in delimiters]
    numbers = [n for n in names if _DATA.fullmatch(n)]
    what = ""
    if re.fullmatch(r"sep=.", lines[0].strip()):
        what, advice = "whose first line, sep=, is a mark for spreadsheets", "delete that line"
    elif numbers:
        what = f"whose first line seems to be data, {numbers[0]!r}"
        advice = "add a line with the names above it"
    elif len(names) == 1 and any(len(w) == 1 and w != {1} for w in widths):
        what = f"whose first line, {names[0][:40].replace(';', ' ')!r}, seems to be a title"
        advice = "delete the lines above the header"
    elif len(names) == 1 and len(lines) > 1:
        for mark, kind in ((":", "colons"), (None, "blanks")):
            rows = [line.split(mark) for line in lines]
            is_data = any(_DATA.fullmatch(c) or c.isdecimal() for c in rows[1])
            if is_data and len(rows[0]) > 1 and len(set(map(len, rows))) == 1:
                what = f"which seems to have {kind} between its columns"
                advice = "save it with commas"
    if what:
        raise FileError(
            "read_table",
            f"got {path.name}, {what}",
            "expected a header with names, and commas, semicolons, tabs or bars between them",
            advice,
        )


def empty(path: Path) -> FileError:
    """The error for an empty file."""
    return FileError(
        "read_table",
        f"got {path.name}, which is empty",
        "expected a header and rows",
        "export it again",
    )


def _not_text(path: Path, why: str) -> FileError:
    return FileError(
        "read_table",
        f"got {path.name}, {why}",
        "expected UTF-8 text",
        "save it as UTF-8 CSV, or check that it is a table",
    )


def _malformed(path: Path, line: int, error: csv.Error) -> FileError:
    """The error for a record that begins on this line."""
    what = str(error)
    if "end of data" in what:
        what = "a quote that is never closed"
    elif "expected after" in what:
        what = "a quote inside a cell in quotes, which is not doubled"
    elif "limit" in what:
        what = f"a cell of more than {LONGEST} characters, or a quote that is not closed"
    return _at(path, line, what)


def _at(path: Path, line: int, what: str) -> FileError:
    return FileError(
        "read_table",
        f"got {path.name}, line {line}: {what}",
        "expected a table that can be read",
        "correct that line",
    )
