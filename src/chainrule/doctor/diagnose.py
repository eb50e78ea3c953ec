"""`diagnose`: the findings of a training in Python."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..data.loader import DataLoader, narrowed, order
from ..diagnosis.data import check_finite
from ..diagnosis.finding import Change, Finding, Remedy, Trial
from ..diagnosis.wording import number, short_exponents
from ..errors import ArgumentError, ChainruleError
from ..graph import Array
from ..hints import check_arguments
from ..nn import Module
from ..optim import Adam, Optimizer
from ..tensor import Tensor
from ..train.evaluation.objective import Objective
from ..train.loop.arguments import check_optimizer
from .code import lines_of
from .diagnosis import Attempt, Diagnosis
from .facts import Facts
from .first_rows import check_rows, expect_parameters, expect_rate
from .measured import Measurement, measured_of
from .scheduled import ScheduledTraining, Scheduling
from .search import STEP, Search, find
from .training import Data, Outcome, Training
from .words import in_words

HELD_OUT = 5  # one of this number of rows is held out, if none are passed
ROWS = 32  # of a batch
MEASURING = 0.1  # of the time for trials


@check_arguments(
    "diagnose",
    positional="the data is one argument, a tuple, and the loss has to be named: "
    'diagnose(model, (x, y), loss="cross_entropy")',
)
def diagnose(
    model: Module,
    data: Any,
    *,
    loss: str | Callable[..., Any],
    optimizer: Optimizer | None = None,
    valid: Any = None,
    epochs: int = 10,
    batch_size: int | None = None,
    clip_norm: float | None = None,
    schedule: Scheduling | None = None,
    seconds: float = 60.0,
) -> Diagnosis:
    """Find what is wrong with a training, where, and which changes help; the model stays untrained.

    The training runs once as it is, then copies of it run with changes that may help. A fault is
    named only if repairing it makes the score on held-out rows clearly better, or if what was
    measured proves it.

    model        with its first weights
    data         (x, y) arrays, or a DataLoader of them, which has batch size and shuffle
    loss         as for `fit`: a name, a loss of nn, or a function (prediction, target)
    optimizer    of the model, before its first step; Adam with lr 1e-3 by default
    valid        held-out (x, y); by default every fifth row of the data, in random order
    batch_size   32 by default; arrays are shuffled in each epoch
    schedule     a function (optimizer, steps) that returns a schedule of optim: every copy has an
                 optimizer and a number of steps
    seconds      of processor time for trials, after the training itself has run once; a tenth more
                 for what is measured

    The result's text has the findings, what was tried, and what was measured; `to_dict()` has it as
    data. The same arguments give the same findings, except where the time for trials ends them.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "diagnose",
            f"got a model of type {type(model).__name__}",
            "expected a Module of chainrule.nn",
            "pass the model, not what cr.compile made of it; for one of PyTorch: "
            "chainrule.interop.torch.diagnose",
        )
    expect_parameters(model)
    optimizer = Adam(model.named_parameters()) if optimizer is None else optimizer
    _check_optimizer(optimizer, model)
    check_numbers(epochs, batch_size, clip_norm, seconds)
    with as_diagnose():
        data, batch_size, shuffle = _rows_of_loader(data, batch_size)
        arguments = pairs(data, valid.data if isinstance(valid, DataLoader) else valid)
        trained, rest = sets(arguments["data"], arguments.get("valid"))
        objective = Objective(loss)
        training = ScheduledTraining(
            model,
            objective.mean,
            optimizer,
            trained,
            rest,
            min(ROWS, len(trained[0])) if batch_size is None else batch_size,
            epochs,
            shuffle,
            clip_norm,
            scheduling=schedule,
        )
        if training.batch > len(trained[0]):
            raise ArgumentError(
                "diagnose",
                f"got batch_size {batch_size} for {len(trained[0])} rows to train on",
                "expected at most this number of rows",
                f"batch_size={min(len(trained[0]), ROWS)}",
            )
        training.check()
        check_rows(model, objective, arguments)
        return diagnosed(training, seconds, lines_of)[0]


def diagnosis_of(training: Training, seconds: float) -> Diagnosis:
    """The diagnosis of a training, whatever library it is of."""
    return diagnosed(training, seconds)[0]


