"""`chainrule train`: from data to a trained network, with no code."""

from __future__ import annotations

import difflib
import glob
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import NAMES
from ..doctor.records import show_again
from ..errors import ArgumentError, FileError, printable
from ..train.runs.image_networks import IMAGE_NETWORKS
from ..train.runs.recipe import TEXT_NETWORKS, Recipe
from ..train.runs.result import Result
from ..train.runs.tasks import Task
from ..train.runs.training import resume
from ..train.runs.training import train as train_recipe
from .runs import MOST_NOTES, MaxPixels, wrapped


def train(
    source: Annotated[
        str | None,
        typer.Argument(
            help="digits, iris, wine, breast_cancer, diabetes, moons, spirals, circles; a CSV or "
            "Parquet file; images: a folder with one sub-folder per class, a CSV file of names and "
            "labels, an .npz file, IDX files; a text; a recipe.toml."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A column to leave out.")] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(help="A column to read as text, even if it contains numbers."),
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(help="The decimal mark in a text file: . or ,")
    ] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression.")] = None,
    test: Annotated[float | None, typer.Option(help="Share of rows held out for the test.")] = None,
    valid: Annotated[
        float | None, typer.Option(help="Share of rows held out for early stopping.")
    ] = None,
    max_pixels: MaxPixels = None,
    encoding: Annotated[str | None, typer.Option(help="Of a text file: utf-8, latin-1, …")] = None,
    tokens: Annotated[
        str | None, typer.Option(help="What a text is made of: characters or bytes.")
    ] = None,
    length: Annotated[int | None, typer.Option(help="Tokens per window of a text.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=f"For images {', '.join(IMAGE_NETWORKS)}; for text {', '.join(TEXT_NETWORKS)}."
        ),
    ] = None,
    hidden: Annotated[
        list[str] | None, typer.Option(help="Sizes of hidden layers: 256,128.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Share of units dropped.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, adam, sgd, rmsprop, …")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Pull of weights towards 0.")] = None,
    schedule: Annotated[str | None, typer.Option(help="cosine or constant.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = None,
    class_weight: Annotated[
        str | None, typer.Option(help="balanced: all classes weigh the same, however rare.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="Of images: none, light, full, or photos, which also mirrors them."),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better loss before stopping.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the split, the weights and the order.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs/NAME-1 … by default.")
    ] = None,
    resume_run: Annotated[
        Path | None,
        typer.Option("--resume", help="Continue this run where it stopped, bit for bit."),
    ] = None,
    checkpoint_every: Annotated[float, typer.Option(help="Seconds between checkpoints.")] = 5.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the result.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Train a network on data and write a run folder with the model and a report.

    Settings that you leave out are chosen from the data. Ctrl-C stops early and keeps the weights.

    Example: chainrule train digits

    Example: chainrule train diamonds.csv --target price --epochs 30

    Example: chainrule train novel.txt --model gru
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
        "encoding": encoding,
        "tokens": tokens,
        "length": length,
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
        "augment": augment,
        "patience": patience,
        "seed": seed,
    }
    passed = {k: v for k, v in settings.items() if v is not None}
    if not checkpoint_every > 0:
        raise ArgumentError(
            "train",
            f"got --checkpoint-every {checkpoint_every}",
            "expected seconds above 0",
            "try 5",
        )
    execution: dict[str, Any] = {
        "progress": not quiet,
        "checkpoint_every": checkpoint_every,
        "began": None if quiet else _print_summary,
    }
    if resume_run is not None:
        extra = ["SOURCE"] * (source is not None) + [f"--{k.replace('_', '-')}" for k in passed]
        if extra:
            raise ArgumentError(
                "train",
                f"got --resume with {', '.join(extra)}",
                "expected --resume alone",
                "leave them out: a run continues as its recipe.toml says",
            )
        begin = partial(resume, resume_run, **execution)
    else:
        recipe = recipe_of(source, passed)
        name = Path(recipe.source).name.split(".")[0] or "run"
        begin = partial(
            train_recipe, recipe, out or partial(_free, Path("runs"), name), **execution
        )
    try:
        result = begin()
    except KeyboardInterrupt as stop:
        if not stop.args:  # before there is a folder
            raise
        raise StoppedError(stop.args[0]) from None
    if resume_run is not None:
        show_again(resume_run)
    _print(result, as_json)
    sys.exit(130 if result.interrupted else 0)


class StoppedError(Exception):
    """Ctrl-C before the run folder was complete."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"[interrupted] got Ctrl-C before {folder} was complete; expected the rest of the run; "
            f"continue with chainrule train --resume {folder}"
        )


def recipe_of(source: str | None, settings: dict[str, Any]) -> Recipe:
    """The recipe of a source, which may be a recipe file, with these settings."""
    if source is None:
        raise ArgumentError(
            "train",
            "got no data to train on",
            "expected a source, or --resume RUN",
            "chainrule train digits",
        )
    _suggest_file(Path(source))
    if not source.endswith(".toml"):
        return Recipe(source=source, **settings)
    recipe = Recipe.read(Path(source))
    if not recipe.source:
        raise ArgumentError(
            "recipe", f"got {source} without a source", "expected source in [data]", "add it"
        )
    settings_there = vars(recipe)
    if settings.get("model", recipe.model) != recipe.model:  # some are of the other model alone
        own = ["channels", "embedding", "heads", "carry"]
        own += ["hidden", "dropout"] if recipe.model in IMAGE_NETWORKS else []
        settings_there = {k: v for k, v in settings_there.items() if k not in own}
    return Recipe(**{**settings_there, **settings})


def _suggest_file(path: Path) -> None:
    """Raise if there is no such file or set, but a file with a similar name."""
    if str(path) in NAMES or os.path.lexists(path) or not os.path.isdir(path.parent):
        return
    names = {Path(name).stem: name for name in sorted(os.listdir(path.parent))}
    near = difflib.get_close_matches(path.stem, names, 1, 0.7)
    if near:
        raise FileError(
            "train",
            f"got {path}, which does not exist",
            "expected a file, a folder or a built-in set",
            f"did you mean {path.parent / names[near[0]]}?",
        )


def _sizes(words: list[str] | None) -> list[int] | None:
    if not words:
        return None
    text = ",".join(words)
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ArgumentError(
            "train",
            f"got --hidden {text!r}",
            "expected whole numbers with commas",
            "try --hidden 256,128",
        ) from None


def _free(parent: Path, name: str) -> Path:
    """The first of name-1, name-2, … that does not exist."""
    numbers = [p.name.removeprefix(f"{name}-") for p in parent.glob(f"{glob.escape(name)}-*")]
    taken = [int(n) for n in numbers if n.isascii() and n.isdigit()]
    return parent / f"{name}-{max(taken, default=0) + 1}"


def _print_summary(task: Task, recipe: Recipe) -> None:
    """A summary of the data, and of what was chosen, before training, on stderr."""
    facts = ", ".join(f"{name} {value}" for name, value in task.facts.items())
    name = printable(Path(recipe.source).name)
    head = wrapped(f"{name}: {task.task}; {facts}")
    typer.echo(head.replace(name, typer.style(name, bold=True), 1), err=True)
    if chosen := task.chosen(recipe):
        typer.secho(wrapped(f"  {chosen}"), dim=True, err=True)
    more = len(task.notes) - MOST_NOTES
    for note in [*task.notes[:MOST_NOTES], *[f"{more} more notes are in the report"] * (more > 0)]:
        typer.secho(wrapped(f"  {note}"), dim=True, err=True)


def _print(result: Result, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_json()))
        return
    from ..train.loop.progress import short_number

    for text in result.samples[:1]:
        print(f"a sample:\n{printable(text, lines=True)}\n")
    shown = ", ".join(
        f"{name.replace('_', ' ')} {short_number(v)}" for name, v in result.metrics.items()
    )
    print(printable(f"test: {shown}"))
    print(printable(f"report: {result.report}"))
    warnings = [finding for finding in result.findings if finding.level == "warning"]
    for finding in warnings[:1]:
        more = f" ({len(warnings) - 1} more in the report)" if len(warnings) > 1 else ""
        print(wrapped(f"warning: {finding.title}. {finding.sentence}{more}", sys.stdout))
        print(wrapped(f"  try: {finding.advice}", sys.stdout))
        doctor = f"chainrule doctor {result.run}"
        print(printable(f"  which remedies help, by trial: {doctor}"))
    if result.interrupted:
        print(printable(f"stopped early; continue with: chainrule train --resume {result.run}"))
    elif result.ended == "epochs":
        print(
            printable(
                "it had already completed all epochs; for more, raise epochs in "
                f"{result.run / 'recipe.toml'} and resume it again"
            )
        )
    elif result.ended:
        print(
            printable(
                "it had already ended by early stopping; to change settings, train "
                f"again: chainrule train {result.run / 'recipe.toml'}"
            )
        )
