"""Faults of the steps: rate, optimizer, batches, epochs, regularisation, evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...diagnosis.finding import Change
from ...train.loop.untrained import reason
from ..facts import Facts
from ..training import FROZEN
from .fault import Fault

FACTORS = {0.1: 0.5, 0.01: 0.3, 10.0: 0.5, 100.0: 0.3}  # of the rate: how likely each is to help
SAFE, EXCEEDED = 0.25, 0.75  # share of the critical rate that is tried, and how likely it helps
FAR_BELOW = 10.0  # that share over a rate that is too low
LEAST, LARGEST = 1e-7, 2.0  # rates that are tried
USUAL_BATCH = 32
MORE_EPOCHS = 4
FEW_STEPS = 3000  # of a small network: more are tried
GAP = 0.15  # score of rows of the training over that of held-out rows
SETTLED = 50  # steps after which the running statistics of a normalization hold
PARTS, DECAYS = (4, 16), (0.01, 0.1)  # of the epochs; that are tried for it
WORSE = 0.12  # score in evaluation mode than in training mode


def step_faults(f: Facts) -> Iterator[Fault]:
    """What may be wrong with how, and how long, the weights are changed."""
    if f.climbs:
        cause = "a step moves the weights along the gradient, and not against it"
        change = (Change("optimizer", "optimizer", ("adam", 1e-3)),)
        yield Fault("gradient_ascent", "optimizer", cause, 1.0, change, True)
    else:
        yield from _rate(f)
    yield from _untrained(f)
    yield from _amount(f)
    yield from _regularisation(f)
    yield from _learned_by_heart(f)
    yield from _evaluation(f)


def _rate(f: Facts) -> Iterator[Fault]:
    settings, name = f.training.settings, f.training.optimizer_name
    rate = float(settings["lr"])
    tried = {_rounded(rate * factor): prior for factor, prior in FACTORS.items()}
    critical = f.critical_rate if f.learns_nothing else None
    if critical is not None and (rate > critical or rate < critical * SAFE / FAR_BELOW):
        new = float(f"{min(critical * SAFE, LARGEST):.1g}")
        tried = {r: prior for r, prior in tried.items() if not new / 2 <= r <= new * 2}
        tried[new] = EXCEEDED
    for new, prior in tried.items():
        if LEAST <= new <= LARGEST:
            kind = "lr_too_low" if new > rate else "lr_too_high"
            cause, change = f"the rate is {rate:.3g}", Change("rate", "optimizer.lr", new)
            yield Fault(kind, "optimizer.lr", cause, prior, (change,), instead=f"{new:.3g}")
    adam = name in ("Adam", "AdamW")
    if not adam or float(settings.get("eps", 0)) > 1e-3:
        new = rate if adam or "eps" in settings else min(max(_rounded(rate / 10), 1e-3), 0.03)
        cause, other = f"the optimizer is {name}", f"Adam with the rate {new:.3g}"
        adam_instead = (Change("optimizer", "optimizer", ("adam", new)),)
        yield Fault("optimizer_unsuited", "optimizer", cause, 0.45, adam_instead, instead=other)


def _untrained(f: Facts) -> Iterator[Fault]:
    """Parameters that the optimizer lacks, or that are frozen, perhaps on purpose."""
    for why, prior in {reason(False, None, True, 1.0): 0.9, FROZEN: 0.5}.items():
        names = [name for name, other in f.untrained.items() if other == why]
        modules = [*dict.fromkeys(name.rpartition(".")[0] for name in names)]
        if modules:
            more = len(names) - 1
            several = f"{names[0]} and {more} more are" if more else f"{names[0]} is"
            cause = f"{several} not trained: {why}"
            changes = tuple(Change("train", path) for path in modules)
            yield Fault("untrained_parameters", modules[0], cause, prior, changes)


def _rounded(rate: float) -> float:
    """To 6 digits: 0.0001, not 9.999999999999999e-05."""
    return float(f"{rate:.6g}")


def _amount(f: Facts) -> Iterator[Fault]:
    t = f.training
    rows = len(t.data[0])
    steps = math.ceil(rows / t.batch)
    change = (Change("batch", "batch", USUAL_BATCH),)
    if t.batch > USUAL_BATCH and t.batch * 4 > rows >= 64:
        cause = f"batches of {t.batch} of {rows} rows are {steps} steps per epoch"
        yield Fault("batch_too_large", "batch", cause, 0.45, change)
    elif t.batch <= 2 and rows >= 64:
        yield Fault(
            "batch_too_small", "batch", f"a gradient of {t.batch} rows is noise", 0.5, change
        )
    cause = f"{t.epochs} epochs of {steps} steps are {t.epochs * steps} steps"
    times = max(MORE_EPOCHS, min(FEW_STEPS // (t.epochs * steps), 100))
    more = (Change("epochs", "epochs", t.epochs * times),)
    yield Fault("too_few_epochs", "epochs", cause, 0.3, more)


def _regularisation(f: Facts) -> Iterator[Fault]:
    dropouts, decay = f.start.of_kind("dropout"), f.decay
    decayed = [path for path, value in f.decays.items() if value]
    changes = tuple(Change("remove", a.path) for a in dropouts)
    if decay:
        changes = *changes, Change("decay", "optimizer.weight_decay", 0.0)
    if changes and (f.outcome.fit < 0.95 or decay > 1e-3):
        alone = len(decayed) == 1 < len(f.decays)
        place = dropouts[0].path if dropouts else decayed[0] if alone else "optimizer"
        cause = f"the score on rows of the training is {_shown(f, f.outcome.fit)} only"
        yield Fault("regularisation_too_strong", place, cause, 0.4, changes)


def _shown(f: Facts, score: float) -> str:
    """A score as people know it; that of a training that broke down is the worst."""
    shown = f.score.shown(max(score, f.score.worst))
    return f"{shown:.3g}" if math.isfinite(shown) else "far below 0"


def _learned_by_heart(f: Facts) -> Iterator[Fault]:
    """Held-out rows are far worse than those of the training.

    They may be better after fewer epochs, or with weight decay.
    """
    epochs = f.training.epochs
    if f.outcome.fit - f.outcome.score <= GAP:
        return
    cause = (
        f"the score of rows of the training is {_shown(f, f.outcome.fit)}, and of "
        f"held-out rows {_shown(f, f.outcome.score)}, after {epochs} epochs"
    )
    changes = [Change("epochs", "epochs", epochs // part) for part in PARTS if epochs >= 2 * part]
    decays = [d for d in DECAYS if d > f.decay] * ("weight_decay" in f.training.settings)
    changes += [Change("decay", "optimizer.weight_decay", decay) for decay in decays]
    for change in changes:
        yield Fault("regularisation_missing", change.place, cause, 0.4, (change,))


def _evaluation(f: Facts) -> Iterator[Fault]:
    """Whether the model computes something else in evaluation mode."""
    suspects = f.start.of_kind("norm", "dropout", "custom")
    young = bool(f.start.of_kind("norm")) and f.outcome.steps < SETTLED
    if not suspects or f.end is None or young:
        return
    x, y = (a[: len(f.end.output)] for a in f.training.data)
    trained = f.score_in_training_mode
    evaluated = f.score(f.training.outputs(f.outcome.model, x), y)
    if trained - evaluated > WORSE:
        cause = (
            f"rows of the training get the score {_shown(f, trained)} in training mode, and "
            f"{_shown(f, evaluated)} in evaluation mode"
        )
        yield Fault("inference_mode_wrong", suspects[0].path, cause, 1.0, (), True)
