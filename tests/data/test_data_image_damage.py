"""Images that cannot be used, or that differ, are named and counted; the others are used."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chainrule.data import read_image_files, read_images
from chainrule.errors import FileError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.tasks import ImageTask
from commands import call, expect_one_error

rng = np.random.default_rng(0)


def pictures(folder: Path, count: int = 20, classes: str = "ab") -> Path:
    """Images of 8 × 8, class b bright."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 120, (8, 8)) + 120 * (name == "b")
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{k:02}.png")
    return folder


def bomb(path: Path, side: int) -> None:
    """The head of a PNG file of side × side pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [head, b"IDAT", b"IEND"]
    framed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))


def spoiled(folder: Path) -> list[str]:
    """Four of its 42 files cannot be used; the beginning of what is said of each."""
    pictures(folder)
    image = Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8))
    image.save(folder / "a" / "x cut.jpg")
    whole = (folder / "a" / "x cut.jpg").read_bytes()
    (folder / "a" / "x cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "05.png").write_bytes(b"")
    (folder / "b" / "07.png").write_bytes(b"hello")
    bomb(folder / "b" / "x bomb.png", 30_000)
    return ["05.png: it is empty", "x cut.jpg: image file is truncated", "07.png: it is not an"]


def test_damaged_images_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = spoiled(tmp_path / "d")
    images = read_images(tmp_path / "d")
    assert np.bincount(images.y).tolist() == [19, 19]
    for x, file in zip(images.x, images.files, strict=True):
        np.testing.assert_array_equal(x[..., 0], np.asarray(Image.open(file)))
    (note,) = images.notes
    assert note.startswith("4 of 42 images are left out: ")
    assert note.endswith("and 1 more")
    places = [note.index(s) for s in said]
    assert places == sorted(places)
    code, out, err = call(capsys, "train", tmp_path / "d", "--out", tmp_path / "r", "--json")
    assert (code, json.loads(out)["notes"], note in err) == (0, [note], True)
    assert note in (tmp_path / "r" / "report.html").read_text()
    assert json.loads((tmp_path / "r" / "result.json").read_text())["notes"] == [note]
    for verb, field in (("predict", "predictions"), ("evaluate", "rows")):
        code, out, err = call(capsys, verb, tmp_path / "r", tmp_path / "d", "--json")
        told = json.loads(out)
        assert (code, told["notes"], note in err) == (0, [note], True)
        assert told[field] == 38 if field == "rows" else len(told[field]) == 38
    with pytest.warns(UserWarning, match="4 of 42 images"):
        Run.open(tmp_path / "r").predict(tmp_path / "d")


def test_more_damaged_images_than_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = spoiled(tmp_path / "d")
    with pytest.raises(FileError, match="got 3 of 42 images that cannot be used") as caught:
        read_images(tmp_path / "d", max_unreadable=0.05)
    assert said[0] in str(caught.value)
    assert "in all but 5% of the files" in str(caught.value)
    (tmp_path / "r.toml").write_text('[data]\nsource = "d"\nmax_unreadable = 0.05\n')
    expect_one_error(capsys, ["train", tmp_path / "r.toml"], "3 of 42 images")
    for path in sorted((tmp_path / "d" / "b").iterdir())[:9]:
        path.write_bytes(b"")
    expect_one_error(capsys, ["train", tmp_path / "d"], "images that cannot be used")


def test_a_class_without_readable_images(tmp_path: Path) -> None:
    pictures(tmp_path / "d")
    (tmp_path / "d" / "c").mkdir()
    (tmp_path / "d" / "c" / "0.png").write_bytes(b"")
    with pytest.raises(FileError, match=r"c/0.png, which cannot be read: it is empty"):
        read_images(tmp_path / "d")


def test_a_bomb_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb(tmp_path / "a.png", 100_000)
    with pytest.raises(FileError, match=r"100000 × 100000 pixels; expected at most 50000000"):
        read_image_files(tmp_path / "a.png")
    page = zlib.compress(b"\0" * 200_000_000, 9)  # a text chunk that grows a thousandfold
    body = b"zTXtComment\0\0" + page
    Image.new("L", (4, 4)).save(tmp_path / "b.png")
    raw = (tmp_path / "b.png").read_bytes()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "b.png").write_bytes(raw[:33] + chunk + raw[33:])
    with pytest.raises(FileError, match=r"b.png, which cannot be read"):
        read_image_files(tmp_path / "b.png")


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "webp", "tif", "bmp"])
def test_damage_anywhere_is_an_error_or_an_image(kind: str, tmp_path: Path) -> None:
    """Bytes that are changed or cut: another image, or a FileError, never anything else."""
    path = tmp_path / f"a.{kind}"
    Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged[: rng.integers(0, 2 * len(whole))].tobytes())
        with contextlib.suppress(FileError):
            assert read_image_files(path, size=4).x.shape[:3] == (1, 4, 4)


def test_kinds_of_images_are_counted(tmp_path: Path) -> None:
    modes = ["RGB"] * 3 + ["L"] * 2 + ["P"] + ["CMYK"]
    for name in "ab":
        (tmp_path / name).mkdir()
        for k, mode in enumerate(modes):
            colours = rng.integers(0, 256, (8, 8, 3), np.uint8)
            image = Image.fromarray(colours).convert(mode)
            image.save(tmp_path / name / f"{k}.tif")
    images = read_images(tmp_path)
    assert images.notes == [
        "kinds of images: 6 in colour, 4 grey, 2 with a palette, 2 CMYK; all are read in colour"
    ]
    wanted = [np.asarray(Image.open(f).convert("RGB")) for f in images.files]
    np.testing.assert_array_equal(images.x, wanted)
    alike = read_image_files([tmp_path / "a" / "3.tif", tmp_path / "b" / "4.tif"])
    assert (alike.notes, alike.x.shape) == ([], (2, 8, 8, 1))


@pytest.mark.parametrize("kind", ["gif", "webp", "tif", "png"])
def test_of_an_animation_the_first_image_is_read(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue", "green")]
    path = tmp_path / f"a.{kind}"
    lossless = {"lossless": True} if kind == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    images = read_image_files(path)
    assert images.x[0, 0, 0].tolist() == [255, 0, 0]
    said = f"1 file has several images, of which the first is read, such as {path}"
    assert images.notes[0] == said


def test_16_bits_per_colour_in_tiff_are_refused(tmp_path: Path) -> None:
    """A TIFF file by hand: Pillow keeps the upper byte of each colour."""
    tags = {256: 1, 257: 1, 259: 1, 262: 2, 277: 3, 278: 1, 279: 6}
    start = 8 + 6 + 2  # the head, the pixel, padding
    bits_at = start + 2 + 12 * 9 + 4
    entries = [struct.pack("<HHII", t, 3, 1, v) for t, v in tags.items()]
    entries.append(struct.pack("<HHII", 258, 3, 3, bits_at))
    entries.append(struct.pack("<HHII", 273, 4, 1, 8))
    entries.sort(key=lambda e: struct.unpack("<H", e[:2]))
    body = struct.pack("<2sHI", b"II", 42, start) + b"\1\2" * 3 + b"\0\0"
    body += struct.pack("<H", 9) + b"".join(entries) + bytes(4) + struct.pack("<3H", 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(body)
    assert np.asarray(Image.open(tmp_path / "a.tif")).tolist() == [[[2, 2, 2]]]
    with pytest.raises(FileError, match=r"a.tif, a TIFF file with 16 bits per colour"):
        read_image_files(tmp_path / "a.tif")


def test_classes_too_small_to_be_split(tmp_path: Path) -> None:
    pictures(tmp_path)
    for name, count in (("c", 1), ("d", 2), ("e", 3)):
        (tmp_path / name).mkdir()
        for k in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(
                tmp_path / name / f"{k}.png"
            )
    task = ImageTask.load(Recipe(source=str(tmp_path)))
    (note,) = task.notes
    assert note.startswith("classes with fewer than 3 images: c (1), d (2); they are not in each")
    assert np.flatnonzero(task.train[1] == 2).size == 1, "the only one is trained on"


def test_a_folder_that_contains_itself(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "d", 10)
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "above").symlink_to(tmp_path, target_is_directory=True)
    (folder / "a" / "deep").symlink_to(folder, target_is_directory=True)
    (folder / "c").symlink_to(folder / "b", target_is_directory=True)
    images = read_images(folder)
    assert (images.classes, len(images.x)) == (["a", "b", "c"], 30)
    *links, copied = images.notes
    assert [n.split(" is a link to a folder that it is in")[0] for n in links] == [
        str(folder / "above"),
        str(folder / "again"),
    ]
    assert copied.startswith("10 images are in several classes")
    assert len(read_image_files(folder).files) == 20, "each folder once"
    done = runs.train(Recipe(source=str(folder), epochs=1), tmp_path / "r", progress=False)
    assert len(Run.open(done.run).predict(folder, warn=False)["file"]) == 20


def test_a_large_photograph_is_reduced_while_it_is_decoded(tmp_path: Path) -> None:
    """JPEG's own reduction by 8, then bilinear: close to the mean of each square."""
    ramp = np.add.outer(np.arange(1024), np.arange(1024)) / 2046 * 255
    photograph: Any = np.stack([ramp, 255 - ramp, ramp / 2], -1).astype(np.uint8)
    Image.fromarray(photograph).save(tmp_path / "a.jpg", quality=95)
    x = read_image_files(tmp_path / "a.jpg", size=32).x[0]
    means = photograph.reshape(32, 32, 32, 32, 3).mean((1, 3))
    assert np.abs(x - means).max() < 6
