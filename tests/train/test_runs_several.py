"""Runs on images: several sources, broken files among them, one class alone; resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chainrule.errors import ArgumentError, FileError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from commands import call, expect_one_error


def save(place: Path, bright: int, side: int = 8) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side), 40 + 150 * bright, np.uint8)).save(place)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on dark and bright images, beside their folder."""
    place = tmp_path_factory.mktemp("several")
    for k in range(60):
        save(place / "data" / ("bright" if k % 2 else "dark") / f"{k}.png", k % 2)
    recipe = Recipe(source=str(place / "data"), epochs=8)
    runs.train(recipe, place / "run", progress=False)
    return place / "run"


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """New images: a bright one, a dark one, a folder of both, a broken one."""
    for name, bright in (("b.png", 1), ("d.png", 0), ("both/d.png", 0), ("both/e.png", 1)):
        save(tmp_path / name, bright)
    (tmp_path / "broken.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_several_sources_in_their_order(
    trained: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "predict", trained, "d.png", "b.png", "both", "--json")
    assert code == 0, err
    found = json.loads(out)["predictions"]
    assert [(row["file"], row["prediction"]) for row in found] == [
        *(("d.png", "dark"), ("b.png", "bright")),
        *(("both/d.png", "dark"), ("both/e.png", "bright")),
    ]
    run = Run.open(trained)
    assert run.predict([Path("d.png"), "b.png"])["prediction"] == ["dark", "bright"]
    assert repr(run) == f"Run({str(trained)!r}, classification with mlp)"
    for sources, says in ((["digits", "d.png"], "many images in one file"), ([], "got 0 sources")):
        with pytest.raises(ArgumentError, match=says):
            run.predict(sources)
    expect_one_error(capsys, ["predict", trained, "d.png", "e.png"], "e.png, which does not exist")


def test_a_broken_image_costs_the_others_nothing(
    trained: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for sources in (["b.png", "broken.png"], ["."]):
        code, out, err = call(capsys, "predict", trained, *sources)
        assert code == 0
        assert "broken.png" not in out
        assert "b.png,bright," in out
        assert "broken.png" in err
        assert "left out" in err
    run = Run.open(trained)
    for source in ("broken.png", ["broken.png", "broken.png"]):
        with pytest.raises(FileError, match=r"broken\.png"):
            run.predict(source)


def test_how_good_it_is_on_one_class(
    trained: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k, bright in enumerate((1, 1, 0)):
        save(new / "mine/bright" / f"{k}.png", bright)
    code, out, err = call(capsys, "evaluate", trained, "mine")
    assert code == 0, err
    assert out.startswith("3 images: accuracy 0.6667, f1 ")
    (new / "mine/bright").rename(new / "mine/other")
    expect_one_error(capsys, ["evaluate", trained, "mine"], "the single class 'other'")


def test_a_resumed_run_has_the_notes_and_paths_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for k in range(40):
        save(tmp_path / "data" / "ab"[k % 2] / f"{k:02}.png", k % 2, 90 if k else 70)
    (tmp_path / "data/a/none.png").write_bytes(b"")
    _, out, first = call(capsys, "train", "data", "--epochs", 1, "--model", "mlp", "--json")
    notes = json.loads(out)["notes"]
    assert len(notes) == 3
    assert " data/a/none.png" in " ".join(notes)
    _, out, again = call(capsys, "train", "--resume", "runs/data-1", "--json")
    assert json.loads(out)["notes"] == notes
    assert again.splitlines()[:5] == first.splitlines()[:5]
