"""Tables of names and labels, NumPy's files and IDX files: what is written is read."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chainrule.data import read_image_files, read_images
from chainrule.errors import ArgumentError, ChainruleError, FileError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.tasks import ImageTask, TableTask, kind_of
from commands import call, expect_one_error

rng = np.random.default_rng(0)


def stripes(count: int, seed: int = 0) -> tuple[Any, Any]:
    """Images (N, 6, 6) of rows (class 0) or columns (class 1) with noise."""
    draw = np.random.default_rng(seed)
    y = np.arange(count) % 2
    wave = np.where(np.arange(6) % 2, 200, 20)
    x = np.where(y[:, None, None] == 0, wave[:, None], wave[None]) + draw.integers(
        0, 40, (count, 6, 6)
    )
    return x.astype(np.uint8), y


def written(folder: Path, x: Any, names: list[str]) -> None:
    for image, name in zip(x, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)


# ── tables of names and labels ───────────────────────────────────────────────────────────────────


def table_of(folder: Path, text: str, names: list[str], name: str = "list.csv") -> Path:
    written(folder, rng.integers(0, 256, (len(names), 6, 5), np.uint8), names)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("text", "classes", "y"),
    [
        ("file,label\nb.png,dog\nin/a.tif,cat\n", ["cat", "dog"], [1, 0]),
        ("label;picture\n10;b.png\n9;in/a.tif\n", ["9", "10"], [1, 0]),
        ("id,file,size,label\n1,b.png,3,x\n2,in/a.tif,4,y\n", ["x", "y"], [0, 1]),
    ],
    ids=["two columns", "numbers", "a usual name"],
)
def test_a_table_of_names_and_labels(
    text: str, classes: list[str], y: list[int], tmp_path: Path
) -> None:
    path = table_of(tmp_path, text, ["b.png", "in/a.tif"])
    images = read_images(path)
    assert (images.classes, images.y.tolist()) == (classes, y)
    assert images.files == [str(tmp_path / "b.png"), str(tmp_path / "in/a.tif")]
    for x, file in zip(images.x, images.files, strict=True):
        np.testing.assert_array_equal(x[..., 0], np.asarray(Image.open(file)))
    assert read_image_files(path).files == images.files
    assert kind_of(str(path)) is ImageTask


def test_columns_of_a_table_are_named(tmp_path: Path) -> None:
    text = "file,thumb,animal,colour\na.png,t.png,cat,red\nb.png,t.png,dog,red\n"
    path = table_of(tmp_path, text, ["a.png", "b.png", "t.png"])
    with pytest.raises(ArgumentError, match=r"file and thumb columns.*--drop"):
        read_images(path)
    with pytest.raises(ArgumentError, match=r"without a column of labels.*animal.*--target"):
        read_images(path, drop=["thumb"])
    assert read_images(path, drop=["thumb"], target="animal").classes == ["cat", "dog"]
    with pytest.raises(ArgumentError, match=r"'anima' of labels.*did you mean 'animal'"):
        read_images(path, drop=["thumb"], target="anima")
    with pytest.raises(ArgumentError, match="'red' in each row"):
        read_images(path, drop=["thumb"], target="colour")
    assert kind_of(str(path), ["file", "thumb"]) is TableTask
    assert kind_of(str(path), ["file,thumb"]) is TableTask
    lines = "".join(f"a.png,t.png,{k % 2},{k}\n" for k in range(30))
    path.write_text("file,thumb,label,number\n" + lines)
    recipe = Recipe(source=str(path), drop=["thumb"], epochs=1)
    run = Run.open(runs.train(recipe, tmp_path / "r", progress=False).run)
    assert len(run.predict(path)["file"]) == run.evaluate(path)[0] == 30


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.png,cat\nb.png,dog\n", "first line names the image a.png"),
        ("file,label\na.png,cat\nb.png,\n", "without 'label' in line 3"),
        ("file,label\na.png,cat\nb.png,dog\nc.png,dog\n", "c.png, which cannot be read: it is not"),
    ],
    ids=["no header", "no label", "no file"],
)
def test_tables_that_are_wrong(text: str, says: str, tmp_path: Path) -> None:
    path = table_of(tmp_path, text, ["a.png", "b.png"])
    with pytest.raises(ChainruleError, match=says):
        read_images(path)


def test_files_that_are_listed_again(tmp_path: Path) -> None:
    path = table_of(tmp_path, "file,label\na.png,0\nb.png,1\na.png,1\n", ["a.png", "b.png"])
    images = read_images(path)
    assert images.y.tolist() == [0, 1, 1]
    assert images.notes[0].startswith(f"files repeated in {path}: 1;")


def test_a_folder_with_a_list_says_so(tmp_path: Path) -> None:
    path = table_of(tmp_path, "file,label\na.png,cat\nb.png,dog\n", ["a.png", "b.png"])
    with pytest.raises(FileError, match=f"pass {path}, if it lists files and labels"):
        read_images(tmp_path)


def test_a_run_on_a_table_of_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = stripes(60)
    names = [f"{k}.png" for k in range(60)]
    written(tmp_path / "d", x, names)
    lines = [f"{n},{['rows', 'columns'][k]}" for n, k in zip(names, y, strict=True)]
    path = tmp_path / "d" / "list.csv"
    path.write_text("\n".join(["file,label", *lines]))
    done = runs.train(Recipe(source=str(path), epochs=20), tmp_path / "r", progress=False)
    assert done.metrics["accuracy"] == 1
    tested = (done.run / "predictions.csv").read_text().splitlines()[1]
    assert tested.split(",")[0] in names
    code, out, _ = call(capsys, "predict", done.run, path, "--json")
    said = json.loads(out)["predictions"]
    assert (code, [p["file"] for p in said]) == (0, [str(tmp_path / "d" / n) for n in names])
    assert Run.open(done.run).evaluate(path)[0] == 60
    assert runs.resume(done.run, progress=False).metrics == done.metrics
    Image.new("L", (6, 6)).save(tmp_path / "d" / "7.png")
    expect_one_error(capsys, ["evaluate", done.run], "has changed")


# ── NumPy's files ────────────────────────────────────────────────────────────────────────────────

COLOURS = rng.integers(0, 256, (4, 6, 5, 3), np.uint8)
LABELS = np.array([3, 1, 3, 10])


@pytest.mark.parametrize(
    ("names", "x", "expected"),
    [
        (("x", "y"), COLOURS, COLOURS),
        (("images", "labels"), COLOURS[..., 0], COLOURS[..., :1]),
        (("X", "Y"), COLOURS[..., :1], COLOURS[..., :1]),
        (("x_train", "y_train"), COLOURS.astype(np.int64), COLOURS),
        (("x", "y"), COLOURS / 255, COLOURS.astype(np.float32)),
        (("x", "y"), COLOURS.astype(np.float64), COLOURS.astype(np.float32)),
        (("x", "y"), COLOURS.astype(np.uint16) * 257, COLOURS.astype(np.float32)),
        (("x", "y"), COLOURS > 99, (COLOURS > 99) * np.uint8(255)),
    ],
)
def test_what_a_numpy_file_has(names: Any, x: Any, expected: Any, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **dict(zip(names, (x, LABELS), strict=True)))
    images = read_images(tmp_path / "a.npz")
    assert images.x.dtype == expected.dtype
    np.testing.assert_allclose(images.x, expected, rtol=1e-6)
    assert (images.classes, images.y.tolist()) == (["1", "3", "10"], [1, 0, 1, 2])
    assert (images.notes, images.files, images.tests) == ([], [], 0)


def test_channels_first_are_recognised_and_said(tmp_path: Path) -> None:
    labels = np.array(["cat", "dog", "cat", "ant"])
    np.savez(tmp_path / "a.npz", x=COLOURS.transpose(0, 3, 1, 2), y=labels[:, None])
    images = read_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(images.x, COLOURS)
    assert images.classes == ["ant", "cat", "dog"]
    (note,) = images.notes
    assert "(4, 3, 6, 5)" in note
    assert "x.transpose(0, 2, 3, 1)" in note


def test_another_size_and_number_of_channels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=COLOURS, y=LABELS)
    small = read_images(tmp_path / "a.npz", size=(3, 4))
    wanted = [Image.fromarray(c).resize((4, 3), Image.Resampling.BILINEAR) for c in COLOURS]
    np.testing.assert_array_equal(small.x, wanted)
    assert small.notes == [
        "4 of 4 images are resized to 3 × 4 pixels (height × width), the first of 6 × 5; "
        "4 of them, of another shape, are stretched; size changes that"
    ]
    grey = read_images(tmp_path / "a.npz", channels=1)
    wanted = [np.asarray(Image.fromarray(c).convert("L")) for c in COLOURS]
    assert np.abs(grey.x[..., 0].astype(int) - wanted).max() <= 1
    assert grey.notes == ["4 images are converted to grey"]
    np.savez(tmp_path / "b.npz", x=COLOURS[..., 0], y=LABELS)
    np.savez(tmp_path / "c.npz", x=np.zeros((4, 100, 80), np.uint8), y=LABELS, z=LABELS)
    reduced = read_images(tmp_path / "c.npz")
    assert reduced.x.shape == (4, 64, 51, 1)
    assert reduced.notes == [
        f"{tmp_path / 'c.npz'} also has z, not read",
        "4 of 4 images are resized to 64 × 51 pixels (height × width), the first of 100 × 80; "
        "size changes that",
    ]
    assert len(read_images(tmp_path / "c.npz", size=32, known=[(100, 80)]).notes) == 1
    three = read_images(tmp_path / "b.npz", channels=3)
    np.testing.assert_array_equal(three.x, np.repeat(COLOURS[..., :1], 3, -1))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"a": COLOURS}, r"with the arrays a; expected images and labels as x and y"),
        ({"x": COLOURS, "y": LABELS[:3]}, r"y of .*\(3,\) for 4 images"),
        ({"x": COLOURS, "y": np.eye(4)}, r"save y\.argmax"),
        ({"x": COLOURS / 99 - 1, "y": LABELS}, "values from -1 to"),
        ({"x": np.full((4, 6, 5), np.nan), "y": LABELS}, "values that are NaN or infinite"),
        ({"x": COLOURS.astype(complex), "y": LABELS}, "complex128"),
        ({"x": COLOURS[:, :, 0].reshape(4, -1)[:, :16], "y": LABELS}, r"x\.reshape\(-1, 4, 4\)"),
        ({"x": np.zeros((4, 6, 5, 4)), "y": LABELS}, r"x\[\.\.\., :3\]"),
        ({"x": np.array([None] * 4), "y": LABELS}, r"an array of Python objects.*np\.stack"),
    ],
)
def test_numpy_files_that_are_wrong(arrays: Any, says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FileError, match=says):
        read_images(tmp_path / "a.npz")


def test_a_numpy_file_that_is_cut(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=COLOURS, y=LABELS)
    whole = (tmp_path / "a.npz").read_bytes()
    for size in (0, 9, len(whole) // 2):
        (tmp_path / "a.npz").write_bytes(whole[:size])
        with pytest.raises(FileError, match=r"a.npz, which cannot be read"):
            read_images(tmp_path / "a.npz")


def test_a_run_on_a_file_with_its_own_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (x, y), (x_test, y_test) = stripes(60), stripes(22, seed=1)
    arrays = {"x_train": x / 255, "y_train": y, "x_test": x_test / 255, "y_test": y_test}
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez(tmp_path / "new.npz", images=x_test, labels=y_test)
    task = ImageTask.load(Recipe(source=str(tmp_path / "a.npz")))
    np.testing.assert_allclose(task.test[0][..., 0], x_test, rtol=1e-6)
    assert task.test[1].tolist() == y_test.tolist()
    assert (len(task.train[1]), len(task.valid[1])) == (54, 6)
    recipe = Recipe(source=str(tmp_path / "a.npz"), epochs=20)
    run = runs.train(recipe, tmp_path / "r", progress=False).run
    for source in (tmp_path / "a.npz", tmp_path / "new.npz"):
        said = json.loads(call(capsys, "predict", run, source, "--json")[1])["predictions"]
        assert [p["prediction"] for p in said] == [str(v) for v in y_test]
        assert [p["row"] for p in said] == list(range(22))
        assert Run.open(run).evaluate(source) == (22, {"accuracy": 1.0, "f1": 1.0})
    assert Run.open(run).evaluate()[0] == 22
    expect_one_error(capsys, ["train", tmp_path / "a.npz", "--test", "0.3"], "has 22 test images")


# ── IDX ──────────────────────────────────────────────────────────────────────────────────────────


def idx(values: Any) -> bytes:
    """The format's definition: zeros, 8 for bytes, the number of axes, their sizes, the bytes."""
    values = np.asarray(values, np.uint8)
    return (
        bytes([0, 0, 8, values.ndim])
        + struct.pack(f">{values.ndim}I", *values.shape)
        + (values.tobytes())
    )


