"""`fit`: train a model on data."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ... import tree
from ...data import DataLoader
from ...errors import ArgumentError, ChainruleError, TraceError, warn
from ...hints import check_arguments
from ...nn import Module
from ...optim import Adam, OneCycleLR, Optimizer, ReduceLROnPlateau
from ...tensor import as_tensor
from ..checkpoints.checkpoint import begin
from ..checkpoints.settings import described
from ..evaluation.inference import (
    BATCH,
    Batches,
    are_arrays,
    arrays_of,
    evaluating,
    in_mode,
    loader_of,
    pair,
)
from ..evaluation.metrics import METRICS, Metric, named
from ..evaluation.objective import Objective
from ..findings.findings import VANISHING
from . import checks
from .history import History
from .progress import progress_for
from .trainer import Callback, Trainer


@check_arguments(
    "fit",
    positional="the data is one argument, a tuple, and the loss has to be named: "
    'fit(model, (x, y), loss="cross_entropy")',
)
def fit(
    model: Module,
    train: Any,
    *,
    loss: Any,
    valid: Any = None,
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int | None = None,
    metrics: Any = (),
    schedule: Any = None,
    schedule_per: str | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    patience: int | None = None,
    monitor: str | None = None,
    mode: str | None = None,
    drop_last: bool = False,
    restore_best: bool | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | Path | None = None,
    checkpoint_every: float = 5.0,
    resume: bool = False,
    seed: int = 0,
    progress: bool = True,
    compile: bool = True,
) -> History:
    """Train a model; returns its history, with the model trained in place.

    train, valid   (x, y) arrays or trees of arrays, a DataLoader, or a list (or another iterable)
                   of batches (x, y)
    loss           "cross_entropy", "mse", …, a loss of nn, or a function (prediction, target)
    optimizer      Adam with lr 1e-3 if left out
    batch_size     of arrays: 32 if left out; they are shuffled anew each epoch, by the seed
    drop_last      of arrays: leave a last batch with fewer rows out
    metrics        "accuracy", "f1", "auc", "r2", "mae", "rmse" or functions (predictions, targets)
                   that give a number, or a dict of such; on the validation data, or on the training
                   data if there is none. "f1" is the mean over the classes. Targets that the loss
                   ignores do not count (a batch of them alone has the loss 0, a metric of nothing
                   is NaN). With cross_entropy the largest of one-hot targets is the class; with
                   other losses each element of a target (N, K) of 0 and 1 counts by itself
    schedule       of optim; moved on after each step or epoch, as schedule_per (or its kind) says
    clip_norm      the most that the common norm of all gradients may be
    accumulate     do each batch in so many pieces: the same gradient in less memory. A function of
                   one's own has to be a mean over the rows, which the first batch is asked for
    patience       stop after so many epochs without a better `monitor` ("valid_loss", or "loss")
                   and take the best weights; ReduceLROnPlateau looks at the monitor too
    mode           "min" or "max", what is better of the monitor: has to be said of a function of
                   one's own, unless its name has "loss" or "err" in it, of which less is better
    restore_best   take the best epoch's weights at the end, without stopping early too
    checkpoint     a folder that gets one every checkpoint_every seconds and at the end; it may
                   not hold those of another run
    resume         go on from the newest one there, mid-epoch too: the same result to the bit. Other
                   settings or data than it began with are named in a warning
    compile        False runs step by step in Python, to look inside

    Ctrl-C stops after the current step and returns what there is. If a loss is not finite, the
    weights of the last whole epoch are put back and a GradientError says where it happened.
    Gradients that vanish are warned of at the end; `findings` of the history says more.
    The model is trained in training mode, but for modules that were put into evaluation mode (of a
    model that is in it as a whole: those of them that are frozen), whose statistics stay as they
    are and whose dropout passes through. At the end each module has the mode that it had.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "fit",
            f"got a model of type {type(model).__name__}",
            "a Module of chainrule.nn",
            "derive the class from nn.Module",
        )
    if resume and checkpoint is None:
        raise ArgumentError(
            "fit",
            "got resume=True without a checkpoint folder",
            "the folder to go on from",
            "pass checkpoint=folder",
        )
    if optimizer is None:
        optimizer = Adam(model.named_parameters())
    if not isinstance(optimizer, Optimizer):
        what = getattr(optimizer, "__name__", None) or repr(optimizer)
        raise ArgumentError(
            "fit",
            f"got optimizer {what}",
            "an optimizer with the parameters that it trains",
            "optimizer=optim.Adam(model.named_parameters(), lr=1e-3)",
        )
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) for c in callbacks):
        raise ArgumentError(
            "fit",
            f"got callbacks {callbacks!r}",
            "a list of objects of Callback",
            "derive a class from cr.train.Callback and pass [MyCallback()]",
        )
    _check_numbers(epochs, accumulate, patience, clip_norm, checkpoint_every, optimizer, schedule)
    given = {id(p) for group in optimizer.param_groups for p in group.params}
    if given.isdisjoint(map(id, model.parameters())):
        raise ArgumentError(
            "fit",
            "got an optimizer of none of this model's parameters",
            "one that trains them",
            "optimizer=optim.Adam(model.named_parameters(), lr=1e-3), made after the model",
        )
    objective = Objective(loss)
    chosen = named(metrics, objective)
    per = getattr(schedule, "per", "epoch") if schedule_per is None else schedule_per
    _check_schedule(schedule, per, optimizer)
    _check_monitor(monitor, chosen, valid is not None)
    falls = _falls(monitor, mode)
    loader = _training_loader(train, batch_size, drop_last, seed)
    valid = None if valid is None else loader_of(valid, BATCH)
    for name, data in (("training", loader), ("validation", valid)):
        again = epochs > 1 or (name == "training" and bool(chosen) and valid is None)
        _check_data(f"{name} data", data, again)
    _check_steps(schedule, per, loader, epochs)
    shown = [progress_for(progress)] if progress else []
    folder = None if checkpoint is None else Path(checkpoint)
    trainer = Trainer(
        model,
        loader,
        valid,
        objective,
        optimizer,
        chosen,
        epochs=epochs,
        schedule=schedule,
        schedule_per=per,
        clip_norm=clip_norm,
        accumulate=accumulate,
        patience=patience,
        monitor=monitor,
        falls=falls,
        restore_best=patience is not None if restore_best is None else restore_best,
        callbacks=[*callbacks, *shown],
        folder=folder,
        every=checkpoint_every,
        compiled=compile,
        settings={}
        if folder is None
        else described(
            loader,
            valid,
            objective,
            optimizer,
            schedule,
            schedule_per=per,
            clip_norm=clip_norm,
            accumulate=accumulate,
            monitor=monitor,
            mode="min" if falls else "max",
        ),
    )
    x, y = _first_batch(loader)
    if not (resume and trainer.resume()):
        _check_first_batch(model, objective, chosen, loader, valid, (x, y), accumulate)
    checks.check_pieces(model, objective, x, y, accumulate)
    if folder is not None:
        begin(folder, resume)
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.mode = "min" if falls else "max"
    if isinstance(loader, DataLoader):
        trainer.history.guess = objective.guess(pair(loader.data)[1])
    with in_mode(model, training=True):
        try:
            history = trainer.run()
        except TraceError as error:
            if not compile:
                raise
            raise _advised(error, "or pass compile=False to fit") from error
    if not any(c.reports for c in callbacks):
        for found in history.findings:
            if found["title"] == VANISHING:  # nothing else shows it
                warn(f"[fit] {found['title']}: {found['cause']} {found['remedy']}")
    return history


