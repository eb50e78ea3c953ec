"""One image file as an array: values from 0 to 255, channels last, read with Pillow."""

from __future__ import annotations

import functools
import importlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, FileError
from ...graph import Array

EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_FORMATS = ("Png", "Jpeg", "Bmp", "Gif", "WebP", "Tiff")  # whatever the ending of a name
MOST_PIXELS = 50_000_000  # of one file: some 600 MB while it is read
GREY, PALETTE, CMYK = "grey", "with a palette", "CMYK"
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I")
_DEEP = _GREY[4:]
_KINDS = {**dict.fromkeys(_GREY, GREY), "P": PALETTE, "PA": PALETTE, "CMYK": CMYK}
_TURNED = range(5, 9)  # EXIF orientations that exchange width and height
_BITS, _ZERO = 258, 262  # tags of TIFF: bits per sample; 0 if the level 0 is white
_TURN = 0x0112  # the tag of EXIF that is the orientation
_LATE = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # chunks of PNG that may have it, after the pixels too
_LIMIT = threading.Lock()


@dataclass(frozen=True)
class Head:
    """From the first bytes of a file.

    size       (H, W), upright
    kind       grey, in colour, with a palette, or CMYK
    deep       whether it has 16 bits
    several    whether it has several images, as an animation has
    stamp      bytes and time of the last change (ns)
    """

    size: tuple[int, int]
    kind: str
    deep: bool
    several: bool
    stamp: tuple[int, int]


def is_image(path: Path) -> bool:
    """Whether a file has the ending of an image, and is not hidden."""
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def _open(file: Path) -> Any:
    """Pillow's image, of which only the head is read; our limit of pixels replaces Pillow's."""
    pillow = _pillow()
    formats = _formats()
    with _LIMIT:
        limit, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None
        try:
            image = pillow.open(file, formats=formats)
        finally:
            pillow.MAX_IMAGE_PIXELS = limit
    image.filename = ""  # else Pillow maps TIFF files into memory, and a turned one is garbled
    return image


@functools.cache
def _formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, after it has loaded them."""
    for name in _FORMATS:
        importlib.import_module(f"PIL.{name}ImagePlugin")
    return tuple(name.upper() for name in _FORMATS)


def read_head(file: Path, max_pixels: int) -> Head:
    """The head of a file; too many pixels, or bits that Pillow drops, are errors."""
    stamp = stamp_of(file)
    try:
        with _open(file) as image:
            pixels = image.size[0] * image.size[1]
            turned = pixels <= max_pixels and _is_turned(image, file)
            size, mode = image.size if turned else image.size[::-1], image.mode
            several = image.format != "MPO" and getattr(image, "is_animated", False)
            deep_colours = _has_deep_colours(image, file)
    except Exception as error:  # of many kinds, in damaged files
        raise _unreadable(file, error) from None
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
    return Head(size, _KINDS.get(mode, "in colour"), mode in _DEEP, several, stamp)


def stamp_of(file: Path) -> tuple[int, int]:
    """The bytes of a file and the time of its last change (ns); anything else is an error."""
    try:
        status = file.stat()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        raise _unreadable(file, OSError("it is not there") if gone else error) from None
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait
        folder = stat.S_ISDIR(status.st_mode)
        raise _unreadable(file, OSError(f"it is {'a folder' if folder else 'a pipe or a device'}"))
    return status.st_size, status.st_mtime_ns


def expect_same_file(file: Path, stamp: tuple[int, int]) -> None:
    """Raise if a file has changed since it had this stamp."""
    if stamp_of(file) != stamp:
        raise FileError(
            "read_images",
            f"got {file}, which has changed since it was first read",
            "expected the same file in each epoch",
            "read the images again",
        )


def _is_turned(image: Any, file: Path) -> bool:
    """Whether EXIF or XMP data exchange the width and the height that Pillow read from the head."""
    if image.format == "PNG" and not _has_late_chunks(file):
        exif = _pillow().Image.getexif(image)  # PNG's own would decode the pixels
    else:
        exif = image.getexif()
    exchanged = image.format == "TIFF" and image.tag_v2.get(_TURN) in _TURNED  # by Pillow
    return (exif.get(_TURN) in _TURNED) != exchanged


def _has_late_chunks(file: Path) -> bool:
    """Whether a PNG file has EXIF data or texts after its pixels."""
    with open(file, "rb") as raw:
        raw.seek(8)
        pixels = False
        while len(head := raw.read(8)) == 8 and head[4:] != b"IEND":
            if pixels and head[4:] in _LATE:
                return True
            pixels = pixels or head[4:] == b"IDAT"
            raw.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


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
            inverted = image.format == "TIFF" and image.tag_v2.get(_ZERO) == 0
            ImageOps.exif_transpose(image, in_place=True)
            mode = "L" if channels == 1 else "RGB"
            if image.mode in _DEEP:
                image = _from_16_bits(image, inverted)
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


def _from_16_bits(image: Any, inverted: bool) -> Any:
    """Grey as float32 from 0 to 255; the transparent level becomes white.

    inverted   whether 0 is white; Pillow turns 8 bits, not 16
    """
    values = np.asarray(image).astype(np.float32)
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise ValueError("it has levels outside of 0 to 65535")
    clear = image.info.get("transparency")
    if clear is not None:
        values[values == clear] = 65535
    if inverted:
        values = 65535 - values
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
        what = "it is not an image of a format that is read" if stamp_of(file)[0] else "it is empty"
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
