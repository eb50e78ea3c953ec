"""`fit`: train a model on data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ... import tree
from ...data import DataLoader
from ...data.source import RowSource
from ...diagnosis.data import check_finite
from ...diagnosis.history import is_worth_a_warning
from ...errors import ArgumentError, TraceError, warn
from ...hints import check_arguments
from ...nn import Module
from ...optim import Adam, Optimizer, ReduceLROnPlateau
from ..checkpoints.checkpoint import prepare
from ..checkpoints.settings import training_settings
from ..evaluation.batches import Batches, are_arrays, arrays_of, loader_of, pair
from ..evaluation.inference import BATCH
from ..evaluation.metrics import metrics_by_name
from ..evaluation.modes import in_mode
from ..evaluation.objective import Objective
from ..evaluation.streams import CarriedState, WindowLoader, advanced
from .arguments import (
    check_cycle,
    check_numbers,
    check_optimizer,
    check_schedule,
    check_state,
)
from .callback import Callback
from .early_stopping import EarlyStopping, check_monitor, lower_is_better
from .first_batch import check_first_batch, check_pieces, read_first_batch, with_advice
from .history import History
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
    tbptt: int | None = None,
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
    guard: bool = True,
    probes: bool = True,
) -> History:
    """Train a model; returns its history, with the model trained in place.

    train, valid   (x, y) arrays or trees of arrays, a DataLoader, or a list (or another iterable)
                   of batches (x, y)
    loss           "cross_entropy", "mse", …, a loss of nn, or a function (prediction, target)
    optimizer      Adam with lr 1e-3 by default
    batch_size     for arrays: 32 by default; they are shuffled in each epoch, from the seed
    drop_last      for arrays: leave out a last batch with fewer rows
    metrics        "accuracy", "f1", "auc", "r2", "mae", "rmse" or functions (predictions, targets)
                   that return a number, or a dict of functions; computed on the validation data, or
                   on the training data if there is none. "f1" is the mean over the classes. Targets
                   that the loss ignores do not count (a batch of them alone has the loss 0, a
                   metric of no targets is NaN). With cross_entropy the largest element of a one-hot
                   target is the class; with other losses each element of a target (N, K) of 0 and 1
                   counts by itself
    schedule       a schedule of optim; it advances after each step or epoch, as schedule_per (by
                   default, the kind of the schedule) says
    clip_norm      the largest global norm of the gradients; larger gradients are scaled to it
    accumulate     split each batch into this number of pieces: the same gradient in less memory. A
                   loss function has to be a mean over the rows; the first batch checks that
    tbptt          truncated backpropagation through time, for x and y (N, T, …): the T steps are
                   cut into windows of this length, with a step of the optimizer after each. The
                   model is called model(x, state) and returns (prediction, state), like nn.LSTM;
                   the state is carried from window to window, gradients are not. It is None at the
                   start of each batch of sequences, and so of each epoch. Memory does not depend
                   on T. cr.data.streams cuts one long series into N sequences
    patience       stop after this number of epochs without a better `monitor` ("valid_loss", or
                   "loss") and restore the best weights, of equal values those with the least loss;
                   ReduceLROnPlateau follows the monitor too
    mode           "min" or "max": which values of the monitor are better. Required for a custom
                   metric, unless its name contains "loss" or "err": then lower is better
    restore_best   restore the weights of the best epoch at the end, also without early stopping
    checkpoint     a folder for checkpoints, one every checkpoint_every seconds and at the end; it
                   may not contain those of another run
    resume         continue from the newest checkpoint, also in the middle of an epoch: the same
                   result to the bit. Settings or data that differ are named in a warning
    compile        False runs each step in Python, operation by operation, for debugging
    guard          refuse steps whose loss or gradient is not finite, or whose gradient explodes:
                   more than 30 times as long as any of the last some hundred steps. Such a step
                   changes no weights, no state of the optimizer and no buffers; the rate is halved
                   and then doubles every 10 steps until it is what it was. `history.refused` lists
                   these steps, and a warning at the end says so
    probes         measure layers and activations at up to 400 steps, for `history.probes`:
                   weights and their updates, activations, gains, signal and noise of gradients.
                   Without it the weights are the same, but for the rounding of some sums in
                   compiled steps

    Ctrl-C stops after the current step and returns the history so far. If 8 steps in a row are
    refused, or all of an epoch, or one whose data is not finite, the weights of the last complete
    epoch are restored and a GradientError says which operation went wrong, in which layer, line,
    sample and time step. Without the guard a loss that is not finite is such an error.
    At the end a warning says what harms most of what is sure or no loss shows, such as gradients
    that vanish or units that are dead; `history.findings` says more.
    The model is trained in training mode, except for modules that are in evaluation mode (if the
    whole model is, except for frozen modules): their statistics stay as they are and their dropout
    does nothing. At the end each module is in its former mode again.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "fit",
            f"got a model of type {type(model).__name__}",
            "expected a Module of chainrule.nn",
            "derive the class from nn.Module",
        )
    for name, value in {"guard": guard, "probes": probes}.items():
        if not isinstance(value, bool):
            raise ArgumentError(
                "fit",
                f"got {name}={value!r}",
                "expected True or False",
                f"leave out {name}, which is True by default",
            )
    if resume and checkpoint is None:
        raise ArgumentError(
            "fit",
            "got resume=True without a checkpoint folder",
            "expected the folder to go on from",
            "pass checkpoint=folder",
        )
    if optimizer is None:
        optimizer = Adam(model.named_parameters())
    check_optimizer(optimizer, model)
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) for c in callbacks):
        raise ArgumentError(
            "fit",
            f"got callbacks {callbacks!r}",
            "expected a list of Callback objects",
            "derive a class from cr.train.Callback and pass [MyCallback()]",
        )
    check_numbers(
        epochs, accumulate, tbptt, patience, clip_norm, checkpoint_every, optimizer, schedule
    )
    objective = Objective(loss)
    chosen = metrics_by_name(metrics, objective)
    per = getattr(schedule, "per", "epoch") if schedule_per is None else schedule_per
    check_schedule(schedule, per, optimizer)
    check_monitor(monitor, chosen, valid is not None)
    lower = lower_is_better(monitor, mode)
    loader = _training_loader(train, batch_size, drop_last, seed)
    valid = None if valid is None else loader_of(valid, BATCH)
    for name, data in (("training", loader), ("validation", valid)):
        again = epochs > 1 or (name == "training" and bool(chosen) and valid is None)
        _check_data(f"{name} data", data, again)
    carried = None
    forward: Callable[[Any], Any] = model
    if tbptt is not None:
        loader, valid = _windows(loader, tbptt), None if valid is None else _windows(valid, tbptt)
        check_state(model)
        carried = CarriedState(model, loader)
        forward = partial(_first_prediction, model)
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
            lower,
            patience,
            restore_best=patience is not None if restore_best is None else restore_best,
        ),
        callbacks=[*callbacks, *shown],
        folder=folder,
        every=checkpoint_every,
        compiled=compile,
        settings={}
        if folder is None
        else training_settings(
            loader,
            valid,
            objective,
            optimizer,
            schedule,
            schedule_per=per,
            clip_norm=clip_norm,
            accumulate=accumulate,
            tbptt=tbptt,
            monitor=monitor,
            mode="min" if lower else "max",
        ),
        carried=carried,
        guard=guard,
        probes=probes,
    )
    x, y = read_first_batch(loader)
    if not (resume and trainer.resume()):
        trainer.history.first = check_first_batch(
            model, objective, chosen, loader, valid, (x, y), accumulate, forward
        )
    check_pieces(model, objective, x, y, accumulate)
    if folder is not None:
        prepare(folder, resume)
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.mode = "min" if lower else "max"
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
        warnings = [f for f in history.findings if is_worth_a_warning(f)]
        for finding in warnings[:1]:
            more = f" {len(warnings) - 1} more in history.findings." * (len(warnings) > 1)
            warn(f"[fit] {finding.text}{more}")
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
                f"got {asked[0]} and data that is in batches already",
                "expected arrays (x, y), which fit cuts into batches",
                f"leave out {asked[0].split()[0]}, or pass it to the DataLoader",
            )
        return train if isinstance(train, DataLoader) else Batches(train)
    data = arrays_of(train)
    rows = DataLoader(data).samples
    if isinstance(batch_size, int) and batch_size > rows:
        raise ArgumentError(
            "fit",
            f"got batch_size {batch_size} for {rows} rows",
            f"expected at most {rows}, the number of rows",
            f"batch_size={min(rows, 32)}",
        )
    size = 32 if batch_size is None else batch_size
    return DataLoader(data, size, True, drop_last=drop_last, seed=seed)


