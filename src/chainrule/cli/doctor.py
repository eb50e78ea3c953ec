"""`chainrule doctor`: what is wrong with a training, where, why, and which changes help."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import files
from ..diagnosis import Change, Remedy
from ..diagnosis.kinds import KINDS
from ..diagnosis.wording import capitalised
from ..doctor.diagnose import diagnosed, in_order
from ..doctor.diagnosis import WIDTH, Diagnosis
from ..doctor.facts import Facts
from ..doctor.recipes import recipe_of_run, repaired, training_of
from ..doctor.records import Record, show, store
from ..doctor.search import STEP
from ..doctor.words import in_words
from ..errors import ArgumentError, FileError, printable
from ..train.report import page_of
from ..train.runs.recipe import Recipe
from .outputs import expect_new, expect_writable
from .runs import print_note, print_notes
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
        Path | None,
        typer.Option(help="Also write the result: a page if it ends in .html, JSON if in .json."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the kinds of findings, with what they mean.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say what is wrong with a training, where, why, and which changes help.

    The training runs as it began, then with changes that may help. What was tried is added to the
    report of a run.

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
    recipe, place, run = _recipe(source, target)
    if out is not None:
        expect_writable("doctor", out, [source, recipe.source, place if apply else None])
        expect_new("doctor", out)
    heading = _heading(source or "", place)
    if apply:
        _expect_own(place, heading)
    if seed not in (None, recipe.seed):
        recipe, run = dataclasses.replace(recipe, seed=seed), None  # another training
    began = training_of(recipe)
    print_notes(began.notes)
    diagnosis, facts = _diagnosed(began.training, seconds)
    result: dict[str, Any] = {"source": source, **diagnosis.to_dict(), "notes": began.notes}
    new, _ = _changed(began.recipe, diagnosis, facts)
    settings = [] if new is None else _settings(new, began.recipe)
    record = Record(diagnosis, settings, began.notes)
    end = [f"in the recipe: {', '.join(settings)}; --apply writes it"] if settings else []
    if apply:
        result["repaired"], end = _applied(began.recipe, diagnosis, facts, place, heading)
    text = ["", *end] if end else []
    if not as_json:  # before it is written, which may fail after a minute of work
        _print(diagnosis)
        print("".join(f"{printable(line)}\n" for line in text), end="")
    if run is not None:
        result["report"] = shown = _in_report(run, recipe, record)
        if shown is not None and not as_json:
            print("\n" * (not end) + f"what was tried is in {printable(shown)}")
    if out is not None:
        match out.suffix.lower():
            case ".json":
                contents = json.dumps(result, indent=2) + "\n"
            case ".html":
                contents = _page(source or "", record)
            case _:
                contents = "".join(f"{printable(line)}\n" for line in [*diagnosis.lines(), *text])
        files.write_through(out, contents)
    if as_json:
        print(json.dumps(result))


def _page(source: str, record: Record) -> str:
    """A page of what was tried alone."""
    over = ["chainrule doctor", datetime.date.today().isoformat()]
    said = f"{capitalised(record.diagnosis.headline)}."
    return page_of(Path(source).resolve().name, over, said, record.html)


def _in_report(run: Path, recipe: Recipe, record: Record) -> str | None:
    """The path of the run's report with what was tried; None, with a note, if there is none."""
    try:
        store(run, recipe, record)
        return str(show(run))
    except FileError as error:
        print_note(str(error))
        return None


def _recipe(source: str | None, target: str | None) -> tuple[Recipe, Path, Path | None]:
    """The recipe, where one with changes belongs: beside it, and the folder of a run."""
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
        return recipe_of_run(path), path / "recipe-repaired.toml", path
    recipe = recipe_of(source, {} if target is None else {"target": target})
    beside = path.parent if source.endswith(".toml") else Path()
    name = path.resolve().name if path.is_dir() else path.stem  # a folder has no ending
    return recipe, beside / f"{name}-repaired.toml", None


def _heading(source: str, place: Path) -> str:
    """The first line of the recipe that `--apply` writes, which names what it repairs."""
    path = Path(source)
    beside = path.is_dir() or path.parent.resolve() == place.parent.resolve()
    origin = path.name if beside else str(path.resolve())
    return f"# {json.dumps(origin)}, repaired by chainrule doctor --apply\n"


def _expect_own(place: Path, heading: str) -> None:
    """Raise if `--apply` would replace a file that it has not written for the same source."""
    if os.path.lexists(place) and not files.read(place).startswith(heading.encode()):
        raise FileError(
            "doctor",
            f"got --apply, and {place}, which is not of an earlier --apply to the same source",
            "expected no file there, or the one of an earlier --apply",
            f"mv {place} {place.with_stem(place.stem + '-old')}",
        )


def _diagnosed(training: Any, seconds: float) -> tuple[Diagnosis, Facts]:
    if not sys.stderr.isatty():
        return diagnosed(training, seconds)
    from rich.console import Console  # slow to import

    text = f"training once, then trying changes: {seconds:g} s of processor time"
    with Console(stderr=True).status(text):
        return diagnosed(training, seconds)


def _changed(recipe: Recipe, diagnosis: Diagnosis, facts: Facts) -> tuple[Recipe | None, list[str]]:
    """The recipe with the changes that help, and a line on what it has no setting for; None, and
    why, if there is none."""
    remedy = _for_recipe(recipe, diagnosis)
    if remedy is None:
        return None, ["No recipe was written: no change helps."]
    new, others = repaired(recipe, remedy.changes)
    left = [f"a recipe has no setting for: {in_words(others, facts)}"] if others else []
    if new == recipe:
        return None, ["No recipe was written.", *left]
    if others and not _helps([c for c in remedy.changes if c not in others], diagnosis, facts):
        return None, ["No recipe was written: without the others, no change helps.", *left]
    return new, left


def _settings(new: Recipe, old: Recipe) -> list[str]:
    """The settings that differ, as lines of a recipe."""
    names = [n for n, value in vars(new).items() if value != getattr(old, n)]
    return [f"{n} = {json.dumps(getattr(new, n))}" for n in names]


def _applied(
    recipe: Recipe, diagnosis: Diagnosis, facts: Facts, place: Path, heading: str
) -> tuple[str | None, list[str]]:
    """The path of the recipe that was written, and what to say about it."""
    new, left = _changed(recipe, diagnosis, facts)
    if new is None:
        return None, left
    replaced = " (replaced)" * place.exists()
    files.write(place, heading + new.to_toml())
    said = f"wrote {place}{replaced}: {', '.join(_settings(new, recipe))}"
    return str(place), [said, *left, f"train it: chainrule train {place}"]


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
