"""Images and text: what is read equals what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from chainrule.data import Characters, read_image_files, read_images, read_text, windows

rng = np.random.default_rng(0)


def save(
    path: Path, shape: tuple[int, ...] = (6, 5), mode: str | None = None, **options: Any
) -> Any:
    pixels = rng.integers(0, 256, shape, np.uint8)
    image = Image.fromarray(pixels)
    path.parent.mkdir(exist_ok=True)
    (image.convert(mode) if mode else image).save(path, **options)
    return pixels


def test_folders_are_classes_in_order(tmp_path: Path) -> None:
    written = [save(tmp_path / f"{c}/{k}.png") for c in ("ape", "bee") for k in (1, 2)]
    save(tmp_path / "bee/3.BMP")
    save(tmp_path / ".hidden/1.png")
    save(tmp_path / "ape/.1.png")
    (tmp_path / "ape/notes.txt").write_text("no image")
    (tmp_path / "list.csv").write_text("no folder")
    images = read_images(tmp_path)
    assert (images.x.shape, images.x.dtype) == ((5, 6, 5, 1), np.uint8)
    np.testing.assert_array_equal(images.x[:4, ..., 0], written)
    assert (images.y.tolist(), images.y.dtype) == ([0, 0, 1, 1, 1], np.int64)
    assert images.classes == ["ape", "bee"]
    names = ["ape/1.png", "ape/2.png", "bee/1.png", "bee/2.png", "bee/3.BMP"]
    assert images.files == [str(tmp_path / n) for n in names]


def test_sizes_and_channels(tmp_path: Path) -> None:
    for k, shape in enumerate([(6, 5, 3), (6, 5, 3), (12, 10)]):
        save(tmp_path / f"a/{k}.png", shape)
        save(tmp_path / f"b/{k}.jpg", shape)
    assert read_images(tmp_path).x.shape == (6, 6, 5, 3)
    assert read_images(tmp_path, size=8, channels=1).x.shape == (6, 8, 8, 1)
    assert read_images(tmp_path, size=(3, 4)).x.shape == (6, 3, 4, 3)
    grey = read_images(tmp_path, size=(12, 10)).x[2]
    assert (grey[..., :1] == grey).all()
    big = tmp_path / "big.png"
    save(big, (200, 100))
    assert read_image_files(big).x.shape == (1, 64, 32, 1)


def test_resizing_is_bilinear(tmp_path: Path) -> None:
    pixels = save(tmp_path / "a.png", (8, 8))
    small = read_image_files(tmp_path / "a.png", size=4).x[0, ..., 0]
    expected = Image.fromarray(pixels).resize((4, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small, np.asarray(expected))


def test_modes(tmp_path: Path) -> None:
    for mode in ("1", "L", "LA"):
        save(tmp_path / f"{mode}.png", mode=mode)
        assert read_image_files(tmp_path / f"{mode}.png").x.shape == (1, 6, 5, 1)
    for mode, kind in [
        ("P", "png"),
        ("RGBA", "png"),
        ("CMYK", "jpg"),
        ("P", "gif"),
        ("RGB", "webp"),
    ]:
        path = tmp_path / f"{mode}.{kind}"
        save(path, (6, 5, 3), mode=mode)
        assert read_image_files(path).x.shape == (1, 6, 5, 3)
    Image.new("P", (5, 6)).save(tmp_path / "t.png", transparency=b"\x00\x80")
    assert read_image_files(tmp_path / "t.png").x.shape == (1, 6, 5, 3)


def test_a_turned_photograph_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    pixels = save(tmp_path / "a.png", (6, 5), exif=exif)
    x = read_image_files(tmp_path / "a.png").x
    np.testing.assert_array_equal(x[0, ..., 0], np.rot90(pixels, -1))


def test_files_without_classes(tmp_path: Path) -> None:
    a, b = (save(tmp_path / f"{n}.png") for n in "ab")
    for images in (
        read_image_files(tmp_path),
        read_image_files([tmp_path / "a.png", str(tmp_path / "b.png")]),
    ):
        np.testing.assert_array_equal(images.x[..., 0], [a, b])
        assert (images.y.tolist(), images.classes) == ([-1, -1], [])


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


def test_text_is_utf8_with_one_end_of_line(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffgrün\r\n日\r𝄞\n".encode())
    assert read_text(path) == "grün\n日\n𝄞\n"


def test_codes_by_hand() -> None:
    c = Characters.fit("hello")
    assert (c.characters, len(c)) == ("ehlo", 5)
    assert c.encode("hexlo~").tolist() == [2, 1, 0, 3, 4, 0]
    assert c.decode([[2, 1], [0, 3]]) == "he\ufffdl"
    assert len(Characters("").encode("ab")) == 2


@given(st.text(min_size=1), st.text())
def test_known_characters_come_back(known: str, other: str) -> None:
    c = Characters.fit(known)
    assert c.encode(known).dtype == np.int64
    assert c.decode(c.encode(known)) == known
    again = Characters.from_json(json.loads(json.dumps(c.to_json())))
    np.testing.assert_array_equal(again.encode(other), c.encode(other))
    expected = "".join(t if t in known else "\ufffd" for t in other)
    assert c.decode(c.encode(other)) == expected
    assert (c.encode(other) < len(c)).all()


@given(st.integers(2, 60), st.integers(1, 20))
def test_windows_do_not_overlap(n: int, length: int) -> None:
    if n <= length:
        return
    x, y = windows(np.arange(n), length)
    assert x.shape == y.shape == ((n - 1) // length, length)
    np.testing.assert_array_equal(x.ravel(), np.arange(x.size))
    np.testing.assert_array_equal(y, x + 1)


def test_reading_needs_nothing_at_import() -> None:
    import subprocess
    import sys

    code = (
        "import sys, chainrule.data; "
        "print([m for m in ('duckdb', 'PIL', 'pandas', 'polars', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("letters", ["\ud800", "a\ud800b"])
def test_half_a_surrogate_pair_is_a_character(letters: str) -> None:
    assert Characters.fit(letters).decode(Characters.fit(letters).encode(letters)) == letters
