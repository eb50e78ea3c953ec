"""What is known of a list of image files before they are decoded, and what is said about them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, FileError
from ...graph import Array
from .copies import groups, in_several_classes
from .decode import CMYK, GREY, MOST_PIXELS, PALETTE, Head, read_head, read_pixels
from .listing import Listing

LARGEST = 64  # pixels of the longer side, by default
THREADS = min(8, os.cpu_count() or 1)  # that decode
_NAMED = 3  # unreadable files, in a note or an error
_SAME_SHAPE = 1.05  # quotient of shapes up to which an image does not look stretched
_AT_ONCE = 16 * THREADS  # images that are decoded before they are read

Size = tuple[int, int]


@dataclass(frozen=True)
class Form:
    """The form that all images get: (H, W), channels and dtype."""

    size: Size
    channels: int
    dtype: Any

    @property
    def shape(self) -> tuple[int, int, int]:
        return *self.size, self.channels


@dataclass
class Survey:
    """Files by their numbers in a listing.

    usual   (H, W) of most files, or about that of a file in the middle
    form    of all images
    heads   of files that can be read, as far as is known
    bad     why the others cannot be used
    """

    listing: Listing
    usual: Size
    form: Form
    heads: dict[int, Head]
    bad: dict[int, FileError]
    max_unreadable: float
    _same: Array | None = None

    def decoded(self) -> Iterator[tuple[int, Array]]:
        """The number and the pixels of each file that can be read; `heads` loses the others."""
        numbers = list(self.heads)
        files = [self.listing.files[k] for k in numbers]
        for k, pixels in zip(numbers, decoded(files, self.form), strict=True):
            if not isinstance(pixels, FileError):
                yield k, pixels
                continue
            self.bad[k] = pixels
            del self.heads[k]
            _expect_few(self.bad, len(self.listing.files), self.max_unreadable)
        self._expect_each_class()

    def _expect_each_class(self) -> None:
        """Raise if no file of a class can be read."""
        y = self.listing.y
        emptied = set(y.tolist()) - set(y[list(self.heads)].tolist())
        if emptied:
            raise next(self.bad[k] for k in sorted(self.bad) if y[k] in emptied)

    def notes(self, known: Sequence[Size] | None) -> list[str]:
        """What was left out or is changed."""
        files = [self.listing.files[k] for k in self.heads]
        copied = in_several_classes(files, self.same(), self.listing.y[list(self.heads)])
        return [
            *self.listing.notes,
            *_left_out(self.bad, len(self.listing.files)),
            *copied,
            *_changes(files, list(self.heads.values()), self.form, known),
        ]

    def same(self) -> Array:
        """Equal numbers for decoded files with the same bytes: int64 (N,), if they have classes."""
        if not self.listing.classes:
            return np.arange(len(self.heads))
        if self._same is None:
            self._same = groups([self.listing.files[k] for k in self.heads])
        return self._same


def survey(
    listing: Listing,
    size: int | Size | None,
    channels: int | None,
    max_pixels: int,
    max_unreadable: float,
) -> Survey:
    """Read the heads of all files, and choose the form of the images."""
    _expect_limits(max_pixels, max_unreadable)
    bad: dict[int, FileError] = {}
    heads: dict[int, Head] = {}
    for k, file in enumerate(listing.files):
        try:
            heads[k] = read_head(file, max_pixels)
        except FileError as error:
            bad[k] = error
    _expect_few(bad, len(listing.files), max_unreadable)
    usual = _usual([h.size for h in heads.values()])
    grey = all(h.kind == GREY for h in heads.values())
    deep = any(h.deep for h in heads.values())
    form = form_of(usual, size, channels, grey, np.dtype(np.float32 if deep else np.uint8))
    return Survey(listing, usual, form, heads, bad, max_unreadable)


def decoded(files: Sequence[Path], form: Form) -> Iterator[Array | FileError]:
    """The pixels of each file, or why it cannot be read; several threads decode ahead."""

    def pixels(file: Path) -> Array | FileError:
        try:
            return read_pixels(file, form.size, form.channels)
        except FileError as error:
            return error

    if len(files) == 1:
        yield pixels(files[0])
        return
    with ThreadPoolExecutor(THREADS, "chainrule images") as pool:
        for first in range(0, len(files), _AT_ONCE):
            yield from pool.map(pixels, files[first : first + _AT_ONCE])


def form_of(
    usual: Size, size: int | Size | None, channels: int | None, grey: bool, dtype: Any
) -> Form:
    """The form of images that mostly have the usual size."""
    if channels is not None and (type(channels) is bool or channels not in (1, 3)):
        raise ArgumentError(
            "read_images", f"got channels {channels!r}", "expected 1 or 3", "leave it out"
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


def _expect_limits(max_pixels: Any, max_unreadable: Any) -> None:
    if type(max_pixels) is not int or max_pixels < 1:
        raise ArgumentError(
            "read_images",
            f"got max_pixels {max_pixels!r}",
            "expected a whole number from 1",
            f"max_pixels={MOST_PIXELS}",
        )
    number = isinstance(max_unreadable, (int, float)) and not isinstance(max_unreadable, bool)
    if not (number and 0 <= max_unreadable <= 1):
        raise ArgumentError(
            "read_images",
            f"got max_unreadable {max_unreadable!r}",
            "expected a share from 0 to 1",
            "max_unreadable=0.1",
        )


def _usual(sizes: Sequence[Size]) -> Size:
    """The size of half of the files or more; if there is none, of median area and shape."""
    if not sizes:
        return 1, 1
    size, count = Counter(sizes).most_common(1)[0]
    if 2 * count >= len(sizes):
        return size
    height, width = np.array(sizes, np.float64).T
    side, ratio = np.median(np.sqrt(height * width)), np.sqrt(np.median(height / width))
    return max(1, round(side * ratio)), max(1, round(side / ratio))


def _smaller(size: Size) -> Size:
    """(H, W) with a longer side of at most LARGEST pixels."""
    shrink = min(1.0, LARGEST / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


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
    files: list[Path], heads: list[Head], form: Form, known: Sequence[Size] | None
) -> list[str]:
    """Notes of images of another size, in colour where grey is wanted, of several kinds, and of
    animations."""
    notes = resized_note([h.size for h in heads], form.size, known, files)
    coloured = [form.channels == 1 and h.kind != GREY for h in heads]
    count = sum(coloured)
    if count:
        images = f"{count} image{'s are' if count > 1 else ' is'}"
        notes.append(f"{images} converted to grey, the first {files[coloured.index(True)]}")
    several = [file for file, head in zip(files, heads, strict=True) if head.several]
    if several:
        have = f"{len(several)} file{'s have' if len(several) > 1 else ' has'}"
        notes.append(f"{have} several images, of which the first is read, such as {several[0]}")
    kinds = Counter(h.kind for h in heads)
    if {PALETTE, CMYK} & kinds.keys() or (len(kinds) > 1 and known is None):
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        read = GREY if form.channels == 1 else "in colour"
        notes.append(f"kinds of images: {listed}; all are read {read}")
    return notes


def resized_note(
    sizes: Sequence[Size], to: Size, known: Sequence[Size] | None, files: Sequence[Path] = ()
) -> list[str]:
    """A note of images of other sizes (H, W), except those that are known.

    known   sizes of training images, or None while these are read
    files   of the images, if each has one
    """
    other = [k for k, size in enumerate(sizes) if size != to and size not in (known or ())]
    if not other:
        return []
    shapes = [sizes[k][0] * to[1] / (sizes[k][1] * to[0]) for k in other]
    stretched = sum(not 1 / _SAME_SHAPE < shape < _SAME_SHAPE for shape in shapes)
    first = f" {files[other[0]]}" if files else ""
    parts = [
        f"{len(other)} of {len(sizes)} images {_is(len(other))} resized to "
        f"{_by(to)} pixels (height × width), the first{first} of {_by(sizes[other[0]])}",
        *[f"{stretched} of them, of another shape, {_is(stretched)} stretched"] * (stretched > 0),
        *["size changes that"] * (known is None),
    ]
    return ["; ".join(parts)]


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _by(size: Size) -> str:
    return f"{size[0]} × {size[1]}"
