"""What a path has to lead to before it is opened."""

from __future__ import annotations

from pathlib import Path

from ..errors import FileError


def expect_file(operation: str, path: Path, needed: str) -> None:
    """Raise unless it is a file: opening a pipe would wait, and a device may never end."""
    if path.is_file():
        return
    if path.is_dir():
        what, advice = "which is a folder", "name one file in it"
    elif path.exists():
        what, advice = "which is a pipe or a device", "write its content to a file first"
    else:
        what, advice = "which does not exist", "check the path and the folder that you are in"
    raise FileError(operation, f"got {path}, {what}", needed, advice)
