"""Runs on images: which network is chosen and why, all networks, runs of earlier versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule import files, nn
from chainrule.errors import ArgumentError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.folder import MODEL, create
from chainrule.train.runs.image_networks import IMAGE_NETWORKS, image_network
from chainrule.train.runs.tasks import ImageTask
from commands import call, expect_one_error
from reading import check_page

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty grey images of 12 × 12 pixels; those of class b have a bright row."""
    place = tmp_path_factory.mktemp("images") / "rows"
    for k in range(30):
        pixels = RNG.integers(0, 100, (12, 12)).astype(np.uint8)
        pixels[k % 12] += 150 * (k % 2)
        (place / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / "ab"[k % 2] / f"{k:02}.png")
    return place


def task_of(shape: tuple[int, int, int], rows: int, model: str | None = None) -> ImageTask:
    """A task that has read so many training images."""
    task = ImageTask(shape, ["a", "b"], 0.0, 1.0)
    task.train = (None, np.zeros(rows, np.int64))
    task.model = model or task.model
    return task


CHOSEN = [
    # size and training images; the network, its sizes, rows per step, epochs
    ((8, 8, 1), 1258, "mlp", [256, 128], 64, 60),
    ((10, 10, 3), 100_000, "mlp", [256, 128], 64, 1),
    ((11, 10, 1), 500, "cnn", [64, 128], 32, 60),
    ((12, 12, 1), 20, "cnn", [64, 128], 20, 60),
    ((28, 28, 1), 2810, "cnn", [32, 64, 128], 64, 41),
    ((28, 28, 1), 54_000, "cnn", [32, 64, 128], 128, 12),
    ((64, 64, 3), 210, "cnn", [16, 32, 64, 128], 32, 60),
    ((64, 48, 3), 1000, "cnn", [16, 32, 64, 128], 64, 29),
    ((224, 224, 3), 300, "cnn", [16, 16, 16, 32, 64, 128], 32, 12),
]


@pytest.mark.parametrize(("shape", "rows", "model", "sizes", "batch_size", "epochs"), CHOSEN)
def test_the_choice_by_size_and_count(
    shape: Any, rows: int, model: str, sizes: list[int], batch_size: int, epochs: int
) -> None:
    made = task_of(shape, rows).defaults()
    dense = model == "mlp"
    assert (made["hidden"], made["channels"]) == ((sizes, None) if dense else (None, sizes))
    assert (made["model"], made["batch_size"], made["epochs"]) == (model, batch_size, epochs)
    assert made["augment"] == "light"


def test_more_augmentation_has_twice_the_epochs() -> None:
    for shape, rows, light, more in (((28, 28, 1), 4000, 29, 58), ((64, 64, 3), 210, 60, 60)):
        for augment, epochs in (
            *(("none", light), ("light", light), ("full", more), ("photos", more)),
            ({"flip": True}, more),
        ):
            task = task_of(shape, rows)
            task.augment = augment
            assert task.defaults()["epochs"] == epochs, augment


def test_what_says_which_epoch_is_best() -> None:
    for model, monitor in (("mlp", "valid_loss"), ("cnn", "valid_accuracy")):
        assert task_of((28, 28, 1), 100, model).defaults()["monitor"] == monitor


def test_a_slower_network_has_fewer_epochs() -> None:
    epochs = {
        name: task_of((28, 28, 1), 2000, name).defaults()["epochs"] for name in IMAGE_NETWORKS
    }
    assert epochs["cnn"] == 57
    assert epochs["resnet20"] == 14
    assert epochs["vgg"] == 12


SAID = [
    (
        (28, 28, 1),
        2810,
        {},
        "cnn with channels of 32, 64, 128, because a class may be at any place in 28 × 28 pixels; "
        "augment light, because an image moved by 2 pixels keeps its class; 41 epochs, because "
        "2,810 training images of 28 × 28 pixels are read that often in a minute or two",
    ),
    (
        (8, 8, 1),
        1258,
        {},
        "mlp with layers of 256, 128, because images of 8 × 8 pixels need no convolutions; augment "
        "light, because an image moved by 1 pixel keeps its class; 60 epochs, because 1,258 "
        "training images of 8 × 8 pixels take little time",
    ),
    (
        (64, 64, 3),
        210,
        {"model": "resnet20", "augment": "photos", "epochs": 5},
        "resnet20, as set; augment photos, as set; 5 epochs, as set",
    ),
    (
        (64, 64, 3),
        945,
        {"model": "resnet20"},
        "resnet20, as set; augment light, because an image moved by 4 pixels keeps its class; 12 "
        "epochs, because 945 training images of 64 × 64 pixels with resnet20 take long",
    ),
    (
        (64, 64, 3),
        945,
        {"augment": "full"},
        "cnn with channels of 16, 32, 64, 128, because a class may be at any place in 64 × 64 "
        "pixels; augment full, as set; 46 epochs, because 945 training images of 64 × 64 pixels "
        "are read that often in a minute or two, doubled for augment full",
    ),
    (
        (28, 28, 1),
        54_000,
        {"augment": {"flip": True, "mixup": 0.2}},
        "cnn with channels of 32, 64, 128, because a class may be at any place in 28 × 28 pixels; "
        "augment flip, mixup, as set; 24 epochs, because 54,000 training images of 28 × 28 "
        "pixels take long, doubled for augment flip, mixup",
    ),
]


