"""`chainrule evaluate`: the metrics of a run on data with known targets."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .. import files
from ..errors import printable
from ..train.loop.progress import counted, short_number
from .runs import Encoding, MaxPixels, RunFolder, open_run, print_notes


def evaluate(
    run: RunFolder,
    file: Annotated[
        str | None,
        typer.Argument(help="A file with the targets; by default the test rows of the run."),
    ] = None,
    max_pixels: MaxPixels = None,
    encoding: Encoding = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """The metrics of a trained run on data with known targets.

    Example: chainrule evaluate runs/diamonds-1 diamonds.csv
    """
    opened = open_run(run, max_pixels, encoding)
    rows, metrics = opened.evaluate(file)
    notes = opened.task.notes if file else []
    print_notes(notes)
    if as_json:
        scores = files.with_nulls(metrics)
        report = {"task": opened.task.task, "metrics": scores, "rows": rows, "notes": notes}
        print(json.dumps(report))
        return
    scores = ", ".join(f"{n.replace('_', ' ')} {short_number(v)}" for n, v in metrics.items())
    print(printable(f"{counted(rows, opened.task.unit)}: {scores}"))
