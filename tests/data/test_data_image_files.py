"""Images that stay in files: the same as in memory, whatever is cached."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule import nn
from chainrule.data import Augment, DataLoader, ImageFiles, read_image_files, read_images, split
from chainrule.errors import ArgumentError, FileError, RangeError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.tasks import ImageTask

rng = np.random.default_rng(0)
COUNT, SIDE = 30, 8
BYTES = SIDE * SIDE * 3  # of an image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of coloured images, b bright; some are larger."""
    place = tmp_path_factory.mktemp("images")
    for name in "ab":
        (place / name).mkdir()
        for k in range(COUNT):
            side = 40 if k == 5 else SIDE
            pixels = rng.integers(0, 120, (side, side, 3)) + 120 * (name == "b")
            kind = "jpg" if k % 3 else "png"
            Image.fromarray(pixels.astype(np.uint8)).save(place / name / f"{k:02}.{kind}")
    return place


@pytest.mark.parametrize("cached", [0, 7, 1000])
def test_what_is_read_is_what_read_images_reads(cached: int, folder: Path) -> None:
    wanted, files = read_images(folder), ImageFiles(folder, cache=cached * BYTES)
    assert (files.shape, files.dtype, len(files)) == (wanted.x.shape, wanted.x.dtype, 2 * COUNT)
    assert (files.y.tolist(), files.classes) == (wanted.y.tolist(), wanted.classes)
    assert ([str(f) for f in files.files], files.notes) == (wanted.files, wanted.notes)
    for rows in (np.arange(60), rng.permutation(60), [3, 3, 50], []):
        np.testing.assert_array_equal(files.take(rows), wanted.x[np.array(rows, int)])
    np.testing.assert_array_equal(files[4:9], wanted.x[4:9])
    rows = rng.permutation(60)[:25]
    part = files.part(rows)
    np.testing.assert_array_equal(part.take([2, 0]), wanted.x[rows[[2, 0]]])
    np.testing.assert_array_equal(part.part([4]).take([0]), wanted.x[rows[[4]]])
    assert part.y.tolist() == wanted.y[rows].tolist()
    some = wanted.x[rows].astype(np.float64)
    np.testing.assert_allclose(part.moments()[0], some.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(part.moments()[1], some.std((0, 1, 2)), rtol=1e-4)
    assert part.fingerprint() != files.fingerprint()


def small(classes: int = 2) -> nn.Module:
    cr.random.seed(0)
    layers = nn.Flatten(), nn.Linear(BYTES, 8), nn.ReLU(), nn.Linear(8, classes)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            self.layers = nn.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            return self.layers(x.astype("float32") / 255)

    return Scaled()


@pytest.mark.parametrize("augment", [(), Augment(flip=True, shift=1)], ids=["plain", "augmented"])
def test_training_has_the_same_bits(augment: Any, folder: Path, tmp_path: Path) -> None:
    images, files = read_images(folder), ImageFiles(folder, cache=20 * BYTES)
    parts = split(images.y, (0.7, 0.3))
    models = small(), small(), small()
    data = (
        [(images.x[p], images.y[p]) for p in parts],
        [(files.part(p), images.y[p]) for p in parts],
    )
    settings: Any = {"loss": "cross_entropy", "metrics": "accuracy", "progress": False}
    losses = []
    for model, (train, valid) in zip(models, data, strict=False):
        loader = DataLoader(train, 8, shuffle=True, augment=augment)
        losses.append(cr.fit(model, loader, valid=valid, epochs=4, **settings)["valid_loss"])
    assert losses[0] == losses[1]
    train, valid = data[1]
    outputs = [cr.train.predict(m, v[0]) for m, v in zip(models, (data[0][1], valid), strict=False)]
    np.testing.assert_array_equal(*outputs)
    for epochs in (2, 4):
        loader = DataLoader(train, 8, shuffle=True, augment=augment)
        history = cr.fit(
            models[2],
            loader,
            valid=valid,
            epochs=epochs,
            checkpoint=tmp_path,
            resume=epochs == 4,
            **settings,
        )
    assert history["valid_loss"] == losses[0]


def test_files_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for k in range(20):
            Image.new("RGB", (8, 8), (k, 0, 0)).save(tmp_path / name / f"{k:02}.png")
    whole = (tmp_path / "b" / "03.png").read_bytes()
    (tmp_path / "b" / "03.png").write_bytes(whole[:45])
    (tmp_path / "a" / "07.png").write_bytes(b"")
    files = ImageFiles(tmp_path, cache=0)
    assert files.notes[0].startswith("2 of 40 images are left out: ")
    assert np.bincount(files.y).tolist() == [19, 19]
    assert [f.name for f in files.files[6:8]] == ["06.png", "08.png"]
    assert files.take([7]).ravel()[0] == 8
    with pytest.raises(FileError, match="2 of 40 images that cannot be used"):
        ImageFiles(tmp_path, max_unreadable=0.03)
    (tmp_path / "a" / "05.png").write_bytes(b"")
    loader = DataLoader((files, files.y), 4)
    with pytest.raises(FileError, match=r"05.png, which has changed since it was first"):
        cr.fit(small(), loader, loss="cross_entropy", progress=False)
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 8, 8)), y=range(4))
    with pytest.raises(ArgumentError, match=r"a.npz, which has many images .*read_images"):
        ImageFiles(tmp_path / "a.npz")


