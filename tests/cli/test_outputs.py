"""No command writes over what it reads, or over the files of a run."""

import pytest
from PIL import Image

from chainrule.train import Recipe
from commands import call, expect_one_error, table, write_csv

SETTINGS = "--target", "y", "--drop", "when", "--epochs", 1, "--quiet", "--out", "run"
RECIPE = '[data]\nsource = "moons"\n[train]\nepochs = 2\nlr = 1e-5\n'


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "table.csv", table())


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_files_of_a_run_and_its_data_stay(capsys, tmp_path):
    assert call(capsys, "train", "table.csv", *SETTINGS)[0] == 0
    (tmp_path / "new.csv").write_bytes((tmp_path / "table.csv").read_bytes())
    (tmp_path / "link.csv").symlink_to("table.csv")
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "table.csv")
    before = contents(tmp_path)
    for out in ("recipe.toml", "data.json", "model.safetensors", "report.html", "diagnosis.json"):
        for command in ("doctor", "run"), ("explain", "run"):
            expect_one_error(capsys, [*command, "--out", f"run/{out}"], "a file of the run run")
    for out in ("table.csv", "link.csv", "hard.csv", "run/../table.csv"):
        for command in ("doctor", "run"), ("explain", "run"), ("predict", "run", "new.csv"):
            expect_one_error(capsys, [*command, "--out", out], "a file that the command uses")
    arguments = ["predict", "run", "--out", "run/predictions.csv"]
    expect_one_error(capsys, arguments, "a file of the run run")
    assert contents(tmp_path) == before
    assert call(capsys, "predict", "run", "new.csv", "--out", "run/new.csv")[0] == 0
    assert call(capsys, "explain", "run", "--out", "run/mine.html")[0] == 0


def test_an_image_that_a_table_names_stays(capsys, tmp_path):
    names = [f"{i}.png" for i in range(40)]
    for i, name in enumerate(names):
        Image.new("L", (8, 8), 200 * (i % 2)).save(tmp_path / name)
    write_csv(tmp_path / "named.csv", {"file": names, "label": ["ab"[i % 2] for i in range(40)]})
    arguments = "train", "named.csv", "--epochs", 1, "--model", "mlp", "--quiet", "--out", "run"
    assert call(capsys, *arguments)[0] == 0
    before = contents(tmp_path)
    arguments = ["explain", "run", "--out", "7.png"]
    expect_one_error(capsys, arguments, "a file that the command uses")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("m.toml", "a file that the command uses"),
        ("m-repaired.toml", "a file that the command uses"),
        ("notes.txt", "which exists"),
        ("none/p.html", "in a folder that does not exist"),
        (".", "a folder"),
    ],
)
def test_the_doctor_refuses_before_the_work(capsys, tmp_path, monkeypatch, out, says):
    (tmp_path / "m.toml").write_text(RECIPE)
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    monkeypatch.setattr("chainrule.cli.doctor.diagnosed", None)
    expect_one_error(capsys, ["doctor", "m.toml", "--apply", "--json", "--out", out], says)
    assert contents(tmp_path) == before


def test_names_with_dots_are_repaired_apart(capsys, tmp_path):
    for name in ("m.v1", "m.v2"):
        (tmp_path / f"{name}.toml").write_text(RECIPE)
        arguments = "doctor", f"{name}.toml", "--seconds", 5, "--apply"
        assert call(capsys, *arguments)[0] == 0
        assert Recipe.read(tmp_path / f"{name}-repaired.toml").lr > 1e-5
    _, out, _ = call(capsys, *arguments)
    assert "wrote m.v2-repaired.toml (replaced): " in out


def test_a_recipe_of_the_user_is_not_replaced(capsys, tmp_path):
    (tmp_path / "m.toml").write_text(RECIPE)
    (tmp_path / "m-repaired.toml").write_text(RECIPE)
    expect_one_error(capsys, ["doctor", "m.toml", "--apply"], "which is not of an earlier --apply")
    assert (tmp_path / "m-repaired.toml").read_text() == RECIPE
