"""Whole numbers of more than 53 bits are names: no two become one, and none is changed."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from chainrule.data import TableEncoder, read_table
from chainrule.errors import ChainruleError
from commands import call

NEAR = [1234567890123456700, 1234567890123456701, 2**53 + 1, 42]  # float64 has three of them
WIDE = [2**64 - 1, 2**64 - 2, 2**63, 7]
VAST = [10**30 + 1, 10**30, -(10**30), 7]


class Series:
    """As much of polars as is used: gaps make its arrays float64."""

    dtype = "Int64"

    def __init__(self, values: list[int]) -> None:
        self.values = values

    def to_numpy(self) -> Any:
        return np.array(self.values, np.float64)

    def to_list(self) -> list[int]:
        return self.values


def as_csv(folder: Path, ids: list[int], end: str = ".csv") -> Path:
    path = folder / f"t{end}"
    text = "x,id\n" + "".join(f"{k / 7},{i}\n" for k, i in enumerate(ids))
    path.write_bytes(gzip.compress(text.encode()) if end.endswith("gz") else text.encode())
    return path


def as_parquet(kind: str) -> Callable[[Path, list[int]], Path]:
    def write(folder: Path, ids: list[int]) -> Path:
        source = as_csv(folder, ids)
        columns = f"{{'x': 'DOUBLE', 'id': '{kind}'}}"
        duckdb.sql(
            f"copy (from read_csv('{source}', header=true, auto_detect=false, columns={columns})) "
            f"to '{folder / 't.parquet'}'"
        )
        return folder / "t.parquet"

    return write


def as_dict(made: Callable[[list[int]], Any]) -> Callable[[Path, list[int]], Any]:
    return lambda _, ids: {"x": np.arange(len(ids)) / 7, "id": made(ids)}


SOURCES: dict[str, tuple[Callable[[Path, list[int]], Any], list[int]]] = {
    "csv": (as_csv, NEAR),
    "csv beyond 64 bits": (as_csv, VAST),
    "gzip": (lambda p, ids: as_csv(p, ids, ".csv.gz"), NEAR),
    "bigint": (as_parquet("BIGINT"), NEAR),
    "ubigint": (as_parquet("UBIGINT"), WIDE),
    "decimal": (as_parquet("DECIMAL(38,0)"), VAST),
    "int64": (as_dict(lambda ids: np.array(ids, np.int64)), NEAR),
    "uint64": (as_dict(lambda ids: np.array(ids, np.uint64)), WIDE),
    "big endian": (as_dict(lambda ids: np.array(ids, ">i8")), NEAR),
    "list": (as_dict(list), VAST),
    "polars": (as_dict(Series), NEAR),
}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, list[str]]:
    made, ids = SOURCES[request.param]
    return made(tmp_path, ids * 10), [str(i) for i in ids]


def test_as_a_target(source: tuple[Any, list[str]]) -> None:
    data, names = source
    table = read_table(data)
    assert table.columns["id"].values.tolist() == names * 10
    encoder = TableEncoder.fit(table, "id")
    assert sorted(encoder.classes) == sorted(names)
    codes = encoder.transform_target(table)
    assert encoder.inverse_target(codes).tolist() == names * 10
    with pytest.raises(ChainruleError, match=r"regression with whole numbers beyond 2⁵³"):
        TableEncoder.fit(table, "id", "regression")


def test_as_an_input(source: tuple[Any, list[str]]) -> None:
    data, names = source
    table = read_table(data)
    with pytest.raises(
        ChainruleError, match=r"'id', which contains .* --drop id, or --category id"
    ):
        TableEncoder.fit(table, "x")
    named = read_table(data, text=["id"])
    assert named.columns["id"].values.tolist() == names * 10
    encoder = TableEncoder.fit(named, "x", text=["id"])
    assert len(set(encoder.transform(named)[1][:, 0].tolist())) == 4


def test_numbers_that_float64_holds_stay_numbers(tmp_path: Path) -> None:
    least = [2**53 - 1, -(2**53) + 1, 5, 0] * 10
    for data in (as_csv(tmp_path, least), {"id": least}, {"id": np.array(least)}):
        column = read_table(data).columns["id"]
        assert (column.kind, column.values.tolist()) == ("number", [float(v) for v in least])
    amounts = as_csv(tmp_path, ["1e300", "inf", "0.1234567890123456789", 2**60])  # type: ignore[list-item]
    assert read_table(amounts).columns["id"].kind == "number", "not all are whole"
    few = TableEncoder.fit(read_table({"x": [1.5, 2, 3, 4], "y": list("abab")}), "y")
    numeric, _ = few.transform(read_table({"x": [2**60]}))
    assert numeric[0, 0] == pytest.approx((2**60 - 2.625) / np.std([1.5, 2, 3, 4]))


class Wide(Series):
    """The same with whole numbers that NumPy has no dtype for."""

    dtype = "Int128"

    def to_numpy(self) -> Any:
        raise ValueError("NumPy has no 128-bit integers")


def test_cells_of_kinds_that_are_rare() -> None:
    def cells(values: Any) -> list[Any]:
        found: list[Any] = read_table({"id": values}).columns["id"].values.tolist()
        return found

    assert cells(Wide(VAST)) == list(map(str, VAST))
    assert cells([np.str_(" a "), np.str_("b"), np.str_("")]) == ["a", "b", None]
    assert cells(k / 2 for k in range(3)) == [0, 0.5, 1]
    for raw in (bytearray(b"ab"), memoryview(b"ab")):  # DuckDB's bytes of a Parquet file
        with pytest.raises(ChainruleError, match=f"column 'id' of {type(raw).__name__}"):
            read_table({"id": [raw, None]})
    with pytest.raises(
        ChainruleError, match="got ndarray; expected a path, a data frame or a dict"
    ):
        read_table(np.zeros((3, 2)))


def test_ids_far_down_in_a_file(tmp_path: Path) -> None:
    """The column begins as numbers; what they are written like is not lost."""
    ids = [*range(60_000), NEAR[0], NEAR[1]]
    assert read_table(as_csv(tmp_path, ids)).columns["id"].values.tolist() == list(map(str, ids))


def test_fractions_of_too_many_digits_as_classes(tmp_path: Path) -> None:
    cells = ["0.12345678901234567", "0.123456789012345678"] * 10
    path = as_csv(tmp_path, cells)  # type: ignore[arg-type]
    with pytest.raises(ChainruleError, match=r"'id' with more digits .*line 2.*--category id"):
        TableEncoder.fit(read_table(path), "id", "classification")
    kept = TableEncoder.fit(read_table(path, text=["id"]), "id", "classification", ["id"])
    assert kept.classes == cells[:2]
    assert TableEncoder.fit(read_table(path), "id", "regression").task == "regression"


def test_no_id_is_taken_for_its_neighbour() -> None:
    rounded = int(float(NEAR[1]))
    table = read_table({"x": range(40), "y": [rounded, 5] * 20})
    encoder = TableEncoder.fit(table, "y")
    assert encoder.transform_target(read_table({"y": ["5.0", "+5"]})).tolist() == [0, 0]
    with pytest.raises(ChainruleError, match=f"class '{NEAR[1]}' in row 0"):
        encoder.transform_target(read_table({"y": [NEAR[1]]}))


def test_sub_seconds_of_times_that_are_categories(tmp_path: Path) -> None:
    times = ["2024-03-31 12:30:00.125", "2024-03-31 12:30:00.25", "2024-03-31 12:30:00.000001"]
    want = [*times, "2024-03-31", "2024-03-31 12:30:00"]
    path = tmp_path / "t.parquet"
    listed = ", ".join(f"(timestamp '{t}')" for t in want)
    duckdb.sql(f"copy (select * from (values {listed}) t(w)) to '{path}'")
    stamps = np.array(want, "M8[us]")
    for source in (path, {"w": stamps}, {"w": stamps.tolist()}):
        assert read_table(source, text=["w"]).columns["w"].values.tolist() == want


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_run_predicts_names_that_are_in_the_file(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    place = rng.integers(0, 4, 120)
    path = tmp_path / "t.csv"
    rows = "".join(f"{p + 0.1 * rng.normal():.3f},{NEAR[p]}\n" for p in place)
    path.write_text(f"x,owner\n{rows}")
    if kind == "parquet":
        duckdb.sql(f"copy (from '{path}') to '{path.with_suffix('.parquet')}'")
        path = path.with_suffix(".parquet")
    run = tmp_path / "run"
    code, _, said = call(capsys, "train", path, "--target", "owner", "--out", run, "--epochs", "60")
    assert (code, "classes 4" in said) == (0, True)
    names = set(map(str, NEAR))
    with (run / "predictions.csv").open() as file:
        written = list(csv.DictReader(file))
    assert {r["target"] for r in written} | {r["prediction"] for r in written} == names
    assert np.mean([r["target"] == r["prediction"] for r in written]) > 0.9
    _, out, _ = call(capsys, "predict", run, path, "--json")
    assert {r["prediction"] for r in json.loads(out)["predictions"]} == names
    _, out, _ = call(capsys, "evaluate", run, path, "--json")
    assert json.loads(out)["metrics"]["accuracy"] > 0.9
