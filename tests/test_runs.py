"""chainrule train, predict and evaluate on small data, from a shell and on what is wrong."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tomli_w
from PIL import Image

from chainrule.cli import main
from chainrule.errors import ChainruleError
from chainrule.train import Recipe, Run, files
from chainrule.train import run as runs
from chainrule.train.tasks import kind_of

COMMAND = [sys.executable, "-m", "chainrule"]
ROWS = 80


def shell(*arguments, cwd=None, expect=0, **settings):
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd,
        **settings,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done


def call(capsys, *arguments):
    """The exit code, stdout and stderr of the command, run in this process."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    out = capsys.readouterr()
    return caught.value.code or 0, out.out, out.err


def table(rows=ROWS, seed=0):
    """Columns a, b, colour and when; y is a or b, whichever is larger; z a sum."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows)).round(3)
    colours = rng.choice(["red", "green", "blue"], rows)
    days = [f"2024-01-{k % 28 + 1:02}" for k in range(rows)]
    y = np.where(a > b, "first", "second")
    z = (2 * a - b + (colours == "red")).round(3)
    return {"a": a, "b": b, "colour": colours, "when": days, "y": y, "z": z}


def write_csv(path, columns):
    path.write_text(runs.to_csv({k: list(v) for k, v in columns.items()}))
    return path


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def csv_file(folder):
    return write_csv(folder / "data.csv", table())


@pytest.fixture(scope="module")
def classified(folder, csv_file):
    out = folder / "classified"
    recipe = Recipe(source=str(csv_file), target="y", drop=["z"], epochs=40, lr=0.01)
    return runs.train(recipe, out, progress=False)


# ── what a run leaves ────────────────────────────────────────────────────────────────────────────


def test_the_folder_holds_everything(classified):
    found = {p.name for p in classified.run.iterdir()}
    assert found == {
        "recipe.toml", "data.json", "metrics.jsonl", "checkpoints", "model.safetensors",
        "predictions.csv", "result.json", "report.html",
    }  # fmt: skip
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


def test_evaluating(classified, csv_file, capsys):
    _, out, _ = call(capsys, "evaluate", classified.run, "--json")
    assert json.loads(out) == {
        "task": "classification", "metrics": classified.metrics, "rows": round(0.2 * ROWS),
    }  # fmt: skip
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
    from PIL import Image

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


def test_text_is_learned_and_continued(folder, capsys):
    file = folder / "rhyme.txt"
    file.write_text("one two three four five six seven\n" * 400)
    settings = {"epochs": 4, "hidden": [32], "embedding": 8, "length": 16, "batch_size": 16}
    result = runs.train(
        Recipe(source=str(file), **settings), folder / "rhyme-run", progress=False
    )  # fmt: skip
    assert result.metrics["bits_per_character"] < 1.0
    assert result.metrics["bits_per_character"] == pytest.approx(
        result.metrics["loss"] / np.log(2)
    )  # fmt: skip
    assert len(result.samples[0]) == 400
    code, out, _ = call(capsys, "predict", result.run, "--length", 40, "--seed", 3)
    assert code == 0
    assert set(out) <= set(file.read_text())
    assert out == call(capsys, "predict", result.run, "--length", 40, "--seed", 3)[1]
    _, out, _ = call(capsys, "evaluate", result.run, file, "--json")
    assert json.loads(out)["metrics"]["bits_per_character"] < 1.0


def test_the_command_prints_one_json_object(folder):
    done = shell("train", "iris", "--epochs", 3, "--json", cwd=folder)
    found = json.loads(done.stdout)
    assert list(found) == ["task", "metrics", "run", "report", "seconds"]
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
        [*COMMAND, *map(str, arguments), "--out", str(out)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
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


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────


def _with(columns, **changes):
    return {**columns, **changes}


def _bad_tables():
    good = table()
    first = good["a"].astype(object)
    return {
        "unknown target": (good, ["--target", "yy"], "'yy'"),
        "no target": (good, [], "--target"),
        "unknown column to drop": (good, ["--target", "y", "--drop", "c"], "'c'"),
        "one class": (_with(good, y=["same"] * ROWS), ["--target", "y"], "one class"),
        "constant column": (_with(good, k=[3] * ROWS), ["--target", "y"], "--drop k"),
        "inf": (_with(good, a=["inf", *first[1:]]), ["--target", "y"], "line 2"),
        "nan": (_with(good, a=[*first[:-1], "nan"]), ["--target", "y"], f"line {ROWS + 1}"),
        "id": (_with(good, y=[f"row {k}" for k in range(ROWS)]), ["--target", "y"], "an id"),
        "more batch than data": (good, ["--target", "y", "--batch-size", 500], "500"),
        "rate 0": (good, ["--target", "y", "--lr", 0], "lr = 0"),
        "rate nan": (good, ["--target", "y", "--lr", "nan"], "lr = nan"),
        "rate below 0": (good, ["--target", "y", "--lr", "-1"], "lr = -1"),
        "no epochs": (good, ["--target", "y", "--epochs", 0], "epochs = 0"),
        "a cnn for a table": (good, ["--target", "y", "--model", "cnn"], "'cnn'"),
        "nothing left to train on": (
            good, ["--target", "y", "--test", 0.7, "--valid", 0.4], "rows to train on"),
        "few rows": ({k: v[:2] for k, v in good.items()}, ["--target", "y"], "2 rows"),
    }  # fmt: skip


BAD_TABLES = _bad_tables()


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_one_error(name, tmp_path, capsys, monkeypatch):
    columns, arguments, says = BAD_TABLES[name]
    monkeypatch.chdir(tmp_path)
    file = write_csv(tmp_path / "t.csv", columns)
    expect_one_error(capsys, ["train", file, *arguments], says)
    assert not (tmp_path / "runs").exists(), "no folder for a run that never began"


SOURCES = {
    "empty.csv": ("", "is empty"),
    "header.csv": ("a,y\n", "no rows"),
    "ragged.csv": ("a,y\n1,2\n1\n3,4\n", "line 3"),
    "short.txt": ("ab", "65 or more"),
    "empty.txt": ("", "is empty"),
    "bytes.txt": (bytes(range(256)), "no text"),
    "wrong.toml": ("[train\n", "no TOML"),
    "unknown.toml": ("[train]\nepochz = 3\n", "did you mean epochs?"),
    "newer.toml": ("format = 99\n", "format 99"),
    "file.xyz": ("1", "ending"),
    "missing.csv": (None, "missing.csv"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_bad_source_is_one_error(name, tmp_path, capsys, monkeypatch):
    content, says = SOURCES[name]
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    expect_one_error(capsys, ["train", name, "--target", "y"][: 2 + 2 * name.endswith("csv")], says)


def expect_one_error(capsys, arguments, says):
    code, out, err = call(capsys, *arguments, "--json")
    assert code == 2
    assert err.count("\n") == 1, err
    assert err.startswith("chainrule: [")
    assert err.count("; ") >= 2, "what arrived; what was needed; what to try"
    assert says in err
    assert json.loads(out)["error"] in err


def test_near_names_are_suggested(capsys):
    assert "did you mean 'digits'?" in call(capsys, "train", "digit")[2]
    assert "--resume alone" in call(capsys, "train", "iris", "--resume", "x")[2]


@pytest.mark.parametrize("place", ["file/run", "/proc/run"])
def test_a_folder_that_cannot_be_written(place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    expect_one_error(capsys, ["train", "iris", "--epochs", 1, "--out", place], "check the path")


def test_a_full_disk_leaves_nothing_half_written(folder):
    """Files may have so many bytes and no more: as on a full disk, a write fails in its middle."""
    out = folder / "full"

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = shell(
        "train", "digits", "--epochs", 2, "--out", out, "--quiet", preexec_fn=limit, expect=2
    )
    assert done.stderr.startswith("chainrule: [write] got File too large for ")
    assert not list(out.rglob("*.tmp"))
    assert not (out / "model.safetensors").exists()
    shell("train", "--resume", out, "--quiet")  # when there is room again
    assert Run.open(out).evaluate()[1]["accuracy"] > 0.5


DAMAGE = {
    "truncated weights": ("model.safetensors", lambda b: b[: len(b) // 2], "safetensors"),
    "foreign weights": ("model.safetensors", lambda b: b"PK\x03\x04 not this", "safetensors"),
    "no weights": ("model.safetensors", None, "--resume"),
    "no recipe": ("recipe.toml", None, "no recipe.toml"),
    "newer recipe": ("recipe.toml", lambda b: b.replace(b"format = 1", b"format = 7"), "format 7"),
    "newer data": ("data.json", lambda b: b.replace(b'"format": 1', b'"format": 7'), "format 1"),
    "cut data": ("data.json", lambda b: b[:40], "no JSON"),
    "other kind": ("data.json", lambda b: b.replace(b'"table"', b'"sound"'), "'sound'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_is_one_error(name, classified, tmp_path, capsys):
    file, change, says = DAMAGE[name]
    copy = tmp_path / "run"
    shutil.copytree(classified.run, copy)
    before = (copy / file).read_bytes()
    (copy / file).unlink()
    if change is not None:
        assert change(before) != before
        (copy / file).write_bytes(change(before))
    expect_one_error(capsys, ["predict", copy], says)


def test_weights_of_another_network_are_refused(classified, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(classified.run, copy)
    recipe = Recipe.read(copy / "recipe.toml")
    recipe.hidden = [3]
    (copy / "recipe.toml").write_text(recipe.to_toml())
    expect_one_error(capsys, ["predict", copy], "same architecture")


def test_a_resumed_run_needs_the_same_data(tmp_path):
    file = write_csv(tmp_path / "t.csv", table())
    recipe = Recipe(source=str(file), target="y", epochs=1)
    runs.train(recipe, tmp_path / "run", progress=False)
    write_csv(file, table(seed=5))
    with pytest.raises(ChainruleError, match="has changed"):
        runs.resume(tmp_path / "run", progress=False)


def test_a_run_s_own_rows_need_the_same_data(tmp_path, capsys):
    file = write_csv(tmp_path / "t.csv", table())
    runs.train(Recipe(source=str(file), target="y", epochs=1), tmp_path / "run", progress=False)
    write_csv(file, table(seed=5))
    for command in ("evaluate", "predict"):
        expect_one_error(capsys, [command, tmp_path / "run"], "has changed")
    assert call(capsys, "evaluate", tmp_path / "run", file)[0] == 0


def test_a_run_does_not_write_over_another(tmp_path):
    recipe = Recipe(source="iris", epochs=1)
    runs.train(recipe, tmp_path / "run", progress=False)
    with pytest.raises(ChainruleError, match="there already"):
        runs.train(recipe, tmp_path / "run", progress=False)


def test_predicting_from_tables_that_do_not_fit(classified, tmp_path, capsys):
    columns = table(6, seed=2)
    del columns["colour"]
    file = write_csv(tmp_path / "t.csv", columns)
    expect_one_error(capsys, ["predict", classified.run, file], "colour")
    file = write_csv(tmp_path / "u.csv", _with(table(6), a=["x"] * 6))
    expect_one_error(capsys, ["predict", classified.run, file], "'a'")


def edited(folder, change):
    """data.json with a change that its checksum does not know of."""
    data = json.loads((folder / "data.json").read_text())
    change(data["preprocessing"])
    (folder / "data.json").write_text(json.dumps(data))


EDITS = {
    "a key less": lambda p: p.pop("classes"),
    "classes in another order": lambda p: p["classes"].reverse(),
    "a mean that is text": lambda p: p["inputs"][0].update(means=["x"]),
    "a mean that is no number": lambda p: p["inputs"][0].update(means=[float("nan")]),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_encoding_is_refused(name, classified, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(classified.run, copy)
    edited(copy, EDITS[name])
    for command in (["predict", copy], ["evaluate", copy], ["train", "--resume", copy]):
        expect_one_error(capsys, command, "not as it was written")


@pytest.mark.parametrize("lost", ["embedding", "lr", "epochs", "batch_size"])
def test_a_recipe_of_a_run_is_complete(lost, classified, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(classified.run, copy)
    recipe = Recipe.read(copy / "recipe.toml")
    setattr(recipe, lost, None)
    (copy / "recipe.toml").write_text(recipe.to_toml())
    for command in (["predict", copy], ["train", "--resume", copy]):
        expect_one_error(capsys, command, lost)


def test_nested_without_end(classified, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(classified.run, copy)
    (copy / "data.json").write_text("[" * 100_000)
    expect_one_error(capsys, ["predict", copy], "no JSON")
    (copy / "recipe.toml").write_text("[train]\nepochs = " + "1" * 5000)
    expect_one_error(capsys, ["predict", copy], "no TOML")


def test_predicting_does_not_write_over_what_it_reads(classified, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_csv(tmp_path / "new.csv", table(6, seed=2))
    before = file.read_bytes()
    expect_one_error(capsys, ["predict", classified.run, file, "--out", "new.csv"], "--out")
    assert file.read_bytes() == before
    expect_one_error(capsys, ["predict", classified.run, file, "--out", "."], "directory")
    (tmp_path / "link.csv").symlink_to("to.csv")
    assert call(capsys, "predict", classified.run, file, "--out", "link.csv")[0] == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(read_csv(tmp_path / "to.csv")) == 6


def test_a_pipe_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        files.write(tmp_path / "pipe", "text")
        assert reader.communicate()[0] == b"text"
    assert (tmp_path / "pipe").is_fifo()


def test_data_of_another_kind_and_a_target_that_is_dropped(classified, csv_file, capsys):
    expect_one_error(capsys, ["predict", classified.run, "digits"], "images")
    expect_one_error(capsys, ["train", csv_file, "--target", "y", "--drop", "y"], "leave out")


def test_names_with_marks_are_shown_as_they_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = table()
    columns = {"[/b]": columns["colour"], "[red]": columns["when"], "a": columns["a"],
               "[/y]": columns["y"]}  # fmt: skip
    write_csv(tmp_path / "[bold].csv", columns)
    for number in (1, 2):
        code, _, err = call(capsys, "train", "[bold].csv", "--target", "[/y]", "--epochs", 1)
        assert code == 0, err
        assert err.startswith("[bold].csv: classification; ")
        assert "categories [/b], target [/y]" in err
        assert "column '[red]' is a date" in err
        assert (tmp_path / f"runs/[bold]-{number}/report.html").exists()


def test_a_warning_is_what_it_says(csv_file, tmp_path):
    done = shell("train", csv_file, "--target", "y", "--drop", "z", "--epochs", 1, "--quiet",
                 "--dropout", 0.999, "--out", tmp_path / "run")  # fmt: skip
    assert done.stderr.startswith("[fit] these parameters are not trained:\n")
    assert ".py" not in done.stderr


def test_odd_neighbours_of_a_run_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("iris-²", ".iris-1.²2.tmp", f".iris-1.{10**25}.tmp"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert call(capsys, "train", "iris", "--epochs", 1, "--quiet")[0] == 0
    assert (tmp_path / "runs/iris-1/report.html").exists()


def test_two_runs_that_begin_at_once_have_a_folder_each(tmp_path, monkeypatch):
    names = iter(["run-1", "run-1", "run-2"])
    made = files.new_folder

    def late(path):
        if path.name == "run-1":  # between the look and the rename
            (path / "of another run").mkdir(parents=True, exist_ok=True)
        return made(path)

    monkeypatch.setattr(files, "new_folder", late)
    recipe = Recipe(source="iris", epochs=1)
    next(names)
    result = runs.train(recipe, lambda: tmp_path / next(names), progress=False)
    assert result.run == tmp_path / "run-2"


def pictures(folder, classes=("a", "b")):
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for k in range(15):
            pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


def test_images_behind_a_link_are_part_of_the_data(tmp_path, capsys):
    pictures(tmp_path / "pictures")
    shutil.move(tmp_path / "pictures/b", tmp_path / "other")
    (tmp_path / "pictures/b").symlink_to("../other")
    recipe = Recipe(source=str(tmp_path / "pictures"), epochs=1)
    runs.train(recipe, tmp_path / "run", progress=False)
    assert Run.open(tmp_path / "run").evaluate()[0] == 6
    shutil.copy(tmp_path / "other/0.png", tmp_path / "other/new.png")
    expect_one_error(capsys, ["evaluate", tmp_path / "run"], "has changed")


def test_images_that_cannot_be_used(tmp_path, capsys):
    folder = pictures(tmp_path / "pictures")
    (tmp_path / "large.toml").write_text('[data]\nsource = "pictures"\nsize = [9000000, 9000000]\n')
    expect_one_error(capsys, ["train", tmp_path / "large.toml"], "fits into memory")
    os.mkfifo(folder / "a/pipe.png")
    expect_one_error(capsys, ["train", folder], "a pipe")


def test_names_of_images_that_are_no_utf_8(tmp_path):
    folder = pictures(tmp_path / "pictures", ["\udcff", "b"])
    os.rename(folder / "b/0.png", folder / "b/\udcfe.png")
    runs.train(Recipe(source=str(folder), epochs=1), tmp_path / "run", progress=False)
    opened = Run.open(tmp_path / "run")
    assert opened.task.classes == ["b", "\udcff"]
    assert opened.evaluate(folder)[0] == 30
    with pytest.raises(ChainruleError, match="UTF-8"):
        Recipe(source="\udcff.txt")


def test_a_deep_network_of_small_images_has_a_report(tmp_path):
    recipe = Recipe(
        source=str(pictures(tmp_path / "pictures")), epochs=1, model="cnn", channels=[4] * 4
    )
    assert runs.train(recipe, tmp_path / "run", progress=False).report.exists()


def test_settings_that_do_not_fit_the_source():
    for settings in ({"source": "digits", "target": "y"}, {"source": "iris", "size": [8, 8]}):
        with pytest.raises(ChainruleError, match="leave"):
            kind_of(settings["source"]).load(Recipe(**settings))


def test_a_recipe_file_trains(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "t.csv", table())
    content = {"data": {"source": "t.csv", "target": "y"}, "train": {"epochs": 9, "seed": 4}}
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(content))
    code, out, _ = call(capsys, "train", "mine.toml", "--epochs", 1, "--json", "--quiet")
    assert code == 0
    recipe = Recipe.read(tmp_path / json.loads(out)["run"] / "recipe.toml")
    assert (recipe.epochs, recipe.seed, recipe.target) == (1, 4, "y")
