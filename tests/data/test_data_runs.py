"""Runs on tables: settings of how they are read, what is printed of targets, what is noted."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from chainrule.errors import ChainruleError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.tasks import TableTask
from commands import call

ROWS = 60


def table(folder: Path, mark: str = ",", name: str = "t.csv", **columns: Any) -> Path:
    with (folder / name).open("w", newline="") as file:
        writer = csv.writer(file, delimiter=mark, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return folder / name


def loaded(path: Path, **settings: Any) -> TableTask:
    return TableTask.load(Recipe(source=str(path), target="y", **settings))


X = np.random.default_rng(0).normal(size=ROWS).round(3).tolist()
Y = ["a", "b"] * (ROWS // 2)


def test_decimal_commas_in_training_and_in_new_files(tmp_path: Path) -> None:
    commas = [f"{x + 1000:,.3f}".translate(str.maketrans(",.", ".,")) for x in X]
    german = table(tmp_path, ";", "de.csv", x=commas, y=Y)
    plain = table(tmp_path, name="en.csv", x=[x + 1000 for x in X], y=Y)
    found = []
    for source, mark in ((german, ","), (plain, ".")):
        recipe = Recipe(source=str(source), target="y", decimal=mark, epochs=1)
        folder = runs.train(recipe, tmp_path / source.stem, progress=False).run
        found.append(Run.open(folder).predict(source))
        assert Run.open(folder).evaluate(source)[0] == ROWS
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_of_numbers_that_is_a_category(kind: str, tmp_path: Path) -> None:
    file = table(tmp_path, zip=[10000 + k % 30 for k in range(ROWS)], x=X, y=Y)
    if kind == "parquet":
        duckdb.sql(f"copy (from '{file}') to '{tmp_path / 't.parquet'}'")
    task = loaded(tmp_path / f"t.{kind}", category=["zip"])
    assert task.encoder.category_names == ["zip"]
    assert task.encoder.inputs[0].values[0] == "10000"
    with pytest.raises(ChainruleError, match=r"category 'zap'.* did you mean 'zip'"):
        loaded(file, category=["zap"])


def test_names_to_drop_with_a_comma_between_them(tmp_path: Path) -> None:
    file = table(tmp_path, **{"a": X, "b": X, "x": X, "b,x": X, "y": Y})
    assert loaded(file, drop=["a,b"]).encoder.feature_names == ["x", "b,x"]
    assert loaded(file, drop=["b,x"]).encoder.feature_names == ["a", "b", "x"]
    with pytest.raises(ChainruleError, match="'a,q'"):
        loaded(file, drop=["a,q"])


@pytest.mark.parametrize(
    "target",
    [[1e9 + x for x in X], [x * 1e-9 for x in X], [round(x * 1e4) for x in X], X],
    ids=["far from 0", "tiny", "whole", "plain"],
)
def test_targets_and_predictions_have_the_digits_that_tell_them_apart(
    target: list[Any], tmp_path: Path
) -> None:
    file = table(tmp_path, x=X, y=target)
    recipe = Recipe(source=str(file), target="y", task="regression", epochs=1)
    run = runs.train(recipe, tmp_path / "r", progress=False)
    with (run.run / "predictions.csv").open() as written:
        rows = list(csv.DictReader(written))
    assert [r["target"] for r in rows] == [str(target[int(r["row"])]) for r in rows]
    predicted = [float(r["prediction"]) for r in rows]
    assert Run.open(run.run).predict()["prediction"] == predicted
    assert len(set(predicted)) > len(rows) / 2


def test_few_whole_numbers_in_few_rows_are_noted(tmp_path: Path) -> None:
    few = loaded(table(tmp_path, x=X, y=[k % 13 for k in range(ROWS)]))
    assert (few.task, "--task classification" in few.notes[0]) == ("regression", True)
    many = loaded(table(tmp_path, x=X, y=[k % 12 for k in range(ROWS)]))
    assert (many.task, "--task regression" in many.notes[0]) == ("classification", True)


def test_too_few_rows_for_the_classes(tmp_path: Path) -> None:
    file = table(tmp_path, x=X[:8], y=range(8))
    with pytest.raises(ChainruleError, match=r"8 rows in 8 classes.*--task regression"):
        loaded(file, task="classification")


def test_a_column_that_varies_only_in_rows_held_out_is_left_out(tmp_path: Path) -> None:
    held = loaded(table(tmp_path, x=X, y=Y)).rows[0]
    task = loaded(table(tmp_path, x=X, k=[int(k == held) for k in range(ROWS)], y=Y))
    assert task.encoder.feature_names == ["x"]
    assert task.notes == ["column 'k' is left out: in the training rows it is the same in each row"]


def test_what_is_said_of_a_missing_target(tmp_path: Path) -> None:
    for count, end in ((30, "c29;"), (31, "c29, …;")):
        file = table(tmp_path, **{f"c{k}": [1, 2] for k in range(count)})
        with pytest.raises(ChainruleError, match=f"columns: c0, c1, .*{end}"):
            TableTask.load(Recipe(source=str(file)))
    with pytest.raises(ChainruleError, match="header above"):
        loaded(table(tmp_path, **{"3": [1, 2], "male": [1, 2]}))


def test_notes_on_a_file_to_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = table(tmp_path, x=X, y=Y)
    run = runs.train(Recipe(source=str(file), target="y", epochs=1), tmp_path / "r", progress=False)
    far = table(tmp_path, name="far.csv", x=[0, 1e6], y=["a", "b"])
    for verb in ("predict", "evaluate"):
        code, _, said = call(capsys, verb, run.run, far)
        assert code == 0
        assert "the first 1000000 in line 3" in said


DAYS = [f"2024-{k // 28 + 1:02}-{k % 28 + 1:02}" for k in range(ROWS)]
TIMES = {
    "dates": ("w", DAYS, True),
    "days as numbers": ("w", [d.replace("-", "") for d in DAYS], True),
    "a number that rises": ("unix_time", range(1_700_000_000, 1_700_000_000 + ROWS), True),
    "a number that does not": ("time", X, False),
    "a moment of any order": ("timestamp", X, True),
    "two words in one": ("orderDate", X, True),
    "a word that holds one": ("update", X, False),
    "a number of another name": ("mass", range(ROWS), False),
}


@pytest.mark.parametrize("name", TIMES)
def test_a_table_with_a_time_is_split_at_random_with_a_word(name: str, tmp_path: Path) -> None:
    column, cells, noted = TIMES[name]
    task = loaded(table(tmp_path, **{column: cells, "x": X, "y": Y}))
    said = [note for note in task.notes if "split at random" in note]
    assert len(said) == noted
    assert not noted or (repr(column) in said[0] and "chainrule evaluate" in said[0])


FORMULAS = ["=1+1", "+2", "-3", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"]


def test_classes_that_are_formulas_come_back_as_they_are(tmp_path: Path) -> None:
    """Escaped they would not be the names in the data; docs/command-line.md says so."""
    names = [FORMULAS[k % 6] for k in range(ROWS)]
    file = table(tmp_path, x=[k % 6 + x / 99 for k, x in enumerate(X)], y=names)
    recipe = Recipe(source=str(file), target="y", epochs=25)
    run = runs.train(recipe, tmp_path / "r", progress=False).run
    with (run / "predictions.csv").open(newline="") as written:
        rows = list(csv.DictReader(written))
    truth = [names[int(r["row"])].strip() for r in rows]
    assert [r["target"] for r in rows] == truth
    assert sum(r["prediction"] == t for r, t in zip(rows, truth, strict=True)) > len(rows) / 2


def test_what_is_said_of_very_many_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"c{k}" for k in range(1001)]
    same = table(tmp_path, **{n: [1] * ROWS for n in names}, y=Y)
    with pytest.raises(ChainruleError, match=r"--drop c99 … \(1001 in all\)$"):
        loaded(same)
    words = table(tmp_path, **{n: ["u", "v"] * (ROWS // 2) for n in names}, y=Y)
    with pytest.raises(
        ChainruleError, match="got 1001 columns of categories; expected at most 1000,"
    ):
        loaded(words)
    gaps = [x if k % 3 else None for k, x in enumerate(X)]
    file = table(tmp_path, **dict.fromkeys(names[:60], gaps), y=Y)
    run = tmp_path / "run"
    _, _, said = call(capsys, "train", file, "--target", "y", "--epochs", 1, "--out", run)
    assert said.count("missing, encoded") == 50
    assert "\n  10 more notes are in the report\n" in said
    _, _, said = call(capsys, "predict", run, file)
    assert said.splitlines()[50:] == ["10 more notes"]
