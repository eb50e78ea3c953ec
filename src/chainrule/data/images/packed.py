"""Many images in one file: NumPy's `.npz`, and IDX files, the format of MNIST."""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ChainruleError, FileError
from ...graph import Array
from ...memory import expect_room
from ..paths import expect_file
from ..tables.names import natural

# Pairs of names of images and labels, in small letters: of a training part, and of its own test.
_NAMES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("images", "labels", "", ""),
    ("x", "y", "", ""),
)
_IDX = re.compile(r"(.*?)(train|t10k|test)-images([-.])idx3-ubyte(\.gz)?")
_UNSIGNED_BYTES = 8  # IDX's code of the dtype

_Part = tuple[Array, list[str] | None]  # images and their labels


@dataclass(frozen=True)
class Packed:
    """Images of a file, with their labels if it has some.

    x        (N, H, W, C) as in the file, C is 1 or 3
    labels   N texts, or None
    tests    number of the last rows that the file has as its test part
    notes    how the axes were read
    """

    x: Array
    labels: list[str] | None
    tests: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return natural(set(self.labels or []))


def packed_files(path: Path) -> list[Path]:
    """The files that `read_packed` would read; empty if that is not its kind of path."""
    if path.is_dir():
        matches = [(m, p) for p in sorted(path.iterdir()) if (m := _IDX.fullmatch(p.name))]
        sets = {match[1]: p for match, p in matches}
        if len(sets) > 1:
            raise FileError(
                "read_images",
                f"got {path} with the sets {', '.join(sets)}",
                "expected the IDX files of one set",
                f"pass a file, {next(iter(sets.values()))}, or move one set to its own folder",
            )
        parts = {match[2]: p for match, p in matches}
        return [p for part, p in parts.items() if part != "test" or "t10k" not in parts]
    return [path] if path.name.lower().endswith(".npz") or _IDX.fullmatch(path.name) else []


def files_of_packed(path: Path) -> list[Path]:
    """The files that `read_packed` would read, those of labels included."""
    images = packed_files(path)
    labels = [p for p in map(_labels_of, images) if p is not None]
    return sorted([*images, *labels])


def read_packed(path: Path, labelled: bool = True) -> Packed:
    """Images and labels of an `.npz` file, an IDX file, or a folder of IDX files.

    labelled   whether labels are read; False: only the test part, if there is one
    """
    files = packed_files(path)
    for file in files:
        expect_file("read_images", file, "a file of images")
    if files == [path] and path.name.lower().endswith(".npz"):
        parts, unread = _of_npz(path, labelled)
    else:
        unread = []
        parts = [_of_idx(f, labelled) for f in sorted(files, key=_is_test)]
    tests = len(parts[1][0]) if len(parts) > 1 else 0
    if tests and not labelled:
        parts, tests = parts[1:], 0
    arrays, notes = [], [f"{path} also has {', '.join(unread)}, not read"] * bool(unread)
    for x, _ in parts:
        array, note = _channels_last(path, x)
        arrays.append(array)
        notes += [note] * (note != "" and note not in notes)
    if len({a.shape[1:] for a in arrays}) > 1:
        raise FileError(
            "read_images",
            f"got {path} with images of {' and '.join(str(a.shape[1:]) for a in arrays)}",
            "expected test images of the size of the training images",
            "save them with one size and number of channels",
        )
    labels = [label for _, part in parts for label in part or []]
    x = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return Packed(_as_brightness(path, x), labels if labelled else None, tests, notes)


def _is_test(file: Path) -> bool:
    match = _IDX.fullmatch(file.name)
    return match is not None and match[2] != "train"


# ── NumPy's files ────────────────────────────────────────────────────────────────────────────────


