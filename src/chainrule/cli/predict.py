"""`chainrule predict`: new rows or images, or the continuation of a text."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..data import read_text
from ..errors import ArgumentError, printable
from ..train import files
from ..train.files import to_csv
from ..train.runs.run import Run
from ..train.runs.tasks import TextTask
from ..train.runs.tasks.base import listed
from .runs import MaxPixels, RunFolder, open_run, print_note, print_notes


def predict(
    run: RunFolder,
    file: Annotated[
        str | None,
        typer.Argument(help="A file like the training data; by default the test rows of the run."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="The text to continue, if there is no file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a CSV file instead of stdout.")] = None,
    max_pixels: MaxPixels = None,
    length: Annotated[int, typer.Option(help="Characters to write, for text.", min=1)] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the text.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Predict with a trained run: classes or values of new rows, or the continuation of a text.

    Example: chainrule predict runs/diamonds-1 new.csv --out prices.csv
    """
    if out is not None and file and out.exists() and Path(file).exists() and out.samefile(file):
        raise ArgumentError(
            "predict",
            f"got --out {out}, the file to predict",
            "expected another file",
            f"--out {out.with_stem(out.stem + '-predicted')}",
        )
    opened = open_run(run, max_pixels)
    if isinstance(opened.task, TextTask):
        if file and start is not None:
            raise ArgumentError(
                "predict",
                f"got --start and {file}",
                "expected one text to continue",
                "leave out --start",
            )
        beginning = read_text(file) if file else start or "\n"
        unknown = opened.task.unknown(beginning) if file or start else []
        if unknown:
            names = listed([repr(c) for c in unknown])
            print_note(f"not in the training text, read as one unknown character: {names}")
        written = opened.write(beginning, length, seed)
        text, report = written + "\n", {"text": written}
    else:
        _expect_csv(out, start, opened)
        columns = opened.predict(file, warn=False)
        text = to_csv(columns)
        values = zip(*columns.values(), strict=True)
        rows = [dict(zip(columns, row, strict=True)) for row in values]
        report = {"predictions": rows}  # type: ignore[dict-item]
        print_notes(opened.task.notes if file else [])
    if out is not None:
        replaced = " (replaced)" if out.is_file() else ""
        files.write_through(out, text)
        print_note(f"wrote {out}{replaced}")
    if as_json:
        report = files.with_nulls({**report, "out": str(out)} if out else report)
        print(printable(json.dumps(report, ensure_ascii=False)))
    elif out is None:
        print(printable(text, lines=True) if sys.stdout.isatty() else text, end="")


def _expect_csv(out: Path | None, start: str | None, opened: Run) -> None:
    """Raise for options that a run on tables or images does not have."""
    if start is not None:
        raise ArgumentError(
            "predict",
            f"got --start for a run on {opened.task.kind}",
            "expected a run on text",
            "leave out --start, and pass a file to predict",
        )
    if out is not None and out.suffix.lower() not in ("", ".csv", ".txt"):
        raise ArgumentError(
            "predict",
            f"got --out {out}",
            "expected a name that ends in .csv or .txt",
            f"--out {out.with_suffix('.csv')}, or --json for JSON on stdout",
        )