def test_rows_are_selected_as_in_an_array(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, files = read_images(folder).x, ImageFiles(folder, cache=7 * BYTES)
    mask = np.arange(60) % 7 == 0
    for part in (3, -1, np.int64(5), slice(2, 50, 9), [4, -4], mask):
        np.testing.assert_array_equal(files[part], x[part])
        if not np.isscalar(part):
            np.testing.assert_array_equal(files.part(part)[:], x[part])
    np.testing.assert_array_equal(files.take([59, -60]), x.take([59, -60], 0))
    np.testing.assert_array_equal(np.asarray(files), x)
    assert np.asarray(files, np.float32).dtype == np.float32
    assert sum(1 for _ in files) == 60
    for part in (60, [0, -61], (slice(None), 0), 1.5, "a", None):
        with pytest.raises(RangeError, match=r"\[ImageFiles\] got .*expected numbers from 0 to 59"):
            files[part]
    for rows in ([60], [-61]):
        with pytest.raises(RangeError, match="as rows of 60"):
            files.take(rows)
        with pytest.raises(RangeError, match="as rows of 60"):
            files.part(rows)
    for rows, axis in (([1.5], 0), (mask, 0), ([[1]], 0), ([1], 1)):
        with pytest.raises(ArgumentError, match="expected whole numbers of rows"):
            files.take(rows, axis)
    with_memory(monkeypatch, 10)
    with pytest.raises(ArgumentError, match="all rows as an array, which need"):
        np.asarray(files)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"cache": -5}, "cache -5; expected a whole number of bytes"),
        ({"cache": "1"}, "cache '1'"),
        ({"channels": True}, "channels True; expected 1 or 3"),
        ({"max_unreadable": math.nan}, "max_unreadable nan; expected a share from 0 to 1"),
        ({"max_unreadable": "a"}, "max_unreadable 'a'"),
        ({"max_unreadable": 1.5}, "max_unreadable 1.5"),
        ({"max_pixels": None}, "max_pixels None; expected a whole number from 1"),
        ({"max_pixels": 2.5}, "max_pixels 2.5"),
        ({"source": None}, "got None as a source; expected the path of"),
        ({"source": b"images"}, "got b'images' as a source"),
    ],
)
def test_arguments_that_are_wrong(settings: Any, says: str, folder: Path) -> None:
    readers: list[Any] = [ImageFiles, *([] if "cache" in settings else [read_images])]
    for reader in readers:
        with pytest.raises(ArgumentError, match=says):
            reader(**{"source": folder, **settings})


@pytest.mark.parametrize("source", [None, b"images", [None]])
def test_what_is_no_path(source: Any) -> None:
    with pytest.raises(ArgumentError, match=r"as a source; expected the path of"):
        read_image_files(source)


def test_a_file_that_has_changed_since(tmp_path: Path) -> None:
    """The same number of bytes at another time, or another number at the same time."""
    for name in "ab":
        (tmp_path / name).mkdir()
        for k in range(3):
            Image.new("L", (4, 4), k).save(tmp_path / name / f"{k}.bmp")
    files = ImageFiles(tmp_path, cache=16)
    first, second, third = (f.stat() for f in files.files[:3])
    os.utime(files.files[0], ns=(0, first.st_mtime_ns + 1))
    os.utime(files.files[1], ns=(0, second.st_mtime_ns + 1))
    with files.files[2].open("ab") as file:
        file.write(b"0")
    os.utime(files.files[2], ns=(0, third.st_mtime_ns))
    assert files[0].max() == 0, "is cached"
    for row in (1, 2):
        with pytest.raises(FileError, match=rf"a/{row}.bmp, which has changed since it was first"):
            files[row]
    assert files[3].max() == 0


def with_memory(monkeypatch: pytest.MonkeyPatch, images: float) -> None:
    """A machine of which a quarter has room for this number of images."""
    pages = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": int(4 * images * BYTES)}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)


def test_a_run_on_more_images_than_fit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(source=str(folder), epochs=12, model="cnn")
    with_memory(monkeypatch, 60)
    assert isinstance(ImageTask.load(recipe).train[0], np.ndarray)
    wanted = runs.train(recipe, tmp_path / "whole", progress=False)
    with_memory(monkeypatch, 59)
    task = ImageTask.load(recipe)
    assert isinstance(task.train[0], ImageFiles)
    assert task.notes[-1] == (
        "the images need 0.0 GB, more than 25% of the memory: they are decoded in each epoch"
    )
    done = runs.train(recipe, tmp_path / "run", progress=False)
    np.testing.assert_allclose(done.metrics["accuracy"], wanted.metrics["accuracy"])
    assert done.report.exists()
    table = (done.run / "predictions.csv").read_text()
    assert table.splitlines()[1].startswith("a/")
    assert runs.resume(done.run, progress=False).metrics == done.metrics
    run = Run.open(done.run)
    said = run.predict(folder, warn=False)
    with_memory(monkeypatch, 1000)
    assert run.predict(folder, warn=False) == said
    assert run.evaluate(folder)[0] == 60
