"""Checks of a path before it is opened."""

from __future__ import annotations

from pathlib import Path

from ..errors import FileError


def expect_file(operation: str, path: Path, needed: str) -> None:
    """Raise unless it is a file: opening a pipe would wait, and a device may never end."""
    if path.is_file():
        return
    if path.is_dir():
        what, advice = "which is a folder", "pass one of its files"
    elif path.exists():
        what, advice = "which is a pipe or a device", "write its content to a file"
    else:
        what, advice = "which does not exist", "check the path and the current folder"
    raise FileError(operation, f"got {path}, {what}", f"expected {needed}", advice)
