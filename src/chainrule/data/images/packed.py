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
from .levels import Levels, brightness, levels_of

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

    x        (N, H, W, C) from 0 to 255, C is 1 or 3
    labels   N texts, or None
    levels   what is white in the file
    tests    number of the last rows that the file has as its test part
    notes    how the axes were read
    """

    x: Array
    labels: list[str] | None
    levels: Levels
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
        parts: dict[str, Path] = {}
        for match, file in matches:  # of X and X.gz the one whose labels are like it, else X
            labels, before = _labels_of(file), parts.get(match[2])
            if before is None or (_alike(file, labels) and not _alike(before, _labels_of(before))):
                parts[match[2]] = file
        return [p for part, p in parts.items() if part != "test" or "t10k" not in parts]
    return [path] if path.name.lower().endswith(".npz") or _IDX.fullmatch(path.name) else []


def files_of_packed(path: Path) -> list[Path]:
    """The files that `read_packed` would read, those of labels included."""
    images = packed_files(path)
    labels = [p for p in map(_labels_of, images) if p is not None]
    return sorted([*images, *labels])


def read_packed(path: Path, labelled: bool = True, levels: Levels | None = None) -> Packed:
    """Images and labels of an `.npz` file, an IDX file, or a folder of IDX files.

    labelled   whether labels are read; False: only the test part, if there is one
    levels     those of the training images, if these are to be read like them
    """
    files = packed_files(path)
    for file in files:
        expect_file("read_images", file, "a file of images")
    if files == [path] and path.name.lower().endswith(".npz"):
        parts, notes = _of_npz(path, labelled)
    else:
        parts, notes = [_of_idx(f, labelled) for f in sorted(files, key=_is_test)], []
    arrays = [x for x, _ in parts]
    if len({a.shape[1:] for a in arrays}) > 1:
        raise FileError(
            "read_images",
            f"got {path} with images of {' and '.join(str(a.shape[1:]) for a in arrays)}",
            "expected test images of the size of the training images",
            "save them with one size and number of channels",
        )
    levels, remarks = levels_of(path, arrays, levels)
    tests = len(arrays[1]) if len(arrays) > 1 else 0
    if tests and not labelled:
        arrays, tests = arrays[1:], 0
    scaled = [brightness(a, levels) for a in arrays]
    labels = [label for _, part in parts for label in part or []]
    x = scaled[0] if len(scaled) == 1 else np.concatenate(scaled)
    return Packed(x, labels if labelled else None, levels, tests, [*notes, *remarks])


def _is_test(file: Path) -> bool:
    match = _IDX.fullmatch(file.name)
    return match is not None and match[2] != "train"


# ── NumPy's files ────────────────────────────────────────────────────────────────────────────────


def _of_npz(path: Path, labelled: bool) -> tuple[list[_Part], list[str]]:
    """(images, labels) of the training part, and of the test part if the file has one; notes."""
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
            others = [name for name in arrays.files if name.lower() not in names]
            notes = [f"{path} also has {', '.join(others)}, not read"] * bool(others)
            out = []
            for of_x, of_y in (names[:2], names[2:])[: 1 + tested]:
                x, note = _channels_last(path, arrays[by_name[of_x]])
                y = arrays[by_name[of_y]] if labelled else None
                out.append((x, None if y is None else _texts(path, of_y, y, len(x))))
                notes += [note] * (note != "" and note not in notes)
            if not any(len(x) for x, _ in out):
                raise _empty(path)
            return out, notes


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of damaged files in our form."""
    try:
        yield
    except ChainruleError:
        raise
    except (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        if "Object arrays" in str(error):
            raise FileError(
                "read_images",
                f"got {path} with an array of Python objects, such as images of several sizes",
                "expected arrays of numbers",
                "resize the images to one size, and save np.stack(images)",
            ) from None
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
    note = ""
    if x.ndim == 3:
        x = x[..., None]
    elif x.ndim == 4 and x.shape[3] not in (1, 3) and x.shape[1] in (1, 3):
        note = f"images (N, C, H, W) = {x.shape} are read as (N, H, W, C): x.transpose(0, 2, 3, 1)"
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    if x.ndim == 4 and x.shape[3] in (1, 3):
        if not x.shape[1] * x.shape[2]:
            raise FileError(
                "read_images",
                f"got {path} with images of {x.shape[1]} × {x.shape[2]} pixels",
                "expected 1 pixel or more",
                "check how the images were cut before they were saved",
            )
        return x, note
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


def _empty(path: Path) -> FileError:
    return FileError(
        "read_images", f"got {path} with no images", "expected one or more", "pass another file"
    )


# ── IDX ──────────────────────────────────────────────────────────────────────────────────────────


def _of_idx(path: Path, labelled: bool) -> _Part:
    """The images of an IDX file, and the labels of the file next to it."""
    x, _ = _channels_last(path, _read_idx(path, 3))
    if not len(x):
        raise _empty(path)
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
    """The file of labels next to an IDX file of images; of two, the one that is compressed too or
    not."""
    match = _IDX.fullmatch(images.name)
    if match is None:
        return None
    name, end = f"{match[1]}{match[2]}-labels{match[3]}idx1-ubyte", match[4] or ""
    there = [images.with_name(name + e) for e in (end, "" if end else ".gz")]
    return next((p for p in there if p.is_file()), None)


def _alike(images: Path, labels: Path | None) -> bool:
    """Whether both are compressed, or both are not."""
    return labels is not None and (images.suffix == ".gz") == (labels.suffix == ".gz")


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
