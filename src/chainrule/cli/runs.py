"""What the commands on runs share: their options, opening a run folder, notes on stderr."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ..errors import ArgumentError, printable
from ..train.runs.run import Run
from ..train.runs.tasks import ImageTask, TextTask

MOST_NOTES = 50  # in the terminal
RunFolder = Annotated[Path, typer.Argument(help="A run folder that chainrule train wrote.")]
MaxPixels = Annotated[
    int | None, typer.Option(help="Largest image file, in pixels; 50000000 by default.", min=1)
]
Encoding = Annotated[
    str | None, typer.Option(help="Of a text file; by default that of the training text.")
]


def open_run(run: Path, max_pixels: int | None, encoding: str | None) -> Run:
    opened = Run.open(run)
    if max_pixels is not None:
        if not isinstance(opened.task, ImageTask):
            raise _without_effect("--max-pixels", opened, "images")
        opened.task.max_pixels = max_pixels
    if encoding is not None:
        if not isinstance(opened.task, TextTask):
            raise _without_effect("--encoding", opened, "text")
        opened.task.encoding = encoding
    return opened


def _without_effect(option: str, run: Run, kind: str) -> ArgumentError:
    return ArgumentError(
        "predict",
        f"got {option} for a run on {run.task.kind}",
        f"expected a run on {kind}",
        f"leave out {option}",
    )


def print_notes(notes: list[str]) -> None:
    """A line per note on stderr, and the number of further notes."""
    more = len(notes) - MOST_NOTES
    for note in [*notes[:MOST_NOTES], *[f"{more} more notes"] * (more > 0)]:
        print_note(note)


def print_note(text: str) -> None:
    """A line on stderr."""
    typer.echo(wrapped(text), err=True)


def wrapped(text: str, stream: TextIO | None = None) -> str:
    """Printable text, wrapped at words if the stream, stderr by default, is a terminal."""
    text = printable(text)
    if not (stream or sys.stderr).isatty():
        return text
    return textwrap.fill(text, shutil.get_terminal_size().columns, break_on_hyphens=False)