Code = Callable[[Sequence[Change], Facts], tuple[str, ...]]  # the lines that make changes


def diagnosed(
    training: Training, seconds: float, code: Code | None = None
) -> tuple[Diagnosis, Facts]:
    """The diagnosis of a training with its changes in words, and what was measured of it.

    seconds   of processor time for trials, after the training itself has run once
    """
    findings, search = find(training, seconds)
    tried = [
        Attempt(
            len(changes),
            in_words(in_order(changes, search.facts), search.facts),
            _trial(search, outcome),
        )
        for (changes, seed), outcome in search.tried.items()
        if changes and seed == search.seed
    ]
    outcome = search.facts.outcome
    measured = measured_of(search.facts, MEASURING * seconds)
    diagnosis = Diagnosis(
        tuple(_with_rate(_with_remedies(finding, search, code), measured) for finding in findings),
        search.facts.score.name,
        search.facts.score.shown(search.base),
        len(training.valid[0]),
        tuple(sorted(tried, key=lambda a: (-round(a.trial.after, 3), a.count))),
        None if outcome.nonfinite is None else max(len(outcome.losses), 1),
        tuple(measured),
        search.facts.score.shown(outcome.score) if search.seed else None,
        search.facts.same_rows,
    )
    return diagnosis, search.facts


def in_order(changes: Iterable[Change], facts: Facts) -> list[Change]:
    """By what is changed; layers as they run."""
    places = {layer.path: k for k, layer in enumerate(facts.start.layers)}
    return sorted(changes, key=lambda c: (c.what, places.get(c.place, -1), c.place))


def _trial(search: Search, outcome: Outcome) -> Trial:
    last = outcome.losses[-1] if outcome.losses else math.nan
    shown = search.facts.score.shown
    return Trial(shown(search.base), shown(outcome.score), last, outcome.seconds)


def _with_remedies(finding: Finding, search: Search, code: Code | None) -> Finding:
    """The finding with its remedies in words, the last of which repairs it alone.

    Of several changes that may, it is what did best; the first remedy, if it is about as good.
    """
    remedies = [_shown(r, search) for r in finding.remedies]
    first = {*remedies[0].changes} if remedies else set()
    alone = []
    for fault in search.faults:
        what = fault.kind, fault.place, search.cause(fault)
        if what == (finding.kind, finding.place, finding.cause):
            outcome = search.tried.get((frozenset(fault.changes), search.seed))
            trial = None if outcome is None else _trial(search, outcome)
            after = -math.inf if trial is None else trial.after
            about = after + STEP * (first == {*fault.changes})
            alone.append((about, Remedy(fault.changes, "", trial)))
    best = max(alone, key=lambda a: a[0])[1] if alone else None
    if best is not None and best.changes and first != {*best.changes}:
        remedies.append(best)
    worded = (
        replace(
            r,
            text=in_words(r.changes, search.facts),
            code=() if code is None else code(r.changes, search.facts),
        )
        for r in remedies
    )
    return replace(finding, cause=short_exponents(finding.cause), remedies=tuple(worded))


def _shown(remedy: Remedy, search: Search) -> Remedy:
    """With the scores of its trial as people know them."""
    shown, trial = search.facts.score.shown, remedy.trial
    assert trial is not None
    return replace(
        remedy, trial=replace(trial, before=shown(trial.before), after=shown(trial.after))
    )


def _with_rate(finding: Finding, measured: Sequence[Measurement]) -> Finding:
    """The finding; of a rate, its cause also says which one is critical."""
    critical = next((m.value for m in measured if m.name == "critical_rate"), None)
    if critical is None or finding.kind not in ("lr_too_high", "lr_too_low"):
        return finding
    cause = f"{finding.cause}; the critical rate at the first weights is {number(critical)}"
    return replace(finding, cause=cause, evidence={**finding.evidence, "critical_rate": critical})


# ── arguments ────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def as_diagnose() -> Iterator[None]:
    """Errors of what `fit` shares name this function."""
    try:
        yield
    except ChainruleError as error:
        if error.operation == "fit":
            error.rename("diagnose")
        raise


