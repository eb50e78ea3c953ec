"""`fit`: train a model on data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import tree
from ..data import DataLoader
from ..errors import ArgumentError
from ..nn import Module
from ..optim import Adam, Optimizer
from ..tensor import Tensor
from . import checks
from .history import History
from .inference import BATCH, loader_of, pair
from .metrics import Metric, named
from .objective import Objective
from .progress import progress_for
from .trainer import Callback, Trainer


def fit(
    model: Module, train: Any, *, loss: Any, valid: Any = None, optimizer: Optimizer | None = None,
    epochs: int = 10, batch_size: int | None = None, metrics: str | Iterable[str | Metric] = (),
    schedule: Any = None, schedule_per: str | None = None, clip_norm: float | None = None,
    accumulate: int = 1, patience: int | None = None, monitor: str | None = None,
    restore_best: bool | None = None, callbacks: Sequence[Callback] = (),
    checkpoint: str | Path | None = None, checkpoint_every: float = 5.0, resume: bool = False,
    seed: int = 0, progress: bool = True, compile: bool = True,
) -> History:  # fmt: skip
    """Train a model; returns its history, with the model trained in place.

    train, valid   (x, y) arrays or trees of arrays, a DataLoader, or an iterable of batches (x, y)
    loss           "cross_entropy", "mse", …, a loss of nn, or a function (prediction, target)
    optimizer      Adam with lr 1e-3 if left out
    batch_size     of arrays: 32 if left out; they are shuffled anew each epoch, by the seed
    metrics        "accuracy", "f1", "auc", "r2", "mae", "rmse" or functions (predictions, targets),
                   on the validation data, or on the training data if there is none
    schedule       of optim; moved on after each step or epoch, as schedule_per (or its kind) says
    clip_norm      the most that the common norm of all gradients may be
    accumulate     do each batch in so many pieces: the same gradient in less memory
    patience       stop after so many epochs without a better `monitor` ("valid_loss", or "loss")
                   and take the best epoch's weights
    restore_best   take the best epoch's weights at the end, without stopping early too
    checkpoint     a folder that gets one every checkpoint_every seconds and at the end
    resume         go on from the newest one there, mid-epoch too; the result is the same to the bit
    compile        False runs step by step in Python, to look inside

    Ctrl-C stops after the current step and returns what there is. If a loss is not finite, the
    weights of the last whole epoch are put back and a GradientError says where it happened.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "fit", f"got a model of type {type(model).__name__}", "a Module of chainrule.nn",
            "derive the class from nn.Module",
        )  # fmt: skip
    if optimizer is None:
        optimizer = Adam(model.named_parameters())
    _check_numbers(epochs, accumulate, patience, clip_norm, optimizer, schedule)
    objective, chosen = Objective(loss), named(metrics)
    loader = _training_loader(train, batch_size, seed)
    for name, data in (("training data", train), ("validation data", valid)):
        if isinstance(data, (tuple, list)) and data and not isinstance(data[0], (tuple, list)):
            for part, what in zip(data, ("inputs", "targets"), strict=False):
                checks.check_finite(f"{what} of the {name}", part)
    per = schedule_per or getattr(schedule, "per", "epoch")
    if per not in ("step", "epoch"):
        raise ArgumentError("fit", f"got schedule_per {per!r}", "step or epoch", "choose one")
    shown = [progress_for(progress)] if progress else []
    trainer = Trainer(
        model, loader, None if valid is None else loader_of(valid, BATCH), objective, optimizer,
        chosen, epochs=epochs, schedule=schedule, schedule_per=per, clip_norm=clip_norm,
        accumulate=accumulate, patience=patience, monitor=monitor,
        restore_best=patience is not None if restore_best is None else restore_best,
        callbacks=[*callbacks, *shown], folder=None if checkpoint is None else Path(checkpoint),
        every=checkpoint_every, compiled=compile,
    )  # fmt: skip
    if not (resume and trainer.resume()):
        _check_first_batch(model, objective, loader, train)
    model.train()
    return trainer.run()


def _training_loader(train: Any, batch_size: int | None, seed: int) -> Any:
    if not isinstance(train, (tuple, list)) or (train and isinstance(train[0], (tuple, list))
                                                and len(train) != 2):  # fmt: skip
        if batch_size is not None:
            raise ArgumentError(
                "fit", f"got batch_size {batch_size} and data that comes in batches",
                "arrays (x, y) if they are to be cut into batches",
                "leave batch_size out, or give it to the DataLoader",
            )  # fmt: skip
        return train
    pair(train)
    rows = len(tree.flatten(train)[0][0])
    if batch_size is not None and batch_size > rows:
        raise ArgumentError(
            "fit", f"got batch_size {batch_size} for {rows} rows", "no more than there are rows",
            f"use at most {rows}",
        )  # fmt: skip
    return DataLoader(train, min(32, rows) if batch_size is None else batch_size, True, seed=seed)


def _check_first_batch(model: Module, objective: Objective, loader: Any, train: Any) -> None:
    """Look at one batch before the first step, if that does not use the data up."""
    if isinstance(loader, DataLoader):
        first = next(loader.batches(0), None)
    else:
        first = None if iter(loader) is loader else next(iter(loader), None)
    if first is None:
        return
    x, y = (tree.map(lambda t: t if isinstance(t, Tensor) else Tensor(t), p) for p in pair(first))
    for data, what in ((x, "inputs"), (y, "targets")):
        checks.check_finite(f"{what} of the first batch", data)
    outputs = checks.check_loss(model, objective, x, y)
    if isinstance(train, (tuple, list)):
        checks.check_classes(objective, outputs, train[1])


def _check_numbers(
    epochs: int, accumulate: int, patience: int | None, clip_norm: float | None,
    optimizer: Optimizer, schedule: Any,
) -> None:  # fmt: skip
    for name, value in (("epochs", epochs), ("accumulate", accumulate), ("patience", patience)):
        if value is not None and (not isinstance(value, (int, np.integer)) or value < 1):
            raise ArgumentError("fit", f"got {name} {value!r}", "a whole number from 1", "check it")
    if clip_norm is not None and not (clip_norm > 0 and math.isfinite(clip_norm)):
        raise ArgumentError("fit", f"got clip_norm {clip_norm}", "above 0, finite", "1.0 is usual")
    if schedule is None and all(group["lr"] == 0 for group in optimizer.param_groups):
        raise ArgumentError("fit", "got lr 0", "above 0", "1e-3 is a usual start")
