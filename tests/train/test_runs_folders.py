"""Run folders and files: what is damaged, taken or gone is one error, and nothing is harmed."""

import json
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chainrule import files
from chainrule.errors import ChainruleError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.folder import fingerprint
from commands import call, expect_one_error, read_csv, shell, table, write_csv


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
    "no weights": ("model.safetensors", None, "--resume"),
    "no data": ("data.json", None, "train again with chainrule train"),
    "no recipe": ("recipe.toml", None, "no recipe.toml"),
    "newer recipe": ("recipe.toml", lambda b: b.replace(b"format = 1", b"format = 7"), "format 7"),
    "newer data": ("data.json", lambda b: b.replace(b'"format": 1', b'"format": 7'), "format 1"),
    "cut data": ("data.json", lambda b: b[:40], "not JSON"),
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
    for command in (["predict", copy], ["train", "--resume", copy]):
        expect_one_error(capsys, command, "another hidden than")
    (copy / "recipe.toml").write_bytes((classified.run / "recipe.toml").read_bytes())
    data = json.loads((copy / "data.json").read_text())
    del data["recipe"], data["checksum"]  # as runs were that did not remember it
    data["checksum"] = files.checksum(files.to_json(data).encode())
    (copy / "data.json").write_text(files.to_json(data))
    (copy / "recipe.toml").write_text(recipe.to_toml())
    expect_one_error(capsys, ["predict", copy], "same architecture")


def test_a_resumed_run_needs_the_same_data(tmp_path):
    file = write_csv(tmp_path / "t.csv", table())
    recipe = Recipe(source=str(file), target="y", epochs=1)
    runs.train(recipe, tmp_path / "run", progress=False)
    write_csv(file, table(seed=5))
    with pytest.raises(ChainruleError, match="has changed"):
        runs.resume(tmp_path / "run", progress=False)


def test_a_resumed_run_needs_the_same_pictures(tmp_path):
    """Of the same size too: a bitmap has one however it is drawn."""
    for k in range(40):
        (tmp_path / "d" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8), 6 * k, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "d" / "ab"[k % 2] / f"{k}.bmp")
    folder = runs.train(
        Recipe(source=str(tmp_path / "d"), epochs=1), tmp_path / "run", progress=False
    ).run
    kept = json.loads((folder / "data.json").read_text())
    picture = tmp_path / "d" / "a" / "0.bmp"
    before = picture.stat().st_size
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(picture)
    assert picture.stat().st_size == before
    for use in (Run.open(folder).evaluate, lambda: runs.resume(folder, progress=False)):
        with pytest.raises(ChainruleError, match="has changed"):
            use()
    kept["fingerprint"] = fingerprint(str(tmp_path / "d"), contents=False)  # of earlier versions
    del kept["checksum"]
    kept["checksum"] = files.checksum(files.to_json(kept).encode())
    (folder / "data.json").write_text(files.to_json(kept))
    assert Run.open(folder).evaluate()[0] == 8
    picture.unlink()
    with pytest.raises(ChainruleError, match="has changed"):
        Run.open(folder).evaluate()


def test_two_processes_cannot_train_in_one_folder(tmp_path, capsys):
    folder = runs.train(Recipe(source="iris", epochs=1), tmp_path / "run", progress=False).run
    with files.locked(folder):
        expect_one_error(capsys, ["train", "--resume", folder], "another process is training")
    assert call(capsys, "train", "--resume", folder)[0] == 0


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
    with pytest.raises(ChainruleError, match="an existing run"):
        runs.train(recipe, tmp_path / "run", progress=False)


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
        expect_one_error(capsys, command, "has changed since it was written")


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
    expect_one_error(capsys, ["predict", copy], "not JSON")
    (copy / "recipe.toml").write_text("[train]\nepochs = " + "1" * 5000)
    expect_one_error(capsys, ["predict", copy], "not TOML")


