"""`chainrule doctor`: runs, recipes and data; the recipe that it repairs."""

import json
import re
from types import SimpleNamespace

import pytest

from chainrule.cli.doctor import _applied
from chainrule.diagnosis import Change, Finding, Remedy, Trial
from chainrule.diagnosis.kinds import KINDS
from chainrule.doctor.diagnosis import Attempt, Diagnosis
from chainrule.doctor.words import in_words
from chainrule.train import Recipe
from commands import call, expect_one_error, shell, table, terminal, write_csv
from reading import check_page

SLOW = """format = 1
[data]
source = "moons"
valid = 0.3
[model]
hidden = [16]
[train]
lr = 1e-5
epochs = 4
batch_size = 32
"""


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.toml").write_text(SLOW)


def test_a_recipe_that_is_repaired(capsys, tmp_path):
    code, out, err = call(
        capsys, "doctor", "slow.toml", "--seconds", 10, "--apply", "--out", "r.txt"
    )
    assert code == 0, err
    head, *lines = out.splitlines()
    assert " on 300 held-out rows" in head
    assert any(line.startswith("1. ") for line in lines)
    new = Recipe.read(tmp_path / "slow-repaired.toml")
    assert new.lr >= 1e-4
    assert (new.source, new.valid, new.hidden) == ("moons", 0.3, [16])
    said = next(line for line in lines if line.startswith("wrote slow-repaired.toml: "))
    assert f"lr = {new.lr!r}" in said
    assert lines[-1] == "train it: chainrule train slow-repaired.toml"
    assert (tmp_path / "r.txt").read_text().splitlines() == out.splitlines()
    score = float(head.split(" → ")[1].split()[0])
    code, out, _ = call(capsys, "train", "slow-repaired.toml", "--quiet", "--json")
    assert code == 0
    assert json.loads(out)["metrics"]["accuracy"] > score - 0.2


def test_a_run_as_json(capsys, tmp_path):
    assert call(capsys, "train", "slow.toml", "--out", "run", "--quiet")[0] == 0
    page = tmp_path / "run/report.html"
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file() and p != page}
    arguments = "doctor", "run", "--seconds", 10, "--json", "--apply", "--out", "r.json"
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    report = json.loads(out)
    assert report["source"] == "run"
    assert report["metric"] in ("accuracy", "balanced accuracy")
    assert report["rows"] == 300
    assert report["findings"]
    assert report["repaired"] == "run/recipe-repaired.toml"
    assert report["report"] == "run/report.html"
    assert "What was tried" in " ".join(check_page(page.read_text()).text)
    assert json.loads((tmp_path / "r.json").read_text()) == report
    assert "initial_loss" in [m["name"] for m in report["measured"]]
    assert {p: p.read_bytes() for p in before} == before
    Recipe.read(tmp_path / "run/recipe-repaired.toml")


def test_data_and_a_seed(capsys):
    arguments = "doctor", "iris", "--seconds", 0.1, "--seed", 4, "--json"
    code, out, err = call(capsys, *arguments)
    assert code == 0
    report = json.loads(out)
    assert report["notes"] == [err.strip()]
    assert "15 validation rows" in err
    assert "repaired" not in report


def test_what_was_tried_stays_in_the_report_of_a_run(capsys, tmp_path):
    page, stored = tmp_path / "run/report.html", tmp_path / "run/diagnosis.json"
    assert call(capsys, "train", "slow.toml", "--out", "run", "--quiet")[0] == 0
    untouched = page.read_text()
    code, out, _ = call(capsys, "doctor", "run", "--seconds", 0.1, "--seed", 5)
    assert code == 0
    assert page.read_text() == untouched, "another seed is another training"
    assert not stored.exists()
    assert "report" not in out
    code, out, _ = call(capsys, "doctor", "run", "--seconds", 0.1)
    assert code == 0
    assert out.splitlines()[-1] == "what was tried is in run/report.html"
    shown = page.read_text()
    assert call(capsys, "train", "--resume", "run", "--quiet")[0] == 0
    section = 'id="what".*?</section>'
    assert re.findall(section, page.read_text(), re.S) == re.findall(section, shown, re.S) != []
    stored.write_text(stored.read_text().replace("accuracy", "exactness"))
    with pytest.warns(UserWarning, match="has changed since it was written"):
        call(capsys, "train", "--resume", "run", "--quiet")
    assert "What was tried" not in page.read_text()
    page.write_text("<!doctype html>")
    code, out, err = call(capsys, "doctor", "run", "--seconds", 0.1)
    assert code == 0
    assert "which has no place for what was tried" in err
    assert "what was tried" not in out
    assert call(capsys, "train", "--resume", "run", "--quiet")[0] == 0
    assert "What was tried" in page.read_text()
    recipe = tmp_path / "run/recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 4", "epochs = 5"))
    with pytest.warns(UserWarning, match="epochs"):
        assert call(capsys, "train", "--resume", "run", "--quiet")[0] == 0
    assert "What was tried" not in page.read_text(), "it was of another training"


