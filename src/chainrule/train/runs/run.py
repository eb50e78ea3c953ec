"""A run: a recipe carried out in a folder of its own, and what can be done with that folder.

recipe.toml          everything that is needed to repeat it
data.json            the fitted preprocessing, and a fingerprint of the data
metrics.jsonl        a line an epoch
checkpoints/         where it goes on from if it is stopped
model.safetensors    the trained weights
predictions.csv      what it says of the test rows
result.json          the metrics of the test rows
report.html          all of it to look at
"""

from __future__ import annotations

import datetime
import os
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, optim, random
from ...data import NAMES, DataLoader
from ...errors import ArgumentError, ChainruleError, FileError, printable
from ...graph import Array
from .. import files
from ..evaluation.inference import Forward, evaluate, predict
from ..evaluation.modes import evaluating
from ..findings.findings import Finding, Guess, findings
from ..loop.callback import Callback
from ..loop.fit import fit
from ..loop.history import History
from ..loop.trainer import Trainer
from ..report import Report, render
from .folder import (
    MODEL,
    Held,
    create,
    expect_own_checkpoints,
    expect_unchanged,
    load_weights,
    note_epochs,
    read_folder,
    training_in,
)
from .recipe import OPTIMIZERS, Recipe
from .tasks import Task, TextTask, kind_of
from .tasks.text import bits

IMBALANCED = 2.0  # times as many rows in the most frequent class as in the others on average
WRITE_EVERY = 1.0  # seconds between two versions of metrics.jsonl


@dataclass
class Result:
    """What a run came to.

    findings   what the report says of it
    ended      of a run that had nothing left to do when it was resumed: why it had stopped
    """

    task: str
    metrics: dict[str, float]
    run: Path
    seconds: float
    interrupted: bool
    samples: list[str]
    findings: list[Finding]
    ended: str = ""

    @property
    def report(self) -> Path:
        """The page."""
        return self.run / "report.html"

    def to_json(self) -> dict[str, Any]:
        """What the command line prints."""
        out = {
            "task": self.task,
            "metrics": files.for_others(self.metrics),
            "run": str(self.run),
            "report": str(self.report),
            "seconds": round(self.seconds, 3),
        }
        return {**out, "interrupted": True} if self.interrupted else out


class Run:
    """A finished (or interrupted) run: its model and how to use it.

    run = Run.open("runs/digits-1"); run.predict("new.csv")
    """

    def __init__(self, folder: Path, recipe: Recipe, task: Task, model: nn.Module) -> None:
        self.folder, self.recipe, self.task, self.model = folder, recipe, task, model

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Read a run folder; no code in it is run."""
        folder = Path(folder)
        recipe, data, kind = read_folder(folder)
        task = kind.restored(recipe, data["preprocessing"])
        model = task.network(recipe)
        load_weights(model, folder)
        return cls(folder, recipe, task, model.eval())

    def predict(self, source: Any = None, *, warn: bool = True) -> dict[str, list[Any]]:
        """Columns row (or file), prediction and confidence: of a source, or the run's test rows.

        source   a path, a data frame or a dict of columns
        warn     warn of what is new in the source; without it `task.notes` has it alone
        """
        if isinstance(self.task, TextTask):
            raise ArgumentError(
                "predict",
                "got a run on text",
                "tables or images",
                "use write(start) to continue it",
            )
        if source is None:
            task = self._own_data()
            x, rows, names = task.test[0], task.rows.tolist(), task.test_names
        else:
            x, _ = self.task.read(_named(source), labelled=False)
            rows, names = None, self.task.names
            if warn and self.task.notes:
                notes = "\n  ".join(["[predict]", *map(printable, self.task.notes)])
                warnings.warn(notes, stacklevel=2)
        output = predict(self.model, x)
        said = self.task.decoded(output)
        if names is not None:
            return {"file": names, **said}
        return {"row": list(range(len(output))) if rows is None else rows, **said}

    def _own_data(self) -> Task:
        """The run's data, if it is still what it was."""
        _, data, _ = read_folder(self.folder)
        expect_unchanged(self.folder, self.recipe, data)
        return type(self.task).load(self.recipe)

    def evaluate(self, source: Any = None) -> tuple[int, dict[str, float]]:
        """How many rows there are, and the metrics, of a file or of the run's own test rows."""
        if source is None:
            x, y = self._own_data().test
        else:
            x, y = self.task.read(_named(source), labelled=True)
        _, metrics = _judge(self.task, self.recipe, self.model, (x, y))
        return len(y), metrics

    def write(self, start: str, length: int = 400, seed: int = 0) -> str:
        """A text that follows the start."""
        if not isinstance(self.task, TextTask):
            raise ArgumentError(
                "write", f"got a run on {self.task.kind}", "a run on text", "use predict"
            )
        return self.task.continued(self.model, start, length, seed)  # type: ignore[arg-type]


