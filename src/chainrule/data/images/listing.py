"""Which files are images, and their classes: a folder per class, or a table of names and labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import ArgumentError, FileError
from ...graph import Array
from ..tables.columns import Table
from ..tables.names import natural, nearest
from ..tables.read import read_table
from .decode import EXTENSIONS, is_image

LISTS = (".csv", ".tsv")
LABELS = ("label", "labels", "class", "target", "category", "y")  # usual names of a column
_FIRST_ROWS, _FIRST_BYTES = 20, 1 << 16  # from which the column of files is recognised


@dataclass(frozen=True)
class Listing:
    """Files in order.

    y         int64 (N,): the index of the class in classes, -1 if unknown
    classes   names of the classes
    base      the folder that names are relative to
    notes     what was left out
    """

    files: list[Path]
    y: Array
    classes: list[str]
    base: Path
    notes: list[str] = field(default_factory=list)


def existing(path: Path, needed: str) -> Path:
    if not path.exists():
        raise FileError(
            "read_images",
            f"got {path}, which does not exist",
            f"expected {needed}",
            "check the path and the current folder",
        )
    return path


def listed(path: Path, target: str | None = None, drop: Sequence[str] = ()) -> Listing:
    """The images of a folder of classes, or of a table of names and labels."""
    if columns_of_files(path, drop):
        return listed_in_table(path, target, drop)
    return listed_by_folder(path)


def listed_files(path: Path, drop: Sequence[str] = ()) -> Listing:
    """Images of unknown class: a file, those of a folder and its sub-folders, or of a table."""
    if columns_of_files(path, drop):
        return listed_in_table(path, drop=drop, labelled=False)
    files = files_below(path) if path.is_dir() else [path]
    return Listing(files, np.full(len(files), -1), [], path)


# ── folders ──────────────────────────────────────────────────────────────────────────────────────


def listed_by_folder(folder: Path) -> Listing:
    """The images of a folder with one sub-folder per class, in the order of their names.

    A sub-folder that is a link to the folder, or to one around it, is left out with a note.
    """
    if not folder.is_dir():
        raise FileError(
            "read_images", f"got the file {folder}", "expected a folder", f"pass {folder.parent}"
        )
    parts = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    loops = [p for p in parts if folder.resolve().is_relative_to(p.resolve())]
    parts = [p for p in parts if p not in loops]
    notes = [f"{p} is a link to a folder that it is in; it is left out" for p in loops]
    nested = [p for p in parts if _is_nested(p)]
    if nested and len(nested) == len(parts):
        raise FileError(
            "read_images",
            f"got {folder}, whose sub-folders {' and '.join(p.name for p in nested)}"
            " contain folders",
            "expected one sub-folder per class",
            f"train on one of them, {nested[-1]}, and evaluate on another",
        )
    if len(parts) < 2:
        lists = sorted(p for p in folder.iterdir() if p.suffix.lower() in LISTS)
        advice = "sort the images into sub-folders named after their classes"
        raise FileError(
            "read_images",
            f"got {folder} with "
            + (f"the single class {parts[0].name!r}" if parts else "no sub-folders"),
            "expected two or more sub-folders, one per class",
            f"pass {lists[0]}, if it lists files and labels" if lists else advice,
        )
    by_class = [files_of(part) for part in parts]
    y = np.repeat(np.arange(len(parts)), [len(part) for part in by_class])
    files = [f for part in by_class for f in part]
    return Listing(files, y, [p.name for p in parts], folder, notes)


def files_of(folder: Path) -> list[Path]:
    """The images that are directly in a folder."""
    files = sorted(p for p in folder.iterdir() if is_image(p))
    if not files:
        raise FileError(
            "read_images",
            f"got {folder} with no images",
            f"expected files {' '.join(EXTENSIONS)}",
            "add images, or remove the folder",
        )
    return files


def files_below(folder: Path) -> list[Path]:
    """The images of a folder and its sub-folders, also through links; each folder once."""
    entered: set[Path] = set()

    def walk(place: Path) -> Iterator[Path]:
        if place.resolve() in entered:
            return
        entered.add(place.resolve())
        for path in sorted(place.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                yield from walk(path)
            elif is_image(path):
                yield path

    return sorted(walk(folder)) or files_of(folder)


def _is_nested(folder: Path) -> bool:
    """Whether it contains no images, but its folders do."""
    inside = [p for p in folder.iterdir() if not p.name.startswith(".")]
    deeper = (f for p in inside if p.is_dir() for f in p.iterdir())
    return not any(map(is_image, inside)) and any(map(is_image, deeper))


# ── tables of files and labels ───────────────────────────────────────────────────────────────────


def columns_of_files(path: Path, drop: Collection[str] = ()) -> list[str]:
    """The columns of a text table whose first cells are all names of image files.

    drop   columns that do not count
    """
    if path.suffix.lower() not in LISTS or not path.is_file():
        return []
    dropped = _each_of(drop)
    with path.open("rb") as file:
        start = file.read(_FIRST_BYTES)
    lines = start.decode("utf-8-sig", errors="replace").splitlines()
    lines = lines[: -1 if len(start) == _FIRST_BYTES else None][: _FIRST_ROWS + 1]
    try:
        mark = max(",\t;|", key=lambda m: len(next(csv.reader(lines, delimiter=m), [])))
        rows = list(csv.reader(lines, delimiter=mark))
    except csv.Error:  # read_table says what is wrong
        return []
    columns = []
    for k, header in enumerate(rows[0] if rows else []):
        name = header.strip() or f"column {k + 1}"  # as read_table has it
        cells = [row[k].strip() for row in rows[1:] if k < len(row) and row[k].strip()]
        if cells and name not in dropped and all(map(_names_an_image, cells)):
            columns.append(name)
    return columns


def _each_of(drop: Collection[str]) -> set[str]:
    """The names of columns, also those with commas between them."""
    return {name for entry in drop for name in (entry, *entry.split(","))}


def _names_an_image(cell: str) -> bool:
    return cell.lower().endswith(EXTENSIONS)


def listed_in_table(
    path: Path, target: str | None = None, drop: Sequence[str] = (), labelled: bool = True
) -> Listing:
    """The images of a table of file names, relative to its folder, and labels.

    target     the column of labels; by default the only other one, or one of a usual name
    drop       columns that do not count
    labelled   whether labels are read
    """
    names = columns_of_files(path, drop)
    if len(names) != 1:
        raise ArgumentError(
            "read_images",
            f"got {path} with {' and '.join(names) or 'no'} columns of image files",
            "expected one column whose cells are names of image files",
            "leave out the others with --drop" if names else "pass a table of files and labels",
        )
    if _names_an_image(names[0]):
        raise FileError(
            "read_images",
            f"got {path}, whose first line names the image {names[0]}",
            "expected a header in the first line",
            "add a line: file,label",
        )
    others = [n for n in read_table(path).columns if n not in (names[0], *_each_of(drop))]
    label = _label_of(path, others, target) if labelled else None
    table = read_table(path, text=[names[0], *([label] if label else [])])
    files = [path.parent / str(cell) for cell in _whole_column(table, names[0])]
    if label is None:
        return Listing(files, np.full(len(files), -1), [], path.parent)
    labels = [str(cell) for cell in _whole_column(table, label)]
    classes = natural(set(labels))
    if len(classes) < 2:
        raise ArgumentError(
            "read_images",
            f"got {path}, whose column {label!r} is {classes[0]!r} in each row",
            "expected two or more classes",
            "name the column of labels with --target",
        )
    number = {c: k for k, c in enumerate(classes)}
    again = len(files) - len(set(files))
    note = f"files repeated in {path}: {again}; a copy may be in training and another in the test"
    y = np.array([number[c] for c in labels])
    return Listing(files, y, classes, path.parent, [note] * (again > 0))


def _label_of(path: Path, names: Sequence[str], target: str | None) -> str:
    if target is not None and target in names:
        return target
    usual = [n for n in names if n.casefold() in LABELS]
    if target is None and len(names) == 1:
        return names[0]
    if target is None and len(usual) == 1:
        return usual[0]
    raise ArgumentError(
        "read_images",
        f"got {path} and the column {target!r} of labels"
        if target
        else f"got {path} without a column of labels",
        f"expected one of its columns: {', '.join(names) or 'there is only that of files'}",
        nearest(target, names) if target and names else "name it with --target, or call it label",
    )


def _whole_column(table: Table, name: str) -> Array:
    """The cells of a column of text; an empty one is an error."""
    column = table.columns[name]
    if column.missing.any():
        row = int(np.argmax(column.missing))
        raise ArgumentError(
            "read_images",
            f"got {table.name} without {name!r} in {table.place(row)}",
            "expected a file and a label in each row",
            "fill the cell, or delete that line",
        )
    return column.values


def files_in_table(path: Path) -> list[Path]:
    """The files that a table names, those that exist."""
    columns = columns_of_files(path)
    if not columns:
        return []
    table = read_table(path, text=columns).columns
    cells = {str(c) for n in columns for c in table[n].values if c is not None}
    return sorted(p for p in map(path.parent.joinpath, cells) if os.path.isfile(p))
