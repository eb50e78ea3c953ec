"""Tables: what is read equals what Python's csv module and DuckDB write; missing is not NaN."""

from __future__ import annotations

import csv
import gzip
import io
import math
import time
from contextlib import nullcontext
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.data import Table, TableEncoder, read_table
from chainrule.data.tables import read as tables
from chainrule.errors import FileError


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def values(table: Table, name: str) -> list[Any]:
    return list(table.columns[name].values.tolist())


def kinds(table: Table) -> list[str]:
    return [c.kind for c in table.columns.values()]


@pytest.mark.parametrize("words", ["yes no", "t f", "True Yes", "on off"])
def test_words_for_yes_and_no_stay_what_they_are(words: str, tmp_path: Path) -> None:
    a, b = words.split()
    assert values(read_table(written(tmp_path, f"x,y\n{a},1\n{b},2\n")), "x") == [a, b]


def test_dates_of_another_form_stay_text(tmp_path: Path) -> None:
    """Whatever the other cells are; TableEncoder then refuses them."""
    for day in ("12/25/2024", "25/12/2024", "01/02/2024"):
        table = read_table(written(tmp_path, f"d,x\n{day},1\n01/02/2024,2\n"))
        assert values(table, "d") == [day, "01/02/2024"]


@pytest.mark.parametrize("name", ["year=2024/t.csv", "~/t.csv", "year=2024/t.parquet", "~.csv"])
def test_a_path_means_nothing_but_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".csv":
        path.write_text("a,b\n1,x\n2,y\n")
    else:
        duckdb.sql("COPY (SELECT 1 AS a, 'x' AS b) TO 't.parquet'")
        Path("t.parquet").rename(path)
    assert list(read_table(name).columns) == ["a", "b"]


def test_ctrl_c_while_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise RuntimeError("Query interrupted")  # as DuckDB says it

    connection = SimpleNamespace(execute=interrupted)
    fake = SimpleNamespace(connect=lambda **_: nullcontext(connection), Error=duckdb.Error)
    monkeypatch.setattr(tables, "_duckdb", lambda: fake)
    with pytest.raises(KeyboardInterrupt):
        read_table(written(tmp_path, "PAR1", "t.parquet"))


def test_a_wide_header(tmp_path: Path) -> None:
    names = [f"measurement{k:06}" for k in range(10_000)]
    text = ",".join(names) + "\n" + ",".join("1" * len(names)) + "\n"
    assert list(read_table(written(tmp_path, text)).columns) == names


def test_kinds_and_missing_cells(tmp_path: Path) -> None:
    text = (
        "whole,real,word,flag,day,time\n"
        "1,0.5,a,true,2024-02-29,2024-02-29 13:30:00\n"
        ",NA,,False,,\n"
        "3,nan,None,,2024-03-01,2024-03-01\n"
        "4,-inf,N/A,true,2024-03-02,2024-03-01 00:00:01\n"
    )
    table = read_table(written(tmp_path, text))
    assert (table.name, len(table)) == ("t.csv", 4)
    assert list(table.columns) == ["whole", "real", "word", "flag", "day", "time"]
    assert kinds(table) == ["number", "number", "category", "category", "date", "date"]
    assert [c.missing.tolist() for c in table.columns.values()] == [
        [False, True, False, False],
        [False, True, False, False],  # the text nan is not missing
        [False, True, True, True],
        [False, False, True, False],
        [False, True, False, False],
        [False, True, False, False],
    ]
    np.testing.assert_array_equal(values(table, "whole"), [1, math.nan, 3, 4])
    np.testing.assert_array_equal(values(table, "real"), [0.5, math.nan, math.nan, -math.inf])
    assert values(table, "word") == ["a", None, None, None]
    assert values(table, "flag") == ["true", "False", None, "true"], "text stays as it is written"
    assert values(table, "day")[::2] == [datetime(2024, 2, 29), datetime(2024, 3, 1)]
    assert values(table, "time")[3] == datetime(2024, 3, 1, 0, 0, 1)
    assert table.columns["time"].values.dtype == np.dtype("M8[s]")
    assert table.place(0) == "line 2"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "a,b\n1,x y\n2,z\n"),
        ("a.csv", "a;b\n1;x y\n2;z\n"),
        ("a.csv", "a|b\n1|x y\n2|z"),
        ("a.csv", "a\tb\n1\tx y\n2\tz\n"),
        ("a.tsv", "a\tb\n1\tx y\n2\tz\n"),
        ("a.CSV", "\ufeffa,b\r\n1,x y\r\n2,z\r\n"),
        ("a.csv", "a,b\r1,x y\r2,z\r"),
        ("a.csv", '\n\n"a", b \n1,"x y"\n\n2,z\n'),
        ("a[1]*?.csv", "a,b\n1,x y\n2,z\n"),
    ],
)
def test_forms_of_the_same_table(tmp_path: Path, name: str, text: str) -> None:
    for path in (written(tmp_path, text, name), tmp_path / (name.lower() + ".gz")):
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(text.encode()))
        table = read_table(path)
        assert list(table.columns) == ["a", "b"]
        assert values(table, "a") == [1.0, 2.0]
        assert values(table, "b") == ["x y", "z"]


