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

import contextlib
import dataclasses
import datetime
import hashlib
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn, optim, random
from ..data import NAMES, DataLoader, load
from ..errors import ArgumentError, ChainruleError, FileError, printable
from ..graph import Array
from . import files
from .findings import Finding, Guess, findings
from .fit import fit
from .history import History
from .inference import Forward, evaluate, evaluating, predict
from .recipe import OPTIMIZERS, Recipe
from .report import Report, render
from .tasks import Task, TextTask, kind_of
from .tasks.text import bits
from .trainer import Callback, Trainer

FORMAT = 1
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
            "task": self.task, "metrics": files.for_others(self.metrics), "run": str(self.run),
            "report": str(self.report), "seconds": round(self.seconds, 3),
        }  # fmt: skip
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
        recipe, data = _read_folder(folder)
        task = _kind(recipe, data).restored(recipe, data["preprocessing"])
        model = task.network(recipe)
        file = folder / "model.safetensors"
        if not file.exists():
            state = "has no model.safetensors"
            advice = f"finish it with chainrule train --resume {folder}"
            if files.is_held(folder):
                state, advice = "is being trained", "wait, or stop it with Ctrl-C, once"
            raise FileError("run", f"got {folder}, which {state}", "a run that has ended", advice)
        weights = files.tensors_from_bytes(files.read(file), file)
        model.load_state_dict(weights)
        for name, values in weights.items():
            if not np.isfinite(values).all():
                raise FileError(
                    "run", f"got {file} with values in {name} that are not finite",
                    "the weights that chainrule train wrote", "take an intact copy, or train again",
                )  # fmt: skip
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
        _, data = _read_folder(self.folder)
        _expect_unchanged(self.folder, self.recipe, data)
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
    recipe: Recipe, folder: Path | Callable[[], Path], *, progress: bool = True,
    checkpoint_every: float = 5.0, began: Callable[[Task, Recipe], None] | None = None,
) -> Result:  # fmt: skip
    """Carry out a recipe in a new folder.

    folder   the folder, or what names one that is free: called again if another run took it
    """
    task = kind_of(recipe.source).load(recipe)
    recipe = _completed(recipe, task)
    place = folder if isinstance(folder, Path) else folder()
    if place.exists():
        run = (place / "recipe.toml").exists()
        what = "a run that is there already" if run else "which is there already and is no run"
        raise FileError(
            "train", f"got {place}, {what}", "a new folder",
            "choose another with --out" + f", or continue it with --resume {place}" * run,
        )  # fmt: skip
    if recipe.source not in NAMES:
        recipe.source = str(Path(recipe.source).resolve())
    data = {
        "format": FORMAT, "kind": task.kind, "fingerprint": fingerprint(recipe.source),
        "recipe": _fixed(recipe), "preprocessing": task.to_json(),
    }  # fmt: skip
    data["checksum"] = files.checksum(files.to_json(data).encode(errors="backslashreplace"))
    while True:
        with files.told("train", place):
            place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with files.new_folder(place) as inside:
                files.write(inside / "recipe.toml", _movable(recipe, place).to_toml())
                files.write(inside / "data.json", files.to_json(data))
            break
        except FileError:
            if isinstance(folder, Path) or not place.exists():
                raise
            place = folder()  # another run took it in the meantime
    with _in(place):
        try:
            return _carry_out(place, recipe, task, progress, checkpoint_every, began)
        except ChainruleError:
            begun = {p.name for p in place.iterdir()} - {"recipe.toml", "data.json", "checkpoints"}
            if not begun and not any(place.glob("checkpoints/*")):  # no step was made
                shutil.rmtree(place)
            raise


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    """Hold the folder; a Ctrl-C that breaks off what is done there names it."""
    with files.held(folder):
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(folder) from None


def resume(
    folder: Path, *, progress: bool = True, checkpoint_every: float = 5.0,
    began: Callable[[Task, Recipe], None] | None = None,
) -> Result:  # fmt: skip
    """Go on with a run that was stopped: its end is the same, bit for bit."""
    recipe, data = _read_folder(folder)
    with _in(folder):
        files.sweep(folder)
        _expect_unchanged(folder, recipe, data)
        task = _kind(recipe, data).load(recipe)
        return _carry_out(folder, recipe, task, progress, checkpoint_every, began)


def _movable(recipe: Recipe, folder: Path) -> Recipe:
    """With a source that is relative to the run folder, if both are in the current folder."""
    here, run = Path.cwd(), folder.resolve()
    inside = run.is_relative_to(here) and Path(recipe.source).is_relative_to(here)
    if recipe.source in NAMES or not inside:
        return recipe
    return dataclasses.replace(recipe, source=os.path.relpath(recipe.source, run))