def test_predicting_does_not_write_over_what_it_reads(classified, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_csv(tmp_path / "new.csv", table(6, seed=2))
    before = file.read_bytes()
    expect_one_error(capsys, ["predict", classified.run, file, "--out", "new.csv"], "--out")
    assert file.read_bytes() == before
    expect_one_error(capsys, ["predict", classified.run, file, "--out", "."], "a folder")
    (tmp_path / "link.csv").symlink_to("to.csv")
    assert call(capsys, "predict", classified.run, file, "--out", "link.csv")[0] == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(read_csv(tmp_path / "to.csv")) == 6


def test_a_pipe_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        files.write_through(tmp_path / "pipe", "text of \udc80")
        assert reader.communicate()[0] == rb"text of \udc80"
    assert (tmp_path / "pipe").is_fifo()


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


def test_ctrl_c_before_all_is_written_is_told(monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("chainrule.cli.train.train_recipe", stop)
    code, out, err = call(capsys, "train", "iris", "--quiet", "--json")
    assert code == 130
    assert err.startswith("chainrule: [interrupted]")
    assert json.loads(out)["error"] in err


def test_ctrl_c_names_the_folder_if_there_is_one(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit", stop)
    run = tmp_path / "run"
    code, _, err = call(capsys, "train", "iris", "--quiet", "--out", run)
    assert code == 130
    assert f"before {run} was complete; " in err
    assert f"--resume {run}\n" in err
    monkeypatch.setattr(runs, "kind_of", stop)
    code, _, err = call(capsys, "train", "iris", "--quiet", "--out", tmp_path / "other")
    assert code == 130
    assert "nothing was written" in err
    assert "--resume" not in err


def test_a_run_that_is_refused_before_its_first_step_leaves_no_folder(tmp_path, capsys):
    (tmp_path / "t.txt").write_text("a line of a text\n" * 500)
    arguments = ["train", tmp_path / "t.txt", "--hidden", "64,32", "--out", tmp_path / "run"]
    expect_one_error(capsys, arguments, "layers of one size")
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"]


def test_a_run_in_progress_says_so(tmp_path, capsys):
    folder = runs.train(Recipe(source="iris", epochs=1), tmp_path / "run", progress=False).run
    (folder / "model.safetensors").unlink()
    expect_one_error(capsys, ["predict", folder], "--resume")
    with files.locked(folder):
        expect_one_error(
            capsys, ["predict", folder], "is being trained; expected a run that has ended"
        )


@pytest.mark.parametrize("name", ["p.xlsx", "p.json", "p.parquet"])
def test_predictions_under_a_name_that_says_something_else(name, classified, tmp_path, capsys):
    arguments = ["predict", classified.run, "--out", tmp_path / name]
    expect_one_error(capsys, arguments, "ends in .csv")
    assert not (tmp_path / name).exists()


def test_what_is_written_over_is_said(classified, tmp_path, capsys):
    for ending in ("", " (replaced)"):
        _, _, err = call(capsys, "predict", classified.run, "--out", tmp_path / "p.csv")
        assert err == f"wrote {tmp_path / 'p.csv'}{ending}\n"


def test_data_that_has_gone(tmp_path, capsys):
    file = write_csv(tmp_path / "t.csv", table())
    recipe = Recipe(source=str(file), target="y", epochs=1)
    run = runs.train(recipe, tmp_path / "run", progress=False).run
    file.unlink()
    expect_one_error(capsys, ["evaluate", run], "t.csv, which does not exist; expected the data of")


def test_data_that_has_moved_is_told_from_where_the_command_stands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = write_csv(Path("t.csv"), table())
    recipe = Recipe(source=str(file), target="y", epochs=1)
    run = runs.train(recipe, Path("runs", "one"), progress=False).run
    Path("t.csv").rename("moved.csv")
    expect_one_error(capsys, ["evaluate", run], "got t.csv, which does not exist")
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("../../t.csv", "../../moved.csv"))
    assert Run.open(run).evaluate()[0] > 0


def test_a_place_that_is_taken(classified, csv_file, capsys):
    expect_one_error(capsys, ["train", "iris", "--out", classified.run], "--resume")
    code, _, err = call(capsys, "train", "iris", "--out", csv_file)
    assert code == 2
    assert "--resume" not in err


def test_a_run_inside_its_data(tmp_path, capsys, monkeypatch):
    """It would be one of the classes, and change the data that it was made of."""
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(15):
            Image.fromarray(np.full((4, 4), k, np.uint8)).save(
                tmp_path / "pictures" / name / f"{k}.png"
            )
    monkeypatch.chdir(tmp_path / "pictures")
    for source, out in ((".", "run"), (tmp_path / "pictures", "a/run")):
        arguments = ["train", source, "--epochs", 1, "--out", out]
        expect_one_error(capsys, arguments, "which is inside the data")
    expect_one_error(capsys, ["train", ".", "--epochs", 1], "which is inside the data")
    assert sorted(p.name for p in Path().iterdir()) == ["a", "b"]
    assert call(capsys, "train", ".", "--epochs", 1, "--out", "../run")[0] == 0


def test_a_dangling_link_is_a_place_that_is_taken(tmp_path, capsys):
    (tmp_path / "run").symlink_to("nowhere")
    expect_one_error(
        capsys, ["train", "iris", "--out", tmp_path / "run"], "which exists and is not a run"
    )
    assert not (tmp_path / "nowhere").exists()


def test_a_run_on_digits_of_another_scale(tmp_path, capsys):
    run = runs.train(Recipe(source="digits", epochs=1), tmp_path / "run", progress=False).run
    data = json.loads((run / "data.json").read_text())
    del data["checksum"]
    data["fingerprint"] = "digits"
    data["checksum"] = files.checksum(files.to_json(data).encode())
    (run / "data.json").write_text(files.to_json(data))
    for command in (["predict", run, "digits"], ["train", "--resume", run]):
        expect_one_error(capsys, command, "from 0 to 16")


def test_weights_that_were_copied_from_another_run_are_named(classified, tmp_path, capsys):
    other = runs.train(Recipe(source="iris", epochs=1), tmp_path / "run", progress=False).run
    shutil.copy(classified.run / "model.safetensors", other / "model.safetensors")
    expect_one_error(capsys, ["evaluate", other], "train again with chainrule train")
