"""Pictures as what they show: transparency, 16 bits, size and colour, how large they may be."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from chainrule.data import read_image_files, read_images
from chainrule.data.images.decode import MOST_PIXELS
from chainrule.errors import ArgumentError, FileError
from chainrule.train import Recipe, Run
from chainrule.train.runs import training as runs
from chainrule.train.runs.tasks import ImageTask
from commands import call

rng = np.random.default_rng(0)
# Black ink on what is transparent, by Pillow's mode: the clear value and the ink.
INKS: dict[str, tuple[Any, Any]] = {
    "RGBA": ((0, 0, 0, 0), (0, 0, 0, 255)),
    "LA": ((0, 0), (0, 255)),
    "white RGBA": ((255, 255, 255, 0), (255, 255, 255, 255)),
    "white LA": ((255, 0), (255, 255)),
}
DRAWN = [
    ("png", "RGBA"),
    ("png", "LA"),
    ("png", "white RGBA"),
    ("png", "white LA"),
    ("webp", "RGBA"),
    ("webp", "white RGBA"),
    ("gif", "RGBA"),
    ("gif", "white RGBA"),
]


def icon(mode: str) -> Any:
    clear, ink = INKS[mode]
    picture = Image.new(mode.split()[-1], (8, 8), clear)
    ImageDraw.Draw(picture).rectangle((2, 2, 5, 3), fill=ink)
    return picture


def shown(path: Path, **settings: Any) -> Any:
    return read_image_files(path, **settings).x[0]


@pytest.mark.parametrize(("kind", "mode"), DRAWN)
def test_what_is_drawn_in_alpha_alone(kind: str, mode: str, tmp_path: Path) -> None:
    """Black on white as a browser shows it; white ink on black, where it can be seen."""
    lossless = {"lossless": True, "exact": True} if kind == "webp" else {}
    icon(mode).save(tmp_path / f"a.{kind}", **lossless)
    drawn = np.zeros((8, 8), bool)
    drawn[2:4, 2:6] = True
    want = np.where(drawn == ("white" in mode), 255, 0)
    for channels in (1, 3):
        x = shown(tmp_path / f"a.{kind}", channels=channels)
        np.testing.assert_array_equal(x, np.repeat(want[..., None], channels, -1))


def test_shares_of_transparency_by_hand(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [10, 20, 30, 51], [0, 0, 0, 102]]])
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.png")
    share = pixels[..., 3:] / 255
    want = share * pixels[..., :3] + (1 - share) * 255
    np.testing.assert_allclose(shown(tmp_path / "a.png"), want, atol=0.6)
    grey = pixels[..., [0, 3]].astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "b.png")
    np.testing.assert_allclose(shown(tmp_path / "b.png"), want[..., :1], atol=0.6)


def test_a_transparent_colour_of_a_palette_of_grey_and_of_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    for kind in ("png", "gif"):
        palette.save(tmp_path / f"p.{kind}", transparency=0)
        assert shown(tmp_path / f"p.{kind}").tolist() == [[[255, 255, 255], [200, 100, 50]]]
    palette.save(tmp_path / "share.png", transparency=b"\x80\xff")
    assert shown(tmp_path / "share.png").tolist() == [[[127, 127, 127], [200, 100, 50]]]
    Image.fromarray(np.array([[0, 9]], np.uint8)).save(tmp_path / "l.png", transparency=0)
    assert shown(tmp_path / "l.png").ravel().tolist() == [255, 9]
    colours = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    Image.fromarray(colours).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    assert shown(tmp_path / "rgb.png").tolist() == [[[255, 255, 255], [4, 5, 6]]]
    Image.fromarray(np.array([[0, 257]], np.uint16)).save(tmp_path / "deep.png")
    with_level(tmp_path / "deep.png", 0)
    assert shown(tmp_path / "deep.png").ravel().tolist() == [255, 1]


def with_level(path: Path, level: int) -> None:
    """Put a tRNS chunk, the grey level that is transparent, after the head of a PNG file."""
    raw = path.read_bytes()
    body = b"tRNS" + struct.pack(">H", level)
    path.write_bytes(raw[:33] + struct.pack(">I", 2) + body + crc(body) + raw[33:])


def crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def test_training_and_prediction_see_the_same_icons(tmp_path: Path) -> None:
    for k in range(20):
        for name in ("circle", "bar"):
            picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
            draw = ImageDraw.Draw(picture)
            if name == "circle":
                draw.ellipse((k % 3, 1, 5 + k % 3, 6), fill=(0, 0, 0, 255))
            else:
                draw.rectangle((k % 3, 1, 5 + k % 3, 2), fill=(0, 0, 0, 255))
            (tmp_path / "d" / name).mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / "d" / name / f"{k}.png")
    recipe = Recipe(source=str(tmp_path / "d"), epochs=30)
    run = Run.open(runs.train(recipe, tmp_path / "r", progress=False).run)
    assert run.task.notes == []
    for name in ("circle", "bar"):
        said = run.predict(tmp_path / "d" / name)["prediction"]
        assert said.count(name) > 17


def test_16_bits_of_grey_are_kept(tmp_path: Path) -> None:
    deep = rng.integers(0, 65536, (6, 5), np.uint16)
    deep[0, :3] = 0, 300, 65535
    Image.fromarray(deep).save(tmp_path / "a.png")
    x = shown(tmp_path / "a.png")
    assert (x.dtype, x.shape) == (np.float32, (6, 5, 1))
    np.testing.assert_allclose(x[..., 0], deep / 257, rtol=1e-6)
    np.testing.assert_allclose(
        shown(tmp_path / "a.png", channels=3), np.repeat(deep[..., None] / 257, 3, 2), rtol=1e-6
    )
    pairs = np.repeat(deep, 2, 0).repeat(2, 1)
    Image.fromarray(pairs).save(tmp_path / "large.png")
    wanted = Image.fromarray((pairs / 257).astype(np.float32)).resize((5, 6), 2)
    np.testing.assert_allclose(shown(tmp_path / "large.png", size=(6, 5))[..., 0], wanted)
    Image.fromarray(np.array([[7]], np.uint8)).save(tmp_path / "shallow.png")
    both = read_image_files(tmp_path, size=(1, 1))
    assert (both.x.dtype, both.x[2].ravel().tolist()) == (np.float32, [7])


def test_a_run_on_what_only_the_lower_bits_show(tmp_path: Path) -> None:
    for k in range(30):
        for name, low in (("a", 60), ("b", 200)):
            (tmp_path / "d" / name).mkdir(parents=True, exist_ok=True)
            pixels = 20_000 // 256 * 256 + low + rng.integers(0, 9, (6, 6))
            Image.fromarray(pixels.astype(np.uint16)).save(tmp_path / "d" / name / f"{k}.png")
    run = runs.train(Recipe(source=str(tmp_path / "d"), epochs=20), tmp_path / "r", progress=False)
    assert run.metrics["accuracy"] == 1
    assert Run.open(run.run).predict(tmp_path / "d" / "b" / "3.png")["prediction"] == ["b"]


@pytest.mark.parametrize("colours", [2, 4, 6], ids=["RGB", "LA", "RGBA"])
def test_16_bits_a_colour_are_refused(colours: int, tmp_path: Path) -> None:
    """Pillow reads the upper byte of each."""
    depth = {2: 3, 4: 2, 6: 4}[colours]
    head = b"IHDR" + struct.pack(">IIBBBBB", 1, 1, 16, colours, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" + b"\1\2" * depth)
    chunks = [struct.pack(">I", len(c) - 4) + c + crc(c) for c in (head, data, b"IEND")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert np.asarray(Image.open(tmp_path / "a.png")).ravel()[0] == 1
    with pytest.raises(FileError, match=r"a.png, a PNG file with 16 bits per colour.*8 bits"):
        read_image_files(tmp_path / "a.png")


def grey_run(folder: Path) -> Any:
    for k in range(12):
        for name in "ab":
            (folder / "d" / name).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 120, (8, 8)) + 120 * (name == "b")
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "d" / name / f"{k}.png")
    return runs.train(Recipe(source=str(folder / "d"), epochs=1), folder / "r", progress=False).run


def test_pictures_of_another_kind_than_in_training_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = grey_run(tmp_path)
    for name, size in (("a", (100, 80)), ("b", (9, 9))):
        (tmp_path / "new" / name).mkdir(parents=True)
        Image.new("RGB", size, "red").save(tmp_path / "new" / name / "odd.png")
        Image.new("L", (8, 8), ord(name)).save(tmp_path / "new" / name / "same.png")
    first = tmp_path / "new" / "a" / "odd.png"
    said = [
        "2 of 4 images are resized to 8 × 8 pixels (height × width), the first "
        f"{first} of 80 × 100; 1 of them, of another shape, is stretched",
        f"2 images are converted to grey, the first {first}",
    ]
    for verb in ("predict", "evaluate"):
        assert call(capsys, verb, run, tmp_path / "new")[2].splitlines() == said
    with pytest.warns(UserWarning, match="1 image is converted to grey"):
        Run.open(run).predict(first)
    assert call(capsys, "predict", run, tmp_path / "new" / "b" / "same.png")[2] == ""


def test_pictures_of_other_sizes_in_training(tmp_path: Path) -> None:
    for k in range(10):
        for name in "ab":
            (tmp_path / name).mkdir(exist_ok=True)
            side = 99 if k == 5 else 128
            Image.new("L", (side, side), k * 20 + (name == "b")).save(tmp_path / name / f"{k}.png")
    task = ImageTask.load(Recipe(source=str(tmp_path)))
    assert task.notes == [
        f"20 of 20 images are resized to 64 × 64 pixels (height × width), the first "
        f"{tmp_path / 'a' / '0.png'} of 128 × 128; size changes that"
    ]
    again = ImageTask.restored(Recipe(), json.loads(json.dumps(task.to_json(), default=list)))
    again.read(str(tmp_path / "a" / "3.png"), labelled=False)
    assert again.notes == [], "128 × 128 is what training had"


def test_a_file_of_too_many_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also above Pillow's own limit, which would warn or raise without saying what to do."""
    run = grey_run(tmp_path)
    for side, limit in ((8000, MOST_PIXELS), (20_000, MOST_PIXELS), (9, 80)):
        path = tmp_path / f"{side}.png"
        head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        raw = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + crc(head)
        end = b"IDAT" + zlib.compress(bytes(side + 1) * side, 1) if side < 10 else b"IDAT"
        path.write_bytes(raw + struct.pack(">I", len(end) - 4) + end + crc(end))
        pattern = f"{side} × {side} pixels; expected at most {limit} .*--max-pixels {side * side}"
        with pytest.raises(FileError, match=pattern):
            read_image_files(path, max_pixels=limit)
    assert call(capsys, "predict", run, tmp_path / "9.png", "--max-pixels", "80")[0] == 2
    assert call(capsys, "predict", run, tmp_path / "9.png", "--max-pixels", "81")[0] == 0
    code, _, said = call(capsys, "train", tmp_path / "d", "--max-pixels", "63")
    assert (code, "0.png of 8 × 8 pixels" in said, "--max-pixels 64" in said) == (2, True, True)
    assert "got 24 of 24 images that cannot be used" in said
    assert "expected at most 63 pixels in a file, in all but 10% of the files" in said
    code, _, said = call(capsys, "predict", tmp_path / "no run", "--max-pixels", "0")
    assert code == 2
    recipe = (run / "recipe.toml").read_text()
    assert f"max_pixels = {MOST_PIXELS}" in recipe


