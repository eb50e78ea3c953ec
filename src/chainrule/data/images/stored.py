"""Images that stay in their files: for sets that are larger than the memory."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, FileError
from ...graph import Array
from ...memory import expect_room, physical
from ..source import RowSource
from .decode import MOST_PIXELS, expect_same_file
from .levels import Levels
from .listing import existing, listed, listed_files
from .moments import moments, moments_of_each
from .packed import packed_files, read_packed
from .read import MOST_UNREADABLE, Images, in_memory, unpacked
from .survey import Form, Size, Survey, decoded, survey

SHARE = 0.25  # of the memory: images that take more stay in files; the most that is cached


class ImageFiles(RowSource):
    """Images (N, H, W, C) that are decoded when they are read, in place of an array.

    source          a folder with one sub-folder per class, or a CSV file of names and labels
    size, channels, max_pixels, target, drop, max_unreadable   as for `read_images`
    cache           bytes of decoded images to keep; by default a quarter of the memory

    files           the path of each image
    y, classes      the index of its class in classes: int64 (N,)
    same            equal numbers for files with the same bytes: int64 (N,)
    notes           what is changed or left out

    All files are decoded once, to find those that cannot be read. A file whose size or time of
    change differs when it is read again is an error in its batch.
    """

    def __init__(
        self,
        source: str | Path,
        size: int | Size | None = None,
        channels: int | None = None,
        max_pixels: int = MOST_PIXELS,
        *,
        target: str | None = None,
        drop: Sequence[str] = (),
        max_unreadable: float = MOST_UNREADABLE,
        cache: int | None = None,
    ) -> None:
        path = existing(source, "a folder of images, or a file of images and labels")
        if packed_files(path):
            raise ArgumentError(
                "ImageFiles",
                f"got {path}, which has many images in one file",
                "expected a file for each image",
                "cr.data.read_images reads it",
            )
        if cache is not None and not (type(cache) is int and cache >= 0):
            raise ArgumentError(
                "ImageFiles",
                f"got cache {cache!r}",
                "expected a whole number of bytes from 0",
                "cache=10**9",
            )
        surveyed = survey(listed(path, target, drop), size, channels, max_pixels, max_unreadable)
        self._read(surveyed, None, _most_cached() if cache is None else cache)

    @classmethod
    def of(cls, surveyed: Survey, known: Sequence[Size] | None) -> ImageFiles:
        """The images of a survey."""
        self = cls.__new__(cls)
        self._read(surveyed, known, _most_cached())
        return self

    def _read(self, surveyed: Survey, known: Sequence[Size] | None, cache: int) -> None:
        form = surveyed.form
        expect_room("read_images", f"an image of {form.size}, which needs", _bytes(form), "size=64")
        self._stored = _Stored(surveyed, cache)
        self._places = np.arange(len(self._stored.files))
        self.y, self.classes = surveyed.listing.y[list(surveyed.heads)], surveyed.listing.classes
        self.notes, self.same, self.dtype = surveyed.notes(known), surveyed.same(), form.dtype

    @property
    def files(self) -> list[Path]:
        return [self._stored.files[k] for k in self._places]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (len(self._places), *self._stored.form.shape)

    def part(self, rows: Any) -> ImageFiles:
        """The images of these rows, with the same cache."""
        out, rows = copy.copy(self), self._numbers(rows)
        out._places, out.y, out.same = self._places[rows], self.y[rows], self.same[rows]
        return out

    def _take(self, rows: Array) -> Array:
        return self._stored.take(self._places[rows])

    def moments(self) -> tuple[Array, Array]:
        """The mean and the standard deviation of each channel: (C,) each."""
        return self._stored.moments(self._places)

    def fingerprint(self) -> str:
        names = "\n".join(f"{f.name} {f.stat().st_size}" for f in self.files)
        return f"{self.dtype} {self.shape} #{zlib.crc32(names.encode(errors='replace')):08x}"

    def __repr__(self) -> str:
        return f"ImageFiles({self.dtype} {self.shape}, {len(self.classes)} classes)"


class _Stored:
    """Decoded files, the first of them cached: in a random order these are as good as others."""

    def __init__(self, surveyed: Survey, cache: int) -> None:
        self.form = surveyed.form
        most = min(len(surveyed.heads), cache // _bytes(surveyed.form))
        self._cache = np.empty((most, *self.form.shape), self.form.dtype)
        each = []
        for number, (_, pixels) in enumerate(surveyed.decoded()):
            if number < most:
                self._cache[number] = pixels
            each.append(np.concatenate(moments_of_each(pixels[None])))
        self.files = [surveyed.listing.files[k] for k in surveyed.heads]
        self.stamps = [head.stamp for head in surveyed.heads.values()]
        self._moments = np.array(each, np.float64).reshape(-1, 2, self.form.channels)

    def take(self, numbers: Array) -> Array:
        out = np.empty((len(numbers), *self.form.shape), self.form.dtype)
        cached = numbers < len(self._cache)
        out[cached] = self._cache[numbers[cached]]
        others = np.flatnonzero(~cached)
        for k in numbers[others].tolist():
            expect_same_file(self.files[k], self.stamps[k])
        files = [self.files[k] for k in numbers[others]]
        for place, pixels in zip(others, decoded(files, self.form), strict=True):
            if isinstance(pixels, FileError):
                raise pixels
            out[place] = pixels
        return out

    def moments(self, numbers: Array) -> tuple[Array, Array]:
        return moments(*self._moments[numbers].swapaxes(0, 1))


def open_images(
    source: str | Path,
    size: int | Size | None,
    channels: int | None,
    max_pixels: int,
    known: Sequence[Size] | None,
    max_unreadable: float,
    labelled: bool,
    target: str | None,
    drop: Sequence[str],
    levels: Levels | None = None,
) -> Images:
    """As `read_images` does, or `read_image_files` if they are not labelled.

    levels   of training images in a file of many: what was white in it

    Images that need more than a quarter of the memory stay in files.
    """
    needed = "images with classes" if labelled else "an image or a folder of images"
    path = existing(source, needed)
    if packed_files(path):
        return unpacked(read_packed(path, labelled, levels), size, channels, known)
    listing = listed(path, target, drop) if labelled else listed_files(path, drop)
    surveyed = survey(listing, size, channels, max_pixels, max_unreadable)
    size_of_all, there = len(surveyed.heads) * _bytes(surveyed.form), physical()
    if there is None or size_of_all <= SHARE * there:
        return in_memory(surveyed, known)
    x: Any = ImageFiles.of(surveyed, known)
    note = (
        f"the images need {size_of_all / 1e9:.1f} GB, more than {SHARE:.0%} of the memory: "
        "they are decoded in each epoch"
    )
    names = list(map(str, x.files))
    return Images(x, x.y, x.classes, names, surveyed.usual, [*x.notes, note], same=x.same)


def _bytes(form: Form) -> int:
    """Of an image."""
    return int(form.dtype.itemsize * math.prod(form.shape))


def _most_cached() -> int:
    return int(SHARE * (physical() or 2**32))