def _windows(data: DataLoader | Batches, steps: int) -> WindowLoader:
    """The windows of tbptt, of sequences that are in memory."""
    if not isinstance(data, DataLoader):
        raise ArgumentError(
            "fit",
            "got tbptt and data that is in batches already",
            "expected arrays (x, y) or a DataLoader, whose sequences fit cuts into windows",
            "pass the sequences as arrays (N, T, …); cr.data.pad makes them equally long",
        )
    if data.augment:
        raise ArgumentError(
            "fit",
            "got tbptt and a DataLoader with augment",
            "expected batches that can be cut into windows as they are",
            "leave out augment, or tbptt",
        )
    return WindowLoader(data, steps)


def _first_prediction(model: Module, x: Any) -> Any:
    return advanced(model, x, None)[0]


def _in_memory(data: Any) -> list[Any]:
    """The arrays among the leaves: others are read row by row."""
    return [leaf for leaf in tree.flatten(data)[0] if not isinstance(leaf, RowSource)]


def _check_data(name: str, data: DataLoader | Batches | None, again: bool) -> None:
    if isinstance(data, DataLoader):
        for part, what in zip(pair(data.data), ("inputs", "targets"), strict=True):
            check_finite(f"{what} of the {name}", _in_memory(part))
    elif data is not None:
        if data.first is not None:
            pair(data.first, f" in the {name}")
        if data.once and again:
            raise ArgumentError(
                "fit",
                f"got a generator as {name}",
                "expected batches that can be read again, for the next epoch or for the metrics",
                "pass a DataLoader, or a list of batches: a generator can be used only once",
            )