def test_images_that_do_not_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(3):
        Image.new("RGB", (100, 100)).save(tmp_path / f"{k}.png")
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 179}.__getitem__)
    with pytest.raises(ArgumentError, match=r"3 images of size 100 × 100, .*0.0 GB"):
        read_image_files(tmp_path, size=100)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 180}.__getitem__)
    assert read_image_files(tmp_path, size=100).x.nbytes == 90_000
    with pytest.raises(ArgumentError, match="the memory of this machine"):
        read_image_files(tmp_path, size=10**9)


def test_all_turns_of_a_photograph(tmp_path: Path) -> None:
    """EXIF orientations, by the standard's table: the row and the column that come first."""
    upright = rng.integers(0, 256, (6, 4), np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }
    for turn, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / f"{turn}.png", exif=exif)
    found = read_image_files(tmp_path)
    assert found.notes == []
    for x in found.x:
        np.testing.assert_array_equal(x[..., 0], upright)


def test_cmyk_and_black_and_white_by_hand(tmp_path: Path) -> None:
    inks = np.array([[[0, 0, 0, 0], [255, 255, 0, 0], [0, 0, 0, 255]]], np.uint8)
    big = np.repeat(np.repeat(inks, 16, 0), 16, 1)
    Image.fromarray(big, "CMYK").save(tmp_path / "a.jpg", quality=100)
    x = shown(tmp_path / "a.jpg", size=(16, 48))[8, 8::16].astype(int)
    assert np.abs(x - [[255, 255, 255], [0, 0, 255], [0, 0, 0]]).max() <= 3
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "b.png")
    assert shown(tmp_path / "b.png").ravel().tolist() == [255, 0]