def test_the_type_comes_from_the_whole_file(tmp_path: Path) -> None:
    n = 30_000
    rows = "\n".join(str(k) for k in range(n))
    assert kinds(read_table(written(tmp_path, f"a\n{rows}\n"))) == ["number"]
    late = read_table(written(tmp_path, f"a\n{rows}\nlate\n"))
    assert kinds(late) == ["category"]
    assert values(late, "a") == [*map(str, range(n)), "late"]  # in order, and nothing lost


def test_one_column_and_hard_names(tmp_path: Path) -> None:
    assert values(read_table(written(tmp_path, "a\nx, y\nz\n", "a.tsv")), "a") == ["x, y", "z"]
    assert kinds(read_table(written(tmp_path, "a\n1\n2\n"))) == ["number"]
    table = read_table(written(tmp_path, '"x,1",X,x,,#\n1,2,3,4,5\n'))
    assert list(table.columns) == ["x,1", "X", "x", "column 4", "#"]
    assert [values(table, n)[0] for n in table.columns] == [1, 2, 3, 4, 5]


def test_inf_in_the_first_row_is_a_number_too(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a,b\ninf,x\n1.5,y\n,z\n-2,x\n"))
    np.testing.assert_array_equal(values(table, "a"), [math.inf, 1.5, math.nan, -2.0])
    assert table.columns["a"].missing.tolist() == [False, False, True, False]
    assert read_table(written(tmp_path, "a\ninf\nsup\n")).columns["a"].kind == "category"


def test_codes_with_a_leading_zero_are_no_numbers(tmp_path: Path) -> None:
    assert values(read_table(written(tmp_path, "zip\n01234\n10001\n")), "zip") == ["01234", "10001"]


WRITTEN: dict[str, tuple[str, list[str], list[Any]]] = {
    # the decimal mark, the cells of a column, what they are
    "a plus": (".", ["+1.5", "2"], [1.5, 2]),
    "a minus of typesetters": (".", ["−1.5", "2"], [-1.5, 2]),
    "blanks at the ends": (".", ["1.5 ", "  2"], [1.5, 2]),
    "a blank cell": (".", ["1.5", " "], [1.5, None]),
    "a word for missing": (".", ["n/a", "2"], [None, 2]),
    "the same with blanks": (".", ["NA ", "2"], [None, 2]),
    "an exponent": (".", ["+1e3", "2"], [1000, 2]),
    "words with blanks": (".", ["yes ", " yes"], ["yes", "yes"]),
    "codes": (".", ["+01", "2"], ["+01", "2"]),
    "decimal commas": (",", ["1,5", "-,25"], [1.5, -0.25]),
    "points between thousands": (",", ["1.234,50", "1.234.567"], [1234.5, 1234567]),
    "no thousands below one": (",", ["0.123", "-0.250,5"], ["0.123", "-0.250,5"]),
    "no points between thousands": (",", ["1.5", "2"], ["1.5", "2"]),
    "whole numbers": (",", ["1", "2"], [1, 2]),
    "zeros in front": (",", ["01", "2"], ["01", "2"]),
    "dates beside commas": (
        ",",
        ["2024-03-31", "2024-02-29"],
        [datetime(2024, 3, 31), datetime(2024, 2, 29)],
    ),
    "the end of February": (".", ["2024-02-30", "2024-02-29"], ["2024-02-30", "2024-02-29"]),
    "no day at all": (".", ["0000-00-00", "2024-02-29"], ["0000-00-00", "2024-02-29"]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_how_cells_are_read(name: str, tmp_path: Path) -> None:
    decimal, cells, expected = WRITTEN[name]
    file = written(tmp_path, "x;y\n" + "".join(f"{c};k\n" for c in cells))
    table = read_table(file, decimal=decimal)
    column = table.columns["x"]
    found = [None if m else v for v, m in zip(values(table, "x"), column.missing, strict=True)]
    assert found == expected
    assert list(map(type, found)) == [float if type(v) is int else type(v) for v in expected]


def test_columns_of_frames_and_parquet_that_are_text(tmp_path: Path) -> None:
    duckdb.sql(f"copy (select 80331 zip, 1.5 n) to '{tmp_path / 't.parquet'}'")
    for source in (tmp_path / "t.parquet", {"zip": [80331], "n": [1.5]}):
        table = read_table(source, text=["zip", "no such column"])
        assert (values(table, "zip"), values(table, "n")) == (["80331"], [1.5])
    assert values(read_table({"a": [" x ", " "]}), "a") == ["x", None]


def test_columns_without_a_name(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a,b,,\n1,2,,\n3,4,,7\n"))
    assert list(table.columns) == ["a", "b", "column 4"]
    assert table.notes == ["column 3 has no name and no values; it is left out"]
    assert table.drop("a").select([1]).notes == table.notes


def test_times_with_a_zone_are_marked(tmp_path: Path) -> None:
    duckdb.sql(f"copy (select timestamptz '2020-01-01 01:00+01' w) to '{tmp_path / 't.parquet'}'")
    file = written(tmp_path, "w,u\n2020-01-01 01:00+01:00,2020-01-01\n")
    for source in (tmp_path / "t.parquet", file):
        column = read_table(source).columns["w"]
        assert column.values.tolist() == [datetime(2020, 1, 1)]
        assert column.zoned
        assert column.select([0]).zoned
    assert not read_table(file).columns["u"].zoned


def test_columns_that_are_text_whatever_they_hold(tmp_path: Path) -> None:
    file = written(tmp_path, "zip,A,a,day,n\n7,1,2,2024-01-02,1.50\n10,3,4,2024-01-03,2\n")
    table = read_table(file, text=["zip", "day", "n", "a", "no such column"])
    assert values(table, "zip") == ["7", "10"]
    assert values(table, "day") == ["2024-01-02", "2024-01-03"]
    assert values(table, "n") == ["1.50", "2"]
    assert table.columns["A"].kind == "number"  # whose name another one shares, but for the case
    ragged = written(tmp_path, "zip,b\n7,1\n8\n")
    with pytest.raises(FileError, match="line 3"):
        read_table(ragged, text=["zip"])


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=8)


@settings(max_examples=30)
@given(st.lists(st.tuples(cells, st.integers(1 - 2**53, 2**53 - 1)), min_size=1, max_size=8))
def test_text_that_pythons_csv_module_writes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_NONNUMERIC).writerows([("word", "number"), *rows])
    path = written(tmp_path_factory.getbasetemp(), out.getvalue(), "any.csv")
    table = read_table(path)
    assert values(table, "number") == [float(n) for _, n in rows]
    if table.columns["word"].kind == "category" and not table.columns["word"].missing.any():
        flags = {"true", "false"}
        found = values(table, "word")
        assert found == [w.strip() for w, _ in rows] or set(found) <= flags


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    duckdb.sql(
        "copy (select range n, case when range % 2 then 'b' end c, range % 3 = 0 f, "
        "date '2020-01-01' + range::int d, (range / 4)::decimal(9, 2) p, 'nan'::double x "
        f"from range(5)) to '{path}'"
    )
    table = read_table(path, name="prices")
    assert kinds(table) == ["number", "category", "category", "date", "number", "number"]
    assert values(table, "c") == [None, "b", None, "b", None]
    assert values(table, "f") == ["true", "false", "false", "true", "false"]
    assert values(table, "d")[4] == datetime(2020, 1, 5)
    assert values(table, "p") == [0, 0.25, 0.5, 0.75, 1]
    assert not table.columns["x"].missing.any()
    assert (table.name, table.place(0)) == ("prices", "row 0")


class Series:
    """As much of a data frame's column as is used."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def to_numpy(self) -> Any:
        return np.array(self.values)


class NAType:
    """pandas.NA by its name: comparing it gives no bool."""

    def __eq__(self, other: object) -> Any:
        raise TypeError

    __hash__ = object.__hash__


def test_columns_of_frames_and_dicts() -> None:
    east = timezone(timedelta(hours=2))
    data: dict[Any, Any] = {
        "ints": Series([1, 2]),
        "gaps": Series([1, NAType()]),
        "floats": [0.5, None],
        "decimals": [Decimal("0.5"), None],
        "bools": Series([True, False]),
        "bool gaps": [True, None],
        "text": Series(["a", "b"]),
        "text gaps": ["a", math.nan],
        "mixed": ["a", 1],
        "dates": [date(2020, 1, 1), None],
        "stamps": Series(["2020-01-01T10", "NaT"]).to_numpy().astype("M8[ns]"),
        "numpy dates": [np.datetime64("2020-01-01"), None],
        "zones": [datetime(2020, 1, 1, 1, tzinfo=east), None],
        "nothing": [None, None],
        7: [1, 2],
    }
    table = read_table(data)
    number, word, day = ["number"], ["category"], ["date"]
    assert kinds(table) == number * 4 + word * 5 + day * 4 + word + number
    assert values(table, "text gaps") == ["a", None]
    assert values(table, "mixed") == ["a", "1"]
    assert values(table, "bool gaps") == ["true", None]
    assert values(table, "zones") == [datetime(2019, 12, 31, 23), None]
    assert values(table, "stamps") == [datetime(2020, 1, 1, 10), None]
    missing = {n for n, c in table.columns.items() if c.missing[1]}
    assert missing == {
        "gaps",
        "floats",
        "decimals",
        "bool gaps",
        "text gaps",
        "dates",
        "stamps",
        "numpy dates",
        "zones",
        "nothing",
    }
    assert list(table.columns)[-1] == "7"


def test_a_frame_is_read_by_its_columns() -> None:
    class Frame:
        columns = ("a", "b")

        def __getitem__(self, name: str) -> Series:
            return Series([1.0, math.nan])

    table = read_table(Frame())
    assert list(table.columns) == ["a", "b"]
    assert table.columns["b"].missing.tolist() == [False, True]


def test_select_and_drop() -> None:
    table = read_table({"a": [1, 2, 3], "b": ["x", None, "z"]})
    part = table.select([2, 1])
    assert values(part, "b") == ["z", None]
    assert part.columns["b"].missing.tolist() == [False, True]
    assert [part.place(0), part.select([1]).place(0)] == ["row 2", "row 1"]
    assert list(table.drop(["a"]).columns) == list(table.drop("a").columns) == ["b"]
    assert len(table.select(np.array([True, False, False]))) == 1
    assert repr(table) == "Table('table', 3 rows, a: number, b: category)"


FORMS = {
    "hexadecimal": ["0x1A", "0x2B", "0xFF"],
    "binary": ["0b1", "0b10", "0b11"],
    "octal": ["0o7", "0o17", "0o1"],
    "underscores": ["1_000", "2_000", "3_0"],
    "infinity": ["infinity", "Infinity", "word"],
    "Arabic digits": ["١", "٢", "٣"],
    "fullwidth digits": ["１", "２", "３"],
    "fractions": ["½", "¼", "¾"],
    "powers": ["x²", "²", "³"],
    "C's floats": ["1f", "0x1p3", "1.5d0"],
    "truth values": ["True", "False", "True"],
    "lone exponents": ["1e", "e5", "1e+"],
    "lone signs": ["+", "-", "."],
    "signs twice": ["--1", "+-1", "1-"],
    "blanks inside": ["1 2", "1 e5", "- 1"],
}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_no_number(name: str, tmp_path: Path) -> None:
    cells = FORMS[name]
    for decimal in (".", ","):
        file = written(tmp_path, "x;y\n" + "".join(f"{c};k\n" for c in cells))
        assert values(read_table(file, decimal=decimal), "x") == cells


def test_the_same_text_in_the_next_file(tmp_path: Path) -> None:
    rows = "".join(f"0x{['1A', '2B', '3C'][k % 3]},{'ab'[k % 2]}\n" for k in range(30))
    encoder = TableEncoder.fit(read_table(written(tmp_path, f"code,y\n{rows}")), "y")
    codes = encoder.transform(read_table(written(tmp_path, "code\n0x2B\n0xZZ\n")))[1]
    assert codes.tolist() == [[2], [0]]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_are_what_python_reads(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    text = "a,b\n" + "".join(f"{n!r},{n:.3e}\n" for n in numbers)
    table = read_table(written(tmp_path_factory.getbasetemp(), text, "floats.csv"))
    assert values(table, "a") == numbers
    assert values(table, "b") == [float(f"{n:.3e}") for n in numbers]


def test_very_many_columns(tmp_path: Path) -> None:
    width, rows = 30_000, 8
    line = ",".join(f"{k}.5" for k in range(width))
    path = written(tmp_path, ",".join(f"c{k}" for k in range(width)) + "\n" + f"{line}\n" * rows)
    began = time.process_time()
    table = read_table(path)
    assert time.process_time() - began < 10, "0.6 s when it was written; DuckDB took 20"
    assert len(table.columns) == width
    assert values(table, "c29999") == [29999.5] * rows


def test_a_first_line_without_end(tmp_path: Path) -> None:
    path = written(tmp_path, "a," * (1 << 23) + "b\n1,2\n")
    with pytest.raises(FileError, match="first line of 16777216 characters or more"):
        read_table(path)


def test_long_cells_and_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    long = "word " * 100_000
    path = written(tmp_path, f"a,b\n{long},1\n")
    limit = csv.field_size_limit()
    assert values(read_table(path), "a") == [long.strip()]
    assert csv.field_size_limit() == limit