def _fixed(recipe: Recipe) -> dict[str, Any]:
    """The settings that a run keeps: not its epochs, nor where its data lies."""
    return {k: v for k, v in vars(recipe).items() if k not in ("source", "epochs")}


def _expect_unchanged(folder: Path, recipe: Recipe, data: dict[str, Any]) -> None:
    if recipe.source not in NAMES and not os.path.exists(recipe.source):
        raise FileError(
            "run", f"got {recipe.source}, which does not exist", f"the data of {folder}",
            "put it back, or name another file",
        )  # fmt: skip
    if fingerprint(recipe.source) != data["fingerprint"]:
        raise FileError(
            "run", f"got {recipe.source}, which has changed since {folder} began",
            "the same data", "put the old file back, name another file, or train anew",
        )  # fmt: skip


def _completed(recipe: Recipe, task: Task) -> Recipe:
    recipe = recipe.completed(task.defaults())
    rows = len(task.train[1])
    assert recipe.batch_size is not None
    if recipe.batch_size > rows:
        raise ArgumentError(
            "train", f"got batch_size {recipe.batch_size} for {rows} training rows",
            "no more than there are", f"use at most {rows}",
        )  # fmt: skip
    fitting = {"table": ("mlp",), "images": ("mlp", "cnn"), "text": ("gru", "lstm")}[task.kind]
    if recipe.model not in fitting:
        raise ArgumentError(
            "recipe", f"got model = {recipe.model!r} for a {task.kind} source",
            f"one of {', '.join(fitting)}", "leave it out",
        )  # fmt: skip
    for name, fits in (("loss", task.task == "regression"), ("channels", recipe.model == "cnn"),
                       ("label_smoothing", task.task == "classification"),
                       ("class_weight", task.task == "classification")):  # fmt: skip
        if getattr(recipe, name) is not None and not fits:
            raise ArgumentError(
                "recipe", f"got {name} = {getattr(recipe, name)!r} for a {task.task} with "
                f"{recipe.model}", "settings that change something", f"leave {name} out",
            )  # fmt: skip
    return recipe


def _carry_out(
    folder: Path, recipe: Recipe, task: Task, progress: bool, checkpoint_every: float,
    began: Callable[[Task, Recipe], None] | None,
) -> Result:  # fmt: skip
    started = time.perf_counter()
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
    writer = _Writer(folder / "metrics.jsonl")
    history = fit(
        model, loader, loss=task.loss(recipe), valid=task.valid, optimizer=optimizer,
        epochs=recipe.epochs, metrics=task.metrics(), schedule=schedule,
        clip_norm=recipe.clip_norm, patience=recipe.patience, callbacks=[writer],
        checkpoint=folder / "checkpoints", checkpoint_every=checkpoint_every, resume=True,
        progress=progress,
    )  # fmt: skip
    assert writer.trainer is not None
    output, metrics = _judge(task, recipe, model, task.test)
    samples = task.samples(model) if isinstance(task, TextTask) else []  # type: ignore[arg-type]
    files.write(folder / "model.safetensors", files.tensors_to_bytes(model.state_dict()))
    if output is not None:
        named = {"row": task.rows.tolist()} if task.test_names is None else {
            "file": task.test_names}  # fmt: skip
        files.write(folder / "predictions.csv", files.to_csv({
            **named, "target": task.truth(), **task.decoded(output),
        }))  # fmt: skip
    seconds = writer.trainer.seconds + time.perf_counter() - started
    found = findings(
        history, writer.trainer.untrained, metrics, len(task.test[1]),
        _guess(task, recipe) if output is not None else None,
    )  # fmt: skip
    result = Result(
        task.task, metrics, folder, seconds, history.stopped == "interrupted", samples, found,
        ended="" if writer.trainer.step > writer.first else history.stopped,
    )  # fmt: skip
    files.write(folder / "result.json", files.to_json(result.to_json(), indent=2))
    page = _page(result, recipe, task, model, history, output)
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
    output = np.concatenate(
        [p.numpy() for p, _ in forward.predictions(DataLoader((x, y), 256))]
    )  # fmt: skip
    return output, {name: m(output, y) for name, m in task.metrics().items()}


