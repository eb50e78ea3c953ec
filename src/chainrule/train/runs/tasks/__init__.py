"""Kinds of data: which task a source is.

base                  what a task is
tables, images, text  one kind each
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from ....data import NAMES, load
from ....data.images.listing import columns_of_files
from ....data.images.packed import packed_files
from ....data.tables.read import SPREADSHEETS
from ....errors import ArgumentError
from .base import Task
from .images import ImageTask
from .tables import TableTask
from .text import TextTask

KINDS: dict[str, type[Task]] = {t.kind: t for t in (TableTask, ImageTask, TextTask)}
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
TEXTS = (".txt", ".md", ".rst", ".py", ".tex", ".html", ".log")


def kind_of(source: str, drop: Sequence[str] | None = None) -> type[Task]:
    """The kind of a built-in name, a file (by its ending) or a folder.

    drop   columns that do not count: a table with a column of image files is a list of images
    """
    if source in NAMES:
        return KINDS[load(source).kind]
    path = Path(source)
    if packed_files(path) or columns_of_files(path, drop or ()):
        return ImageTask
    if source.lower().endswith((*TABLES, *SPREADSHEETS)):  # read_table says how to convert them
        return TableTask
    if path.is_dir():
        return ImageTask
    if source.lower().endswith(TEXTS):
        return TextTask
    if not path.exists():
        near = difflib.get_close_matches(source.casefold(), NAMES, 1, 0.7)
        raise ArgumentError(
            "train",
            f"got {source!r}, which does not exist",
            f"expected a file, a folder or one of {', '.join(NAMES)}",
            f"did you mean {near[0]!r}?" if near else "check the path and the current folder",
        )
    raise ArgumentError(
        "train",
        f"got {source!r}, whose ending is not known",
        f"expected a table ({', '.join(TABLES)}), a text ({', '.join(TEXTS)}), a folder of "
        "images or an .npz file",
        "rename or convert the file",
    )


__all__ = ["KINDS", "ImageTask", "TableTask", "Task", "TextTask", "kind_of"]
