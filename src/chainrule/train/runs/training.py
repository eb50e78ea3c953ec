"""Carrying out a recipe in a run folder: `train` a new run, `resume` one that was stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import nn, optim, random
from ...data import NAMES, DataLoader
from ...errors import ArgumentError, ChainruleError, FileError
from .. import files
from ..findings import findings_of_run
from ..loop.callback import Callback
from ..loop.fit import fit
from ..loop.trainer import Trainer
from ..report import render
from .folder import (
    MODEL,
    Held,
    create,
    expect_own_checkpoints,
    expect_unchanged,
    note_epochs,
    read_folder,
    training_in,
)
from .recipe import OPTIMIZERS, Recipe
from .result import Result, evaluate_task, guess_of, report_of
from .tasks import Task, TextTask, kind_of

WRITE_EVERY = 1.0  # seconds between two versions of metrics.jsonl


def train(
    recipe: Recipe,
    folder: Path | Callable[[], Path],
    *,
    progress: bool = True,
    checkpoint_every: float = 5.0,
    began: Callable[[Task, Recipe], None] | None = None,
) -> Result:
    """Carry out a recipe in a new folder.

    folder   the folder, or what names one that is free: called again if another run took it
    """
    task = kind_of(recipe.source).load(recipe)
    recipe = completed(recipe, task)
    place = folder if isinstance(folder, Path) else folder()
    if recipe.source not in NAMES:
        recipe.source = str(Path(recipe.source).resolve())
    if place.resolve().is_relative_to(recipe.source):
        raise FileError(
            "train",
            f"got {place} for the run, which is inside the data {recipe.source}",
            "a folder outside of it: inside it would be taken for a class",
            "choose another with --out",
        )
    if os.path.lexists(place):
        run = (place / "recipe.toml").exists()
        what = "a run that is there already" if run else "which is there already and is no run"
        raise FileError(
            "train",
            f"got {place}, {what}",
            "a new folder",
            "choose another with --out" + f", or continue it with --resume {place}" * run,
        )
    while True:
        with files.told("train", place):
            place.parent.mkdir(parents=True, exist_ok=True)
        try:
            create(place, recipe, task)
            break
        except FileError:
            if isinstance(folder, Path) or not place.exists():
                raise
            place = folder()  # another run took it in the meantime
    with training_in(place) as held:
        try:
            return _train_and_write(held, recipe, task, progress, checkpoint_every, began)
        except ChainruleError:
            held.expect_there()
            begun = {p.name for p in place.iterdir()} - {"recipe.toml", "data.json", "checkpoints"}
            if not begun and not any(place.glob("checkpoints/*")):  # there is nothing to keep
                held.remove()
            raise


def resume(
    folder: Path,
    *,
    progress: bool = True,
    checkpoint_every: float = 5.0,
    began: Callable[[Task, Recipe], None] | None = None,
) -> Result:
    """Go on with a run that was stopped: its end is the same, bit for bit."""
    recipe, data, kind = read_folder(folder)
    expect_own_checkpoints(folder)
    with training_in(folder) as held:
        with files.told("resume", folder):
            files.sweep(folder)
        expect_unchanged(folder, recipe, data)
        note_epochs(folder, recipe, data)
        task = kind.load(recipe)
        return _train_and_write(held, recipe, task, progress, checkpoint_every, began)


def completed(recipe: Recipe, task: Task) -> Recipe:
    recipe = recipe.completed(task.defaults())
    rows = len(task.train[1])
    assert recipe.batch_size is not None
    if recipe.batch_size > rows:
        raise ArgumentError(
            "train",
            f"got batch_size {recipe.batch_size} for {rows} training rows",
            "no more than there are",
            f"use at most {rows}",
        )
    fitting = {"table": ("mlp",), "images": ("mlp", "cnn"), "text": ("gru", "lstm")}[task.kind]
    if recipe.model not in fitting:
        raise ArgumentError(
            "recipe",
            f"got model = {recipe.model!r} for a {task.kind} source",
            f"one of {', '.join(fitting)}",
            "leave it out",
        )
    for name, fits in (
        ("loss", task.task == "regression"),
        ("channels", recipe.model == "cnn"),
        ("label_smoothing", task.task == "classification"),
        ("class_weight", task.task == "classification"),
    ):
        if getattr(recipe, name) is not None and not fits:
            raise ArgumentError(
                "recipe",
                f"got {name} = {getattr(recipe, name)!r} for a {task.task} with {recipe.model}",
                "settings that change something",
                f"leave {name} out",
            )
    return recipe


def _train_and_write(
    held: Held,
    recipe: Recipe,
    task: Task,
    progress: bool,
    checkpoint_every: float,
    began: Callable[[Task, Recipe], None] | None,
) -> Result:
    started, folder = time.perf_counter(), held.folder
    random.seed(recipe.seed or 0)
    model = task.network(recipe)
    if began is not None:
        began(task, recipe)
    assert recipe.batch_size is not None
    assert recipe.epochs is not None
    loader = DataLoader(task.train, recipe.batch_size, shuffle=True, seed=recipe.seed or 0)
    optimizer = _optimizer(recipe, model)
    schedule = None
    if recipe.schedule == "cosine":
        steps = recipe.epochs * len(loader)
        schedule = optim.WarmupCosine(optimizer, min(len(loader), steps // 10), steps)
    writer = _MetricsWriter(held)
    history = fit(
        model,
        loader,
        loss=task.loss(recipe),
        valid=task.valid,
        optimizer=optimizer,
        epochs=recipe.epochs,
        metrics=task.metrics(),
        schedule=schedule,
        clip_norm=recipe.clip_norm,
        patience=recipe.patience,
        callbacks=[writer],
        checkpoint=folder / "checkpoints",
        checkpoint_every=checkpoint_every,
        resume=True,
        progress=progress,
    )
    assert writer.trainer is not None
    output, metrics = evaluate_task(task, recipe, model, task.test)
    samples = task.samples(model) if isinstance(task, TextTask) else []  # type: ignore[arg-type]
    held.expect_there()
    files.write(folder / MODEL, files.tensors_to_bytes(model.state_dict()))
    if output is not None:
        named = (
            {"row": task.rows.tolist()} if task.test_names is None else {"file": task.test_names}
        )
        files.write(
            folder / "predictions.csv",
            files.to_csv(
                {
                    **named,
                    "target": task.truth(),
                    **task.decoded(output),
                }
            ),
        )
    seconds = writer.trainer.seconds + time.perf_counter() - started
    shown: dict[str, Any] = {"samples": samples}
    if output is not None:
        shown = task.shown(output, task.test[1])
    found = findings_of_run(
        history,
        writer.trainer.untrained,
        metrics,
        len(task.test[1]),
        guess_of(task, recipe) if output is not None else None,
        shown.get("confusion"),
        shown.get("classes", ()),
    )
    result = Result(
        task.task,
        metrics,
        folder,
        seconds,
        history.stopped == "interrupted",
        samples,
        found,
        ended="" if writer.trainer.step > writer.first else history.stopped,
    )
    files.write(folder / "result.json", files.to_json(result.to_json(), indent=2))
    page = report_of(result, recipe, task, model, history, shown)
    files.write(result.report, render(page))
    return result


def _optimizer(recipe: Recipe, model: nn.Module) -> optim.Optimizer:
    kind = getattr(optim, OPTIMIZERS[recipe.optimizer or "adamw"])
    settings: dict[str, Any] = {"lr": recipe.lr}
    if recipe.weight_decay is not None:
        settings["weight_decay"] = recipe.weight_decay
    if recipe.optimizer == "sgd":
        settings |= {"momentum": 0.9, "nesterov": True}
    made: optim.Optimizer = kind(model.named_parameters(), **settings)
    return made


class _MetricsWriter(Callback):
    """Keeps metrics.jsonl up to date; ends the run if its folder goes, before a checkpoint is
    written where it was."""

    each_step = False
    reports = True

    def __init__(self, held: Held) -> None:
        self._held, self._written = held, 0.0
        self.trainer: Trainer | None = None
        self.first = 0  # how many steps were done before

    def on_begin(self, run: Trainer) -> None:
        self.trainer, self.first = run, run.step

    def on_step(self, run: Trainer) -> None:
        self._held.expect_there()

    def on_epoch(self, run: Trainer) -> None:
        if time.perf_counter() - self._written >= WRITE_EVERY:
            self.on_end(run)

    def on_end(self, run: Trainer) -> None:
        self._written = time.perf_counter()
        rows = [files.to_json(files.for_others(row)) + "\n" for row in run.history.epochs]
        self._held.expect_there()
        files.write(self._held.folder / "metrics.jsonl", "".join(rows))
