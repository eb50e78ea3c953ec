"""`chainrule explain`: the backward pass of a trained run, or of a ready example, explained."""

from __future__ import annotations

import io
import json
import os
import sys
import webbrowser
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import files
from ..data.images.listing import files_in_table
from ..data.images.packed import files_of_packed
from ..data.tables.names import nearest
from ..errors import ArgumentError, FileError, printable
from ..explanation import Explanation, explain
from ..train.runs.folder import read_folder
from ..train.runs.run import Run
from . import examples
from .outputs import expect_writable, is_run
from .runs import print_note


class Form(StrEnum):
    """What is printed or written."""

    page = "page"
    story = "story"
    text = "text"
    unicode = "unicode"
    latex = "latex"
    numpy = "numpy"


def explained(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|NAME]",
            help="A run folder that chainrule train wrote, or a ready example: "
            f"{', '.join(examples.NAMES)}.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(help="Which test row (image, window of a text) is explained.", min=0),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="How many rows from there on; 1 of a run.", min=1)
    ] = None,
    form: Annotated[
        Form,
        typer.Option(
            help="page: a file for the browser, and the story on stdout. Others on stdout: story "
            "(in words), text (compact), unicode or latex (mathematics), numpy (a program)."
        ),
    ] = Form.page,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write: by default explain.html in the run, of an example "
            "explain-NAME.html in the current folder; of other forms none."
        ),
    ] = None,
    opened: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the ready examples.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Explain how a network computes its loss and the gradient of every weight, on one sample.

    Example: chainrule explain digits --open

    Example: chainrule explain runs/iris-1 --sample 3
    """
    if listed:
        _list(as_json)
        return
    if opened and form != Form.page:
        raise ArgumentError(
            "explain",
            f"got --open with --form {form}",
            "expected the page, which a browser shows",
            f"leave out --open, or --form {form}",
        )
    paths = [] if out is None else _paths(out, form)
    for path in paths:
        expect_writable("explain", path, _data_of(target))
    explanation, title, text, words, place = _explanation(target, sample, batch)
    paths = paths or [place] * (form == Form.page)
    report: dict[str, Any] = {"title": title, "loss": explanation.loss}
    report["gradients"] = {
        name: {"shape": list(g.shape), "norm": float(np.linalg.norm(g.ravel().astype("f8")))}
        for name, g in explanation.gradients.items()
    }
    report[form] = (
        explanation.page(title=title, text=text, words=words)
        if form == Form.page
        else _contents(explanation, form)
    )
    written = _written(paths, report[form], explanation)
    if paths:
        report[form] = str(paths[0])
    if as_json:
        print(printable(json.dumps(files.with_nulls(report), ensure_ascii=False)))
    elif form == Form.page:
        story = _contents(explanation, Form.story)
        head = f"{title}. {text}" if text else title
        print(printable(f"{head}\n\n{story}\n\npage: {written}", lines=True))
    elif not paths:
        print(printable(report[form].rstrip(), lines=True))
    else:
        print_note(f"wrote {written}")
    if opened:
        _open(paths[0])


def _explanation(
    target: str | None, sample: int | None, batch: int | None
) -> tuple[Explanation, str, str, Sequence[str], Path]:
    """The explanation, its title, what to look at, the data's words, where its page belongs."""
    if target is None:
        raise ArgumentError(
            "explain",
            "got no run and no example",
            f"expected a run folder, or one of {', '.join(examples.NAMES)}",
            "chainrule explain digits",
        )
    if target in examples.NAMES:
        example = examples.load(target)
        arguments = example.arguments(sample, batch)
        place = Path(f"explain-{target}.html")
        text = example.introduction(sample, batch)
        return explain(example.loss, *arguments), example.title, text, example.words, place
    if not os.path.lexists(target):
        raise FileError(
            "explain",
            f"got {target}, which does not exist",
            f"expected a run folder, or one of {', '.join(examples.NAMES)}",
            nearest(target, examples.NAMES) if "/" not in target else "see ls runs",
        )
    run = Run.open(target)
    explanation, title = run.explained(sample or 0, batch or 1)
    return explanation, title, "", (), Path(target) / "explain.html"


def _data_of(target: str | None) -> list[Path]:
    """The data of a run, which nothing may replace, with the files that its table names."""
    run = Path(target or "")
    source = Path(read_folder(run)[0].source) if is_run(run) else None
    if source is None or not source.is_file():
        return [] if source is None else [source]
    return [source, *files_of_packed(source), *files_in_table(source)]


def _contents(explanation: Explanation, form: Form) -> str:
    """The explanation in a form, as text."""
    make: Any = getattr(explanation, form)
    text: str = make()
    return text


def _paths(out: Path, form: Form) -> list[Path]:
    """The files that are written: with a program the arrays that it is called with, beside it.

    Beside a stream there is no place for them, and a folder is refused when it is written.
    """
    if form != Form.numpy or files.is_stream(out) or out.is_dir():
        return [out]
    beside = out.with_suffix(".npz")
    if out.suffix.lower() == ".npz" or os.path.realpath(out) == os.path.realpath(beside):
        raise ArgumentError(
            "explain",
            f"got {out} for a program, whose arrays are written to {beside}",
            "expected two files",
            f"--out {out.with_suffix('.py')}",
        )
    return [out, beside]


def _written(paths: Sequence[Path], contents: str, explanation: Explanation) -> str:
    """Write the contents, and the arrays if there is a place for them; the paths as text."""
    replaced = {p for p in paths if p.is_file() and not files.is_stream(p)}
    said = " and ".join(f"{p} (replaced)" if p in replaced else str(p) for p in paths)
    for beside in paths[1:]:
        arrays = io.BytesIO()
        np.savez(arrays, **explanation.arrays())  # type: ignore[arg-type]
        files.write_through(beside, arrays.getvalue())
    for path in paths[:1]:
        files.write_through(path, contents)
    return said


def _list(as_json: bool) -> None:
    """Print the ready examples."""
    rows = {name: examples.described(name) for name in examples.NAMES}
    if as_json:
        print(json.dumps({name: {"title": t, "text": x} for name, (t, x) in rows.items()}))
        return
    for name, (title, _) in rows.items():
        print(f"{name:<10} {title}")


def _open(path: Path) -> None:
    """Show a page in the browser; say where it is if there is none."""
    variables = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    screen = not sys.platform.startswith("linux") or any(map(os.environ.get, variables))
    if not (screen and webbrowser.open(path.resolve().as_uri())):
        print_note(f"there is no browser here: open {path.resolve()} in one")