def test_levels_of_which_black_and_white_are_not_known(tmp_path: Path) -> None:
    """TIFF files, which Pillow reads under any name: of fractions it would make black."""
    shares = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    Image.fromarray(shares).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    with pytest.raises(
        FileError, match=r"a.png, whose pixels are fractions; expected values from 0 to 255"
    ):
        read_image_files(tmp_path / "a.png")
    for level in (-1, 65536):
        Image.fromarray(np.array([[0, level]], np.int32)).save(tmp_path / "b.tif")
        (tmp_path / "b.tif").rename(tmp_path / "b.png")
        with pytest.raises(FileError, match="levels outside of 0 to 65535"):
            read_image_files(tmp_path / "b.png")


@pytest.mark.parametrize("size", [3.5, "3", True, (3, 3, 3), (3,), (2.0, 2), (-1, 3), 0])
def test_sizes_that_are_none(size: Any, tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "1.png")
    with pytest.raises(ArgumentError, match=r"got size .*; expected 1 pixel or more"):
        read_image_files(tmp_path, size=size)


def test_names_that_are_no_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "1.png")
    (tmp_path / "b" / "2.png").mkdir()
    assert len(read_images(tmp_path).files) == 2
    (tmp_path / "b" / "2.png").rmdir()
    os.mkfifo(tmp_path / "b" / "2.png")
    with pytest.raises(FileError, match="it is a pipe or a device"):
        read_images(tmp_path)
