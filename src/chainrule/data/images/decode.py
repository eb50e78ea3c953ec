"""One image file as an array: values from 0 to 255, channels last, read with Pillow."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, FileError
from ...graph import Array

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MOST_PIXELS = 50_000_000  # of one file: some 600 MB while it is read
GREY, PALETTE, CMYK = "grey", "with a palette", "CMYK"
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I")
_DEEP = _GREY[4:]
_KINDS = {**dict.fromkeys(_GREY, GREY), "P": PALETTE, "PA": PALETTE, "CMYK": CMYK}
_TURNED = range(5, 9)  # EXIF orientations that exchange width and height
_BITS, _TURN = 258, 0x0112  # tags: of TIFF, bits per sample; of EXIF, the orientation
_LIMIT = threading.Lock()


@dataclass(frozen=True)
class Head:
    """From the first bytes of a file.

    size       (H, W), upright
    kind       grey, in colour, with a palette, or CMYK
    deep       whether it has 16 bits
    several    whether it has several images, as an animation has
    """

    size: tuple[int, int]
    kind: str
    deep: bool
    several: bool


def is_image(path: Path) -> bool:
    """Whether a file has the ending of an image, and is not hidden."""
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def _open(file: Path) -> Any:
    """Pillow's image, of which only the head is read; our limit of pixels replaces Pillow's."""
    pillow = _pillow()
    with _LIMIT:
        limit, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None
        try:
            return pillow.open(file)
        finally:
            pillow.MAX_IMAGE_PIXELS = limit


def read_head(file: Path, max_pixels: int) -> Head:
    """The head of a file; too many pixels, or bits that Pillow drops, are errors."""
    if not file.is_file():  # opening a pipe would wait
        there = "a pipe or a device" if file.exists() else "not there"
        raise _unreadable(file, OSError(f"it is {'a folder' if file.is_dir() else there}"))
    _pillow()
    try:
        with _open(file) as image:
            turned = "exif" in image.info and image.getexif().get(_TURN) in _TURNED
            size, mode = image.size if turned else image.size[::-1], image.mode
            several = image.format != "MPO" and getattr(image, "is_animated", False)
            deep_colours = _has_deep_colours(image, file)
    except Exception as error:  # of many kinds, in damaged files
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
    if deep_colours:
        raise FileError(
            "read_images",
            f"got {file}, a {deep_colours} file with 16 bits per colour, of which 8 would be lost",
            "expected 8 bits per colour, or 16 bits of grey",
            "save it in one of these formats",
        )
    return Head(size, _KINDS.get(mode, "in colour"), mode in _DEEP, several)


def _has_deep_colours(image: Any, file: Path) -> str:
    """The format of a file with more than 8 bits per colour, of which Pillow keeps 8; else ""."""
    if image.format == "PNG":
        with open(file, "rb") as raw:
            start = raw.read(26)
        return "PNG" if start[24] == 16 and start[25] != 0 else ""
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS, (8,))
        return "TIFF" if len(bits) > 1 and max(bits) > 8 else ""
    return ""


def read_pixels(file: Path, size: tuple[int, int], channels: int) -> Array:
    """(H, W, channels) from 0 to 255, for the size (H, W): uint8, or float32 for 16 bits.

    A JPEG file of more than four times the size is reduced by 2, 4 or 8 while it is decoded.
    """
    pillow, wide = _pillow(), size[::-1]
    from PIL import ImageOps

    try:
        with _open(file) as image:
            image.draft(image.mode, (2 * max(size), 2 * max(size)))
            ImageOps.exif_transpose(image, in_place=True)
            mode = "L" if channels == 1 else "RGB"
            if image.mode in _DEEP:
                image = _from_16_bits(image)
            else:
                image = _on_a_background(image)
                image = image if image.mode == mode else image.convert(mode)  # which would copy it
            if image.size != wide:
                image = image.resize(wide, pillow.Resampling.BILINEAR)
            pixels = np.asarray(image).reshape(*size, -1)
            return np.broadcast_to(pixels, (*size, channels))
    except Exception as error:  # of many kinds, in damaged files
        raise _unreadable(file, error) from None


def resized(x: Array, size: tuple[int, int], channels: int) -> Array:
    """Images (N, H, W, C) in another size and number of channels; the dtype stays."""
    pillow = _pillow()
    if channels == 1 and x.shape[3] == 3:  # as Pillow makes grey of colours
        grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
        x = (np.rint(grey) if x.dtype == np.uint8 else grey).astype(x.dtype)[..., None]
    out = np.empty((len(x), *size, x.shape[3]), x.dtype)
    for new, image in zip(out, x, strict=True):
        for k in range(x.shape[3]):
            plane = pillow.fromarray(np.ascontiguousarray(image[..., k]))
            new[..., k] = np.asarray(plane.resize(size[::-1], pillow.Resampling.BILINEAR))
    return np.repeat(out, channels // x.shape[3], axis=3)


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
