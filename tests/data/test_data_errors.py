"""Every mistake with data has its own error, in the one form, that names what is wrong."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from PIL import Image

from chainrule import data, errors
from chainrule.data import DataLoader, TableEncoder, builtin, read_table, split, train_test_split
from test_errors import FORM

x, y = np.zeros((6, 2)), np.zeros(5)
good = read_table({"a": range(30), "c": ["u", "v", "w"] * 10, "y": ["yes", "no"] * 15})
fitted = TableEncoder.fit(good, "y")
tiny = read_table({"a": [1.5, 2, 4], "y": [0.5, 1.5, 3]})


def fit(target: str = "y", task: str | None = None, **columns: Any) -> Any:
    return TableEncoder.fit(read_table({"x": range(len(columns["y"])), **columns}), target, task)


BAD: dict[str, tuple[Callable[[], Any], str, type, list[str]]] = {
    # what is done, the operation that the message names, the class, what the message holds
    "no rows": (lambda: DataLoader(x[:0]), "DataLoader", ValueError, ["no rows"]),
    "no arrays": (lambda: DataLoader(()), "DataLoader", ValueError, ["no arrays"]),
    "unequal": (lambda: DataLoader((x, y)), "DataLoader", errors.ShapeError, ["6 and 5", "(6, 2)"]),
    "a number": (lambda: DataLoader([1, 2]), "DataLoader", errors.ShapeError, ["np.array"]),
    "words": (lambda: DataLoader(np.array(["a"])), "DataLoader", TypeError, ["TableEncoder"]),
    "batch 0": (lambda: DataLoader(x, 0), "DataLoader", ValueError, ["batch_size 0"]),
    "batch 2.0": (lambda: DataLoader(x, 2.0), "DataLoader", TypeError, ["2.0"]),  # type: ignore[arg-type]
    "batch True": (lambda: DataLoader(x, True), "DataLoader", TypeError, ["True"]),
    "drop all": (lambda: DataLoader(x, 7, drop_last=True), "DataLoader", ValueError, ["6 rows"]),
    "fractions": (lambda: split(9, (0.5, 0.6)), "split", ValueError, ["(0.5, 0.6)"]),
    "fraction 0": (lambda: split(9, (1, 0)), "split", ValueError, ["above 0"]),
    "rows below 0": (lambda: split(-1, (0.5, 0.5)), "permutation", ValueError, ["-1"]),
    "empty part": (lambda: split(3, (0.9, 0.1)), "split", ValueError, ["3 rows", "0.9, 0.1"]),
    "labels": (lambda: split(9, (0.5, 0.5), stratify=y), "split", ValueError, ["(5,)", "9 rows"]),
    "no label": (lambda: split(["a", None], (0.5, 0.5)), "split", ValueError, ["missing label"]),
    "test size": (lambda: train_test_split(x, test_size=6), "train_test_split", ValueError, ["6"]),
    "unequal rows": (lambda: train_test_split(x, y), "train_test_split", ValueError, ["5 and 6"]),
    "nothing to split": (lambda: train_test_split(), "train_test_split", ValueError, ["one array"]),
    "same names": (lambda: read_table({1: [1], "1": [2]}), "read_table", ValueError, ["'1'"]),
    "no columns": (lambda: read_table({}), "read_table", ValueError, ["no columns"]),
    "no cells": (lambda: read_table({"a": []}), "read_table", ValueError, ["no rows"]),
    "lengths": (
        lambda: read_table({"a": [1], "b": [1, 2]}),
        "read_table",
        errors.ShapeError,
        ["1 rows in 'a'", "2 in 'b'"],
    ),
    "decimal commas": (
        lambda: fit(y=["0,84", "2,53", "-1,0"]),
        "fit",
        ValueError,
        ["'y'", "'0,84'", "commas", "--decimal ,"],
    ),
    "near name to drop": (lambda: good.drop(["aa"]), "drop", ValueError, ["did you mean 'a'?"]),
    "lists": (lambda: read_table({"a": [[1], [2]]}), "read_table", TypeError, ["'a'", "list"]),
    "two axes": (lambda: read_table({"a": x}), "read_table", TypeError, ["'a'", "(6, 2)"]),
    "durations": (
        lambda: read_table({"a": np.array([1], "m8[s]")}),
        "read_table",
        TypeError,
        ["timedelta"],
    ),
    "drop": (lambda: good.drop(["b"]), "drop", ValueError, ["'b'", "a, c, y"]),
    "target": (lambda: TableEncoder.fit(good, "Y"), "fit", ValueError, ["'Y'", "mean 'y'?"]),
    "no target": (lambda: TableEncoder.fit(good, "zzz"), "fit", ValueError, ["a, c, y"]),
    "task": (lambda: TableEncoder.fit(good, "y", "rank"), "fit", ValueError, ["'rank'"]),
    "words as values": (
        lambda: TableEncoder.fit(good, "y", "regression"),
        "fit",
        ValueError,
        ["category", "'y'"],
    ),
    "date": (lambda: fit(y=np.arange(4).astype("M8[D]")), "fit", ValueError, ["date column 'y'"]),
    "alone": (lambda: TableEncoder.fit(tiny.drop("a"), "y"), "fit", ValueError, ["no column but"]),
    "constant": (lambda: fit(y=[0, 1], k=[3, 3]), "fit", ValueError, ["'k'", "--drop k"]),
    "constant word": (lambda: fit(y=[0, 1], k="aa"), "fit", ValueError, ["'k'", "--drop k"]),
    "empty column": (lambda: fit(y=[0, 1], k=[None, None]), "fit", ValueError, ["'k'", "empty"]),
    "inf": (lambda: fit(y=[0, 1], k=[3, np.inf]), "fit", ValueError, ["inf", "'k'", "row 1"]),
    "inf target": (lambda: fit(y=[0, -np.inf]), "fit", ValueError, ["-inf", "'y'", "row 1"]),
    "one class": (lambda: fit(y=["a", "a"]), "fit", ValueError, ["only one class, 'a'"]),
    "one number": (lambda: fit(y=[3, 3]), "fit", ValueError, ["only one value, '3'"]),
    "one value": (lambda: fit(y=[0.5, 0.5]), "fit", ValueError, ["only one value, '0.5'"]),
    "id": (lambda: fit(y=range(21)), "fit", ValueError, ["looks like an id", "regression"]),
    "id words": (
        lambda: fit(y=[f"k{n}" for n in range(21)]),
        "fit",
        ValueError,
        ["looks like an id"],
    ),
    "decimal": (lambda: read_table({"a": [1]}, decimal=":"), "read_table", ValueError, ["':'"]),
    "useless columns": (
        lambda: fit(y=[0, 1], k=[3, 3], m=[None, None], n=["1,5", "2,5"]),
        "fit",
        ValueError,
        [
            "3 unusable columns",
            "'k' (is the same",
            "'m' (is empty)",
            "'1,5' in row 0",
            "--drop k --drop m --drop n",
            "--category n",
        ],
    ),
    "classes of one row": (
        lambda: fit(y=[*(f"k{n}" for n in range(21)), *["k"] * 20]),
        "fit",
        ValueError,
        ["21 of 41 rows", "repeat"],
    ),
    "values as classes": (
        lambda: fit(task="classification", y=[*np.arange(21) / 2, 0, 1]),
        "fit",
        ValueError,
        ["19 of 23 rows", "regression"],
    ),
    "a target of numbers and words": (
        lambda: fit(y=[*(f"{n}.5" for n in range(21)), "-"]),
        "fit",
        ValueError,
        ["target 'y'", "21 of 22 cells", "'-' in row 21", "--category y"],
    ),
    "too large for float32": (
        lambda: fitted.transform(read_table({"a": [1, 1e300], "c": ["u", "u"]})),
        "transform",
        ValueError,
        ["1e+300", "'a'", "row 1", "float32"],
    ),
    "target too large": (
        lambda: TableEncoder.fit(tiny, "y").transform_target(read_table({"y": [-1e308]})),
        "transform",
        ValueError,
        ["-1e+308", "'y'", "row 0"],
    ),
    "too few rows for the classes": (
        lambda: split(list("abcdeff"), (0.7, 0.1, 0.2)),
        "split",
        ValueError,
        ["7 rows in 6 classes"],
    ),
    "no goal": (
        lambda: fit(y=["a", None, "b", None]),
        "fit",
        ValueError,
        ["2 rows", "'y'", "row 1"],
    ),
    "lost column": (
        lambda: fitted.transform(read_table({"A": [1], "c": ["u"]})),
        "transform",
        ValueError,
        ["'a'", "mean 'A'?"],
    ),
    "lost columns": (
        lambda: fitted.transform(read_table({"q": [1]})),
        "transform",
        ValueError,
        ["'a', 'c'"],
    ),
    "kind": (
        lambda: fitted.transform(read_table({"a": ["1", None, "2,5"], "c": list("uvw")})),
        "transform",
        ValueError,
        ["'2,5'", "'a'", "row 2", "number"],
    ),
    "kind date": (
        lambda: fitted.transform(read_table({"a": np.arange(2).astype("M8[D]"), "c": list("uv")})),
        "transform",
        ValueError,
        ["'1970-01-01'", "'a'", "row 0"],
    ),
    "inf later": (
        lambda: fitted.transform(read_table({"a": [np.inf], "c": ["u"]})),
        "transform",
        ValueError,
        ["inf", "'a'", "row 0"],
    ),
    "new class": (
        lambda: fitted.transform_target(read_table({"y": ["no", "maybe"]})),
        "transform_target",
        ValueError,
        ["'maybe'", "row 1", "'no', 'yes'"],
    ),
    "target missing": (
        lambda: fitted.transform_target(read_table({"y": ["no", None]})),
        "transform_target",
        ValueError,
        ["1 row ", "row 1"],
    ),
    "target absent": (
        lambda: fitted.transform_target(tiny.drop("y")),
        "transform_target",
        ValueError,
        ["'y'"],
    ),
    "text for a value": (
        lambda: TableEncoder.fit(tiny, "y").transform_target(read_table({"y": ["1", "low"]})),
        "transform",
        ValueError,
        ["'low'", "row 1"],
    ),
    "length 0": (lambda: data.windows([1, 2], 0), "windows", ValueError, ["length 0"]),
    "short text": (lambda: data.windows([1, 2], 2), "windows", ValueError, ["series of 2"]),
    "name": (lambda: data.load("digit"), "load", ValueError, ["'digit'", "mean 'digits'?"]),
    "no such name": (lambda: data.load("mnist"), "load", ValueError, ["moons"]),
    "channels": (
        lambda: data.read_image_files([], channels=2),
        "read_images",
        ValueError,
        ["1 or 3"],
    ),
}

PIXELS = Image.fromarray(np.zeros((4, 4), np.uint8))


def images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        PIXELS.save(folder / name)
    return folder


def photograph(folder: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "1.jpg")
    return folder / "1.jpg"


def truncated(path: Path, share: float = 0.5) -> Path:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def parquet(folder: Path, columns: str = "range a") -> Path:
    duckdb.sql(f"copy (select {columns} from range(1000)) to '{folder / 't.parquet'}'")
    return folder / "t.parquet"


def file(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


READ = read_table
ragged = "a,b\n" + "1,2\n" * 50_000 + "3,4,5\n" + "1,2\n"
BAD_FILES: dict[str, tuple[Callable[[Path], Any], str, type, list[str]]] = {
    "missing": (lambda p: READ(p / "t.csv"), "read_table", OSError, ["t.csv", "not exist"]),
    "folder": (lambda p: READ(p), "read_table", OSError, ["folder"]),
    "empty": (lambda p: READ(file(p, "")), "read_table", OSError, ["t.csv", "empty"]),
    "blank": (lambda p: READ(file(p, "\n \n")), "read_table", OSError, ["t.csv", "empty"]),
    "header": (lambda p: READ(file(p, "a,b\n")), "read_table", ValueError, ["2 columns", "no row"]),
    "short row": (lambda p: READ(file(p, "a,b\n1,2\n3\n")), "read_table", OSError, ["line 3"]),
    "long row": (lambda p: READ(file(p, "a,b\n1,2,3\n")), "read_table", OSError, ["line 2"]),
    "late row": (lambda p: READ(file(p, ragged)), "read_table", OSError, ["line 50002", "3"]),
    "open quote": (
        lambda p: READ(file(p, 'a,b\n1,"x\n2,y\n')),
        "read_table",
        OSError,
        ["line 2", "quote"],
    ),
    "latin 1": (
        lambda p: READ(file(p, b"a\nok\ncaf\xe9\n")),
        "read_table",
        OSError,
        ["line 3", "UTF-8"],
    ),
    "late latin 1": (
        lambda p: READ(file(p, b"a\n" + b"plain text\n" * 400_000 + b"caf\xe9\n")),
        "read_table",
        OSError,
        ["line 400002", "UTF-8"],
    ),
    "utf-16": (
        lambda p: READ(file(p, "a,b\n1,2\n".encode("utf-16"))),
        "read_table",
        OSError,
        ["UTF-8"],
    ),
    "binary": (
        lambda p: READ(file(p, bytes(range(128)) * 99)),
        "read_table",
        OSError,
        ["NUL bytes"],
    ),
    "endless": (
        lambda p: READ(file(p, "a" * 200_000)),
        "read_table",
        OSError,
        ["t.csv", "first line"],
    ),
    "extension": (lambda p: READ(file(p, "a", "t.xlsx")), "read_table", OSError, ["xlsx", ".csv"]),
    "spreadsheet": (
        lambda p: READ(file(p, "a", "t.ods")),
        "read_table",
        OSError,
        ["t.ods", "CSV UTF-8"],
    ),
    "no header": (
        lambda p: READ(file(p, "2.5,lo\n1,hi\n")),
        "read_table",
        OSError,
        ["data, '2.5'", "names"],
    ),
    "a mark for spreadsheets": (
        lambda p: READ(file(p, "sep=;\na;b\n1;2\n")),
        "read_table",
        OSError,
        ["sep=", "delete"],
    ),
    "a title": (
        lambda p: READ(file(p, "Sales in 2024\n\na;b\n1;2\n")),
        "read_table",
        OSError,
        ["'Sales in 2024'", "title"],
    ),
    "blanks for commas": (
        lambda p: READ(file(p, "a  b\n1  2\n3 4\n")),
        "read_table",
        OSError,
        ["blanks"],
    ),
    "colons for commas": (
        lambda p: READ(file(p, "a:b\n1:x\n3:y\n")),
        "read_table",
        OSError,
        ["colons"],
    ),
    "two files in one": (
        lambda p: READ(file(p, "a,b\n1,2\na,b\n3,4\n")),
        "read_table",
        ValueError,
        ["t.csv", "is repeated in line 3"],
    ),
    "a place without a name": (
        lambda p: TableEncoder.fit(READ(file(p, "a,,y\n1,3,0\n2,3,1\n")), "y"),
        "fit",
        ValueError,
        ["'column 2'", "--drop 'column 2'"],
    ),
    "a date that is none": (
        lambda p: TableEncoder.fit(
            READ(file(p, "d,y\n2024-02-29,0\n2024-02-30,1\n2024-03-01,1\n")), "y"
        ),
        "fit",
        ValueError,
        ["'2024-02-30' in line 3", "empty"],
    ),
    "twice": (lambda p: READ(file(p, "a,b,a\n1,2,3\n")), "read_table", ValueError, ["'a'"]),
    "no gzip": (lambda p: READ(file(p, "a", "t.csv.gz")), "read_table", OSError, ["t.csv.gz"]),
    "cut": (lambda p: READ(truncated(parquet(p))), "read_table", OSError, ["t.parquet"]),
    "cut to 4 bytes": (
        lambda p: READ(truncated(parquet(p), 0.01)),
        "read_table",
        OSError,
        ["t.parquet"],
    ),
    "nested": (lambda p: READ(parquet(p, "[1] l")), "read_table", TypeError, ["'l'"]),
    "nan": (
        lambda p: TableEncoder.fit(READ(file(p, "a,y\n1,0\n,1\nNaN,1\n")), "y"),
        "fit",
        ValueError,
        ["nan", "'a'", "line 4"],
    ),
    "nan of a split": (
        lambda p: TableEncoder.fit(READ(file(p, "a,y\n1,0\n2,1\nnan,1\n")).select([2, 0]), "y"),
        "fit",
        ValueError,
        ["nan", "'a'", "line 4"],
    ),
    "kind": (
        lambda p: fitted.transform(READ(file(p, "a,c\n1,u\n?,v\n"))),
        "transform",
        ValueError,
        ["'?'", "line 3", "t.csv"],
    ),
    "no such folder": (lambda p: data.read_images(p / "a"), "read_images", OSError, ["not exist"]),
    "no sub-folders": (
        lambda p: data.read_images(images(p, "1.png")),
        "read_images",
        OSError,
        ["no sub-folders"],
    ),
    "one class": (
        lambda p: data.read_images(images(p, "a/1.png")),
        "read_images",
        OSError,
        ["class 'a'"],
    ),
    "no images": (
        lambda p: data.read_images(images(p, "a/1.png", "b/1.png").joinpath("a")),
        "read_images",
        OSError,
        ["no sub-folders"],
    ),
    "empty class": (
        lambda p: data.read_images(images(p, "a/1.png", "b/.1.png")),
        "read_images",
        OSError,
        ["b with no images"],
    ),
    "a file": (
        lambda p: data.read_images(images(p, "1.png") / "1.png"),
        "read_images",
        OSError,
        ["1.png", "folder"],
    ),
    "no image": (
        lambda p: data.read_image_files(file(p, "text", "1.png")),
        "read_images",
        OSError,
        ["1.png", "cannot be read"],
    ),
    "cut image": (
        lambda p: data.read_image_files(truncated(images(p, "1.png") / "1.png", 0.7)),
        "read_images",
        OSError,
        ["1.png"],
    ),
    "cut photograph": (
        lambda p: data.read_image_files(truncated(photograph(p))),
        "read_images",
        OSError,
        ["1.jpg", "truncated"],
    ),
    "size": (
        lambda p: data.read_image_files(images(p, "1.png"), size=0),
        "read_images",
        ValueError,
        ["size 0"],
    ),
    "no text": (lambda p: data.read_text(p / "t"), "read_text", OSError, ["not exist"]),
    "text folder": (lambda p: data.read_text(p), "read_text", OSError, ["folder"]),
    "empty text": (lambda p: data.read_text(file(p, " \n")), "read_text", OSError, ["empty"]),
    "bytes": (
        lambda p: data.read_text(file(p, b"ab\xff")),
        "read_text",
        OSError,
        ["byte 2", "0xff"],
    ),
    "bytes after a mark": (
        lambda p: data.read_text(file(p, b"\xef\xbb\xbfa\xff")),
        "read_text",
        OSError,
        ["byte 4"],
    ),
    "nul": (lambda p: data.read_text(file(p, b"ab\x00c")), "read_text", OSError, ["byte 2"]),
}


def check(call: Callable[[], Any], operation: str, kind: type, holds: list[str]) -> None:
    with pytest.raises(errors.ChainruleError) as caught:
        call()
    text = str(caught.value)
    found = FORM.match(text)
    assert found, text
    assert found["operation"] == operation
    assert isinstance(caught.value, kind)
    assert all(part in text for part in holds), text
    assert len(text) < 450
    assert "Possible" not in text


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    check(*BAD[name])


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str, tmp_path: Path) -> None:
    call, operation, kind, holds = BAD_FILES[name]
    check(lambda: call(tmp_path), operation, kind, holds)


def test_packages_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name in ("duckdb", "PIL"):
            raise ImportError(name)
        return there(name, *rest)

    table, picture = parquet(tmp_path), images(tmp_path, "1.png") / "1.png"
    monkeypatch.setattr(builtins, "__import__", without)
    check(lambda: READ(table), "read_table", ValueError, ["pip install duckdb"])
    check(
        lambda: data.read_image_files(picture),
        "read_images",
        ValueError,
        ['pip install "chainrule[images]"'],
    )


def test_a_missing_data_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "_FILE", Path(os.devnull) / "builtin.npz")
    check(lambda: data.load("iris"), "load", ValueError, ["'iris'", "--force-reinstall"])


def test_messages_have_no_pattern_of_the_path(tmp_path: Path) -> None:
    path = file(tmp_path, "a,b\n1\n", "t[1].csv")
    check(lambda: READ(path), "read_table", OSError, ["got t[1].csv, line 2"])
