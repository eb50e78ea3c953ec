"""chainrule train, predict and evaluate on small data, from a shell and in this process."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import types

import numpy as np
import pytest
from PIL import Image

from chainrule.cli.runs import wrapped
from chainrule.data import load
from chainrule.errors import ChainruleError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.tasks import kind_of
from commands import (
    COMMAND,
    ROWS,
    call,
    read_csv,
    shell,
    table,
    write_csv,
)
from reading import check_page

RESULT = ["task", "metrics", "run", "report", "seconds", "findings", "notes"]


def test_the_folder_holds_everything(classified):
    found = {p.name for p in classified.run.iterdir()}
    assert found == {
        "recipe.toml",
        "data.json",
        "metrics.jsonl",
        "checkpoints",
        "model.safetensors",
        "predictions.csv",
        "result.json",
        "report.html",
    }
    rows = [
        json.loads(line) for line in (classified.run / "metrics.jsonl").read_text().splitlines()
    ]
    assert [r["epoch"] for r in rows] == list(range(1, len(rows) + 1))
    assert json.loads((classified.run / "result.json").read_text()) == classified.to_json()
    assert not classified.interrupted
    page = classified.report.read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "first" in page


def test_the_metrics_are_those_of_the_written_predictions(classified):
    rows = read_csv(classified.run / "predictions.csv")
    assert len(rows) == round(0.2 * ROWS)
    hits = [r["target"] == r["prediction"] for r in rows]
    assert classified.metrics["accuracy"] == pytest.approx(np.mean(hits))
    truth = table()["y"]
    assert all(truth[int(r["row"])] == r["target"] for r in rows)
    assert classified.metrics["accuracy"] > 0.85


def test_predicting_gives_what_the_run_said(classified, csv_file, capsys):
    rows = read_csv(classified.run / "predictions.csv")
    code, out, _ = call(capsys, "predict", classified.run, csv_file)
    assert code == 0
    found = list(csv.DictReader(out.splitlines()))
    assert len(found) == ROWS
    for row in rows:
        assert found[int(row["row"])]["prediction"] == row["prediction"]
    again = Run.open(classified.run).predict()
    assert again["prediction"] == [r["prediction"] for r in rows]
    assert again["row"] == [int(r["row"]) for r in rows]


def test_predicting_needs_no_target_and_tells_of_unseen_values(classified, folder, capsys):
    columns = table(5, seed=1)
    columns["colour"][0] = "violet"
    file = write_csv(folder / "new.csv", {k: columns[k] for k in ("a", "b", "colour", "when")})
    code, out, err = call(capsys, "predict", classified.run, file, "--json")
    assert code == 0
    assert len(json.loads(out)["predictions"]) == 5
    assert "colour" in err
    target = folder / "written.csv"
    code, out, _ = call(capsys, "predict", classified.run, file, "--out", target)
    assert (code, out) == (0, "")
    assert len(target.read_text().splitlines()) == 6


def test_categories_that_are_all_numbers_in_a_new_file(tmp_path):
    """Codes such as 1.10 stay what they were in training, where one of them was a word."""
    rng = np.random.default_rng(0)
    codes = np.array(["1.10", "1.1", "A"], object)[rng.integers(0, 3, 90)]
    file = write_csv(tmp_path / "t.csv", {"code": codes, "x": rng.normal(size=90), "y": codes})
    recipe = Recipe(source=str(file), target="y", epochs=40)
    run = Run.open(runs.train(recipe, tmp_path / "run", progress=False).run)
    new = {"code": ["1.10", "1.1"] * 2, "x": [0.0, 0.1, 0.2, 0.3], "y": ["1.10", "1.1"] * 2}
    new = write_csv(tmp_path / "new.csv", new)
    assert run.predict(new)["prediction"] == ["1.10", "1.1"] * 2
    assert run.evaluate(new)[1]["accuracy"] == 1.0


def test_evaluating(classified, csv_file, capsys):
    _, out, _ = call(capsys, "evaluate", classified.run, "--json")
    assert json.loads(out) == {
        "task": "classification",
        "metrics": classified.metrics,
        "rows": round(0.2 * ROWS),
        "notes": [],
    }
    _, out, _ = call(capsys, "evaluate", classified.run, csv_file)
    assert out.startswith(f"{ROWS} rows: accuracy ")


def test_a_regression_speaks_in_the_target_s_units(folder, csv_file):
    recipe = Recipe(source=str(csv_file), target="z", drop=["y"], epochs=200, lr=0.01, patience=200)
    result = runs.train(recipe, folder / "regression", progress=False)
    rows = read_csv(result.run / "predictions.csv")
    truth, found = (np.array([float(r[k]) for r in rows]) for k in ("target", "prediction"))
    np.testing.assert_allclose(truth, table()["z"][[int(r["row"]) for r in rows]], atol=1e-4)
    assert result.metrics["mae"] == pytest.approx(np.abs(truth - found).mean(), rel=1e-4)
    assert result.metrics["r2"] > 0.9
    last = json.loads((result.run / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0.3 < last["valid_mae"] / result.metrics["mae"] < 3, "in the same units"


def test_images_in_folders(folder, capsys):

    rng = np.random.default_rng(0)
    place = folder / "shapes"
    for name in ("bar", "dot"):
        (place / name).mkdir(parents=True)
        for k in range(30):
            pixels = rng.integers(0, 60, (12, 12)).astype(np.uint8)
            at = rng.integers(2, 8)
            pixels[(slice(None) if name == "bar" else slice(at, at + 3)), at : at + 3] = 255
            Image.fromarray(pixels).save(place / name / f"{k}.png")
    result = runs.train(Recipe(source=str(place), epochs=15), folder / "shapes-run", progress=False)
    assert result.metrics["accuracy"] >= 0.9
    recipe = Recipe.read(result.run / "recipe.toml")
    assert recipe.model == "cnn"
    assert recipe.size == [12, 12]
    _, out, _ = call(capsys, "predict", result.run, place / "bar" / "0.png", "--json")
    assert json.loads(out)["predictions"][0]["prediction"] == "bar"
    _, out, _ = call(capsys, "evaluate", result.run, place, "--json")
    assert json.loads(out)["rows"] == 60
    _, out, _ = call(capsys, "predict", result.run, place)
    found = list(csv.DictReader(out.splitlines()))
    hits = [r["prediction"] == os.path.basename(os.path.dirname(r["file"])) for r in found]
    assert len(hits) == 60
    assert np.mean(hits) > 0.9


@pytest.mark.parametrize("sizes", [["16,8"], ["16", "8"]])
def test_sizes_of_hidden_layers_add_up(tmp_path, capsys, monkeypatch, sizes):
    monkeypatch.chdir(tmp_path)
    options = [part for size in sizes for part in ("--hidden", size)]
    code, out, _ = call(capsys, "train", "iris", "--epochs", 1, "--json", "--quiet", *options)
    assert code == 0
    recipe = (tmp_path / json.loads(out)["run"] / "recipe.toml").read_text()
    assert tomllib.loads(recipe)["model"]["hidden"] == [16, 8]


def test_the_command_prints_one_json_object(folder):
    done = shell("train", "iris", "--epochs", 3, "--json", cwd=folder)
    found = json.loads(done.stdout)
    assert list(found) == RESULT
    assert found["run"] == os.path.join("runs", "iris-1")
    assert (folder / found["report"]).exists()
    assert "epoch 1/3" in done.stderr
    again = shell("train", "iris", "--epochs", 3, "--json", "--quiet", cwd=folder)
    assert json.loads(again.stdout)["run"] == os.path.join("runs", "iris-2")
    assert again.stderr == ""
    first, second = (folder / "runs" / f"iris-{k}" / "model.safetensors" for k in (1, 2))
    assert first.read_bytes() == second.read_bytes(), "the same seed, the same bits"


def test_a_written_recipe_repeats_the_run(classified, folder):
    recipe = Recipe.read(classified.run / "recipe.toml")
    again = runs.train(recipe, folder / "again", progress=False)
    first, second = ((r.run / "model.safetensors").read_bytes() for r in (classified, again))
    assert first == second


def test_ctrl_c_leaves_a_run_that_can_be_used_and_continued(folder):
    arguments = ["train", "moons", "--epochs", 15, "--json", "--quiet"]
    whole = folder / "whole"
    shell(*arguments, "--out", whole)
    out = folder / "interrupted"
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        while not (out / "metrics.jsonl").exists():  # written after the first epoch
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        printed, errors = running.communicate()
    assert running.returncode == 130, errors
    assert json.loads(printed)["interrupted"] is True
    assert len(Run.open(out).predict()["row"]) == 200
    shell("train", "--resume", out, "--quiet")
    first, second = ((f / "model.safetensors").read_bytes() for f in (whole, out))
    assert first == second


def test_frames_and_dicts_are_predicted_too(classified, csv_file):
    run = Run.open(classified.run)
    columns = table()
    assert run.predict(columns) == run.predict(csv_file)
    assert run.evaluate(columns)[0] == ROWS


def test_numbers_that_are_no_numbers_are_null_in_json(tmp_path, capsys):
    """R² of one row is not a number, which JSON does not have."""
    columns = {k: v[:30] for k, v in table().items()}
    file = write_csv(tmp_path / "t.csv", columns)
    recipe = Recipe(source=str(file), target="z", drop=["y"], epochs=2, batch_size=8)
    result = runs.train(recipe, tmp_path / "run", progress=False)
    one = write_csv(tmp_path / "one.csv", {k: v[:1] for k, v in columns.items()})
    _, out, _ = call(capsys, "evaluate", result.run, one, "--json")
    assert "NaN" not in out
    assert json.loads(out)["metrics"]["r2"] is None


def test_a_few_whole_numbers_are_classes_unless_told(tmp_path):
    columns = {**table(), "rooms": [k % 5 for k in range(ROWS)]}
    file = write_csv(tmp_path / "t.csv", columns)
    told = kind_of(str(file)).load(Recipe(source=str(file), target="rooms"))
    assert told.task == "classification"
    assert "--task regression" in told.notes[0]
    other = kind_of(str(file)).load(Recipe(source=str(file), target="rooms", task="regression"))
    assert other.task == "regression"
    assert not any("--task" in note for note in other.notes)


def test_the_loss_of_a_regression_is_the_recipe_s(tmp_path):
    file = write_csv(tmp_path / "t.csv", table())
    weights = []
    for loss in ("mse", "huber"):
        recipe = Recipe(source=str(file), target="z", drop=["y"], epochs=3, loss=loss)
        result = runs.train(recipe, tmp_path / loss, progress=False)
        assert Recipe.read(result.run / "recipe.toml").loss == loss
        weights.append((result.run / "model.safetensors").read_bytes())
    assert weights[0] != weights[1]


def test_built_in_images_have_the_scale_of_files(folder, capsys):
    result = runs.train(Recipe(source="digits"), folder / "digits-run", progress=False)
    assert result.metrics["accuracy"] >= 0.975
    _, out, _ = call(capsys, "predict", result.run, "digits")
    said = [row["prediction"] for row in csv.DictReader(out.splitlines())]
    own = read_csv(result.run / "predictions.csv")
    assert [said[int(row["row"])] for row in own] == [row["prediction"] for row in own]
    digits = load("digits")
    for k in range(100):
        place = folder / "digit-files" / str(digits.y[k])
        place.mkdir(parents=True, exist_ok=True)
        bright = (digits.x[k, :, :, 0] * 15.9).astype(np.uint8)
        Image.fromarray(bright).save(place / f"{k}.png")
    assert Run.open(result.run).evaluate(folder / "digit-files")[1]["accuracy"] > 0.95


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("side", [8, 12])
def test_what_is_chosen_for_images_fits_the_model(kind, side, tmp_path):
    rng = np.random.default_rng(0)
    for k in range(30):
        place = tmp_path / "pictures" / "ab"[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (side, side)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{k}.png")
    recipe = Recipe(source=str(tmp_path / "pictures"), model=kind, epochs=1)
    result = runs.train(recipe, tmp_path / "run", progress=False)
    made = Recipe.read(result.run / "recipe.toml")
    channels = [128] if side == 8 else [64, 128]
    assert (made.channels, made.hidden) == (
        (channels, None) if kind == "cnn" else (None, [256, 128])
    )
    rows = read_csv(result.run / "predictions.csv")
    assert all((tmp_path / "pictures" / row["file"]).exists() for row in rows)
    assert Run.open(result.run).predict()["file"] == [row["file"] for row in rows]
    wrong = [row["file"] for row in rows if row["target"] != row["prediction"]]
    text = " ".join(check_page(result.report.read_text()).text)
    assert all(f"{name} predicted as" in text for name in wrong)


def test_what_is_new_is_warned_of_at_the_user_s_line(classified):
    run = Run.open(classified.run)
    columns = table(5, seed=1)
    columns["colour"][0] = "pink"
    with pytest.warns(UserWarning, match=r"\[predict\]") as caught:
        run.predict(columns)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "'pink'" in str(caught[0].message)
    run.predict(columns, warn=False)


def imbalanced(path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 600)).round(3)
    y = np.where(a + b + rng.normal(size=600) > 2.4, "yes", "no")
    return write_csv(path, {"a": a, "b": b, "y": y})


def test_rare_classes_can_weigh_as_much(tmp_path, capsys):
    file = imbalanced(tmp_path / "t.csv")
    task = kind_of(str(file)).load(Recipe(source=str(file), target="y"))
    counts = np.bincount(task.train[1])
    weight = task.loss(Recipe(class_weight="balanced")).settings["weight"]
    np.testing.assert_allclose(weight.numpy(), counts.sum() / (2 * counts), rtol=1e-6)
    assert task.loss(Recipe()).settings["weight"] is None
    share = {}
    for name, more in (("plain", []), ("balanced", ["--class-weight", "balanced"])):
        arguments = ["--target", "y", "--epochs", 10, "--quiet", "--out", tmp_path / name]
        assert call(capsys, "train", file, *arguments, *more)[0] == 0
        said = [row["prediction"] for row in read_csv(tmp_path / name / "predictions.csv")]
        share[name] = said.count("yes") / len(said)
    assert Recipe.read(tmp_path / "balanced/recipe.toml").class_weight == "balanced"
    assert share["balanced"] > 2 * share["plain"]
    with pytest.raises(ChainruleError, match="leave class_weight out"):
        runs.train(Recipe(source="diabetes", class_weight="balanced"), tmp_path / "x")


def test_a_warning_of_the_report_is_printed(tmp_path, capsys):
    file = imbalanced(tmp_path / "t.csv")
    arguments = ["train", file, "--target", "y", "--epochs", 1, "--out", tmp_path / "run"]
    _, out, _ = call(capsys, *arguments, "--quiet")
    assert "\nwarning: no_better_than_guess at the model: a test that" in out
    assert "\n  which remedies help, by trial: chainrule doctor " in out
    assert "--class-weight balanced" in out
    _, out, _ = call(capsys, "train", "--resume", tmp_path / "run", "--quiet", "--json")
    assert list(json.loads(out)) == [
        "task",
        "metrics",
        "run",
        "report",
        "seconds",
        "findings",
        "notes",
    ]


def test_a_run_that_has_ended_says_so_and_can_have_more_epochs(tmp_path, capsys):
    run = runs.train(Recipe(source="iris", epochs=2), tmp_path / "run", progress=False).run
    before = (run / "model.safetensors").read_bytes()
    _, out, _ = call(capsys, "train", "--resume", run, "--quiet")
    assert f"it had already completed all epochs; for more, raise epochs in {run}" in out
    assert (run / "model.safetensors").read_bytes() == before
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("epochs = 2", "epochs = 5"))
    assert call(capsys, "predict", run)[0] == 0, "they do not matter there"
    with pytest.warns(UserWarning, match=r"\[resume\] epochs is 5 in .* and was 2 when"):
        _, out, _ = call(capsys, "train", "--resume", run, "--quiet")
    assert "already" not in out
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 5
    assert call(capsys, "predict", run)[0] == 0


def test_a_project_can_be_moved(tmp_path, monkeypatch, capsys):
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    write_csv(tmp_path / "old/t.csv", table())
    arguments = ["--target", "y", "--epochs", 1, "--quiet"]
    assert call(capsys, "train", "t.csv", *arguments)[0] == 0
    assert Recipe.read(tmp_path / "old/runs/t-1/recipe.toml").source == str(tmp_path / "old/t.csv")
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    assert call(capsys, "evaluate", "new/runs/t-1")[0] == 0


def test_a_warning_wraps_at_words_in_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = "warning: Misses: dogs: 6 of the 6 test images of dogs are predicted as other classes."
    stream = types.SimpleNamespace(isatty=lambda: True)
    lines = wrapped(text, stream).splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == text
    assert wrapped(text, types.SimpleNamespace(isatty=lambda: False)) == text


def test_the_first_line_wraps_at_words_in_a_terminal(csv_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("LINES", "40")  # without it rich takes a dumb terminal to be 80 wide
    arguments = ["train", csv_file, "--target", "y", "--epochs", 1, "--out"]
    _, _, err = call(capsys, *arguments, tmp_path / "pipe")
    whole = err.splitlines()[0]
    assert len(whole) > 50
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, _, err = call(capsys, *arguments, tmp_path / "terminal")
    lines = re.sub("\x1b\\[[0-9;]*m", "", err).splitlines()
    assert max(map(len, lines[:4])) <= 50
    assert " ".join(line.strip() for line in lines).startswith(whole)


def test_guard_and_probes_are_settings(tmp_path, monkeypatch):
    passed, weights = [], []
    fit = runs.fit
    monkeypatch.setattr(runs, "fit", lambda *a, **kw: passed.append(kw) or fit(*a, **kw))
    for settings in ({}, {"probes": False}, {"guard": False}):
        folder = tmp_path / str(len(weights))
        runs.train(Recipe("iris", epochs=1, **settings), folder, progress=False)
        written, used = vars(Recipe.read(folder / "recipe.toml")), passed[-1]
        for name in ("guard", "probes"):
            assert written[name] is used[name] is settings.get(name, True)
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1], "measuring changes no bit"
