"""Files with the same bytes, and notes of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...graph import Array

_START = 1 << 16  # bytes that are compared before whole files are


def groups(files: Sequence[Path | str]) -> Array:
    """A number for each file: int64 (N,), equal for files with the same bytes.

    Only files of the same size are read, and only those with the same start to their end. A file
    that cannot be read is like no other one.
    """
    keys = [os.path.realpath(f) for f in files]
    apart: dict[str, tuple[Any, ...]] = dict.fromkeys(keys, ())
    for property_of in (os.path.getsize, _hash_of_start, _hash_of_rest):
        alike: dict[Any, list[str]] = {}
        for path, key in apart.items():
            alike.setdefault(key, []).append(path)
        for paths in alike.values():
            for path in paths if len(paths) > 1 else ():
                try:
                    apart[path] = (*apart[path], property_of(path))
                except OSError:
                    apart[path] = (*apart[path], path)
    numbers: dict[tuple[Any, ...], int] = {}
    of_path = {path: numbers.setdefault(key, len(numbers)) for path, key in apart.items()}
    return np.array([of_path[k] for k in keys], np.int64)


def _hash_of_start(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read(_START)).hexdigest()


def _hash_of_rest(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(_START)
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_several_classes(files: Sequence[Path | str], same: Array, y: Array) -> list[str]:
    """A note of files with the same bytes in different classes.

    A path twice does not count: the listing of a table says that its labels contradict each other.
    """
    first: dict[int, int] = {}
    pairs: dict[int, tuple[Path | str, Path | str]] = {}
    for k, (group, label) in enumerate(zip(same.tolist(), y.tolist(), strict=True)):
        one = first.setdefault(group, k)
        if y[one] != label and os.path.normpath(files[one]) != os.path.normpath(files[k]):
            pairs.setdefault(group, (files[one], files[k]))
    if not pairs:
        return []
    this, other = next(iter(pairs.values()))
    images = "image is" if len(pairs) == 1 else "images are"
    return [f"{len(pairs)} {images} in several classes, the same bytes in {this} and {other}"]


def in_training_too(
    files: Sequence[Path | str], same: Array, training: Array, unseen: Array
) -> list[str]:
    """A note of held-out images with the same bytes as a training image.

    training, unseen   numbers of images
    """
    trained = {int(same[k]): int(k) for k in training[::-1]}
    copies = [int(k) for k in unseen if int(same[k]) in trained]
    if not copies:
        return []
    one, other = files[trained[int(same[copies[0]])]], files[copies[0]]
    count = f"{len(copies)} of {len(unseen)} validation and test images"
    return [
        f"{count} {'is' if len(copies) == 1 else 'are'} in the training images too, the same bytes "
        f"in {one} and {other}: the metrics are too good"
    ]
