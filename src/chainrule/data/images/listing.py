"""Which files are images, and their classes: a folder per class, or a table of names and labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, FileError
from ...graph import Array
from ..tables.columns import Table
from ..tables.names import natural, nearest
from ..tables.read import read_table
from .decode import EXTENSIONS, is_image
from .folders import Content, content, inside, is_aside, named, notes_of, parts_of_a_split

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


def existing(source: Any, needed: str) -> Path:
    """A path that exists."""
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentError(
            "read_images",
            f"got {source!r:.60} as a source",
            f"expected the path of {needed}",
            "pass a text or a pathlib.Path",
        )
    path = Path(source)
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
    if _is_table(path):
        return listed_in_table(path, target, drop)
    return listed_by_folder(path)


def listed_files(path: Path, drop: Sequence[str] = ()) -> Listing:
    """Images of unknown class: a file, those of a folder and its sub-folders, or of a table."""
    if _is_table(path):
        return listed_in_table(path, drop=drop, labelled=False)
    whole = _content_of(path) if path.is_dir() else Content([path])
    return Listing(whole.files, np.full(len(whole.files), -1), [], path, notes_of([whole]))


# ── folders ──────────────────────────────────────────────────────────────────────────────────────


def listed_by_folder(folder: Path) -> Listing:
    """The images of a folder with one sub-folder per class, in the order of their names.

    Folders inside the folder of a class belong to it. A sub-folder that is hidden, has no images,
    or is a link to the folder or to one around it, is left out with a note.
    """
    if not folder.is_dir():
        raise FileError(
            "read_images", f"got the file {folder}", "expected a folder", f"pass {folder.parent}"
        )
    parts, loops, aside = _sub_folders(folder)
    splits = parts_of_a_split(parts)
    if splits:
        raise FileError(
            "read_images",
            f"got {folder}, whose sub-folders {' and '.join(p.name for p in splits)}"
            " contain folders",
            "expected one sub-folder per class",
            f"train on one of them, {splits[-1]}, and evaluate on another; or list the files and "
            "their classes in a CSV file",
        )
    contents = {p: content(p) for p in parts}
    classes = [p for p in parts if contents[p].files]
    empty = [p for p in parts if p not in classes]
    if len(classes) < 2:
        raise _too_few_classes(folder, classes, empty)
    by_class = [contents[p].files for p in classes]
    loose = [p for p in inside(folder) if is_image(p) and not p.is_dir()]
    notes = [
        *(f"{p} is a link to a folder that it is in; it is left out" for p in loops),
        *[f"folders without images: {named(empty)}; they are left out"] * bool(empty),
        *[f"images outside of the folders of classes are left out: {named(loose)}"] * bool(loose),
        *notes_of([Content([], aside=aside), *contents.values()]),
    ]
    y = np.repeat(np.arange(len(classes)), [len(part) for part in by_class])
    files = [f for part in by_class for f in part]
    return Listing(files, y, [p.name for p in classes], folder, notes)


def _sub_folders(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Those of classes, links to a folder that they are in, and those that are left out."""
    folders = [p for p in inside(folder) if p.is_dir()]
    aside = [p for p in folders if is_aside(p)]
    loops = [p for p in folders if p not in aside and folder.resolve().is_relative_to(p.resolve())]
    return [p for p in folders if p not in aside and p not in loops], loops, aside


def _too_few_classes(folder: Path, classes: list[Path], empty: list[Path]) -> FileError:
    without = f"{named(empty)} with no images"
    if classes:
        what = f"the single class {classes[0].name!r}" + f", and {without}" * bool(empty)
    else:
        what = f"the sub-folders {without}" if empty else "no sub-folders"
    lists = [p for p in inside(folder) if p.suffix.lower() in LISTS]
    deeper = classes and any(p.is_dir() for p in inside(classes[0]))
    return FileError(
        "read_images",
        f"got {folder} with {what}",
        "expected two or more sub-folders, one per class",
        f"pass {lists[0]}, if it lists files and labels"
        if lists
        else f"pass {classes[0]}, if its sub-folders are the classes"
        if deeper
        else "sort the images into sub-folders named after their classes",
    )


def files_of_classes(folder: Path) -> list[Path]:
    """The files of images that `listed_by_folder` lists."""
    return [f for p in _sub_folders(folder)[0] for f in content(p).files if f.is_file()]


def _content_of(folder: Path) -> Content:
    """What is below a folder; none is an error."""
    whole = content(folder)
    if not whole.files:
        raise FileError(
            "read_images",
            f"got {folder} with no images",
            f"expected files {' '.join(EXTENSIONS)}",
            "add images, or pass another folder",
        )
    return whole


# ── tables of files and labels ───────────────────────────────────────────────────────────────────


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in LISTS and path.is_file()


def columns_of_files(path: Path, drop: Collection[str] = ()) -> list[str]:
    """The columns of a text table whose first cells are all names of image files.

    drop   columns that do not count
    """
    if not _is_table(path):
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
    if not names:
        read_table(path)  # it says what is wrong with a file that is no table
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
    y = np.array([number[c] for c in labels])
    return Listing(files, y, classes, path.parent, _repeated(path, files, labels))


def _repeated(table: Path, files: list[Path], labels: list[str]) -> list[str]:
    """Notes of files that a table names more than once, by any path."""
    by_file: dict[str, list[str]] = {}
    for file, label in zip(files, labels, strict=True):
        by_file.setdefault(os.path.realpath(file), []).append(label)
    again = len(files) - len(by_file)
    differ = {f: natural(set(ls)) for f, ls in by_file.items() if len(set(ls)) > 1}
    notes = []
    if again:
        notes.append(
            f"files repeated in {table}: {again}; a copy may be in training and another in the test"
        )
    if differ:
        first, both = next(iter(differ.items()))
        notes.append(
            f"labels of {table} contradict each other for {len(differ)} "
            f"file{'s' * (len(differ) > 1)}, such as {first}: {' and '.join(both)}"
        )
    return notes


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
            f"got {table.name} without {name!r} in {table.place(row)}, where it is blank, or NA, "
            "NULL or None, which are read as blank",
            "expected a file and a label in each row",
            "fill the cell, write the name of a class in full, or delete that line",
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
