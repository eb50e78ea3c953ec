"""Folders of images as arrays: values from 0 to 255, channels last."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileError
from ..graph import Array
from ..memory import expect_room

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
LARGEST = 64  # pixels of the longer side, by default
MOST_PIXELS = 50_000_000  # of one file: some 600 MB while it is read
_GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I")
_DEEP = _GREY[3:]
_TURNED = range(5, 9)  # EXIF orientations that exchange width and height
_LIMIT = threading.Lock()


@dataclass(frozen=True)
class Images:
    """Images and their classes.

    x         (N, H, W, C) from 0 to 255, C is 1 or 3: uint8, or float32 if a file has 16 bits
    y         int64 (N,): the index of the class in classes, -1 if unknown
    classes   names of the classes
    files     the path of each image
    usual     (H, W) of most files
    notes     what was changed: other sizes, colour where grey was wanted
    """

    x: Array
    y: Array
    classes: list[str]
    files: list[str]
    usual: tuple[int, int] = (0, 0)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Head:
    """From the first bytes of a file: size (H, W), whether it is grey, whether it has 16 bits."""

    size: tuple[int, int]
    grey: bool
    deep: bool


def read_images(
    folder: str | Path,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    max_pixels: int = MOST_PIXELS,
    known: Sequence[tuple[int, int]] | None = None,
) -> Images:
    """The images of a folder with one sub-folder per class, in the order of their names.

    size         (H, W), or a number for both; by default the most common size of the files, reduced
                 if a side is longer than 64 pixels
    channels     1 or 3; by default 1 if every image is grey, else 3
    max_pixels   files with more are errors before they are read
    known        sizes (H, W) without a note; by default the most common one

    Images are turned upright by their EXIF data. Transparent ones are drawn on white, or on black
    if nothing can be seen on white. Grey files with 16 bits keep them, as fractions; files with 16
    bits per colour are errors. Of an animation the first image is read.
    """
    folder = _existing(Path(folder), "a folder of images")
    if not folder.is_dir():
        raise FileError(
            "read_images", f"got the file {folder}", "expected a folder", f"pass {folder.parent}"
        )
    parts = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    nested = [p for p in parts if _is_nested(p)]
    if nested and len(nested) == len(parts):
        raise FileError(
            "read_images",
            f"got {folder}, whose sub-folders {' and '.join(p.name for p in nested)}"
            " contain folders",
            "expected one sub-folder per class",
            f"train on one of them, {nested[-1]}, and evaluate on another",
        )
    if len(parts) < 2:
        what = f"the single class {parts[0].name!r}" if parts else "no sub-folders"
        raise FileError(
            "read_images",
            f"got {folder} with {what}",
            "expected two or more sub-folders, one per class",
            "sort the images into sub-folders named after their classes",
        )
    by_class = [_files(part) for part in parts]
    files = [f for part in by_class for f in part]
    y = np.repeat(np.arange(len(parts)), [len(part) for part in by_class])
    x, usual, notes = _read(files, size, channels, max_pixels, known)
    return Images(x, y, [p.name for p in parts], list(map(str, files)), usual, notes)


def read_image_files(
    files: str | Path | Sequence[str | Path],
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    max_pixels: int = MOST_PIXELS,
    known: Sequence[tuple[int, int]] | None = None,
) -> Images:
    """Images of unknown class: a file, several, or all files of a folder.

    They are read like those of `read_images`.
    """
    if isinstance(files, (str, Path)):
        path = _existing(Path(files), "an image or a folder of images")
        paths = _files(path) if path.is_dir() else [path]
    else:
        paths = [_existing(Path(f), "an image") for f in files]
    x, usual, notes = _read(paths, size, channels, max_pixels, known)
    return Images(x, np.full(len(paths), -1), [], list(map(str, paths)), usual, notes)


def _is_nested(folder: Path) -> bool:
    """Whether it contains no images, but its folders do."""
    inside = [p for p in folder.iterdir() if not p.name.startswith(".")]
    deeper = (f for p in inside if p.is_dir() for f in p.iterdir())
    return not any(map(_is_image, inside)) and any(map(_is_image, deeper))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _existing(path: Path, needed: str) -> Path:
    if not path.exists():
        raise FileError(
            "read_images",
            f"got {path}, which does not exist",
            f"expected {needed}",
            "check the path and the current folder",
        )
    return path


def _files(folder: Path) -> list[Path]:
    shown = [p for p in folder.iterdir() if not p.name.startswith(".")]
    files = sorted(p for p in shown if _is_image(p))
    if not files:
        raise FileError(
            "read_images",
            f"got {folder} with no images",
            f"expected files {' '.join(EXTENSIONS)}",
            "add images, or remove the folder",
        )
    return files


def _read(
    files: list[Path],
    size: int | tuple[int, int] | None,
    channels: int | None,
    max_pixels: int,
    known: Sequence[tuple[int, int]] | None,
) -> tuple[Array, tuple[int, int], list[str]]:
    """All images in one array, the most common size, and notes of changes."""
    if channels not in (None, 1, 3):
        raise ArgumentError(
            "read_images", f"got channels {channels}", "expected 1 or 3", "leave it out"
        )
    heads = [_head(f, max_pixels) for f in files]
    usual = Counter(h.size for h in heads).most_common(1)[0][0] if heads else (1, 1)
    wanted = _smaller(usual) if size is None else (size, size) if isinstance(size, int) else size
    if type(wanted) not in (tuple, list) or [*map(type, wanted)] != [int, int] or min(wanted) < 1:
        raise ArgumentError(
            "read_images",
            f"got size {size!r}",
            "expected 1 pixel or more, or (height, width)",
            "try 32",
        )
    height, width = wanted
    depth = channels or (1 if all(h.grey for h in heads) else 3)
    dtype = np.dtype(np.float32 if any(h.deep for h in heads) else np.uint8)
    shape = (len(files), height, width, depth)
    expect_room(  # twice: they are also divided into parts
        "read_images",
        f"{len(files)} images of size {height} × {width}, which need",
        2 * dtype.itemsize * math.prod(shape),
        "pass a smaller size, or fewer images",
    )
    x = np.empty(shape, dtype)
    for row, file in zip(x, files, strict=True):
        row[:] = _pixels(file, (width, height), depth)
    same = {wanted, *([usual] if known is None else known)}
    return x, usual, _changes(files, heads, wanted, same, depth)


def _changes(
    files: list[Path],
    heads: list[_Head],
    wanted: tuple[int, int],
    known: set[tuple[int, int]],
    depth: int,
) -> list[str]:
    """A note for images of another size, and one for colour images where grey is wanted."""
    notes = []
    for others, became in (
        (
            [k for k, h in enumerate(heads) if h.size not in known],
            f"resized to {wanted[0]} × {wanted[1]} pixels",
        ),
        ([k for k, h in enumerate(heads) if depth == 1 and not h.grey], "converted to grey"),
    ):
        if others:
            size, count = heads[others[0]].size, len(others)
            images = f"{count} image{'s are' if count > 1 else ' is'}"
            notes.append(
                f"{images} {became}, the first {files[others[0]]} of {size[0]} × {size[1]}"
            )
    return notes


def _smaller(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) with a longer side of at most LARGEST pixels."""
    shrink = min(1.0, LARGEST / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _open(file: Path) -> Any:
    """Pillow's image, of which only the head is read; our limit of pixels replaces Pillow's."""
    pillow = _pillow()
    with _LIMIT:
        limit, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None
        try:
            return pillow.open(file)
        finally:
            pillow.MAX_IMAGE_PIXELS = limit


def _head(file: Path, max_pixels: int) -> _Head:
    """The head of a file; too many pixels, or bits that Pillow drops, are errors."""
    if not file.is_file():  # opening a pipe would wait
        what = "a folder" if file.is_dir() else "a pipe or a device"
        raise _unreadable(file, OSError(f"it is {what}"))
    try:
        with _open(file) as image:
            turned = "exif" in image.info and image.getexif().get(0x0112) in _TURNED
            size, mode = image.size if turned else image.size[::-1], image.mode
        with open(file, "rb") as raw:
            start = raw.read(26)
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(file, error) from None
    pixels = size[0] * size[1]
    if mode == "F":
        raise FileError(
            "read_images",
            f"got {file}, whose pixels are fractions",
            "expected values from 0 to 255, or 16 bits of grey",
            "save it in one of these formats: which fractions are black and white is unknown",
        )
    if pixels > max_pixels:
        raise FileError(
            "read_images",
            f"got {file} of {size[0]} × {size[1]} pixels",
            f"expected at most {max_pixels} pixels in a file",
            f"reduce it, or allow it: max_pixels={pixels} (--max-pixels {pixels})",
        )
    if start.startswith(b"\x89PNG") and start[24] == 16 and start[25] != 0:
        raise FileError(
            "read_images",
            f"got {file}, a PNG file with 16 bits per colour, of which 8 would be lost",
            "expected 8 bits per colour, or 16 bits of grey",
            "save it in one of these formats",
        )
    return _Head(size, mode in _GREY, mode in _DEEP)


def _pixels(file: Path, size: tuple[int, int], channels: int) -> Array:
    """(H, W, channels) from 0 to 255, for the size (W, H): uint8, or float32 for 16 bits."""
    pillow = _pillow()
    from PIL import ImageOps

    try:
        with _open(file) as image:
            ImageOps.exif_transpose(image, in_place=True)
            mode = "L" if channels == 1 else "RGB"
            if image.mode in _DEEP:
                image = _from_16_bits(image)
            else:
                image = _on_a_background(image)
                image = image if image.mode == mode else image.convert(mode)  # which would copy it
            if image.size != size:
                image = image.resize(size, pillow.Resampling.BILINEAR)
            pixels = np.asarray(image).reshape(size[1], size[0], -1)
            return np.broadcast_to(pixels, (size[1], size[0], channels))
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(file, error) from None


def _from_16_bits(image: Any) -> Any:
    """Grey as float32 from 0 to 255; the transparent level becomes white."""
    values = np.asarray(image).astype(np.float32)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError("it has levels outside of 0 to 65535")
    clear = image.info.get("transparency")
    if clear is not None:
        values[values == clear] = 65535
    return _pillow().fromarray(values / 257)


def _on_a_background(image: Any) -> Any:
    """The image on white, or on black if nothing of it can be seen on white."""
    if not (image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info):
        return image
    drawn = image if image.mode == "RGBA" else image.convert("RGBA")

    def drawn_on(colour: str) -> tuple[Any, bool]:
        below = _pillow().new("RGB", drawn.size, colour)
        below.paste(drawn, mask=drawn)
        return below, any(low < high for low, high in below.getextrema())

    on_white, seen = drawn_on("white")
    if seen:
        return on_white
    on_black, seen = drawn_on("black")
    return on_black if seen else on_white


def _unreadable(file: Path, error: Exception) -> FileError:
    what = str(error).replace(repr(str(file)), "it") or type(error).__name__
    if isinstance(error, _pillow().UnidentifiedImageError):
        what = "it is not an image" if file.stat().st_size else "it is empty"
    return FileError(
        "read_images",
        f"got {file}, which cannot be read: {what}",
        "expected a complete image",
        "replace or remove that file",
    )


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ArgumentError(
            "read_images",
            "got images, but Pillow is not installed",
            "expected Pillow, which reads images",
            'pip install "chainrule[images]"',
        ) from None
    return Image