def _check_optimizer(optimizer: Any, model: Module) -> None:
    with as_diagnose():
        check_optimizer(optimizer, model)
    expect_rate(optimizer)


def check_numbers(
    epochs: Any, batch_size: int | None, clip_norm: float | None, seconds: float
) -> None:
    """Raise if one of them cannot be meant."""
    for name, value, usual, kinds in (
        ("epochs", epochs, 10, (int, np.integer)),
        ("batch_size", ROWS if batch_size is None else batch_size, ROWS, (int, np.integer)),
        ("clip_norm", 1.0 if clip_norm is None else clip_norm, 1.0, (int, float, np.number)),
        ("seconds", seconds, 60.0, (int, float, np.number)),
    ):
        right = isinstance(value, kinds) and not isinstance(value, bool)
        if not (right and 0 < value < math.inf):
            whole = name in ("epochs", "batch_size")
            raise ArgumentError(
                "diagnose",
                f"got {name} {value!r}",
                f"expected a {'whole number from 1' if whole else 'finite number above 0'}",
                f"{name}={usual}",
            )


def _rows_of_loader(data: Any, batch_size: int | None) -> tuple[Any, int | None, bool]:
    """All rows, the batch size, and whether rows are shuffled."""
    if not isinstance(data, DataLoader):
        return data, batch_size, True
    for what, advice in (
        (f"batch_size {batch_size}" * (batch_size is not None), "leave out batch_size"),
        ("augment in the DataLoader" * bool(data.augment), "leave out augment"),
    ):
        if what:
            raise ArgumentError(
                "diagnose", f"got {what}", "expected rows in the loader's batches", advice
            )
    return data.data, data.batch_size, data.shuffle


def pairs(data: Any, valid: Any) -> dict[str, Data]:
    """Inputs and targets by the argument that has them."""
    values = {"data": data} if valid is None else {"data": data, "valid": valid}
    return {name: _pair(name, value) for name, value in values.items()}


def sets(data: Data, valid: Data | None) -> tuple[Data, Data]:
    """The rows that are trained on, and those that are held out."""
    x, y = data
    if valid is not None:
        return (x, y), valid
    if len(x) < HELD_OUT:
        raise ArgumentError(
            "diagnose",
            f"got {len(x)} rows",
            f"expected {HELD_OUT} or more: every fifth is held out",
            "pass held-out rows with valid=(x, y)",
        )
    rows, cut = order(len(x), 0), len(x) // HELD_OUT
    trained, rest = np.sort(rows[cut:]), np.sort(rows[:cut])  # in the order that they have
    return (x[trained], y[trained]), (x[rest], y[rest])


def _pair(name: str, data: Any) -> tuple[Array, Array]:
    call = "diagnose(model, (x, y), …)" if name == "data" else f"{name}=(x, y)"
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise ArgumentError(
            "diagnose",
            f"got {name} of type {type(data).__name__}",
            "expected (x, y), two arrays with the same number of rows",
            call,
        )
    x, y = (
        _array(part, what, name) for part, what in zip(data, ("inputs", "targets"), strict=True)
    )
    if len(x) != len(y) or not len(x):
        raise ArgumentError(
            "diagnose",
            f"got {name} with {len(x)} inputs and {len(y)} targets",
            "expected the same number of both, one or more",
            "look for rows that were dropped from one of the arrays",
        )
    return x, y


def _array(part: Any, what: str, name: str) -> Array:
    """Inputs or targets as an array; float64 as float32, which networks compute in."""
    if isinstance(part, (tuple, dict)):
        raise ArgumentError(
            "diagnose",
            f"got {what} of {name} in {len(part)} parts",
            "expected one array",
            "join the parts with np.concatenate, and take them apart in forward",
        )
    try:
        array = part.numpy() if isinstance(part, Tensor) else np.asarray(part)
    except ValueError:
        array = np.asarray(part, object)
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise ArgumentError(
            "diagnose",
            f"got {what} of {name} of type {type(part).__name__}, dtype {array.dtype}",
            "expected an array of numbers with a row per sample",
            "pass NumPy arrays",
        )
    check_finite(f"{what} of the {name}", array)
    return narrowed(array, "diagnose") if array.dtype == np.float64 else array