def _advised(error: ChainruleError, more: str) -> ChainruleError:
    """The same error with more to try."""
    advice = f"{error.advice}, {more}"
    out = type(error)(error.operation, error.arrived, error.needed, advice, error.source)
    out.module, out.layer = error.module, error.layer
    return out


def _training_loader(
    train: Any, batch_size: int | None, drop_last: bool, seed: int
) -> DataLoader | Batches:
    if not are_arrays(train):
        asked = [f"batch_size {batch_size}"] if batch_size is not None else []
        asked += ["drop_last"] if drop_last else []
        asked += [f"seed {seed}"] if isinstance(seed, int) and seed != 0 else []
        if asked:
            raise ArgumentError(
                "fit",
                f"got {asked[0]} and data that comes in batches",
                "arrays (x, y) if they are to be cut into batches",
                f"leave {asked[0].split()[0]} out, or give it to the DataLoader",
            )
        return train if isinstance(train, DataLoader) else Batches(train)
    data = arrays_of(train)
    rows = DataLoader(data).samples
    if isinstance(batch_size, int) and batch_size > rows:
        raise ArgumentError(
            "fit",
            f"got batch_size {batch_size} for {rows} rows",
            "no more than there are rows",
            f"use at most {rows}",
        )
    size = 32 if batch_size is None else batch_size
    return DataLoader(data, size, True, drop_last=drop_last, seed=seed)


