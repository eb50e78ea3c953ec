"""Images of files as arrays: values from 0 to 255, channels last."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...graph import Array
from ...memory import expect_room
from .decode import MOST_PIXELS, resized
from .levels import Levels
from .listing import Listing, existing, listed, listed_files
from .packed import Packed, packed_files, read_packed
from .survey import Form, Size, Survey, form_of, resized_note, survey

MOST_UNREADABLE = 0.1  # share of files that are left out, by default


@dataclass(frozen=True)
class Images:
    """Images and their classes.

    x         (N, H, W, C) from 0 to 255, C is 1 or 3: uint8, or float32 if a file has 16 bits
    y         int64 (N,): the index of the class in classes, -1 if unknown
    classes   names of the classes
    files     the path of each image; empty for a file of many images
    usual     (H, W) of most files, or about that of a file in the middle
    notes     what was changed or left out: other sizes, colour where grey was wanted
    tests     number of the last images that the source has as its test part
    same      int64 (N,), equal for files with the same bytes; None for a file of many images
    levels    of a file of many images: what is white in it
    """

    x: Array
    y: Array
    classes: list[str]
    files: list[str]
    usual: Size = (0, 0)
    notes: list[str] = field(default_factory=list)
    tests: int = 0
    same: Array | None = None
    levels: Levels | None = None


def read_images(
    source: str | Path,
    size: int | Size | None = None,
    channels: int | None = None,
    max_pixels: int = MOST_PIXELS,
    known: Sequence[Size] | None = None,
    *,
    target: str | None = None,
    drop: Sequence[str] = (),
    max_unreadable: float = MOST_UNREADABLE,
) -> Images:
    """Images with classes.

    source          a folder with one sub-folder per class, which may have folders too; a CSV file
                    of file names and labels; an `.npz` file with images and labels (x and y; or
                    x_train, y_train, x_test, y_test); an IDX file, or a folder of them
                    (train-images-idx3-ubyte.gz …)
    size            (H, W), or a number for both; by default the size of half of the files or more,
                    else about that of a file in the middle, reduced if a side is longer than 64
                    pixels
    channels        1 or 3; by default 1 if every image is grey, else 3
    max_pixels      files with more are not read
    known           sizes (H, W) without a note
    target          of a CSV file: the column of labels; by default the only other one, or `label`
    drop            of a CSV file: columns that do not count
    max_unreadable  the share of files that may be unreadable; they are left out, with a note

    Images are turned upright by their EXIF or XMP data. Transparent ones are drawn on white, or on
    black if nothing can be seen on white. Grey files with 16 bits keep them, as fractions; files
    with 16 bits per colour are unreadable. Of an animation the first image is read.
    """
    path = existing(source, "a folder of images, or a file of images and labels")
    if packed_files(path):
        return unpacked(read_packed(path), size, channels, known)
    listing = listed(path, target, drop)
    return in_memory(survey(listing, size, channels, max_pixels, max_unreadable), known)


def read_image_files(
    files: str | Path | Sequence[str | Path],
    size: int | Size | None = None,
    channels: int | None = None,
    max_pixels: int = MOST_PIXELS,
    known: Sequence[Size] | None = None,
    *,
    max_unreadable: float = MOST_UNREADABLE,
) -> Images:
    """Images of unknown class: a file, several, or all files of a folder and its sub-folders.

    They are read like those of `read_images`; of a source with a test part, only that.
    """
    if not isinstance(files, Iterable) or isinstance(files, (str, bytes)):
        path = existing(files, "an image or a folder of images")
        if packed_files(path):
            return unpacked(read_packed(path, labelled=False), size, channels, known)
        listing = listed_files(path)
    else:
        paths = [existing(f, "an image") for f in files]
        listing = Listing(paths, np.full(len(paths), -1), [], Path())
    return in_memory(survey(listing, size, channels, max_pixels, max_unreadable), known)


def unpacked(
    packed: Packed, size: int | Size | None, channels: int | None, known: Sequence[Size] | None
) -> Images:
    """Images of one file, in another size and number of channels if that is wanted."""
    usual = packed.x.shape[1:3]
    form = form_of(usual, size, channels, packed.x.shape[3] == 1, packed.x.dtype)
    notes = [*packed.notes, *resized_note([usual] * len(packed.x), form.size, known)]
    if form.channels == 1 and packed.x.shape[3] == 3:
        notes.append(f"{len(packed.x)} images are converted to grey")
    x = packed.x
    if x.shape[1:] != (*form.size, form.channels):
        _expect_room(len(x), form)
        x = resized(x, form.size, form.channels)
    classes = packed.classes
    number = {c: k for k, c in enumerate(classes)}
    y = np.array([number[v] for v in packed.labels]) if packed.labels else np.full(len(x), -1)
    return Images(x, y, classes, [], usual, notes, packed.tests, levels=packed.levels)


def in_memory(files: Survey, known: Sequence[Size] | None) -> Images:
    """All images of files in one array, without those that cannot be read."""
    _expect_room(len(files.heads), files.form)
    x = np.empty((len(files.heads), *files.form.shape), files.form.dtype)
    rows: list[int] = []
    for k, pixels in files.decoded():
        x[len(rows)] = pixels
        rows.append(k)
    listing, notes = files.listing, files.notes(known)
    names = [str(listing.files[k]) for k in rows]
    x, y = x[: len(rows)], listing.y[rows]
    return Images(x, y, listing.classes, names, files.usual, notes, same=files.same())


def _expect_room(count: int, form: Form) -> None:
    height, width = form.size
    expect_room(  # twice: they are also divided into parts
        "read_images",
        f"{count} images of size {height} × {width}, which need",
        2 * form.dtype.itemsize * math.prod((count, *form.shape)),
        "pass a smaller size, or fewer images",
    )
