"""Runs whose images are changed at random: which changes, the same bits, and stopped runs."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chainrule.data import Augment, CutMix, MixUp
from chainrule.train import Recipe, Run
from chainrule.train.loop.trainer import Trainer
from chainrule.train.runs import training as runs
from chainrule.train.runs.augmentation import augmentations, light_shift
from commands import call, expect_one_error

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured images, of class b bright."""
    place = tmp_path_factory.mktemp("images") / "d"
    for name in "ab":
        (place / name).mkdir(parents=True)
        for k in range(30):
            pixels = rng.integers(0, 120, (12, 12, 3)) + 120 * (name == "b")
            Image.fromarray(pixels.astype(np.uint8)).save(place / name / f"{k:02}.png")
    return place


def test_what_the_names_do() -> None:
    grey, colours = (28, 28, 1), (64, 40, 3)
    for quiet in (None, "none", "light"):
        assert augmentations(quiet, grey, 10) == []
    full = Augment(shift=2, rotate=10, scale=0.1, brightness=0.2, contrast=0.2)
    assert list(map(repr, augmentations("full", grey, 10))) == [repr(full)]
    ((photo,), (plain,)) = (augmentations(name, colours, 10) for name in ("photos", "full"))
    assert (photo.flip, plain.flip, photo.saturation, photo.shift) == (True, False, 0.2, 2)
    assert [light_shift((s, 30, 1)) for s in (1, 8, 27, 28, 99)] == [1, 1, 1, 2, 2]
    table = {"shift": 3, "mixup": 0.2, "cutmix": 1}
    wanted = [Augment(shift=3), MixUp(10, 0.2), CutMix(10, 1)]
    assert list(map(repr, augmentations(table, colours, 10))) == list(map(repr, wanted))
    assert list(map(repr, augmentations({"mixup": 1.0}, grey, 3))) == [repr(MixUp(3, 1.0))]


@pytest.mark.parametrize(
    "augment",
    ["none", "photos", {"flip": True, "cutout": 3, "mixup": 0.4}],
    ids=["none", "photos", "table"],
)
def test_a_run_is_repeated_and_resumed_with_the_same_bits(
    augment: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"augment": augment, "class_weight": "balanced"}
    recipe = Recipe(source=str(folder), model="mlp", epochs=6, **settings)
    done = runs.train(recipe, tmp_path / "r", progress=False)
    written = tomllib.loads((done.run / "recipe.toml").read_text())
    assert written["train"]["augment"] == augment
    again = runs.train(Recipe.read(done.run / "recipe.toml"), tmp_path / "again", progress=False)
    stopped = Trainer._run_step
    steps = itertools.count(1)

    def one_step(self: Trainer, x: Any, y: Any) -> None:
        stopped(self, x, y)
        if next(steps) == 3:
            self.stop("interrupted")

    monkeypatch.setattr(Trainer, "_run_step", one_step)
    runs.train(recipe, tmp_path / "stopped", progress=False)
    monkeypatch.undo()
    resumed = runs.resume(tmp_path / "stopped", progress=False)
    weights = [(r.run / "model.safetensors").read_bytes() for r in (done, again, resumed)]
    assert weights[0] == weights[1] == weights[2]
    assert Run.open(done.run).evaluate(folder)[0] == 60


def test_runs_differ_by_augment(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, short = set(), ["--model", "mlp", "--epochs", 2]
    for name in ("none", "light", "full", "photos"):
        arguments = ["train", folder, "--augment", name, *short, "--out", tmp_path / name]
        assert call(capsys, *arguments)[0] == 0
        weights.add((tmp_path / name / "model.safetensors").read_bytes())
    assert len(weights) == 4
    arguments = ["train", folder, *short, "--out", tmp_path / "default"]
    assert call(capsys, *arguments)[0] == 0
    assert (tmp_path / "default" / "model.safetensors").read_bytes() in weights
    assert 'augment = "light"' in (tmp_path / "default" / "recipe.toml").read_text()
    recipe = (tmp_path / "full" / "recipe.toml").read_text()
    (tmp_path / "full" / "recipe.toml").write_text(recipe.replace('"full"', '"none"'))
    expect_one_error(capsys, ["train", "--resume", tmp_path / "full"], "another augment")
    expect_one_error(capsys, ["train", folder, "--augment", "heavy"], "one of none, light, full")
    expect_one_error(capsys, ["train", "iris", "--augment", "full"], "leave out augment")
