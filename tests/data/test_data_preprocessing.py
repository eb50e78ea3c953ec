"""TableEncoder: against pandas' and scikit-learn's arithmetic, by hand, and through JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from chainrule.data import TableEncoder, read_table
from chainrule.errors import ChainruleError

N = 40
Y = ["yes", "no"] * (N // 2)


def encoder(**columns: Any) -> tuple[TableEncoder, Any]:
    table = read_table({**columns, "y": Y[: len(next(iter(columns.values())))]})
    return TableEncoder.fit(table, "y"), table


# ── inputs ───────────────────────────────────────────────────────────────────────────────────────


def test_numbers_and_categories_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(5, 30, (N, 3))
    words = rng.choice(["north", "south", "east", "w"], N).astype(object)
    e, table = encoder(a=numbers[:, 0], w=words, b=numbers[:, 1], c=numbers[:, 2] * 1e300)
    numeric, codes = e.transform(table)
    scaled = StandardScaler().fit_transform(numbers)
    np.testing.assert_allclose(numeric, scaled, rtol=1e-5, atol=1e-6)
    ordinal = OrdinalEncoder().fit_transform(words[:, None])
    np.testing.assert_array_equal(codes, ordinal + 1)
    assert (numeric.dtype, codes.dtype) == (np.float32, np.int64)
    assert e.feature_names == ["a", "b", "c"]
    assert (e.category_names, e.cardinalities) == (["w"], [5])
    assert e.notes == e.last_notes == []


def test_missing_cells_by_hand() -> None:
    e, table = encoder(a=[1.0, None, 3.0, None], c=["p", "q", None, "p"], b=[0, 1, 0, 1])
    numeric, codes = e.transform(table)
    assert e.feature_names == ["a", "a is missing", "b"]
    assert numeric.tolist() == [[-1, 0, -1], [0, 1, 1], [1, 0, -1], [0, 1, 1]]
    assert codes.tolist() == [[1], [2], [0], [1]]
    assert e.notes == [
        "column 'a': 2 cells missing, encoded as the mean, and 'a is missing' is 1 there",
        "column 'c': 1 cell missing, encoded as the code 0",
    ]
    assert e.last_notes == e.notes
    numeric, _ = e.transform(read_table({"a": [5.0], "c": ["p"], "b": [None]}))
    assert numeric.tolist() == [[3, 0, 0]]  # no column says that b is missing: it never was
    assert e.last_notes == ["column 'b': 1 cell missing, encoded as the mean"]


def test_dates_by_pythons_calendar() -> None:
    days = [datetime(2019 + k % 4, 1 + k % 12, 1 + k % 28, k % 24, 30) for k in range(N)]
    e, table = encoder(when=[*days[:-1], None])
    numeric, _ = e.transform(table)
    names = ["year", "month", "day", "weekday", "hour"]
    assert e.feature_names == [*(f"when {n}" for n in names), "when is missing"]
    parts = np.array([[d.year, d.month, d.day, d.weekday(), d.hour + 0.5] for d in days[:-1]])
    np.testing.assert_allclose(numeric[:-1, :5], StandardScaler().fit_transform(parts), atol=1e-5)
    assert numeric[-1].tolist() == [0, 0, 0, 0, 0, 1]
    assert e.notes[0] == "column 'when' is a date; it becomes year, month, day, weekday, hour"


def test_parts_of_a_date_that_never_vary_are_left_out() -> None:
    e, _ = encoder(when=[datetime(2020, 1, 1 + k % 7) for k in range(N)])
    assert e.feature_names == ["when day", "when weekday"]
    early = encoder(when=np.arange("1901-01-01", "1901-02-10", dtype="M8[D]"))[0]
    assert early.feature_names == ["when month", "when day", "when weekday"]


def test_the_most_frequent_of_many_categories_are_kept() -> None:
    words = [f"w{k}" for k in range(1200)] + [f"w{k}" for k in range(150, 1200)]
    table = read_table({"w": words, "y": np.arange(len(words)) % 2})
    e = TableEncoder.fit(table, "y")
    assert e.cardinalities == [1001]
    kept = {w for w, code in zip(words, e.transform(table)[1][:, 0], strict=True) if code}
    assert kept <= {w for w, n in Counter(words).items() if n == 2}
    assert e.notes == [
        "column 'w' has 1200 values; the 1000 most frequent have codes, the others get the code 0"
    ]
    lost = sum(w not in kept for w in words)
    assert e.last_notes[0].startswith(f"column 'w': {lost} cells with values not known from fit")


def test_a_column_may_come_as_another_kind() -> None:
    days = [datetime(2020, 1, 1 + k % 9) for k in range(N)]
    e, table = encoder(a=np.arange(N) / 2, c=["1", "x", "2.5", "y"] * 10, d=days)
    numeric, codes = e.transform(table)
    texts = {"a": ["0", "0.5"], "c": [1, 2.5], "d": ["2020-01-01", "2020-01-02T00:00"]}
    other, other_codes = e.transform(read_table(texts))
    np.testing.assert_array_equal(other, numeric[:2])
    np.testing.assert_array_equal(other_codes, codes[[0, 2]])
    other, other_codes = e.transform(read_table({n: [None] for n in "acd"}))
    assert not other.any()
    assert not other_codes.any()


def test_unknown_values_are_noted() -> None:
    e, _ = encoder(c=["p", "q"] * 20)
    _, codes = e.transform(read_table({"c": ["z", "p", None, "z"]}))
    assert codes[:, 0].tolist() == [0, 1, 0, 0]
    assert e.last_notes == [
        "column 'c': 2 cells with values not known from fit ('z'), encoded as the code 0",
        "column 'c': 1 cell missing, encoded as the code 0",
    ]


def test_numbers_at_the_edge_of_float64() -> None:
    e, table = encoder(a=[1.7e308, -1.7e308] * 20, b=[5e-324, 0.0] * 20, c=[1.0, 1 + 2**-52] * 20)
    numeric, _ = e.transform(table)
    assert np.isfinite(numeric).all()
    np.testing.assert_allclose(numeric[:2, 0], [1, -1], rtol=1e-6)


def test_a_number_that_varies_only_in_being_missing() -> None:
    e, table = encoder(a=[7.0, None] * 20)
    assert e.transform(table)[0][:2].tolist() == [[0, 0], [0, 1]]


# ── targets ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        (["b10", "b2", "a"], "classification", ["a", "b2", "b10"]),
        ([True, False, True], "classification", ["false", "true"]),
        ([10.0, 2.0, -1.0], "classification", ["-1", "2", "10"]),
        ([0.5, 2.0, 1.0], "regression", []),
        (range(21), "regression", []),
    ],
)
def test_the_task_is_inferred(target: Any, task: str, classes: list[str]) -> None:
    y = list(target) * 5
    table = read_table({"x": range(len(y)), "y": y})
    e = TableEncoder.fit(table, "y")
    assert (e.task, e.target, e.classes) == (task, "y", classes)
    codes = e.transform_target(table)
    back = e.inverse_target(codes)
    if task == "regression":
        assert codes.dtype == np.float32
        np.testing.assert_allclose([codes.mean(), codes.std()], [0, 1], atol=1e-6)
        np.testing.assert_allclose(back, y, atol=1e-6)
        np.testing.assert_allclose([e.target_mean, e.target_std], [np.mean(y), np.std(y)])
    else:
        assert codes.dtype == np.int64
        written = [str(v).lower() if isinstance(v, bool) else v for v in y]
        assert back.tolist() == [str(int(v)) if isinstance(v, float) else v for v in written]


def test_the_task_may_be_given() -> None:
    table = read_table({"x": range(N), "y": [k % 3 for k in range(N)], "f": [0.5, 1.5] * 20})
    assert TableEncoder.fit(table, "y", "regression").task == "regression"
    assert TableEncoder.fit(table, "f", "classification").classes == ["0.5", "1.5"]
    ids = read_table({"x": range(N), "y": range(N)})
    assert TableEncoder.fit(ids, "y", "regression").target_mean == 19.5


def test_classes_are_found_in_another_kind_of_column() -> None:
    e = TableEncoder.fit(read_table({"x": range(4), "y": ["1", "2", "x", "x"]}), "y")
    assert e.transform_target(read_table({"y": [2, 1]})).tolist() == [1, 0]
    assert e.notes[-1] == "classes with a single row: '1', '2' (2 in all)"


def test_the_target_is_not_needed_to_predict() -> None:
    e, table = encoder(a=range(N))
    np.testing.assert_array_equal(e.transform(table.drop("y"))[0], e.transform(table)[0])


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────

number = st.floats(-1e300, 1e300) | st.none()
word = st.text(max_size=4) | st.none()
moment = st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)) | st.none()
goal = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(number, word, moment, goal), min_size=6, max_size=20))
def test_a_round_trip_through_json_gives_the_same_bits(rows: list[Any]) -> None:
    columns = {n: list(v) for n, v in zip("nwdy", zip(*rows, strict=True), strict=True)}
    columns["n"][:3], columns["w"][:3] = [1.0, 0.1, None], ["p", "q", None]
    columns["d"][:3], columns["y"][:3] = (
        [datetime(2000, 1, 1), datetime(2001, 2, 2), None],
        [0.5, 1, 2],
    )
    table = read_table(columns)
    e = TableEncoder.fit(table, "y")
    again = TableEncoder.from_json(json.loads(json.dumps(e.to_json())))
    for a, b in zip(e.transform(table), again.transform(table), strict=True):
        assert a.tobytes() == b.tobytes()
        assert a.shape[0] == len(rows)
    assert np.isfinite(e.transform(table)[0]).all()
    y = e.transform_target(table)
    assert y.tobytes() == again.transform_target(table).tobytes()
    assert e.inverse_target(y).tobytes() == again.inverse_target(y).tobytes()
    assert (again.notes, again.last_notes) == (e.notes, e.last_notes)
    assert (again.feature_names, again.cardinalities) == (e.feature_names, e.cardinalities)
    assert e.transform(table)[0].shape[1] == len(e.feature_names)


def test_nan_of_a_frame_is_missing() -> None:
    e, _ = encoder(a=np.array([1.0, math.nan] * 20))
    assert e.feature_names == ["a", "a is missing"]


def test_inputs_that_look_like_an_id_are_noted() -> None:
    rows = 40
    columns = {
        "number": range(1, rows + 1),
        "word": [f"w{k}" for k in range(rows)],
        "size": [k * 0.5 for k in range(rows)],
        "small": [k % 7 for k in range(rows)],
        "y": ["a", "b"] * (rows // 2),
    }
    notes = TableEncoder.fit(read_table(columns), "y").notes
    assert [n.split("'")[1] for n in notes if "--drop" in n] == ["number", "word"]
    part = TableEncoder.fit(read_table(columns).select(np.arange(rows) % 3 > 0), "y").notes
    assert len(part) == 2


FORMS = {
    "decimal commas": ["1,5", "2,25"],
    "thousands": ["1,125", "12,000"],
    "thousands and a point": ["1,125.50", "12,000.00"],
    "a unit": ["12.3%", "5 %"],
    "a currency": ["$5.20", "$1,000"],
    "months first": ["03/31/2024", "12/01/2023"],
    "days first": ["31.03.2024", "1.12.2023"],
    "slashes": ["2024/03/31", "2023/12/01"],
    "unknown as a sign": ["1.5", "2", "3", "4.5", "5", "6", "7", "?"],
}


@pytest.mark.parametrize("name", FORMS)
def test_numbers_and_dates_of_another_form_are_refused(name: str) -> None:
    cells = [c for c in FORMS[name] for _ in range(2)]
    table = read_table({"x": cells, "y": ["a" if k % 3 else "b" for k in range(len(cells))]})
    with pytest.raises(ChainruleError, match="--drop x"):
        TableEncoder.fit(table, "y")


MANY = [f"{k}.5" for k in range(21)]  # more numbers than categories are made of
MIXED: dict[str, tuple[list[str], list[str]]] = {  # cells, what the error says
    "a sign for a gap": ([*MANY, "-", "-"], ["21 of 23 cells", "'-' in row 21", "and 1 more"]),
    "half are words": ([*MANY, *["low"] * 21], ["21 of 42", "'low' in row 21", "and 20 more"]),
    "thousands among plain ones": ([*MANY, "1,234.5"], ["separators", "'1,234.5' in row 21"]),
    "points for thousands": (["415,94", "1.234,50"], ["'415,94'", "--decimal ,"]),
    "Swiss thousands": (["1'234.50", "415"], ["separators", "1'234.50"]),
    "blanks for thousands": (["1 234.50", "415"], ["separators", "'1 234.50'"]),
    "a currency's name": ([f"{m} EUR" for m in MANY], ["unit", "'0.5 EUR' in row 0"]),
    "kilograms": ([*MANY, "3 kg"], ["unit", "'3 kg' in row 21"]),
    "negative in brackets": ([*MANY, "(427.06)"], ["signs", "'(427.06)' in row 21"]),
    "units and a gap": ([*(f"{m} kg" for m in MANY), "-"], ["21 of 22 cells", "'-' in row 21"]),
    "below": ([f"<{m}" for m in MANY], ["signs", "'<0.5'"]),
    "times": ([f"08:{k:02}" for k in range(21)], ["another form", "'08:00'", "--category x"]),
    "months": ([f"20{k:02}-01" for k in range(21)], ["another form", "'2000-01'"]),
    "English dates": ([f"Jan {k}, 2024" for k in range(1, 22)], ["another form", "'Jan 1, 2024'"]),
    "short dates": ([f"{k:02}-Jan-24" for k in range(1, 22)], ["another form", "'01-Jan-24'"]),
    "a date to come": (["2024-01-01", "2024-01-02", "TBD"], ["'TBD' in row 2"]),
    "half are dates": (["TBD", "2024-01-02"], ["'TBD' in row 0"]),
    "zeros for a date": (["2024-01-01", "0000-00-00"], ["'0000-00-00' in row 1"]),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_is_nearly_numbers_or_dates_is_refused(name: str) -> None:
    cells, holds = MIXED[name]
    table = read_table({"x": cells, "y": ["a" if k % 3 else "b" for k in range(len(cells))]})
    with pytest.raises(ChainruleError) as caught:
        TableEncoder.fit(table, "y")
    assert all(part in str(caught.value) for part in [*holds, "column 'x'", "--drop x"])
    assert TableEncoder.fit(table, "y", text=["x"]).category_names == ["x"]


def test_points_are_no_decimal_marks_beside_commas(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("x;y\n1.5;a\n2.25;b\n")
    with pytest.raises(
        ChainruleError, match=r"points in numbers, '1.5' in line 2.*leave out --decimal"
    ):
        TableEncoder.fit(read_table(file, decimal=","), "y")


CATEGORIES: dict[str, tuple[list[str], str]] = {  # cells, a part of the note on them
    "few numbers and a word": (["1", "2", "3", "4", "many"], "4 of 5 cells are numbers"),
    "few with a unit": (["2 rooms", "3 rooms"], "'2 rooms' in row 0 of table is read as a cat"),
    "few bounds": (["<18", ">65"], "'<18' in row 0 of table is read as a category"),
    "few times": (["08:15", "09:00"], "'08:15' in row 0 of table is read as a category"),
    "few months": (["2024-01", "2024-02"], "'2024-01' in row 0 of table is read as a category"),
    "codes": ([f"{k:03}" for k in range(80, 120)] * 2, ""),
    "house numbers": ([f"{k}{'abcd'[k % 4]}" for k in range(40)] * 2, ""),
    "more words than numbers": ([*MANY, *(f"w{k}" for k in range(30))] * 2, ""),
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_what_may_be_categories_is_at_most_noted(name: str) -> None:
    cells, note = CATEGORIES[name]
    table = read_table({"x": cells, "y": ["a" if k % 3 else "b" for k in range(len(cells))]})
    encoder = TableEncoder.fit(table, "y")
    assert encoder.category_names == ["x"]
    assert not note or any(note in n for n in encoder.notes)


def test_text_is_read_as_numbers_in_the_same_forms() -> None:
    e, _ = encoder(a=np.arange(N) / 2)
    found, _ = e.transform(read_table({"a": [" +1.5", "−0.5 "]}))
    plain, _ = e.transform(read_table({"a": [1.5, -0.5]}))
    np.testing.assert_array_equal(found, plain)


def test_numbers_far_from_those_of_training_are_noted() -> None:
    e, _ = encoder(a=np.arange(N) % 2)  # mean 0.5, deviation 0.5
    e.transform(read_table({"a": [10.5, 10.6, None, -99]}))
    assert e.last_notes[0] == (
        "column 'a': 2 cells more than 20 standard deviations from the mean, "
        "the first 10.6 in row 1"
    )


def test_numbers_that_look_like_dates_are_noted() -> None:
    days = [20240100 + k for k in range(1, 31)]
    assert "look like dates" in encoder(a=days, b=range(30))[0].notes[0]
    assert not any("look like dates" in n for n in encoder(a=[*days[1:], 20241301])[0].notes)


def test_a_time_with_a_zone_is_noted() -> None:
    days = [datetime(2020, 1, k % 28 + 1, tzinfo=UTC) for k in range(N)]
    assert encoder(when=days)[0].notes == [
        "column 'when' is a date, read as UTC; it becomes day, weekday"
    ]


def test_few_whole_numbers_are_classes_only_with_rows_for_each() -> None:
    for rows, task in ((24, "regression"), (25, "classification")):
        table = read_table({"x": np.arange(rows) / 7, "y": np.arange(rows) % 5})
        assert TableEncoder.fit(table, "y").task == task


def test_classes_that_are_numbers_in_another_form() -> None:
    table = read_table({"x": range(20), "y": [k % 2 for k in range(20)]})
    e = TableEncoder.fit(table, "y")
    assert e.transform_target(read_table({"y": ["+1", "0.0"]})).tolist() == [1, 0]


@pytest.mark.parametrize("cells", [["v1", "v2"], ["1.10.2", "1.2.30"], ["01234", "00501"], ["a-b"]])
def test_words_that_only_look_like_it_are_categories(cells: list[str]) -> None:
    cells = [*cells, "other"] * 3
    classes = ["a" if k % 2 else "b" for k in range(len(cells))]
    encoder = TableEncoder.fit(read_table({"x": cells, "y": classes}), "y")
    assert encoder.category_names == ["x"]


def test_numbers_but_for_a_few_words_are_noted() -> None:
    cells = ["0", "1", "2", "1", "0", "1", "0", "1", "2", "3+"]
    encoder = TableEncoder.fit(read_table({"x": cells, "y": ["a", "b"] * 5}), "y")
    assert encoder.notes[0].startswith("column 'x': 9 of 10 cells are numbers, but '3+' in row 9")


def test_yes_and_no_stay_what_they_are(tmp_path: Path) -> None:
    """A column reads the same whatever else stands in it."""
    for more in ("", "unknown,1\n"):
        file = tmp_path / "t.csv"
        file.write_text("x,y\nyes,1\nno,2\n" + more)
        assert read_table(file).columns["x"].values.tolist()[:2] == ["yes", "no"]


def test_times_with_a_zone_where_training_had_none() -> None:
    """The same clock in Berlin is another hour in UTC."""
    hours = [datetime(2024, 1, 1, 6 + k % 12) for k in range(24)]
    encoder = TableEncoder.fit(read_table({"at": hours, "y": [k % 12 for k in range(24)]}), "y")
    encoder.transform(read_table({"at": hours}))
    assert encoder.last_notes == []
    berlin = timezone(timedelta(hours=1))
    new = {"at": [hours[3].replace(tzinfo=berlin), None]}
    x, _ = encoder.transform(read_table(new))
    assert encoder.last_notes[0] == "column 'at': times with a zone are read as UTC"
    assert x[0, 0] == encoder.transform(read_table({"at": hours}))[0][2, 0]
