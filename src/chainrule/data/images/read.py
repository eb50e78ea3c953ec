"""Images of files as arrays: values from 0 to 255, channels last."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, FileError
from ...graph import Array
from ...memory import expect_room
from .decode import CMYK, GREY, MOST_PIXELS, PALETTE, Head, read_head, read_pixels, resized
from .listing import (
    Listing,
    columns_of_files,
    existing,
    files_below,
    listed_by_folder,
    listed_in_table,
)
from .packed import Packed, packed_files, read_packed

LARGEST = 64  # pixels of the longer side, by default
MOST_UNREADABLE = 0.1  # share of files that are left out, by default
_NAMED = 3  # unreadable files, in a note or an error

Size = tuple[int, int]


@dataclass(frozen=True)
class Images:
    """Images and their classes.

    x         (N, H, W, C) from 0 to 255, C is 1 or 3: uint8, or float32 if a file has 16 bits
    y         int64 (N,): the index of the class in classes, -1 if unknown
    classes   names of the classes
    files     the path of each image; empty for a file of many images
    usual     (H, W) of most files
    notes     what was changed or left out: other sizes, colour where grey was wanted
    tests     number of the last images that the source has as its test part
    """

    x: Array
    y: Array
    classes: list[str]
    files: list[str]
    usual: Size = (0, 0)
    notes: list[str] = field(default_factory=list)
    tests: int = 0


@dataclass(frozen=True)
class Form:
    """The form that all images get: (H, W), channels and dtype."""

    size: Size
    channels: int
    dtype: Any


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

    source          a folder with one sub-folder per class; a CSV file of file names and labels; an
                    `.npz` file with images and labels (x and y; or x_train, y_train, x_test,
                    y_test); an IDX file, or a folder of them (train-images-idx3-ubyte.gz …)
    size            (H, W), or a number for both; by default the most common size of the files,
                    reduced if a side is longer than 64 pixels
    channels        1 or 3; by default 1 if every image is grey, else 3
    max_pixels      files with more are not read
    known           sizes (H, W) without a note; by default the most common one
    target          of a CSV file: the column of labels; by default the only other one, or `label`
    drop            of a CSV file: columns that do not count
    max_unreadable  the share of files that may be unreadable; they are left out, with a note

    Images are turned upright by their EXIF data. Transparent ones are drawn on white, or on black
    if nothing can be seen on white. Grey files with 16 bits keep them, as fractions; files with 16
    bits per colour are unreadable. Of an animation the first image is read.
    """
    path = existing(Path(source), "a folder of images, or a file of images and labels")
    if packed_files(path):
        return _unpacked(read_packed(path), size, channels, known)
    listing = listed_in_table(path, target, drop) if columns_of_files(path, drop) else None
    return _decoded(
        listing or listed_by_folder(path), size, channels, max_pixels, known, max_unreadable
    )


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
    if isinstance(files, (str, Path)):
        path = existing(Path(files), "an image or a folder of images")
        if packed_files(path):
            return _unpacked(read_packed(path, labelled=False), size, channels, known)
        if columns_of_files(path):
            listing = listed_in_table(path, labelled=False)
        else:
            paths = files_below(path) if path.is_dir() else [path]
            listing = Listing(paths, np.full(len(paths), -1), [], path)
    else:
        paths = [existing(Path(f), "an image") for f in files]
        listing = Listing(paths, np.full(len(paths), -1), [], Path())
    return _decoded(listing, size, channels, max_pixels, known, max_unreadable)


def _unpacked(
    packed: Packed, size: int | Size | None, channels: int | None, known: Sequence[Size] | None
) -> Images:
    """Images of one file, in another size and number of channels if that is wanted."""
    usual = packed.x.shape[1:3]
    form = _form(usual, size, channels, packed.x.shape[3] == 1, packed.x.dtype)
    notes = list(packed.notes)
    if form.size not in (usual, *(known or ())) and (known is not None or size is not None):
        notes.append(
            f"{len(packed.x)} images of {usual[0]} × {usual[1]} are resized to "
            f"{form.size[0]} × {form.size[1]} pixels"
        )
    if form.channels == 1 and packed.x.shape[3] == 3:
        notes.append(f"{len(packed.x)} images are converted to grey")
    x = packed.x
    if x.shape[1:] != (*form.size, form.channels):
        _expect_room(len(x), form)
        x = resized(x, form.size, form.channels)
    classes = packed.classes
    number = {c: k for k, c in enumerate(classes)}
    y = np.array([number[v] for v in packed.labels]) if packed.labels else np.full(len(x), -1)
    return Images(x, y, classes, [], usual, notes, packed.tests)


