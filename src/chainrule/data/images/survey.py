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
from .decode import CMYK, GREY, PALETTE, Head, read_head, read_pixels
from .listing import Listing

LARGEST = 64  # pixels of the longer side, by default
THREADS = min(8, os.cpu_count() or 1)  # that decode
_NAMED = 3  # unreadable files, in a note or an error
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

    usual   (H, W) of most files
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
        return [
            *self.listing.notes,
            *_left_out(self.bad, len(self.listing.files)),
            *_changes(files, list(self.heads.values()), self.form, self.usual, known),
        ]


def survey(
    listing: Listing,
    size: int | Size | None,
    channels: int | None,
    max_pixels: int,
    max_unreadable: float,
) -> Survey:
    """Read the heads of all files, and choose the form of the images."""
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
    ):
        count = sum(matches)
        if count:
            first = matches.index(True)
            size = heads[first].size
            images = f"{count} image{'s are' if count > 1 else ' is'}"
            notes.append(f"{images} {what}, the first {files[first]} of {size[0]} × {size[1]}")
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
