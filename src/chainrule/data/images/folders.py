"""The image files of folders and their sub-folders, and what else is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import FileError
from .decode import is_image

SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev")
_SYSTEM = ("thumbs.db", "desktop.ini")  # files that programs write beside images
_ENDINGS = 5  # named in a note


@dataclass(frozen=True)
class Content:
    """What is below a folder.

    files    images, in the order of their paths
    others   the number of other files by their endings, without hidden ones
    aside    folders that are not entered: hidden ones, and those that archives add
    """

    files: list[Path]
    others: Counter[str] = field(default_factory=Counter)
    aside: list[Path] = field(default_factory=list)


def inside(folder: Path) -> list[Path]:
    """The files and folders that are directly in a folder, in the order of their names."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise FileError(
            "read_images",
            f"got {folder}, which cannot be read: {error.strerror or error}",
            "expected a folder that can be read",
            "allow reading it, or move it elsewhere",
        ) from None


def is_aside(folder: Path) -> bool:
    """Whether a folder is hidden, or has what macOS adds to archives."""
    return folder.name.startswith(".") or folder.name == "__MACOSX"


def content(folder: Path) -> Content:
    """The images of a folder and its sub-folders, also through links; each folder once.

    A link to a folder that it is in is not followed.
    """
    whole = Content([])
    entered = {*folder.resolve().parents}

    def walk(place: Path) -> Iterator[Path]:
        if place.resolve() in entered:
            return
        entered.add(place.resolve())
        for path in inside(place):
            if path.is_dir():
                if is_aside(path):
                    whole.aside.append(path)
                else:
                    yield from walk(path)
            elif is_image(path):
                yield path
            elif not path.name.startswith(".") and path.name.lower() not in _SYSTEM:
                whole.others[path.suffix.lower() or "no ending"] += 1

    whole.files.extend(sorted(walk(folder)))
    return whole


def notes_of(contents: Iterable[Content]) -> list[str]:
    """Notes of what is not read."""
    others: Counter[str] = Counter()
    aside: list[Path] = []
    for part in contents:
        others += part.others
        aside += part.aside
    notes = []
    if aside:
        notes.append(f"folders left out: {named(aside)}")
    if others:
        count = others.total()
        most = sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))[:_ENDINGS]
        endings = [f"{ending} {n}" for ending, n in most]
        listed = ", ".join([*endings, *["…"] * (len(others) > _ENDINGS)])
        what = "files are not images that are" if count > 1 else "file is not an image that is"
        notes.append(f"{count} {what} read ({listed})")
    return notes


def named(paths: list[Path], most: int = 3) -> str:
    """The first paths, and how many more there are."""
    more = [f"and {len(paths) - most} more"] * (len(paths) > most)
    return ", ".join([*map(str, paths[:most]), *more])


def parts_of_a_split(folders: list[Path]) -> list[Path]:
    """Those that look like parts of a data set, train and test, each with folders of classes."""
    deeper = {p: _deeper(p) for p in folders}
    nested = [p for p in folders if deeper[p]]
    by_name = [p for p in folders if p.name.lower() in SPLITS]
    if len(by_name) > 1 and any(deeper[p] for p in by_name):
        return by_name
    if nested and len(nested) == len(folders) and len(set.intersection(*deeper.values())) > 1:
        return nested
    return []


def _deeper(folder: Path) -> set[str]:
    """The names of its folders with images, if it has no images itself."""
    paths = [p for p in inside(folder) if not p.name.startswith(".")]
    if any(is_image(p) and not p.is_dir() for p in paths):
        return set()
    return {p.name for p in paths if p.is_dir() and any(map(is_image, inside(p)))}