class _Writer(Callback):
    """Keeps metrics.jsonl up to date."""

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, 0.0
        self.trainer: Trainer | None = None
        self.first = 0  # how many steps were done before

    def on_begin(self, run: Trainer) -> None:
        self.trainer, self.first = run, run.step

    def on_epoch(self, run: Trainer) -> None:
        if time.perf_counter() - self._written >= WRITE_EVERY:
            self.on_end(run)

    def on_end(self, run: Trainer) -> None:
        self._written = time.perf_counter()
        rows = [files.to_json(files.for_others(row)) + "\n" for row in run.history.epochs]
        files.write(self._path, "".join(rows))


def _page(
    result: Result, recipe: Recipe, task: Task, model: nn.Module, history: History,
    output: Array | None,
) -> Report:  # fmt: skip
    import chainrule

    first = DataLoader(task.test, 1)
    with evaluating(model):  # one row has no statistics of its own
        summary = model.summary(next(iter(first))[0])
    shown = {"samples": result.samples} if output is None else task.shown(output, task.test[1])
    return Report(
        title=Path(recipe.source).name, task=result.task, run=result.run.name,
        seconds=result.seconds, interrupted=result.interrupted, metrics=result.metrics,
        recipe=recipe.to_toml(), data=task.facts, notes=task.notes, model=str(summary),
        parameters=summary.parameters, history=history.epochs, best_epoch=history.best_epoch,
        gradients=dict(vars(history.gradients)),
        findings=result.findings,
        versions={
            "chainrule": chainrule.__version__, "NumPy": np.__version__,
            "Python": platform.python_version(),
        },
        date=datetime.date.today().isoformat(), **shown,
    )  # fmt: skip


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


def fingerprint(source: str) -> str:
    """Tells whether data is still the same: contents of a file, names and sizes of a folder."""
    if source in NAMES:
        return f"{source} 0..255" if load(source).kind == "images" else source
    path = Path(source)
    if path.is_dir():
        inside = sorted(p for p in path.glob("*/*") if p.is_file())  # through links, as it is read
        text = "\n".join(f"{p.relative_to(path)} {p.stat().st_size}" for p in inside)
        return hashlib.sha256(os.fsencode(text)).hexdigest()
    return files.checksum(files.read(path))


def _read_folder(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    if not (folder / "recipe.toml").exists():
        raise FileError(
            "run", f"got {folder}, which has no recipe.toml", "a run folder",
            "name a folder that chainrule train wrote, runs/… by default",
        )  # fmt: skip
    recipe = Recipe.read(folder / "recipe.toml")
    data = files.from_json(folder / "data.json")
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise FileError(
            "run", f"got {folder / 'data.json'} of another format", f"format {FORMAT}",
            "install the version of chainrule that wrote it",
        )  # fmt: skip
    _kind(recipe, data)
    given = data.pop("checksum", None)
    if given != files.checksum(files.to_json(data).encode(errors="backslashreplace")):
        raise FileError(
            "run", f"got {folder / 'data.json'}, which is not as it was written",
            "the file that chainrule train wrote", "take an intact copy, or train again",
        )  # fmt: skip
    if data["kind"] == "images" and data["fingerprint"] in NAMES:
        raise FileError(
            "run", f"got {folder}, a run on {recipe.source} from 0 to 16", "images from 0 to 255",
            "train again: earlier versions did not bring them to the scale of image files",
        )  # fmt: skip
    kept = data.get("recipe", {})
    differ = [k for k, v in _fixed(recipe).items() if k in kept and kept[k] != v]
    if differ:
        before = ", ".join(f"no {k}" if kept[k] is None else f"{k} = {kept[k]!r}" for k in differ)
        raise FileError(
            "run", f"got {folder / 'recipe.toml'} with another {', '.join(differ)} than {folder} "
            "began with", f"{before} as then (epochs alone may change)",
            f"put it back, or train anew: chainrule train {folder / 'recipe.toml'}",
        )  # fmt: skip
    needed = ["epochs", "batch_size", "lr", *["embedding"] * (data["kind"] == "table")]
    lost = [name for name in needed if getattr(recipe, name) is None]
    if lost:
        raise FileError(
            "run", f"got {folder / 'recipe.toml'} without {lost[0]}",
            "every setting, as chainrule train wrote it", f"add {lost[0]}, or train again",
        )  # fmt: skip
    return recipe, data


def _kind(recipe: Recipe, data: dict[str, Any]) -> type[Task]:
    from .tasks import KINDS

    if str(data.get("kind")) not in KINDS:
        raise FileError(
            "run", f"got a run on {data.get('kind')!r}", f"one of {', '.join(KINDS)}",
            "install the version of chainrule that wrote it",
        )  # fmt: skip
    return KINDS[data["kind"]]