@pytest.mark.parametrize(("shape", "rows", "settings", "said"), SAID)
def test_why_it_was_chosen(shape: Any, rows: int, settings: dict[str, Any], said: str) -> None:
    task = task_of(shape, rows, settings.get("model"))
    task.augment = settings.get("augment", "light")
    assert task.chosen(Recipe(**settings).completed(task.defaults())) == said


SHAPES = [(8, 8, 1), (28, 28, 1), (16, 33, 3), (72, 68, 3)]
SMALLEST = {"lenet5": 12, "vgg": 2, "convnext": 8}  # by halving the sizes as often as they do


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", IMAGE_NETWORKS)
def test_every_network_takes_every_size(kind: str, shape: tuple[int, int, int]) -> None:
    def made() -> nn.Module:
        return image_network(kind, shape, 5, [8, 16], [], 0.1, 120.0, 60.0, 1).eval()

    if kind == "lenet5" and shape != (28, 28, 1):
        with pytest.raises(ArgumentError, match="expected squares of 12 × 12 pixels or more"):
            made()
        return
    assert made().summary((2, *shape)).rows[0].shape == (2, 5)


@pytest.mark.parametrize("kind", IMAGE_NETWORKS)
def test_the_smallest_images_of_a_network_can_be_trained_on(kind: str) -> None:
    least = SMALLEST.get(kind, 1)
    for height, width in ((least, least), (least, least + 7)):
        if kind == "lenet5" and height != width:
            continue
        made = image_network(kind, (height, width, 1), 3, [8], [], 0.0, 0.5, 0.5, 1)
        cr.random.seed(0)
        x = RNG.random((6, height, width, 1)).astype(np.float32)
        made(x).sum().backward()
        assert made.eval()(x[:1]).shape == (1, 3)
    if least > 1:
        says = f"of {least - 1} × 30; expected .* of {least} × {least} pixels or more"
        with pytest.raises(ArgumentError, match=says):
            image_network(kind, (least - 1, 30, 1), 3, [8], [], 0.0, 0.5, 0.5, 1)


@pytest.mark.parametrize(("side", "kind"), [(2, "resnet18"), (1, "cnn")])
def test_a_run_whose_features_have_one_position(side: int, kind: str, tmp_path: Path) -> None:
    place = tmp_path / "dots"
    for k in range(47):  # 33 of them for training: no batch may have one row
        pixels = np.full((side, side), 30 + 200 * (k % 2), np.uint8)
        (place / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / "ab"[k % 2] / f"{k}.png")
    recipe = Recipe(source=str(place), model=kind, epochs=1)
    result = runs.train(recipe, tmp_path / "run", progress=False)
    assert result.report.exists()
    assert (tmp_path / "run/result.json").exists()
    assert "Where it looks" not in result.report.read_text()
    rows, size = 33, Recipe.read(tmp_path / "run/recipe.toml").batch_size
    assert size is not None
    assert rows % size != 1
    if kind != "resnet18":
        return
    recipe = Recipe(source=str(place), model=kind, epochs=1, batch_size=32)
    with pytest.raises(ArgumentError, match=r"1 row .33 rows in batches of 32.*--batch-size 31"):
        runs.train(recipe, tmp_path / "again", progress=False)


