"""Folders of images as arrays: bytes, channels last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileError
from ..graph import Array

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
LARGEST = 64  # pixels of the longer side, unless a size is given
_GREY = ("1", "L", "LA", "I;16")
_TURNED = range(5, 9)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class Images:
    """Images and their classes.

    x         uint8 (N, H, W, C), C is 1 or 3
    y         int64 (N,): the place of the class in classes, -1 where it is not known
    classes   names of the classes
    files     where each image comes from
    """

    x: Array
    y: Array
    classes: list[str]
    files: list[str]


def read_images(
    folder: str | Path, size: int | tuple[int, int] | None = None, channels: int | None = None
) -> Images:
    """The images of a folder with one sub-folder a class, in the order of their names.

    size       (H, W), or a number for both; the most common size of the files otherwise, made
               smaller if a side is longer than 64 pixels
    channels   1 or 3; 1 if every image is grey, 3 otherwise
    """
    folder = _existing(Path(folder), "a folder of images")
    if not folder.is_dir():
        raise FileError("read_images", f"got the file {folder}", "a folder", "name its folder")
    parts = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    nested = [p for p in parts if _is_nested(p)]
    if nested and len(nested) == len(parts):
        raise FileError(
            "read_images", f"got {folder}, whose sub-folders {' and '.join(p.name for p in nested)}"
            " hold folders themselves", "one sub-folder a class",
            f"train on one of them, {nested[-1]}; evaluate can judge another",
        )  # fmt: skip
    if len(parts) < 2:
        what = f"the single class {parts[0].name!r}" if parts else "no sub-folders"
        raise FileError(
            "read_images", f"got {folder} with {what}", "two sub-folders or more, one a class",
            "sort the images into sub-folders named after their classes",
        )  # fmt: skip
    found = [_files(part) for part in parts]
    files = [f for part in found for f in part]
    y = np.repeat(np.arange(len(parts)), [len(part) for part in found])
    return Images(_read(files, size, channels), y, [p.name for p in parts], list(map(str, files)))


def read_image_files(
    files: str | Path | Sequence[str | Path], size: int | tuple[int, int] | None = None,
    channels: int | None = None,
) -> Images:  # fmt: skip
    """Images whose class is not known: a file, several, or all files of a folder."""
    if isinstance(files, (str, Path)):
        path = _existing(Path(files), "an image or a folder of images")
        found = _files(path) if path.is_dir() else [path]
    else:
        found = [_existing(Path(f), "an image") for f in files]
    return Images(_read(found, size, channels), np.full(len(found), -1), [], list(map(str, found)))


def _is_nested(folder: Path) -> bool:
    """Whether there are no images in it, but images in its folders."""
    inside = [p for p in folder.iterdir() if not p.name.startswith(".")]
    deeper = (f for p in inside if p.is_dir() for f in p.iterdir())
    return not any(map(_is_image, inside)) and any(map(_is_image, deeper))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _existing(path: Path, needed: str) -> Path:
    if not path.exists():
        raise FileError(
            "read_images", f"got {path}, which does not exist", f"{needed} is needed",
            "check the path and the folder that you are in",
        )  # fmt: skip
    return path


def _files(folder: Path) -> list[Path]:
    shown = [p for p in folder.iterdir() if not p.name.startswith(".")]
    files = sorted(p for p in shown if _is_image(p))
    if not files:
        raise FileError(
            "read_images", f"got {folder} with no images", f"files {' '.join(EXTENSIONS)}",
            "add images, or remove the folder",
        )  # fmt: skip
    return files


def _read(files: list[Path], size: int | tuple[int, int] | None, channels: int | None) -> Array:
    if channels not in (None, 1, 3):
        raise ArgumentError("read_images", f"got channels {channels}", "1 or 3", "leave it out")
    for file in files:
        if file.is_fifo():  # opening it would wait
            raise _unreadable(file, OSError("it is a pipe"))
    if size is None or channels is None:
        kinds = [_size_and_mode(f) for f in files]
        size = _common_size([s for s, _ in kinds]) if size is None else size
        channels = channels or (1 if all(mode in _GREY for _, mode in kinds) else 3)
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ArgumentError("read_images", f"got size {size}", "1 pixel or more", "try 32")
    try:
        x = np.empty((len(files), height, width, channels), np.uint8)
    except (MemoryError, ValueError) as error:
        raise ArgumentError(
            "read_images", f"got {len(files)} images of size {height} × {width}: {error}".replace(
                ";", ","), "what fits into memory", "make the size smaller",
        ) from None  # fmt: skip
    for row, file in zip(x, files, strict=True):
        row[:] = _pixels(file, (width, height), channels)
    return x


def _common_size(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The most common (H, W), its longer side at most LARGEST pixels."""
    height, width = Counter(sizes).most_common(1)[0][0]
    shrink = min(1.0, LARGEST / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def _size_and_mode(file: Path) -> tuple[tuple[int, int], str]:
    """((H, W), Pillow's mode), from the head of the file alone."""
    pillow = _pillow()
    try:
        with pillow.open(file) as image:
            turned = "exif" in image.info and image.getexif().get(0x0112) in _TURNED
            return (image.size if turned else image.size[::-1]), image.mode
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise _unreadable(file, error) from None


def _pixels(file: Path, size: tuple[int, int], channels: int) -> Array:
    """uint8 (H, W, channels), for the size (W, H)."""
    pillow = _pillow()
    from PIL import ImageOps

    try:
        with pillow.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):  # Pillow would cut at 255, not scale
                image = pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if "transparency" in image.info:
                image = image.convert("RGBA")
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != size:
                image = image.resize(size, pillow.Resampling.BILINEAR)
            return np.asarray(image).reshape(size[1], size[0], channels)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> FileError:
    what = str(error).replace(repr(str(file)), "it") or type(error).__name__
    if isinstance(error, _pillow().UnidentifiedImageError):
        what = "it is no image" if file.stat().st_size else "it is empty"
    return FileError(
        "read_images", f"got {file}, which cannot be read: {what}", "a whole image is needed",
        "replace or remove that file",
    )  # fmt: skip


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ArgumentError(
            "read_images", "got images, but Pillow is not installed", "Pillow reads them",
            'pip install "chainrule[images]"',
        ) from None  # fmt: skip
    return Image
