"""`chainrule predict`: new rows or images, or the continuation of a text."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import files
from ..data import read_text
from ..errors import ArgumentError, printable
from ..files import to_csv
from ..train.runs.run import Run
from ..train.runs.tasks import TextTask
from ..train.runs.tasks.text import TEMPERATURE
from .outputs import expect_writable
from .runs import Encoding, MaxPixels, RunFolder, open_run, print_note, print_notes


def predict(
    run: RunFolder,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="A file like the training data; for images pictures and folders of them, any "
            "number. By default the test rows of the run.",
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="The text to continue, if there is no file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a file (CSV, or text) instead of stdout.")
    ] = None,
    max_pixels: MaxPixels = None,
    encoding: Encoding = None,
    length: Annotated[
        int, typer.Option(help="Characters (or bytes) to write, for text.", min=1)
    ] = 400,
    temperature: Annotated[
        float, typer.Option(help="Of text: lower is more probable, 0 always the likeliest.", min=0)
    ] = TEMPERATURE,
    top_k: Annotated[
        int | None, typer.Option(help="Of text: draw among the k likeliest.", min=1)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Of text: draw among the likeliest that have this probability together."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the text.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Predict with a trained run: classes or values of new rows or pictures, or the continuation of
    a text.

    Example: chainrule predict runs/diamonds-1 new.csv --out prices.csv

    Example: chainrule predict runs/pets-1 cat.jpg dog.jpg holiday/

    Example: chainrule predict runs/novel-1 --prompt "It was a dark"
    """
    sources = sources or []
    opened = open_run(run, max_pixels, encoding)
    if out is not None:
        expect_writable("predict", out, [*sources, opened.recipe.source])
    if isinstance(opened.task, TextTask):
        beginning = _beginning(opened.task, sources, prompt)
        sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        written = opened.write(beginning, length, seed, **sampling)
        text, report = written + "\n", {"text": written}
    else:
        _expect_csv(out, prompt, opened)
        several = sources if len(sources) > 1 else None
        columns = opened.predict(several or (sources[0] if sources else None), warn=False)
        text = to_csv(columns)
        values = zip(*columns.values(), strict=True)
        rows = [dict(zip(columns, row, strict=True)) for row in values]
        notes = opened.task.notes if sources else []
        report = {"predictions": rows, "notes": notes}  # type: ignore[dict-item]
        print_notes(notes)
    if out is not None:
        replaced = " (replaced)" if out.is_file() else ""
        files.write_through(out, text)
        print_note(f"wrote {out}{replaced}")
    if as_json:
        report = files.with_nulls({**report, "out": str(out)} if out else report)
        print(printable(json.dumps(report, ensure_ascii=False)))
    elif out is None:
        print(printable(text, lines=True) if sys.stdout.isatty() else text, end="")


def _beginning(task: TextTask, sources: list[str], prompt: str | None) -> str:
    """The text to continue. Unknown characters are an error in a prompt, a note for a file."""
    if len(sources) + (prompt is not None) > 1:
        raise ArgumentError(
            "predict",
            f"got {'--prompt and ' * (prompt is not None)}{' and '.join(sources)}",
            "expected one text to continue",
            "leave out --prompt" if prompt is not None else "pass one file",
        )
    file = sources[0] if sources else None
    if not file and not prompt:
        return "\n"
    text = read_text(file, task.encoding) if file else prompt or ""
    unknown = task.unknown(text)
    if unknown and not file:
        character = text[unknown[0]]
        raise ArgumentError(
            "predict",
            f"got {character!r} (U+{ord(character):04X}) at position {unknown[0]} of the prompt",
            "expected characters that the training text has",
            "write it without this character, or train with --tokens bytes, which knows all",
        )
    print_notes(task.notes_of_unknown(text))
    return text


def _expect_csv(out: Path | None, prompt: str | None, opened: Run) -> None:
    """Raise for options that a run on tables or images does not have."""
    if prompt is not None:
        raise ArgumentError(
            "predict",
            f"got --prompt for a run on {opened.task.kind}",
            "expected a run on text",
            "leave out --prompt, and pass a file to predict",
        )
    if out is not None and out.suffix.lower() not in ("", ".csv", ".txt"):
        raise ArgumentError(
            "predict",
            f"got --out {out}",
            "expected a name that ends in .csv or .txt",
            f"--out {out.with_suffix('.csv')}, or --json for JSON on stdout",
        )