def test_images_that_cannot_be_drawn_cost_no_result(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        assert (tmp_path / "run/result.json").exists(), "the result is written first"
        raise MemoryError("no room")

    monkeypatch.setattr(ImageTask, "pictures", fail)
    with pytest.warns(UserWarning, match=r"\[report\] MemoryError\('no room'\): the report has no"):
        result = runs.train(Recipe(source=str(folder), epochs=1), tmp_path / "run", progress=False)
    assert "Classes" in result.report.read_text()


def test_images_have_classes_alone(folder: Path, tmp_path: Path) -> None:
    for source in (str(folder), "digits"):
        with pytest.raises(ArgumentError, match=r"got task = 'regression' .*leave out task"):
            runs.train(Recipe(source=source, task="regression"), tmp_path / "run")


def test_a_model_that_does_not_exist_names_all(folder: Path) -> None:
    names = "mlp, cnn, lenet5, vgg, resnet20, resnet32, resnet18, mobilenet, convnext"
    with pytest.raises(ArgumentError, match=f"expected one of {names}, lstm, gru, transformer"):
        Recipe(model="resnet")
    with pytest.raises(ArgumentError, match=f"expected one of {names};"):
        runs.completed(Recipe(model="gru"), task_of((28, 28, 1), 100, "gru"))


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"model": "cnn", "hidden": [128]}, "leave hidden out"),
        ({"model": "resnet20", "channels": [8]}, "leave channels out"),
        ({"model": "convnext", "dropout": 0.1}, "leave dropout out"),
    ],
    ids=str,
)
def test_settings_of_other_networks(settings: dict[str, Any], advice: str) -> None:
    with pytest.raises(ArgumentError, match=advice):
        runs.completed(Recipe(**settings), task_of((28, 28, 1), 100, settings["model"]))


def test_a_run_says_why_in_its_output_recipe_and_report(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "run"
    code, _, said = call(capsys, "train", folder, "--epochs", 1, "--out", place)
    assert code == 0
    why = (
        "cnn with channels of 64, 128, because a class may be at any place in 12 × 12 pixels; "
        "augment light, because an image moved by 1 pixel keeps its class; 1 epoch, as set"
    )
    assert f"  {why}\n" in said
    assert (place / "recipe.toml").read_text().startswith(f"# {why}\n")
    page = check_page((place / "report.html").read_text())
    text = " ".join(page.text)
    assert why in text
    ids = [s["id"] for s in page.all("section")]
    assert {"where", "filters", "training"} <= set(ids)
    captions = re.findall(r"[ab]/\d\d.png predicted as [ab] \(\d+%\)", text)
    maps = sum(d.get("class") == "triple" for d in page.all("div"))
    assert 2 <= maps <= 4
    filters, training = 64, 2 * 8
    assert len(page.all("img")) == filters + training + 3 * maps + (len(captions) - maps)
    again = ["train", place / "recipe.toml", "--model", "mlp", "--out", tmp_path / "dense"]
    assert call(capsys, *again)[0] == 0
    page = check_page((tmp_path / "dense" / "report.html").read_text())
    ids = [s["id"] for s in page.all("section")]
    assert "training" in ids
    assert not {"where", "filters"} & set(ids)


def earlier() -> nn.Module:
    """The cnn of earlier versions, for (N, 12, 12, 1) and two classes."""
    return nn.Sequential(
        nn.Identity(),
        nn.Identity(),
        nn.Conv2d(1, 4, 5, stride=2, padding=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(54, 7),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(7, 2),
    )


def test_a_run_of_an_earlier_version_still_predicts(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = {"model": "cnn", "hidden": [7], "channels": [4, 6], "dropout": 0.3}
    training = {"epochs": 2, "batch_size": 8, "lr": 1e-3}
    recipe = Recipe(source=str(folder), size=[12, 12], **network, **training)
    task = ImageTask.load(recipe)
    place = tmp_path / "old"
    create(place, recipe, task)
    cr.random.seed(3)
    model = earlier().eval()
    moments = {"0.mean": np.asarray(task.mean, "f4"), "0.std": np.asarray(task.std, "f4")}
    files.write(place / MODEL, files.tensors_to_bytes({**moments, **model.state_dict()}))
    said = Run.open(place).predict(folder)
    pixels = np.stack([np.asarray(Image.open(folder / name)) for name in said["file"]])[..., None]
    scores = model(((pixels - task.mean) / task.std).astype("f4")).numpy()
    assert said["prediction"] == ["ab"[k] for k in scores.argmax(-1)]
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(said["confidence"], shares.max(-1) / shares.sum(-1), rtol=1e-4)
    expect_one_error(capsys, ["train", place / "recipe.toml"], "leave hidden out")
    resumed = runs.resume(place, progress=False)
    assert Run.open(resumed.run).evaluate(folder)[0] == 30