def _named(source: Any) -> Any:
    return str(source) if isinstance(source, Path) else source


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
    recipe = _completed(recipe, task)
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
            return _carry_out(held, recipe, task, progress, checkpoint_every, began)
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
        return _carry_out(held, recipe, task, progress, checkpoint_every, began)


def _completed(recipe: Recipe, task: Task) -> Recipe:
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


def _carry_out(
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
    writer = _Writer(held)
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
    output, metrics = _judge(task, recipe, model, task.test)
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
    found = findings(
        history,
        writer.trainer.untrained,
        metrics,
        len(task.test[1]),
        _guess(task, recipe) if output is not None else None,
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
    page = _page(result, recipe, task, model, history, shown)
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


def _judge(
    task: Task, recipe: Recipe, model: nn.Module, data: tuple[Any, Any]
) -> tuple[Array | None, dict[str, float]]:
    """The outputs for the rows, and the metrics in the units of the data."""
    if isinstance(task, TextTask):
        loss = evaluate(model, data, task.loss(recipe))["loss"]
        return None, {"bits_per_character": bits(loss), "loss": loss}
    forward = Forward(model)
    x, y = data
    output = np.concatenate([p.numpy() for p, _ in forward.predictions(DataLoader((x, y), 256))])
    return output, {name: m(output, y) for name, m in task.metrics().items()}


class _Writer(Callback):
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


def _page(
    result: Result,
    recipe: Recipe,
    task: Task,
    model: nn.Module,
    history: History,
    shown: dict[str, Any],
) -> Report:
    import chainrule

    first = DataLoader(task.test, 1)
    with evaluating(model):  # one row has no statistics of its own
        summary = model.summary(next(iter(first))[0])
    return Report(
        title=Path(recipe.source).name,
        task=result.task,
        run=result.run.name,
        seconds=result.seconds,
        interrupted=result.interrupted,
        metrics=result.metrics,
        recipe=recipe.to_toml(),
        data=task.facts,
        notes=task.notes,
        model=str(summary),
        parameters=summary.parameters,
        history=history.epochs,
        best_epoch=history.best_epoch,
        gradients=dict(vars(history.gradients)),
        findings=result.findings,
        versions={
            "chainrule": chainrule.__version__,
            "NumPy": np.__version__,
            "Python": platform.python_version(),
        },
        date=datetime.date.today().isoformat(),
        **shown,
    )


def _guess(task: Task, recipe: Recipe) -> Guess:
    """What always naming the most frequent class gets, or always naming the mean.

    Where the classes weigh the same, it is judged by F1, in which they do too.
    """
    if task.task == "regression":
        return Guess("r2", 0.0)
    counts = np.bincount(np.asarray(task.test[1]))
    most, classes = float(counts.max() / counts.sum()), np.count_nonzero(counts)
    if recipe.class_weight is not None:
        return Guess("f1", 2 * most / (1 + most) / classes)
    imbalanced = bool(most * (classes - 1) >= IMBALANCED * (1 - most))
    return Guess("accuracy", most, imbalanced)
