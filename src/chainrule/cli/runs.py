"""What the commands on runs share: their options, opening a run folder, notes on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ArgumentError, printable
from ..train.runs.run import Run
from ..train.runs.tasks import ImageTask

MOST_NOTES = 50  # in the terminal
RunFolder = Annotated[Path, typer.Argument(help="A run folder that chainrule train wrote.")]
MaxPixels = Annotated[
    int | None, typer.Option(help="Largest image file, in pixels; 50000000 by default.", min=1)
]


def open_run(run: Path, max_pixels: int | None) -> Run:
    opened = Run.open(run)
    if max_pixels is None:
        return opened
    if not isinstance(opened.task, ImageTask):
        raise ArgumentError(
            "predict",
            f"got --max-pixels for a run on {opened.task.kind}",
            "expected a run on images",
            "leave out --max-pixels",
        )
    opened.task.max_pixels = max_pixels
    return opened


def print_notes(notes: list[str]) -> None:
    """A line per note on stderr, and the number of further notes."""
    more = len(notes) - MOST_NOTES
    for note in [*notes[:MOST_NOTES], *[f"{more} more notes"] * (more > 0)]:
        print_note(note)


def print_note(text: str) -> None:
    """A line on stderr."""
    typer.echo(printable(text), err=True)