def _check_data(name: str, data: DataLoader | Batches | None, again: bool) -> None:
    if isinstance(data, DataLoader):
        for part, what in zip(pair(data.data), ("inputs", "targets"), strict=True):
            checks.check_finite(f"{what} of the {name}", part)
    elif data is not None:
        if data.first is not None:
            pair(data.first, f" in the {name}")
        if data.once and again:
            raise ArgumentError(
                "fit",
                f"got a generator as {name}",
                "batches that can be gone through again, for the next epoch or for the metrics",
                "pass a DataLoader, or a list of batches: a generator can be used only once",
            )


def _first_batch(loader: DataLoader | Batches) -> tuple[Any, Any]:
    first = next(loader.batches(0) if isinstance(loader, DataLoader) else iter(loader), None)
    if first is None:
        raise ArgumentError(
            "fit", "got no batches", "one or more in each epoch", "check what makes the batches"
        )
    return _tensors(first)


def _check_first_batch(
    model: Module,
    objective: Objective,
    metrics: dict[str, Metric],
    loader: DataLoader | Batches,
    valid: DataLoader | Batches | None,
    first: tuple[Any, Any],
    pieces: int,
) -> None:
    """Look at one batch, and at all targets that are there already, before the first step."""
    x, y = first
    for data, what in ((x, "inputs"), (y, "targets")):
        checks.check_finite(f"{what} of the first batch", data)
    sets = (("training data", loader), ("validation data", valid))
    targets = [(name, data.data[1]) for name, data in sets if isinstance(data, DataLoader)]
    _check_arguments(model, x)
    targets.append(("first batch", y))
    outputs = checks.check_loss(model, objective, metrics, x, y, targets, whole=pieces == 1)
    if isinstance(loader, DataLoader):
        checks.check_last_batch(model, loader, x)
    if valid is not None:
        _check_valid(model, objective, valid)
    for _, data in sets:
        if isinstance(data, Batches):
            data.check = partial(checks.check_classes, objective, outputs)


def _tensors(batch: Any) -> tuple[Any, Any]:
    x, y = pair(batch)
    return tree.map(as_tensor, x), tree.map(as_tensor, y)


def _check_valid(model: Module, objective: Objective, valid: DataLoader | Batches) -> None:
    """Raise if the model or the loss does not take a batch of the validation data."""
    first = next(valid.batches(0)) if isinstance(valid, DataLoader) else valid.first
    if first is None:
        return
    x, y = _tensors(first)
    try:
        with evaluating(model):
            objective.mean(model(x), y)
    except ChainruleError as error:
        raise _advised(error, "look at the validation data") from error


def _check_arguments(model: Module, x: Any) -> None:
    """Raise if forward takes several arguments: it gets one, the inputs of a batch."""
    signature = inspect.signature(model.forward)
    try:
        signature.bind(x)
    except TypeError:
        names = ", ".join(signature.parameters)
        given = f"a {type(x).__name__} of {len(x)}" if isinstance(x, (tuple, list, dict)) else "x"
        raise ArgumentError(
            "fit",
            f"got a model with forward(self, {names})",
            "a forward of one argument: it is "
            f"given the inputs of a batch as they are, here {given}",
            f"write forward(self, inputs), and {names} = inputs in it"
            if isinstance(x, (tuple, list))
            else "pass data ((a, b), y), and write forward(self, inputs)",
        ) from None


