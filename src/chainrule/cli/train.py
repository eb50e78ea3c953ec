"""`chainrule train`: from data to a trained network, with no code."""

from __future__ import annotations

import difflib
import glob
import json
import os
import shutil
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import NAMES
from ..errors import ArgumentError, FileError, printable
from ..train.runs.recipe import Recipe
from ..train.runs.result import Result
from ..train.runs.tasks import Task
from ..train.runs.training import resume
from ..train.runs.training import train as train_recipe
from .runs import MOST_NOTES, MaxPixels


def train(
    source: Annotated[
        str | None,
        typer.Argument(
            help="digits, iris, wine, breast_cancer, diabetes, moons, spirals, circles; a CSV or "
            "Parquet file; a folder of images with one sub-folder a class; a text; a recipe.toml."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column to leave out.")] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="A column that is text, whatever it holds.")
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(help="The decimal mark in a text file: . or ,")
    ] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression.")] = None,
    test: Annotated[float | None, typer.Option(help="Share held out for the last test.")] = None,
    valid: Annotated[float | None, typer.Option(help="Share held out to stop early.")] = None,
    max_pixels: MaxPixels = None,
    model: Annotated[str | None, typer.Option(help="mlp, cnn, gru or lstm.")] = None,
    hidden: Annotated[
        list[str] | None, typer.Option(help="Sizes of hidden layers: 256,128.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Share of units dropped.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How often the data is gone through.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows a step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, adam, sgd, rmsprop, …")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Pull of weights towards 0.")] = None,
    schedule: Annotated[str | None, typer.Option(help="cosine or constant.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = None,
    class_weight: Annotated[
        str | None, typer.Option(help="balanced: rare classes weigh as much as frequent ones.")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without a better loss.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split, the weights, the order.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs/NAME-1 … if not given.")
    ] = None,
    resume_run: Annotated[
        Path | None,
        typer.Option("--resume", help="Go on with this run folder where it stopped, bit for bit."),
    ] = None,
    checkpoint_every: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 5.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say only the result.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Train a network on data and write a run folder with the model and a report.

    What is not given is chosen from the data. Ctrl-C stops early and keeps what was learned.

    Example: chainrule train digits

    Example: chainrule train diamonds.csv --target price --epochs 30
    """
    settings: dict[str, Any] = {
        "target": target,
        "drop": drop,
        "category": category,
        "decimal": decimal,
        "task": task,
        "test": test,
        "valid": valid,
        "max_pixels": max_pixels,
        "model": model,
        "hidden": _sizes(hidden),
        "dropout": dropout,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "lr": lr,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "clip_norm": clip_norm,
        "class_weight": class_weight,
        "patience": patience,
        "seed": seed,
    }
    given = {k: v for k, v in settings.items() if v is not None}
    if not checkpoint_every > 0:
        raise ArgumentError(
            "train", f"got --checkpoint-every {checkpoint_every}", "seconds above 0", "try 5"
        )
    how: dict[str, Any] = {
        "progress": not quiet,
        "checkpoint_every": checkpoint_every,
        "began": None if quiet else _say,
    }
    if resume_run is not None:
        odd = ["SOURCE"] * (source is not None) + [f"--{k.replace('_', '-')}" for k in given]
        if odd:
            raise ArgumentError(
                "train",
                f"got --resume with {', '.join(odd)}",
                "--resume alone",
                "a run goes on as its recipe.toml says; leave them out",
            )
        begin = partial(resume, resume_run, **how)
    else:
        recipe = _recipe(source, given)
        name = Path(recipe.source).name.split(".")[0] or "run"
        begin = partial(train_recipe, recipe, out or partial(_free, Path("runs"), name), **how)
    try:
        result = begin()
    except KeyboardInterrupt as stop:
        if not stop.args:  # there is no folder yet
            raise
        raise StoppedError(stop.args[0]) from None
    _print(result, as_json)
    sys.exit(130 if result.interrupted else 0)


class StoppedError(Exception):
    """Ctrl-C before all was written in the run folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"[interrupted] got Ctrl-C before all was written in {folder}; the rest of the run; go "
            f"on with chainrule train --resume {folder}"
        )


def _recipe(source: str | None, given: dict[str, Any]) -> Recipe:
    if source is None:
        raise ArgumentError(
            "train",
            "got nothing to train on",
            "a source, or --resume RUN",
            "try: chainrule train digits",
        )
    _expect_no_slip(Path(source))
    if not source.endswith(".toml"):
        return Recipe(source=source, **given)
    recipe = Recipe.read(Path(source))
    if not recipe.source:
        raise ArgumentError(
            "recipe", f"got {source} without a source", "source in [data]", "add it"
        )
    return Recipe(**{**vars(recipe), **given})


def _expect_no_slip(path: Path) -> None:
    """Raise if there is no such file or set, but a file of almost that name."""
    if str(path) in NAMES or os.path.lexists(path) or not os.path.isdir(path.parent):
        return
    there = {Path(name).stem: name for name in sorted(os.listdir(path.parent))}
    near = difflib.get_close_matches(path.stem, there, 1, 0.7)
    if near:
        raise FileError(
            "train",
            f"got {path}, which does not exist",
            "a file, a folder or a built-in set",
            f"did you mean {path.parent / there[near[0]]}?",
        )


def _sizes(given: list[str] | None) -> list[int] | None:
    if not given:
        return None
    text = ",".join(given)
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(
            "train", f"got --hidden {text!r}", "whole numbers with commas", "try --hidden 256,128"
        ) from None


def _free(parent: Path, name: str) -> Path:
    """The first of name-1, name-2, … that is not there yet."""
    numbers = [p.name.removeprefix(f"{name}-") for p in parent.glob(f"{glob.escape(name)}-*")]
    taken = [int(n) for n in numbers if n.isascii() and n.isdigit()]
    return parent / f"{name}-{max(taken, default=0) + 1}"


def _say(task: Task, recipe: Recipe) -> None:
    """What is about to be done, on stderr."""
    facts = ", ".join(f"{name} {value}" for name, value in task.facts.items())
    name = printable(Path(recipe.source).name)
    head = _wrapped(f"{name}: {task.task}; {facts}")
    typer.echo(head.replace(name, typer.style(name, bold=True), 1), err=True)
    more = len(task.notes) - MOST_NOTES
    for note in [*task.notes[:MOST_NOTES], *[f"{more} more notes are in the report"] * (more > 0)]:
        typer.secho(_wrapped(f"  {note}"), dim=True, err=True)


def _wrapped(text: str) -> str:
    """Fit to be printed, and broken at words where a terminal would break it anywhere."""
    text = printable(text)
    if not sys.stderr.isatty():
        return text
    return textwrap.fill(text, shutil.get_terminal_size().columns, break_on_hyphens=False)


def _print(result: Result, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_json()))
        return
    from ..train.loop.progress import number

    for text in result.samples[:1]:
        print(f"a sample:\n{printable(text, lines=True)}\n")
    shown = ", ".join(f"{name.replace('_', ' ')} {number(v)}" for name, v in result.metrics.items())
    print(printable(f"test: {shown}"))
    print(printable(f"report: {result.report}"))
    warnings = [found for found in result.findings if found["level"] == "warning"]
    for found in warnings[:1]:
        more = f" ({len(warnings) - 1} more in the report)" if len(warnings) > 1 else ""
        print(printable(f"warning: {found['title']}: {found['cause']}{more}"))
        print(printable(f"  {found['remedy']}"))
    if result.interrupted:
        print(printable(f"stopped early; go on with: chainrule train --resume {result.run}"))
    elif result.ended == "epochs":
        print(
            printable(
                "it had ended before, after all its epochs; for more, raise epochs in "
                f"{result.run / 'recipe.toml'} and resume it again"
            )
        )
    elif result.ended:
        print(
            printable(
                "it had ended before, when more epochs no longer helped; to change more, train "
                f"again: chainrule train {result.run / 'recipe.toml'}"
            )
        )