def _decoded(
    listing: Listing,
    size: int | Size | None,
    channels: int | None,
    max_pixels: int,
    known: Sequence[Size] | None,
    max_unreadable: float,
) -> Images:
    """All images of a listing in one array, without those that cannot be read."""
    bad: dict[int, FileError] = {}
    heads: dict[int, Head] = {}
    for k, file in enumerate(listing.files):
        try:
            heads[k] = read_head(file, max_pixels)
        except FileError as error:
            bad[k] = error
    _expect_few(bad, len(listing.files), max_unreadable)
    sizes = Counter(h.size for h in heads.values())
    usual = sizes.most_common(1)[0][0] if sizes else (1, 1)
    grey = all(h.kind == GREY for h in heads.values())
    deep = any(h.deep for h in heads.values())
    form = _form(usual, size, channels, grey, np.dtype(np.float32 if deep else np.uint8))
    _expect_room(len(heads), form)
    x = np.empty((len(heads), *form.size, form.channels), form.dtype)
    rows: list[int] = []
    for k in heads:
        try:
            x[len(rows)] = read_pixels(listing.files[k], form.size, form.channels)
            rows.append(k)
        except FileError as error:
            bad[k] = error
            _expect_few(bad, len(listing.files), max_unreadable)
    emptied = set(listing.y.tolist()) - set(listing.y[rows].tolist())
    if emptied:  # a class would be left without images
        raise next(bad[k] for k in sorted(bad) if listing.y[k] in emptied)
    notes = [
        *listing.notes,
        *_left_out(bad, len(listing.files)),
        *_changes([listing.files[k] for k in rows], [heads[k] for k in rows], form, usual, known),
    ]
    names = [str(listing.files[k]) for k in rows]
    return Images(x[: len(rows)], listing.y[rows], listing.classes, names, usual, notes)


def _form(
    usual: Size, size: int | Size | None, channels: int | None, grey: bool, dtype: Any
) -> Form:
    """The form of images that mostly have the usual size."""
    if channels not in (None, 1, 3):
        raise ArgumentError(
            "read_images", f"got channels {channels}", "expected 1 or 3", "leave it out"
        )
    wanted = _smaller(usual) if size is None else (size, size) if isinstance(size, int) else size
    if type(wanted) not in (tuple, list) or [*map(type, wanted)] != [int, int] or min(wanted) < 1:
        raise ArgumentError(
            "read_images",
            f"got size {size!r}",
            "expected 1 pixel or more, or (height, width)",
            "try 32",
        )
    return Form((wanted[0], wanted[1]), channels or (1 if grey else 3), dtype)


def _smaller(size: Size) -> Size:
    """(H, W) with a longer side of at most LARGEST pixels."""
    shrink = min(1.0, LARGEST / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _expect_room(count: int, form: Form) -> None:
    height, width = form.size
    expect_room(  # twice: they are also divided into parts
        "read_images",
        f"{count} images of size {height} × {width}, which need",
        2 * form.dtype.itemsize * math.prod((count, *form.size, form.channels)),
        "pass a smaller size, or fewer images",
    )


# ── what is said about them ──────────────────────────────────────────────────────────────────────


def _expect_few(bad: dict[int, FileError], files: int, most: float) -> None:
    """Raise if more than this share of the files cannot be read."""
    if len(bad) <= most * files:
        return
    first = [bad[k] for k in sorted(bad)]
    if len(first) == 1:
        raise first[0]
    raise FileError(
        "read_images",
        f"got {len(first)} of {files} images that cannot be used: {_reasons(first)}",
        f"{first[0].needed}, in all but {most:.0%} of the files",
        f"{first[0].advice}; leave out more with max_unreadable in a recipe",
    )


def _left_out(bad: dict[int, FileError], files: int) -> list[str]:
    """A note that names images which cannot be read."""
    if not bad:
        return []
    count = f"{len(bad)} of {files} images {'is' if len(bad) == 1 else 'are'}"
    return [f"{count} left out: {_reasons([bad[k] for k in sorted(bad)])}"]


def _reasons(errors: list[FileError]) -> str:
    """The first files that cannot be used, and why."""
    each = [e.arrived.removeprefix("got ") for e in errors[:_NAMED]]
    few = [f"and {len(errors) - _NAMED} more"] * (len(errors) > _NAMED)
    return ", ".join([*each, *few]).replace(", which cannot be read:", ":")


def _changes(
    files: list[Path], heads: list[Head], form: Form, usual: Size, known: Sequence[Size] | None
) -> list[str]:
    """Notes of images of another size, in colour where grey is wanted, of several kinds, and of
    animations."""
    same = {form.size, *([usual] if known is None else known)}
    notes = []
    for matches, what in (
        ([h.size not in same for h in heads], f"resized to {form.size[0]} × {form.size[1]} pixels"),
        ([form.channels == 1 and h.kind != GREY for h in heads], "converted to grey"),
        ([h.several for h in heads], "only the first of several in the file"),
    ):
        count = sum(matches)
        if count:
            first = matches.index(True)
            size = heads[first].size
            images = f"{count} image{'s are' if count > 1 else ' is'}"
            notes.append(f"{images} {what}, the first {files[first]} of {size[0]} × {size[1]}")
    kinds = Counter(h.kind for h in heads)
    if {PALETTE, CMYK} & kinds.keys() or (len(kinds) > 1 and known is None):
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        read = GREY if form.channels == 1 else "in colour"
        notes.append(f"kinds of images: {listed}; all are read {read}")
    return notes