def test_a_page_of_a_recipe(capsys, tmp_path):
    arguments = "doctor", "slow.toml", "--seconds", 10, "--out", "page.html"
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    head, *_, last = out.splitlines()
    text = " ".join(check_page((tmp_path / "page.html").read_text()).text)
    assert head in text
    assert "slow.toml" in text
    settings = re.fullmatch(r"in the recipe: (.* = .*); --apply writes it", last)[1]
    assert "In the recipe " + settings.replace(", ", "\n") in text


def test_nothing_to_repair(capsys, tmp_path):
    code, out, _ = call(capsys, "doctor", "iris", "--seconds", 0.1, "--apply")
    assert code == 0
    assert out.startswith("Nothing found: ")
    assert out.splitlines()[-1] == "No recipe was written: no change helps."
    assert not [*tmp_path.glob("*repaired*")]


def test_a_file_that_cannot_be_written(capsys):
    arguments = "doctor", "iris", "--seconds", 0.1, "--out", "/dev/full"
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert out.startswith("Nothing found: ")
    assert "[write] got" in err
    assert "error" in json.loads(call(capsys, *arguments, "--json")[1])


def test_the_vocabulary(capsys):
    assert json.loads(call(capsys, "doctor", "--list", "--json")[1]) == dict(KINDS)
    lines = call(capsys, "doctor", "--list")[1].splitlines()
    assert [line.split()[0] for line in lines] == list(KINDS)


def test_in_a_terminal(tmp_path):
    code, out = terminal("doctor", "iris", "--seconds", "0.1", cwd=tmp_path)
    assert code == 0
    assert "\x1b[1mNothing found: " in out
    plain = shell("doctor", "iris", "--seconds", "0.1", cwd=tmp_path)
    assert "\x1b" not in plain.stdout + plain.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected a run folder, a recipe.toml, or data"),
        (["none.toml"], "none.toml, which does not exist"),
        (["slow.toml", "--seconds", "0"], "got --seconds 0"),
        (["iris", "--target", "q"], "got the target 'q'"),
    ],
)
def test_errors(capsys, arguments, says):
    expect_one_error(capsys, ["doctor", *arguments], says)


def test_a_run_whose_data_changed_or_with_a_target(capsys, tmp_path):
    write_csv(tmp_path / "table.csv", table())
    expect_one_error(capsys, ["doctor", "table.csv"], "without a target")
    settings = "--target", "y", "--drop", "when", "--epochs", 1, "--out", "run", "--quiet"
    assert call(capsys, "train", "table.csv", *settings)[0] == 0
    expect_one_error(capsys, ["doctor", "run", "--target", "z"], "leave out --target")
    write_csv(tmp_path / "table.csv", table(rows=81))
    expect_one_error(capsys, ["doctor", "run"], "which has changed since run began")


@pytest.mark.parametrize(("alone", "written"), [(0.9, True), (0.5, False), (None, False)])
def test_a_part_of_a_remedy_is_written_if_it_helps(tmp_path, alone, written):
    """A recipe has a setting for the rate, and none for an activation."""
    both = Change("activation", "1", "relu"), Change("rate", "optimizer.lr", 0.5)
    layers = [SimpleNamespace(path="1", kind="activation", name="Sigmoid")]
    training = SimpleNamespace(settings={"lr": 0.1})
    facts = SimpleNamespace(start=SimpleNamespace(layers=layers), training=training)
    remedy = Remedy(both, in_words(both, facts), Trial(0.5, 0.95, 0.1, 1.0))
    finding = Finding("hidden_activation_wrong", "1", "sigmoids", remedies=(remedy,))
    trials = [Attempt(2, remedy.text, remedy.trial)]
    if alone is not None:
        trials.append(Attempt(1, in_words(both[1:], facts), Trial(0.5, alone, 0.1, 1.0)))
    diagnosis = Diagnosis((finding,), "accuracy", 0.5, 80, tuple(trials))
    recipe = Recipe("moons", lr=0.1)
    path, lines = _applied(recipe, diagnosis, facts, tmp_path / "new.toml", "# new\n")
    assert (path is not None) == (tmp_path / "new.toml").exists() == written
    if not written:
        assert lines[0] == "No recipe was written: without the others, no change helps."
    assert "ReLU in place of sigmoid" in " ".join(lines)