def _check_schedule(schedule: Any, per: str, optimizer: Optimizer) -> None:
    made = not isinstance(schedule, type) and hasattr(schedule, "state_dict")
    if schedule is not None and not (made and callable(getattr(schedule, "step", None))):
        raise ArgumentError(
            "fit",
            f"got the schedule {getattr(schedule, '__name__', None) or repr(schedule)}",
            "one of optim, made with the optimizer",
            "schedule=optim.CosineAnnealingLR(optimizer, T_max=10); of a function of your own, "
            "optim.LambdaLR(optimizer, function)",
        )
    if per not in ("step", "epoch"):
        raise ArgumentError("fit", f"got schedule_per {per!r}", "step or epoch", "choose one")
    if isinstance(schedule, ReduceLROnPlateau) and per == "step":
        raise ArgumentError(
            "fit",
            'got ReduceLROnPlateau with schedule_per="step"',
            "an epoch, after which there is a value to look at",
            "leave schedule_per out",
        )
    if getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise ArgumentError(
            "fit",
            "got a schedule of another optimizer",
            "one of the optimizer that is used",
            "pass the optimizer that the schedule was made with, optimizer=…",
        )


def _check_steps(schedule: Any, per: str, loader: Any, epochs: int) -> None:
    """Refuse a one-cycle schedule that is over before the training is."""
    if not isinstance(schedule, OneCycleLR):
        return
    try:
        steps = epochs * (len(loader) if per == "step" else 1)
    except TypeError:  # batches that do not say how many they are
        return
    if schedule.total_steps < steps:
        raise ArgumentError(
            "fit",
            f"got OneCycleLR for {schedule.total_steps} steps and a training of {steps}",
            "a cycle for the whole training",
            f"set total_steps to {steps}",
        )


def _check_monitor(monitor: str | None, metrics: dict[str, Metric], validated: bool) -> None:
    names = ["loss", *([f"valid_{n}" for n in ("loss", *metrics)] if validated else metrics)]
    if monitor is None or monitor in names:
        return
    near = difflib.get_close_matches(f"valid_{monitor}" if validated else monitor, names, n=1)
    advice = f"did you mean {near[0]}?" if near else "name a loss or a metric of this run"
    if monitor.startswith("valid_") and not validated:
        advice = "pass validation data, valid=(x, y)"
    raise ArgumentError("fit", f"got monitor {monitor!r}", f"one of {', '.join(names)}", advice)


def _falls(monitor: str | None, mode: str | None) -> bool:
    """Whether less of the monitored value is better."""
    name = (monitor or "loss").removeprefix("valid_")
    if mode not in (None, "min", "max"):
        raise ArgumentError(
            "fit", f"got mode {mode!r}", "min or max", "choose one, or leave it out"
        )
    if name == "loss" and mode == "max":
        raise ArgumentError(
            "fit",
            'got mode="max" for the loss, of which less is better',
            "the metric that is to be as large as possible",
            "name it: monitor=…",
        )
    falls = name in ("loss", "mae", "rmse") or (
        name not in METRICS and ("err" in name.lower() or "loss" in name.lower())
    )
    if mode is None and not falls and name not in METRICS:
        raise ArgumentError(
            "fit",
            f"got monitor {monitor!r}, a metric of your own",
            "whether less of it is better or more",
            'pass mode="min" or mode="max"',
        )
    return falls if mode is None else mode == "min"


def _check_numbers(
    epochs: int,
    accumulate: int,
    patience: int | None,
    clip_norm: float | None,
    every: float,
    optimizer: Optimizer,
    schedule: Any,
) -> None:
    for name, value in (("epochs", epochs), ("accumulate", accumulate), ("patience", patience)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not (whole and value > 0):
            raise ArgumentError("fit", f"got {name} {value!r}", "a whole number from 1", "check it")
    if clip_norm is not None and not (_is_number(clip_norm) and 0 < clip_norm < math.inf):
        raise ArgumentError(
            "fit", f"got clip_norm {clip_norm!r}", "a number above 0, finite", "1.0 is usual"
        )
    if not (_is_number(every) and every >= 0):
        raise ArgumentError("fit", f"got checkpoint_every {every!r}", "seconds from 0", "try 5")
    if schedule is None and all(group["lr"] == 0 for group in optimizer.param_groups):
        raise ArgumentError("fit", "got lr 0", "above 0", "1e-3 is a usual start")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