def _of_npz(path: Path, labelled: bool) -> tuple[list[_Part], list[str]]:
    """(images, labels) of the training part, and of the test part if the file has one; the names of
    arrays that are not read."""
    with _reading(path):
        with zipfile.ZipFile(path) as inside:
            sizes = sum(info.file_size for info in inside.infolist())
        expect_room("read_images", f"{path}, which needs", sizes, "save fewer images per file")
        with np.load(path, allow_pickle=False) as arrays:
            by_name = {name.lower(): name for name in arrays.files}
            for names in _NAMES:
                if names[0] in by_name and (names[1] in by_name or not labelled):
                    break
            else:
                raise FileError(
                    "read_images",
                    f"got {path} with the arrays {', '.join(arrays.files) or 'none'}",
                    "expected images and labels as x and y, images and labels, or x_train, "
                    "y_train, x_test and y_test",
                    "np.savez_compressed(path, x=images, y=labels)",
                )
            tested = names[2] in by_name and (names[3] in by_name or not labelled)
            out = []
            for of_x, of_y in (names[:2], names[2:])[: 1 + tested]:
                x = arrays[by_name[of_x]]
                y = arrays[by_name[of_y]] if labelled else None
                out.append((x, None if y is None else _texts(path, of_y, y, len(x))))
            others = [name for name in arrays.files if name.lower() not in names]
            return out, others


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of damaged files in our form."""
    try:
        yield
    except ChainruleError:
        raise
    except (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise FileError(
            "read_images",
            f"got {path}, which cannot be read: {str(error) or type(error).__name__}",
            "expected a complete file",
            "copy or download it again",
        ) from None


def _texts(path: Path, name: str, y: Array, rows: int) -> list[str]:
    """Labels (N,) or (N, 1), whole numbers or texts, as texts."""
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (rows,) or y.dtype.kind not in "iuUSb":
        raise FileError(
            "read_images",
            f"got {name} of {path}, {y.dtype} {y.shape} for {rows} images",
            f"expected a class per image, ({rows},), as whole numbers or texts",
            f"save {name}.argmax(-1)" if y.shape[:1] == (rows,) and y.ndim == 2 else "save both",
        )
    return [v.decode() if isinstance(v, bytes) else str(v) for v in y.tolist()]


def _channels_last(path: Path, x: Array) -> tuple[Array, str]:
    """(N, H, W, C) of (N, H, W), (N, H, W, C) or (N, C, H, W), with a note of the last."""
    if x.ndim == 3:
        return x[..., None], ""
    if x.ndim == 4 and x.shape[3] in (1, 3):
        return x, ""
    if x.ndim == 4 and x.shape[1] in (1, 3):
        note = f"images (N, C, H, W) = {x.shape} are read as (N, H, W, C): x.transpose(0, 2, 3, 1)"
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)), note
    side = math.isqrt(x.shape[1]) if x.ndim == 2 else 0
    raise FileError(
        "read_images",
        f"got images of shape {x.shape} in {path}",
        "expected (N, H, W), or (N, H, W, C) with 1 or 3 channels",
        f"save x.reshape(-1, {side}, {side})"
        if side and side**2 == x.shape[1]
        else "save x[..., :3] without transparency"
        if x.ndim == 4 and x.shape[3] == 4
        else "save them in one of these shapes",
    )


def _as_brightness(path: Path, x: Array) -> Array:
    """Values from 0 to 255: bytes; float32 for 16 bits and fractions. 1 of fractions is white."""
    if x.dtype == np.uint8 or not x.size:
        return x.astype(np.uint8, copy=False)
    if x.dtype.kind not in "iufb":
        raise _out_of_range(path, f"values of dtype {x.dtype}")
    if x.dtype.kind == "b":
        return x.astype(np.uint8) * np.uint8(255)
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= (65535 if x.dtype.kind in "iu" else 255)):  # also NaN
        raise _out_of_range(path, f"values from {low:g} to {high:g}")
    if x.dtype.kind in "iu":
        return x.astype(np.uint8) if high <= 255 else (x / np.float32(257)).astype(np.float32)
    return x.astype(np.float32) * np.float32(255 if high <= 1 else 1)


def _out_of_range(path: Path, what: str) -> FileError:
    return FileError(
        "read_images",
        f"got {path} with {what}",
        "expected brightness: bytes, fractions from 0 to 1 or to 255, or 16 bits",
        "save the images as they were before they were standardised",
    )


# ── IDX ──────────────────────────────────────────────────────────────────────────────────────────


def _of_idx(path: Path, labelled: bool) -> _Part:
    """The images of an IDX file, and the labels of the file next to it."""
    x = _read_idx(path, 3)
    if not labelled:
        return x, None
    beside = _labels_of(path)
    if beside is None:
        match = _IDX.fullmatch(path.name)
        assert match is not None
        raise FileError(
            "read_images",
            f"got {path} without its labels",
            f"expected {match[1]}{match[2]}-labels{match[3]}idx1-ubyte in the same folder",
            "put it there, with or without .gz",
        )
    y = _read_idx(beside, 1)
    if len(x) != len(y):
        raise FileError(
            "read_images",
            f"got {len(x)} images in {path}, {len(y)} labels in {beside.name}",
            "expected a label per image",
            "copy both files of one data set",
        )
    return x, list(map(str, y.tolist()))


def _labels_of(images: Path) -> Path | None:
    """The file of labels next to an IDX file of images."""
    match = _IDX.fullmatch(images.name)
    if match is None:
        return None
    name = f"{match[1]}{match[2]}-labels{match[3]}idx1-ubyte"
    there = [images.with_name(name + end) for end in ("", ".gz")]
    return next((p for p in there if p.is_file()), None)


def _read_idx(path: Path, axes: int) -> Array:
    """The bytes of an IDX file: two zeros, a code of the dtype, the number of axes, their sizes."""
    opened: Callable[..., Any] = gzip.open if path.name.endswith(".gz") else open
    with _reading(path), opened(path, "rb") as file:
        head = file.read(4 + 4 * axes)
        if len(head) < 4 or head[:4] != bytes((0, 0, _UNSIGNED_BYTES, axes)):
            raise ValueError(f"it is no IDX file of bytes with {axes} axes")
        shape = struct.unpack(f">{axes}I", head[4:])
        size = math.prod(shape)
        expect_room("read_images", f"{path} of {shape}, which needs", size, "use a smaller file")
        data = file.read(size + 1)
        if len(data) != size:
            more = "more" if len(data) > size else "fewer"
            raise ValueError(f"it has {more} bytes than its shape {shape}")
    return np.frombuffer(data, np.uint8).reshape(shape)
