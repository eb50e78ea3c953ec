"""What is wrong with data, settings and names is one error, and nothing is harmed."""

import json
import os
import shutil

import numpy as np
import pytest
import tomli_w
from PIL import Image

from chainrule.errors import ChainruleError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.tasks import kind_of
from commands import ROWS, call, changed, expect_one_error, shell, table, write_csv


def _bad_tables():
    good = table()
    first = good["a"].astype(object)
    return {
        "unknown target": (good, ["--target", "yy"], "'yy'"),
        "no target": (good, [], "--target"),
        "unknown column to drop": (good, ["--target", "y", "--drop", "c"], "'c'"),
        "one class": (changed(good, y=["same"] * ROWS), ["--target", "y"], "one class"),
        "constant column": (changed(good, k=[3] * ROWS), ["--target", "y"], "--drop k"),
        "inf": (changed(good, a=["inf", *first[1:]]), ["--target", "y"], "line 2"),
        "nan": (changed(good, a=[*first[:-1], "nan"]), ["--target", "y"], f"line {ROWS + 1}"),
        "id": (changed(good, y=[f"row {k}" for k in range(ROWS)]), ["--target", "y"], "an id"),
        "more batch than data": (good, ["--target", "y", "--batch-size", 500], "500"),
        "rate 0": (good, ["--target", "y", "--lr", 0], "lr = 0"),
        "rate nan": (good, ["--target", "y", "--lr", "nan"], "lr = nan"),
        "rate below 0": (good, ["--target", "y", "--lr", "-1"], "lr = -1"),
        "no epochs": (good, ["--target", "y", "--epochs", 0], "epochs = 0"),
        "a cnn for a table": (good, ["--target", "y", "--model", "cnn"], "'cnn'"),
        "nothing left to train on": (
            good,
            ["--target", "y", "--test", 0.7, "--valid", 0.4],
            "rows to train on",
        ),
        "few rows": ({k: v[:2] for k, v in good.items()}, ["--target", "y"], "2 rows"),
    }


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
    "short.txt": ("ab", "9 or more"),
    "empty.txt": ("", "is empty"),
    "bytes.txt": (bytes(range(256)), "not text"),
    "wrong.toml": ("[train\n", "not TOML"),
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


def test_near_names_are_suggested(capsys):
    assert "did you mean 'digits'?" in call(capsys, "train", "digit")[2]
    assert "--resume alone" in call(capsys, "train", "iris", "--resume", "x")[2]


def test_predicting_from_tables_that_do_not_fit(classified, tmp_path, capsys):
    columns = table(6, seed=2)
    del columns["colour"]
    file = write_csv(tmp_path / "t.csv", columns)
    expect_one_error(capsys, ["predict", classified.run, file], "colour")
    file = write_csv(tmp_path / "u.csv", changed(table(6), a=["x"] * 6))
    expect_one_error(capsys, ["predict", classified.run, file], "'a'")


def test_data_of_another_kind_and_a_target_that_is_dropped(classified, csv_file, capsys):
    expect_one_error(capsys, ["predict", classified.run, "digits"], "images")
    expect_one_error(capsys, ["train", csv_file, "--target", "y", "--drop", "y"], "remove --drop")


def test_names_with_marks_are_shown_as_they_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = table()
    columns = {
        "[/b]": columns["colour"],
        "[red]": columns["when"],
        "a": columns["a"],
        "[/y]": columns["y"],
    }
    write_csv(tmp_path / "[bold].csv", columns)
    for number in (1, 2):
        code, _, err = call(capsys, "train", "[bold].csv", "--target", "[/y]", "--epochs", 1)
        assert code == 0, err
        assert err.startswith("[bold].csv: classification; ")
        assert "categories [/b], target [/y]" in err
        assert "column '[red]' is a date" in err
        assert (tmp_path / f"runs/[bold]-{number}/report.html").exists()


def test_a_warning_is_what_it_says(csv_file, tmp_path):
    done = shell(
        "train",
        csv_file,
        "--target",
        "y",
        "--drop",
        "z",
        "--epochs",
        1,
        "--quiet",
        "--dropout",
        0.999,
        "--out",
        tmp_path / "run",
    )
    assert done.stderr.startswith("[fit] these parameters are not trained:\n")
    assert ".py" not in done.stderr


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
    expect_one_error(capsys, ["train", tmp_path / "large.toml"], "the memory of this machine")
    os.mkfifo(folder / "a/pipe.png")
    code, out, err = call(capsys, "train", folder, "--json", "--out", tmp_path / "r")
    (note,) = json.loads(out)["notes"]
    assert (code, "pipe.png: it is a pipe or a device" in note, note in err) == (0, True, True)


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


UNUSED = {
    "label_smoothing": {"target": "z", "drop": ["y"], "label_smoothing": 0.1},
    "loss": {"target": "y", "drop": ["z"], "loss": "huber"},
}


@pytest.mark.parametrize("name", UNUSED)
def test_settings_that_would_change_nothing(name, csv_file, tmp_path):
    with pytest.raises(ChainruleError, match=f"leave {name} out"):
        runs.train(Recipe(source=str(csv_file), **UNUSED[name]), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_names_that_are_nearly_right(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "churn.csv", table())
    expect_one_error(capsys, ["train", "chrun.csv", "--target", "y"], "did you mean churn.csv?")
    expect_one_error(capsys, ["train", "no.csv", "--target", "y"], "which does not exist")
    for name in ("mnist", "nosuchset"):
        code, _, err = call(capsys, "train", name)
        assert code == 2
        assert "did you mean" not in err
        assert err.count("moons") == 1
    expect_one_error(capsys, ["train", "nofile.toml"], "nofile.toml, which does not exist")


def test_folders_that_are_no_classes(classified, tmp_path, capsys):
    expect_one_error(capsys, ["train", classified.run], "a run folder")
    for part in ("test", "train"):
        pictures(tmp_path / "both" / part)
    both = tmp_path / "both"
    expect_one_error(capsys, ["train", both], f"train on one of them, {both / 'train'}")
    recipe = tmp_path / "all.toml"
    recipe.write_text('[data]\nsource = "both/train"\nmax_unreadable = 0\n')
    (both / "train/a/0.png").write_bytes(b"")
    expect_one_error(capsys, ["train", recipe], "cannot be read: it is empty")
    (both / "train/a/0.png").write_bytes(b"text")
    expect_one_error(capsys, ["train", recipe], "cannot be read: it is not an image")


def test_classes_that_training_did_not_have(tmp_path, capsys):
    names = [f"class {k}" for k in range(9)]
    folder = pictures(tmp_path / "pictures", names)
    run = runs.train(Recipe(source=str(folder), epochs=1), tmp_path / "run", progress=False).run
    expect_one_error(capsys, ["evaluate", run, pictures(tmp_path / "other")], "class 7, …;")
    expect_one_error(
        capsys, ["predict", run, "no.png"], "no.png, which does not exist; expected an image or"
    )
