"""Files that commands write where `--out` says: never over what they read, or over a run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .. import files
from ..doctor.records import NAME as DIAGNOSIS
from ..errors import ArgumentError, FileError


def expect_writable(command: str, out: Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise, before the work, unless a file can be written at a path without harm.

    inputs  files that the command reads or writes elsewhere, and folders whose files it reads
    """
    if files.is_stream(out):
        return
    place = Path(os.path.realpath(out))
    if place.is_dir() or not place.parent.is_dir():
        folder = "a folder" if place.is_dir() else "in a folder that does not exist"
        raise FileError(
            command,
            f"got --out {out}, {folder}",
            "expected the path of a file, in a folder that exists",
            f"--out {place.name}.html" if place.is_dir() else f"mkdir -p {out.parent}",
        )
    taken = next((i for i in inputs if i is not None and _is_of(place, Path(i))), None)
    if taken is not None:
        same = not Path(taken).is_dir()
        raise ArgumentError(
            command,
            f"got --out {out}, {'a file' if same else f'a file of {taken}'} that the command uses",
            "expected another file",
            f"--out {out.with_stem(f'{out.stem}-{command}')}",
        )
    run = next((folder for folder in place.parents if is_run(folder)), None)
    own_page = place.suffix.lower() == ".html" and place.name != "report.html"
    written = place.exists() or place.name == DIAGNOSIS
    if run is not None and written and not own_page:
        raise ArgumentError(
            command,
            f"got --out {out}, a file of the run {run.name}",
            "expected a new file, or a page other than the report",
            f"--out {run.name}-{out.name}",
        )


def expect_new(command: str, out: Path) -> None:
    """Raise if a file is there that is no page; a page is replaced by a later one."""
    place = Path(os.path.realpath(out))
    if place.exists() and not files.is_stream(out) and place.suffix.lower() != ".html":
        raise ArgumentError(
            command,
            f"got --out {out}, which exists",
            "expected a new file, or a page (.html) to replace",
            "remove it, or pass another name",
        )


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return all((folder / name).is_file() for name in ("recipe.toml", "data.json"))


def _is_of(place: Path, source: Path) -> bool:
    """Whether a path is this file, or an existing file of this folder of data."""
    if place == Path(os.path.realpath(source)):
        return True
    if not (place.exists() and source.exists()):
        return False
    if source.is_dir():
        inside = Path(os.path.realpath(source)) in place.parents
        return inside and not is_run(source) and place.suffix.lower() != ".html"
    return place.samefile(source)
