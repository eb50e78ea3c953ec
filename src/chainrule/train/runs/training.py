"""Carrying out a recipe in a run folder: `train` a new run, `resume` one that was stopped."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import files, nn, optim, random
from ...data import NAMES, DataLoader
from ...diagnosis.history import findings_of_run
from ...errors import ArgumentError, ChainruleError, FileError, warn
from ...graph import Array
from ..evaluation.streams import WindowLoader
from ..loop.callback import Callback
from ..loop.fit import fit
from ..loop.trainer import Trainer
from ..report import render
from .folder import (
    MODEL,
    LockedFolder,
    create,
    expect_own_checkpoints,
    expect_unchanged,
    note_epochs,
    read_folder,
    training_in,
)
from .image_networks import IMAGE_NETWORKS
from .recipe import OPTIMIZERS, TEXT_NETWORKS, Recipe
from .result import Result, evaluate_task, guess_of, report_of
from .sampling import Samples
from .tasks import Task, TextTask, kind_of
from .tasks.text import EVALUATED

SAMPLE = 400  # tokens of each text in the report
WRITE_EVERY = 1.0  # seconds between two versions of metrics.jsonl


def train(
    recipe: Recipe,
    folder: Path | Callable[[], Path],
    *,
    progress: bool = True,
    checkpoint_every: float = 5.0,
    began: Callable[[Task, Recipe], None] | None = None,
) -> Result:
    """Train a recipe in a new folder.

    folder   the folder, or a function that returns a free one; called again if another run took it
    """
    task = loaded(kind_of(recipe.source, recipe.drop), recipe)
    recipe = completed(recipe, task)
    place = folder if isinstance(folder, Path) else folder()
    if recipe.source not in NAMES:
        recipe.source = str(Path(recipe.source).resolve())
    if place.resolve().is_relative_to(recipe.source):
        raise FileError(
            "train",
            f"got {place} for the run, which is inside the data {recipe.source}",
            "expected a folder outside the data: inside it would count as a class",
            "pass a folder outside with --out",
        )
    if os.path.lexists(place):
        run = (place / "recipe.toml").exists()
        what = "an existing run" if run else "which exists and is not a run"
        raise FileError(
            "train",
            f"got {place}, {what}",
            "expected a new folder",
            "pass a new name with --out" + f", or continue it with --resume {place}" * run,
        )
    while True:
        with files.file_errors("train", place):
            place.parent.mkdir(parents=True, exist_ok=True)
        try:
            create(place, recipe, task)
            break
        except FileError:
            if isinstance(folder, Path) or not place.exists():
                raise
            place = folder()  # another run took it in the meantime
    with training_in(place) as run_folder:
        try:
            return _train_and_write(run_folder, recipe, task, progress, checkpoint_every, began)
        except ChainruleError:
            run_folder.expect_there()
            written = {p.name for p in place.iterdir()} - {
                "recipe.toml",
                "data.json",
                "checkpoints",
            }
            if not written and not any(place.glob("checkpoints/*")):  # nothing to keep
                run_folder.remove()
            raise


def resume(
    folder: Path,
    *,
    progress: bool = True,
    checkpoint_every: float = 5.0,
    began: Callable[[Task, Recipe], None] | None = None,
) -> Result:
    """Continue a run that was stopped: its end is the same, bit for bit."""
    recipe, data, kind = read_folder(folder)
    expect_own_checkpoints(folder)
    with training_in(folder) as run_folder:
        with files.file_errors("resume", folder):
            files.sweep(folder)
        expect_unchanged(folder, recipe, data)
        note_epochs(folder, recipe, data)
        task = loaded(kind, recipe)
        return _train_and_write(run_folder, recipe, task, progress, checkpoint_every, began)


def loaded(kind: type[Task], recipe: Recipe) -> Task:
    """The data of a recipe; notes name its files by their paths from the current folder."""
    source = Path(recipe.source)
    if source.is_absolute() and source != Path.cwd() and source.is_relative_to(Path.cwd()):
        recipe = dataclasses.replace(recipe, source=str(source.relative_to(Path.cwd())))
    return kind.load(recipe)


def completed(recipe: Recipe, task: Task) -> Recipe:
    recipe = recipe.completed({"guard": True, "probes": True, **task.defaults()})
    rows = len(task.train[1])
    assert recipe.batch_size is not None
    if recipe.batch_size > rows:
        raise ArgumentError(
            "train",
            f"got batch_size {recipe.batch_size} for {rows} training rows",
            f"expected at most {rows}, the number of training rows",
            f"batch_size = {min(rows, 32)}",
        )
    fitting = {"table": ("mlp",), "images": tuple(IMAGE_NETWORKS), "text": TEXT_NETWORKS}[task.kind]
    images = recipe.model if task.kind == "images" else None
    if recipe.model not in fitting:
        raise ArgumentError(
            "recipe",
            f"got model = {recipe.model!r} for a {task.kind} source",
            f"expected one of {', '.join(fitting)}",
            "leave it out",
        )
    for name, fits in (
        ("loss", task.task == "regression"),
        ("channels", recipe.model == "cnn"),
        ("hidden", images in (None, "mlp")),
        ("dropout", images is None or IMAGE_NETWORKS[images].dropout is not None),
        ("heads", recipe.model == "transformer"),
        ("embedding", recipe.model != "transformer"),
        ("carry", recipe.model in ("lstm", "gru")),
        ("label_smoothing", task.task == "classification"),
        ("class_weight", task.task == "classification"),
        ("monitor", task.task == "classification" or recipe.monitor == "valid_loss"),
    ):
        if getattr(recipe, name) is not None and not fits:
            raise ArgumentError(
                "recipe",
                f"got {name} = {getattr(recipe, name)!r} for a {task.task} with {recipe.model}",
                "expected a setting that has an effect here",
                f"leave {name} out",
            )
    return recipe


def _train_and_write(
    run_folder: LockedFolder,
    recipe: Recipe,
    task: Task,
    progress: bool,
    checkpoint_every: float,
    began: Callable[[Task, Recipe], None] | None,
) -> Result:
    started, folder = time.perf_counter(), run_folder.folder
    random.seed(recipe.seed or 0)
    model = task.network(recipe)
    if began is not None:
        began(task, recipe)
    assert recipe.batch_size is not None
    assert recipe.epochs is not None
    # For a transformer, code for a last batch with fewer rows takes longer than such a batch gains.
    whole = recipe.model == "transformer"
    seed = recipe.seed or 0
    valid: Any = task.valid
    loader = DataLoader(
        task.train,
        recipe.batch_size,
        shuffle=True,
        drop_last=whole,
        seed=seed,
        augment=task.augmentations(recipe),
    )
    if whole:
        valid = DataLoader(valid, min(EVALUATED, len(valid[1])), drop_last=True)
    batches, tbptt, text = len(loader), None, []
    if isinstance(task, TextTask):
        text = [Samples(task)]
        if task.carry:
            tbptt = task.length
            batches = len(WindowLoader(loader, tbptt))
    optimizer = optimizer_of(recipe, model)
    schedule = schedule_of(recipe, optimizer, batches, recipe.epochs * batches)
    writer = _MetricsWriter(run_folder)
    history = fit(
        model,
        loader,
        loss=task.loss(recipe),
        valid=valid,
        optimizer=optimizer,
        epochs=recipe.epochs,
        metrics=task.metrics(),
        schedule=schedule,
        clip_norm=recipe.clip_norm,
        tbptt=tbptt,
        monitor=recipe.monitor,
        patience=recipe.patience,
        callbacks=[*text, writer],
        checkpoint=folder / "checkpoints",
        checkpoint_every=checkpoint_every,
        resume=True,
        progress=progress,
        guard=recipe.guard is not False,  # recipes of earlier versions do not say
        probes=recipe.probes is not False,
    )
    assert writer.trainer is not None
    output, metrics = evaluate_task(task, recipe, model, task.test)
    samples = []
    if isinstance(task, TextTask):
        samples = [task.sample(model, SAMPLE, k) for k in range(2)]
    run_folder.expect_there()
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
    predictions: dict[str, Any] = {"samples": samples}
    if output is not None:
        predictions = task.report_fields(output, task.test[1])
    run_findings = findings_of_run(
        history,
        metrics,
        len(task.test[1]) if output is not None else task.test[1].size,
        guess_of(task, recipe) if output is not None else None,
        predictions.get("confusion"),
        predictions.get("classes", ()),
        task.unit,
    )
    result = Result(
        task.task,
        metrics,
        folder,
        seconds,
        history.stopped == "interrupted",
        samples,
        run_findings,
        task.notes,
        ended="" if writer.trainer.step > writer.first else history.stopped,
    )
    files.write(folder / "result.json", files.to_json(result.to_json(), indent=2))
    if output is not None:
        predictions |= _pictures(task, recipe, model, output)
    page = report_of(result, recipe, task, model, history, predictions)
    files.write(result.report, render(page))
    return result


def _pictures(task: Task, recipe: Recipe, model: nn.Module, output: Array) -> dict[str, Any]:
    """The images of the report; none, with a warning, if they cannot be made.

    They are an extra: whatever goes wrong here costs neither the result nor the rest of the report.
    """
    try:
        return task.pictures(recipe, model, output)
    except Exception as error:
        what = error.arrived if isinstance(error, ChainruleError) else repr(error)
        warn(f"[report] {what}: the report has no images")
        return {}


def optimizer_of(recipe: Recipe, model: nn.Module) -> optim.Optimizer:
    """The optimizer of a complete recipe."""
    kind = getattr(optim, OPTIMIZERS[recipe.optimizer or "adamw"])
    settings: dict[str, Any] = {"lr": recipe.lr}
    if recipe.weight_decay is not None:
        settings["weight_decay"] = recipe.weight_decay
    if recipe.optimizer == "sgd":
        settings |= {"momentum": 0.9, "nesterov": True}
    optimizer: optim.Optimizer = kind(model.named_parameters(), **settings)
    return optimizer


def schedule_of(
    recipe: Recipe, optimizer: optim.Optimizer, batches: int, steps: int
) -> optim.Schedule | None:
    """The schedule of a recipe for a number of steps, of `batches` per epoch."""
    if recipe.schedule != "cosine":
        return None
    return optim.WarmupCosine(optimizer, min(batches, steps // 10), steps)


class _MetricsWriter(Callback):
    """Keeps metrics.jsonl up to date; ends the run if its folder is removed, before a checkpoint is
    written at its path."""

    each_step = False
    reports = True

    def __init__(self, run_folder: LockedFolder) -> None:
        self._run_folder, self._written = run_folder, 0.0
        self.trainer: Trainer | None = None
        self.first = 0  # steps before resuming

    def on_begin(self, run: Trainer) -> None:
        self.trainer, self.first = run, run.step

    def on_step(self, run: Trainer) -> None:
        self._run_folder.expect_there()

    def on_epoch(self, run: Trainer) -> None:
        if time.perf_counter() - self._written >= WRITE_EVERY:
            self.on_end(run)

    def on_end(self, run: Trainer) -> None:
        self._written = time.perf_counter()
        rows = [files.to_json(files.with_nulls(row)) + "\n" for row in run.history.epochs]
        self._run_folder.expect_there()
        files.write(self._run_folder.folder / "metrics.jsonl", "".join(rows))