def mnist(folder: Path, zipped: bool = False, **parts: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, (x, y) in parts.items():
        for what, content in (("images-idx3", idx(x)), ("labels-idx1", idx(y))):
            data = gzip.compress(content) if zipped else content
            (folder / f"{name}-{what}-ubyte{'.gz' * zipped}").write_bytes(data)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_a_run_on_idx_files(
    zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (x, y), (x_test, y_test) = stripes(60), stripes(22, seed=1)
    folder = mnist(tmp_path / "d", zipped, train=(x, y), t10k=(x_test, y_test))
    images = read_images(folder)
    np.testing.assert_array_equal(images.x[..., 0], np.concatenate([x, x_test]))
    assert (images.tests, images.classes) == (22, ["0", "1"])
    np.testing.assert_array_equal(images.y, np.concatenate([y, y_test]))
    done = runs.train(Recipe(source=str(folder), epochs=20), tmp_path / "r", progress=False)
    assert done.metrics["accuracy"] == 1
    assert Run.open(done.run).predict(folder)["prediction"] == [str(v) for v in y_test]
    single = next(folder.glob("t10k-images*"))
    assert Run.open(done.run).evaluate(single)[0] == 22
    assert kind_of(str(single)) is ImageTask
    assert runs.resume(done.run, progress=False).metrics == done.metrics
    mnist(folder, zipped, t10k=(x_test, 1 - y_test))
    expect_one_error(capsys, ["evaluate", done.run], "has changed")
    next(folder.glob("t10k-labels*")).unlink()
    assert len(read_image_files(single).x) == 22
    with pytest.raises(FileError, match="expected t10k-labels-idx1-ubyte in the same folder"):
        read_images(folder)


def test_a_folder_of_several_sets(tmp_path: Path) -> None:
    folder = mnist(tmp_path, **{"letters-train": stripes(8), "digits-train": stripes(9)})
    with pytest.raises(FileError, match=r"sets digits-, letters-; .*pass a file, .*digits-train"):
        read_images(folder)
    assert len(read_images(folder / "letters-train-images-idx3-ubyte").x) == 8


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no IDX file"),
        (idx(np.zeros(5)), "no IDX file of bytes with 3 axes"),
        (idx(np.zeros((5, 6, 6)))[:-1], "fewer bytes"),
        (idx(np.zeros((5, 6, 6))) + b"0", "more bytes"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 28), "memory"),
        (idx(np.zeros((6, 6, 6))), "6 images .* 5 labels"),
    ],
)
def test_idx_files_that_are_wrong(content: bytes, says: str, tmp_path: Path) -> None:
    folder = mnist(tmp_path / "d", train=(np.zeros((5, 6, 6)), range(5)))
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ChainruleError, match=says):
        read_images(folder)
    zipped = gzip.compress(content)[:-9]
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(zipped)
    with pytest.raises(ChainruleError):
        read_images(folder)
