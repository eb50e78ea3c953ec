"""Which value of a file is white, the same in training and in prediction; means and deviations."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chainrule.data import ImageFiles, read_image_files, read_images
from chainrule.data.images.moments import moments, moments_of_each
from chainrule.errors import ArgumentError, FileError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.tasks import ImageTask

rng = np.random.default_rng(0)
Y = np.arange(20) % 2


def packed(path: Path, x: Any, y: Any = Y, **more: Any) -> Path:
    np.savez(path, x=x, y=y, **more)
    return path


# ── which value is white ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("of_training", "of_new", "white"),
    [
        (("f4", 1.02), ("f4", 0.9), 1),
        (("f8", 1.0), ("f4", 1.02), 1),
        (("f4", 200.0), ("f4", 0.9), 255),
        (("u2", 400), ("u2", 209), 65535),
        (("u2", 209), ("u2", 255), 255),
        (("i8", 209), ("u2", 200), 255),
        (("f4", 1.0), ("u1", 209), 255),
        (("u1", 209), ("f4", 0.5), 1),
    ],
)
def test_prediction_scales_like_training(
    of_training: Any, of_new: Any, white: int, tmp_path: Path
) -> None:
    """By the definition: 255 x / white, at most 255."""

    def up_to(dtype: str, most: float) -> Any:
        x = rng.random((20, 4, 4)) * most
        x[0, 0, 0] = most
        return x.astype(dtype)

    task = ImageTask.load(Recipe(source=str(packed(tmp_path / "a.npz", up_to(*of_training)))))
    again = ImageTask.restored(Recipe(), json.loads(json.dumps(task.to_json(), default=list)))
    new = up_to(*of_new)
    path = packed(tmp_path / "new.npz", new)
    wanted = np.minimum(255 * new.astype(float) / white, 255)[..., None]
    for labelled in (False, True):
        np.testing.assert_allclose(again.read(str(path), labelled)[0], wanted, rtol=1e-5)
    scale_differs = of_training == ("f4", 200.0) or of_training[1] == 400
    assert [n.endswith(f"{white:g} is white, as in training") for n in again.notes] == (
        [True] * scale_differs
    )


def test_a_run_without_levels_decides_by_the_new_file(tmp_path: Path) -> None:
    task = ImageTask.load(Recipe(source=str(packed(tmp_path / "a.npz", np.ones((20, 4, 4)) * 9))))
    values = {k: v for k, v in task.to_json().items() if k != "levels"}
    old = ImageTask.restored(Recipe(), values)
    path = packed(tmp_path / "b.npz", np.ones((20, 4, 4)))
    np.testing.assert_array_equal(old.read(str(path), False)[0], 255)


def test_one_scale_for_training_and_test_images(tmp_path: Path) -> None:
    """The test part alone has small values; predict reads it like training did."""
    x, small = rng.random((20, 4, 4), np.float32) * 200, rng.random((6, 4, 4), np.float32)
    path = tmp_path / "a.npz"
    np.savez(path, x_train=x, y_train=Y, x_test=small, y_test=Y[:6])
    np.testing.assert_array_equal(read_images(path).x[-6:, ..., 0], small)
    np.testing.assert_array_equal(read_image_files(path).x[..., 0], small)
    run = runs.train(Recipe(source=str(path), epochs=1), tmp_path / "r", progress=False).run
    np.testing.assert_array_equal(Run.open(run).task.read(str(path), False)[0][..., 0], small)
    np.savez(path, x_train=x.astype(np.uint8), y_train=Y, x_test=small, y_test=Y[:6])
    with pytest.raises(FileError, match="training images of uint8, test images of float32"):
        read_images(path)


def test_values_that_training_did_not_have(tmp_path: Path) -> None:
    task = ImageTask.load(Recipe(source=str(packed(tmp_path / "a.npz", np.ones((20, 4, 4))))))
    with pytest.raises(FileError, match="values from 9 to 9, where 1 was white in training"):
        task.read(str(packed(tmp_path / "b.npz", np.ones((20, 4, 4)) * 9)), False)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.float64(3), "y": Y}, r"shape \(\)"),
        ({"x": np.zeros((20, 0, 8)), "y": Y}, "images of 0 × 8 pixels"),
        ({"x": np.zeros((20, 8, 0, 3)), "y": Y}, "images of 8 × 0 pixels"),
        ({"x": np.zeros((0, 8, 8)), "y": Y[:0]}, "with no images"),
        ({"x": np.full((20, 8, 8), np.inf), "y": Y}, "NaN or infinite"),
        ({"x": np.zeros((20, 8, 8)), "y": Y[:1] * Y}, "the single class '0'"),
    ],
)
def test_files_that_cannot_be_trained_on(arrays: Any, says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises((FileError, ArgumentError), match=says):
        ImageTask.load(Recipe(source=str(tmp_path / "a.npz")))


# ── IDX files in two forms ───────────────────────────────────────────────────────────────────────


def idx(values: Any) -> bytes:
    return (
        bytes([0, 0, 8, values.ndim])
        + struct.pack(f">{values.ndim}I", *values.shape)
        + values.astype(np.uint8).tobytes()
    )


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize(
    ("there", "read"),
    [
        (["images", "images.gz", "labels", "labels.gz"], "plain"),
        (["images", "images.gz", "labels.gz"], "zipped"),
        (["images", "images.gz", "labels"], "plain"),
        (["images.gz", "labels", "labels.gz"], "zipped"),
        (["images", "labels.gz", "labels"], "plain"),
    ],
)
def test_images_and_labels_of_the_same_form(
    there: list[str], read: str, mark: str, tmp_path: Path
) -> None:
    contents = {}
    for form, count in (("plain", 5), ("zipped", 7)):
        x, y = rng.integers(0, 256, (count, 3, 3)), rng.integers(0, 3, count)
        contents[form] = {"images": x, "labels": y}
    for name in there:
        what, _, zipped = name.partition(".")
        data = idx(contents["zipped" if zipped else "plain"][what])
        axes = 3 if what == "images" else 1
        file = tmp_path / f"train-{what}{mark}idx{axes}-ubyte{'.gz' * bool(zipped)}"
        file.write_bytes(gzip.compress(data) if zipped else data)
    images = read_images(tmp_path)
    np.testing.assert_array_equal(images.x[..., 0], contents[read]["images"])
    assert [images.classes[k] for k in images.y] == [str(v) for v in contents[read]["labels"]]


def test_an_idx_file_of_no_pixels(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((4, 8, 0))))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(4)))
    with pytest.raises(FileError, match="images of 8 × 0 pixels"):
        read_images(tmp_path)


# ── means and deviations ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_moments_of_large_images_with_small_differences(dtype: Any) -> None:
    x = np.full((3, 500, 400, 2), 254, dtype)
    x[:, ::2, :, 0] += 1
    x[1, :, :, 1] = 3
    mean, std = moments(*moments_of_each(x))
    np.testing.assert_allclose(mean, [254.5, (254 * 2 + 3) / 3], rtol=1e-14)
    np.testing.assert_allclose(std, [0.5, np.std([254.0, 254, 3])], rtol=1e-13)


def test_moments_of_many_images() -> None:
    x = rng.integers(0, 256, (1000, 9, 7, 3), np.uint8)
    mean, std = moments(*moments_of_each(x))
    np.testing.assert_allclose(mean, x.mean((0, 1, 2), np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, x.std((0, 1, 2), np.float64), rtol=1e-12)


def test_moments_of_files(tmp_path: Path) -> None:
    """Rows of 254 and 255: the deviation is a half."""
    for name in "ab":
        (tmp_path / name).mkdir()
        for k in range(3):
            pixels = np.full((512, 512), 254, np.uint8)
            pixels[k % 2 :: 2] = 255
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    mean, std = ImageFiles(tmp_path, size=512).moments()
    assert (mean.tolist(), std.tolist()) == ([254.5], [0.5])
