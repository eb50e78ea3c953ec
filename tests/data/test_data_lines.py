"""The line that a message names is the one that an editor shows."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.data import TableEncoder, read_table
from chainrule.errors import ChainruleError

ENDS = re.compile("\r\n|\r|\n")


def line_of(text: str, part: str) -> int:
    return 1 + len(ENDS.findall(text[: text.index(part)]))


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    raw = text.encode()
    path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    return path


ODD = {
    "nothing": [],
    "a blank line": [""],
    "blank lines": ["", "", ""],
    "blanks in a line": ["   "],
    "a quoted line end": ['"two\nlines",1.5,a'],
    "quoted line ends of all kinds": ['"a\r\nb\rc\n\nd",1.5,a', '"\n",2.5,b'],
    "doubled quotes": ['"say ""so""\n""now""",1.5,a'],
    "a quote inside a cell": ['5" pipe,1.5,a'],
    "a mark of order inside": ["\ufeff,1.5,a"],
    "separators of Unicode": ["a\u2028b\x0b\x0c\x85c,1.5,a"],
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "mac"])
@pytest.mark.parametrize("odd", ODD)
def test_of_a_cell(odd: str, end: str, tmp_path: Path) -> None:
    rows = [f"n{k % 3},{k}.5,{'ab'[k % 2]}" for k in range(40)]
    rows[30] = "here,inf,b"
    rows[5:5] = ODD[odd]
    text = end.join(["note,v,y", *rows, ""])
    want = line_of(text, "here,inf")
    for begin, name in (("", "t.csv"), ("\ufeff", "t.csv"), (end * 2, "t.csv"), ("", "t.csv.gz")):
        table = read_table(written(tmp_path, begin + text, name))
        line = want + 2 * (begin == end * 2)
        with pytest.raises(ChainruleError, match=rf"got inf .* line {line} "):
            TableEncoder.fit(table, "y")


BAD = {
    "a short row": ("HERE,2", "2 cells, where the header has 3"),
    "a long row": ("HERE,2,a,b", "4 cells, where the header has 3"),
    "a lone cell": ("HERE", "1 cell, where the header has 3"),
    "a quote that is not doubled": ('"HERE"s,2,a', "not doubled"),
    "an open quote": ('"HERE,2,a', "never closed"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("odd", ODD)
def test_of_a_record_that_is_no_row(odd: str, bad: str, tmp_path: Path) -> None:
    record, says = BAD[bad]
    text = "\n".join(["note,v,y", "a,1,b", *ODD[odd], record, "c,3,d", ""])
    with pytest.raises(ChainruleError, match=rf"line {line_of(text, record)}: .*{says}"):
        read_table(written(tmp_path, text))


def test_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    text = "a,b\r1,x\r\n2,y\n" * 3000
    for name in ("t.csv", "t.csv.gz"):
        path = written(tmp_path, text, name)
        raw = text.encode() + b"3,caf\xe9\n"
        path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
        with pytest.raises(ChainruleError, match="line 9001 is not UTF-8"):
            read_table(path)


def test_of_bytes_that_are_zero(tmp_path: Path) -> None:
    text = "a,b\n" + '"1\n",x\n' * 200 + "1,x\0y\n" + "2,z\n"
    with pytest.raises(ChainruleError, match="line 402 contains NUL bytes"):
        read_table(written(tmp_path, text))


def test_of_a_class_a_cell_and_a_missing_target(tmp_path: Path) -> None:
    text = 'note,v,y\n\n"a\nb",1,x\n\nc,2,y\n"d\n\ne",3,x\n'
    encoder = TableEncoder.fit(read_table(written(tmp_path, text)), "y")
    new = read_table(written(tmp_path, '\nnote,v,y\n"q\n",1,x\n\n"q\n",word,z\n'))
    with pytest.raises(ChainruleError, match=r"'word' in column 'v', line 6 of"):
        encoder.transform(new)
    with pytest.raises(ChainruleError, match=r"class 'z' in line 6 of"):
        encoder.transform_target(new)
    gap = read_table(written(tmp_path, 'note,v,y\n"q\n",1,x\n\nc,2,\n'))
    with pytest.raises(ChainruleError, match="the first in line 5"):
        TableEncoder.fit(gap, "y")
    assert gap.select([1]).place(0) == "line 5"


cells = st.text(st.sampled_from('ab ,"\n\r;é'), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(cells, cells), min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 2), min_size=12, max_size=12),
)
def test_of_any_row(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    end: str,
    blanks: list[int],
) -> None:
    text = f"id,a,b{end}"
    for k, row in enumerate(rows):
        out = io.StringIO()
        csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerow([f"row{k}.", *row])
        text += end * blanks[k] + out.getvalue()
    path = written(tmp_path_factory.getbasetemp(), text, "any.csv")
    table = read_table(path)
    want = [line_of(text, f'"row{k}."') for k in range(len(rows))]
    assert table.origin.tolist() == want
    found = table.columns["a"].values.tolist()
    assert found == [a.strip() or None for a, _ in rows]
