"""`chainrule doctor`: what is wrong with a training, where, why, and which changes help."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import files
from ..diagnosis import Change, Remedy
from ..diagnosis.kinds import KINDS
from ..doctor.diagnose import diagnosed, in_order
from ..doctor.diagnosis import WIDTH, Diagnosis
from ..doctor.facts import Facts
from ..doctor.recipes import recipe_of_run, repaired, training_of
from ..doctor.search import STEP
from ..doctor.words import in_words
from ..errors import ArgumentError, printable
from ..train.runs.recipe import Recipe
from .runs import print_notes
from .train import recipe_of


def doctor(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|RECIPE|DATA]",
            help="A run folder that chainrule train wrote, a recipe.toml, or data as for train.",
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Of a table: the column to predict.")] = None,
    seconds: Annotated[
        float,
        typer.Option(help="Processor time for trials, after the training has run once."),
    ] = 60.0,
    seed: Annotated[
        int | None, typer.Option(help="A seed in place of the recipe's.", min=0)
    ] = None,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Write the recipe with the changes that help, beside it."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Also write the result: as JSON if it ends in .json.")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the kinds of findings, with what they mean.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say what is wrong with a training, where, why, and which changes help.

    The training runs as it began, then with changes that may help. No file of a run is changed.

    Example: chainrule doctor runs/digits-1

    Example: chainrule doctor recipe.toml --apply
    """
    if listed:
        width = max(map(len, KINDS)) + 2
        kinds = "\n".join(f"{kind:<{width}}{meaning}" for kind, meaning in KINDS.items())
        print(json.dumps(dict(KINDS)) if as_json else kinds)
        return
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ArgumentError(
            "doctor", f"got --seconds {seconds:g}", "expected a number above 0", "try --seconds 60"
        )
    recipe, place = _recipe(source, target)
    if seed is not None:
        recipe = dataclasses.replace(recipe, seed=seed)
    began = training_of(recipe)
    print_notes(began.notes)
    diagnosis, facts = _diagnosed(began.training, seconds)
    report: dict[str, Any] = {"source": source, **diagnosis.to_dict(), "notes": began.notes}
    end: list[str] = []
    if apply:
        written, end = _applied(began.recipe, diagnosis, facts, place)
        report["repaired"] = written
    text = ["", *end] if end else []
    if not as_json:  # before it is written, which may fail after a minute of work
        _print(diagnosis)
        print("".join(f"{printable(line)}\n" for line in text), end="")
    if out is not None:
        lines = "".join(f"{printable(line)}\n" for line in [*diagnosis.lines(), *text])
        is_json = out.suffix.lower() == ".json"
        files.write_through(out, json.dumps(report, indent=2) + "\n" if is_json else lines)
    if as_json:
        print(json.dumps(report))


def _recipe(source: str | None, target: str | None) -> tuple[Recipe, Path]:
    """The recipe, and where one with changes belongs: beside it."""
    if source is None:
        raise ArgumentError(
            "doctor",
            "got no run and no recipe",
            "expected a run folder, a recipe.toml, or data",
            "chainrule doctor runs/digits-1",
        )
    path = Path(source)
    if (path / "recipe.toml").is_file():
        if target is not None:
            raise ArgumentError(
                "doctor",
                f"got --target {target} for a run",
                "expected the run alone: its recipe has the target",
                "leave out --target",
            )
        return recipe_of_run(path), path / "recipe-repaired.toml"
    recipe = recipe_of(source, {} if target is None else {"target": target})
    beside = path.parent if source.endswith(".toml") else Path()
    return recipe, beside / f"{path.name.split('.')[0]}-repaired.toml"


def _diagnosed(training: Any, seconds: float) -> tuple[Diagnosis, Facts]:
    if not sys.stderr.isatty():
        return diagnosed(training, seconds)
    from rich.console import Console  # slow to import

    with Console(stderr=True).status("training once, then trying changes"):
        return diagnosed(training, seconds)


def _applied(
    recipe: Recipe, diagnosis: Diagnosis, facts: Facts, place: Path
) -> tuple[str | None, list[str]]:
    """The path of the recipe that was written, and what to say about it."""
    remedy = _for_recipe(recipe, diagnosis)
    if remedy is None:
        return None, ["No recipe was written: no change helps."]
    new, others = repaired(recipe, remedy.changes)
    left = [f"a recipe has no setting for: {in_words(others, facts)}"] if others else []
    if new == recipe:
        return None, ["No recipe was written.", *left]
    if others and not _helps([c for c in remedy.changes if c not in others], diagnosis, facts):
        return None, ["No recipe was written: without the others, no change helps.", *left]
    replaced = " (replaced)" * place.exists()
    files.write(place, new.to_toml())
    names = [n for n, value in vars(new).items() if value != getattr(recipe, n)]
    settings = ", ".join(f"{n} = {getattr(new, n)!r}" for n in names)
    said = [f"wrote {place}{replaced}: {settings}", *left, f"train it: chainrule train {place}"]
    return str(place), said


def _helps(changes: list[Change], diagnosis: Diagnosis, facts: Facts) -> bool:
    """Whether the changes without others were tried, and are better than none."""
    text = in_words(in_order(changes, facts), facts)
    tried = (a.trial for a in diagnosis.trials if a.text == text)
    return any(trial.after > trial.before + STEP for trial in tried)


def _for_recipe(recipe: Recipe, diagnosis: Diagnosis) -> Remedy | None:
    """The remedy for a recipe: the best that it has settings for, if that is half as good."""
    best = diagnosis.remedy
    if best is None or best.trial is None:
        return None
    whole = [
        (r.trial.after - r.trial.before, r)
        for finding in diagnosis.findings
        for r in finding.remedies
        if r.trial is not None and not repaired(recipe, r.changes)[1]
    ]
    gain, other = max(whole, key=lambda pair: pair[0], default=(0.0, best))
    return other if gain >= (best.trial.after - best.trial.before) / 2 else best


def _print(diagnosis: Diagnosis) -> None:
    """The text; in a terminal as wide as that, with the headings in bold."""
    terminal = sys.stdout.isatty()
    width = min(shutil.get_terminal_size().columns, WIDTH) if terminal else WIDTH
    for number, line in enumerate(diagnosis.lines(width)):
        heading = terminal and (not number or re.match(r"\d+\. ", line))
        print(typer.style(printable(line), bold=True) if heading else printable(line))
