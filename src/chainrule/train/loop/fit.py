"""`fit`: train a model on data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data import DataLoader
from ...errors import ArgumentError, TraceError, warn
from ...hints import check_arguments
from ...nn import Module
from ...optim import Adam, Optimizer, ReduceLROnPlateau
from ..checkpoints.checkpoint import begin
from ..checkpoints.settings import described
from ..evaluation.batches import Batches, are_arrays, arrays_of, loader_of, pair
from ..evaluation.inference import BATCH
from ..evaluation.metrics import named
from ..evaluation.modes import in_mode
from ..evaluation.objective import Objective
from ..findings import VANISHING
from .arguments import check_cycle, check_numbers, check_schedule
from .callback import Callback
from .early_stopping import EarlyStopping, check_monitor, lower_is_better
from .first_batch import check_first_batch, check_pieces, read_first_batch, with_advice
from .history import History
from .nonfinite import check_finite
from .progress import progress_for
from .trainer import Trainer


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
    check_numbers(epochs, accumulate, patience, clip_norm, checkpoint_every, optimizer, schedule)
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
    check_schedule(schedule, per, optimizer)
    check_monitor(monitor, chosen, valid is not None)
    falls = lower_is_better(monitor, mode)
    loader = _training_loader(train, batch_size, drop_last, seed)
    valid = None if valid is None else loader_of(valid, BATCH)
    for name, data in (("training", loader), ("validation", valid)):
        again = epochs > 1 or (name == "training" and bool(chosen) and valid is None)
        _check_data(f"{name} data", data, again)
    check_cycle(schedule, per, loader, epochs)
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
        early_stopping=EarlyStopping(
            monitor or ("loss" if valid is None else "valid_loss"),
            falls,
            patience,
            restore_best=patience is not None if restore_best is None else restore_best,
        ),
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
    x, y = read_first_batch(loader)
    if not (resume and trainer.resume()):
        check_first_batch(model, objective, chosen, loader, valid, (x, y), accumulate)
    check_pieces(model, objective, x, y, accumulate)
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
            raise with_advice(error, "or pass compile=False to fit") from error
    if not any(c.reports for c in callbacks):
        for found in history.findings:
            if found["title"] == VANISHING:  # nothing else shows it
                warn(f"[fit] {found['title']}: {found['cause']} {found['remedy']}")
    return history


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
            check_finite(f"{what} of the {name}", part)
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
