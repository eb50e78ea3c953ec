"""What a finished run shows of itself: findings with cause and remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...graph import Array

if TYPE_CHECKING:
    from ..loop.history import History

Finding = dict[str, str]


class Guess(NamedTuple):
    """The test metric of a model that has learned nothing, and whether one class is frequent."""

    metric: str
    value: float
    imbalanced: bool = False


FADED = 1e-3  # the first layer's gradient norm over the last one's
BURST = 100.0  # a norm over the median of the ones just before it
LARGE = 10.0  # a norm that is much by itself
NEAR = 20  # how many probes are just before
RISEN = 0.2  # of what a loss fell by, how much it rose again
NOISE = 0.1  # of a training loss: what the last epochs may differ by
BETTER = 0.02  # of a validation loss: what an epoch lowers it by while more of them are worth it
LEARNED = 0.5  # of the way from guessing to the least loss: then training data was learned well
LITTLE = 0.05  # of that way: nearly nothing was learned
ENOUGH = 5  # epochs that show which way a loss goes
FEW = 30  # test rows: then the metrics say little
FAIR = 0.1  # of the way from guessing to perfect
SPREAD = 1.64  # standard deviations that chance is granted: 1 of 20 goes further
MISTAKEN = 5  # rows of a class that are mistakes: fewer may be chance


def findings(
    history: History,
    untrained: list[str],
    metrics: Mapping[str, float],
    rows: int,
    guess: Guess | None,
    table: Array | None = None,
    classes: Sequence[str] = (),
) -> list[Finding]:
    """Findings from the test, the gradient norms, the losses, the untrained parameters.

    rows    of the test
    guess   None: there is no such number
    table   (C, C) counts of the test rows: rows are the true classes, columns the predicted
    """
    found = [
        _finding(
            "warning",
            f"Not trained: {text.partition(':')[0]}",
            text.partition(": ")[2].capitalize() + ".",
            "Use the parameter on the way to the loss, or remove it.",
        )
        for text in untrained
    ]
    tested = list(_of_test(metrics, rows, guess, table))
    if not any(f["title"].endswith(BY_GUESSING) for f in tested) and table is not None:
        tested += _of_classes(table, classes, guess is not None and guess.metric == "f1")
    found += [*tested, *of_history(history)]
    if not found:
        found = [
            _finding(
                "good",
                "Gradients reach every layer",
                "From the first step to the last no layer's gradient faded or burst.",
                "",
            )
        ]
    return found


def of_history(history: History) -> list[Finding]:
    """Findings from the gradient norms and the losses alone."""
    return [*_of_gradients(history), *_of_losses(history)]


BY_GUESSING = "than a guess"
VANISHING = "Gradients vanish towards the input"


def _of_test(
    metrics: Mapping[str, float], rows: int, guess: Guess | None, table: Array | None
) -> Iterator[Finding]:
    undefined = ""
    if guess is not None:
        value = metrics[guess.metric]
        chance = _chance(guess, rows, table)
        if math.isnan(value) and rows < FEW:
            undefined = f"{guess.metric} is not defined for them. "
        elif not value > guess.value + max(FAIR * (1 - guess.value), chance):
            much = "worse" if value < guess.value - chance else "hardly better"
            yield _finding(
                "warning",
                f"It does {much} {BY_GUESSING}",
                f"{guess.metric} {value:.3g} on {rows} test rows, where a model that has learned "
                f"nothing gets {guess.value:.3g}"
                + (f", and chance alone moves that by {chance:.2g}." if chance else "."),
                'One class is much more frequent than the others: with class_weight = "balanced" '
                "(--class-weight balanced) the rare ones weigh as much; look at the F1 of each."
                if guess.imbalanced
                else "Look at the inputs (do they tell anything about the target? are there "
                "outliers?), or try another learning rate.",
            )
    if rows < FEW:
        yield _finding(
            "notice",
            f"Only {rows} test row{'s' * (rows != 1)}",
            f"{undefined}A few rows more or less right change the metrics a lot.",
            "Collect more data, or repeat with other seeds and compare.",
        )


def _chance(guess: Guess, rows: int, table: Array | None) -> float:
    """By how much chance alone moves the metric from that of a guess, which has the same rows.

    For the accuracy only the rows count in which one of the two is right and the other is not: a
    rare class that is told apart well is more than chance, even if it has few rows (McNemar).
    """
    if guess.metric == "r2":
        return 0.0
    if guess.metric == "accuracy" and table is not None:
        frequent, right = int(np.argmax(table.sum(axis=1))), table.diagonal()
        differ = right.sum() - right[frequent] + table[frequent].sum() - right[frequent]
        return SPREAD * math.sqrt(differ) / rows
    return SPREAD * math.sqrt(guess.value * (1 - guess.value) / rows)


def _of_classes(table: Array, classes: Sequence[str], balanced: bool) -> Iterator[Finding]:
    """The class with the most false alarms and the one with the most misses, if they are most of
    what is called so or is so."""
    hits, called, true = table.diagonal(), table.sum(axis=0), table.sum(axis=1)
    for wrong, of, title, cause, remedy in (
        (
            called - hits,
            called,
            "False alarms",
            "{wrong} of the {of} test rows that it takes for {name} are something else",
            "The classes weigh the same in training (class_weight): "
            "leave it out if a false alarm costs as much as a miss."
            if balanced
            else "More rows of the classes that it mixes up, or inputs that tell them apart.",
        ),
        (
            true - hits,
            true,
            "Misses",
            "{wrong} of the {of} test rows of {name} are taken for something else",
            "More rows of that class, or inputs that tell it from the others; for a "
            'rare class class_weight = "balanced" (--class-weight balanced).'
            if not balanced
            else "More rows of that class, or inputs that tell it from the others.",
        ),
    ):
        bad = (wrong >= MISTAKEN) & (2 * wrong > of)
        if bad.any():
            k = int(np.argmax(np.where(bad, wrong, -1)))
            more = f"; so it is with {bad.sum()} of {len(bad)} classes" if bad.sum() > 1 else ""
            name = classes[k]
            yield _finding(
                "warning",
                f"{title}: {name}",
                cause.format(wrong=wrong[k], of=of[k], name=name) + f"{more}.",
                remedy,
            )


def _finding(level: str, title: str, cause: str, remedy: str) -> Finding:
    return {"level": level, "title": title, "cause": cause, "remedy": remedy}


def _of_gradients(history: History) -> Iterator[Finding]:
    norms = np.array(history.gradients.norms, np.float64)
    if not norms.size or norms.shape[1] < 2:
        return
    layers = history.gradients.layers
    usual = np.array([_middle(of_layer[~np.isnan(of_layer)]) for of_layer in norms.T])
    dead = usual == 0
    if dead[0] and not dead.all() and usual[~dead].min() < FADED * usual[-1]:
        dead[: int(np.argmin(dead))] = False  # too small for the numbers, after those that fade
        yield _vanishing(f"{layers[0]} gets nothing", layers, usual)
    elif 0 < usual[0] < FADED * usual[-1] and _fades(usual):
        yield _vanishing(f"{layers[0]} gets {usual[0]:.1e}", layers, usual)
    if dead.any():
        some = [layers[k] for k in np.flatnonzero(dead)]
        shown = ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")
        yield _finding(
            "warning",
            f"{shown} get{'s' * (len(some) == 1)} no gradient in most steps",
            "The units are dead, or what follows multiplies by zero.",
            "Lower the learning rate, or use LeakyReLU.",
        )
    total = np.sqrt(np.nansum(np.square(norms), axis=1))
    frozen = np.isnan(norms)
    bursts = []
    if len(total) <= NEAR:
        return
    windows = sliding_window_view(total[:-1], NEAR)
    for k, before in enumerate(np.sort(windows, axis=1)[:, NEAR // 2].tolist(), NEAR):
        same = (frozen[k - NEAR : k] == frozen[k]).all()  # not one that was just unfrozen
        if same and total[k] > BURST * before > 0:
            step = history.gradients.steps[k]
            harm = total[k] > LARGE or _rose(history, step)
            bursts.append(
                _finding(
                    "warning" if harm else "notice",
                    "The gradient burst",
                    f"At step {step + 1} its norm was {total[k]:.1e}, {total[k] / before:.0f} "
                    "times the median of the steps before"
                    + ("." if harm else "; the loss hardly rose."),
                    "Clip by a smaller global norm (clip_norm), lower the learning rate, look for "
                    "rows with extreme values.",
                )
            )
    yield from sorted(bursts, key=lambda found: found["level"] != "warning")[:1]


def _middle(values: Array) -> float:
    return float(np.sort(values)[len(values) // 2])


def _fades(usual: Array) -> bool:
    """Layer by layer, and not between the first two alone, as before a normalisation of inputs
    that are large."""
    return len(usual) == 2 or bool(usual[1] < math.sqrt(FADED) * usual[-1])


def _vanishing(first: str, layers: list[str], usual: Array) -> Finding:
    return _finding(
        "warning",
        VANISHING,
        f"{first}, {layers[-1]} {usual[-1]:.1e} (medians of the norm): "
        "each layer on the way multiplies by less than 1.",
        "Use ReLU or GELU, kaiming initialisation, normalisation layers or residuals.",
    )


def _rose(history: History, step: int) -> bool:
    """Whether the training loss rose by much in the epoch of that step (from 0) or the next."""
    rows = history.epochs
    now = next((k for k, row in enumerate(rows) if row.get("step", 0) > step), None)
    if not now:
        return False
    before = rows[now - 1]["loss"]
    fell = max(0.0, rows[0]["loss"] - before)
    return any(row["loss"] - before > RISEN * fell for row in rows[now : now + 2])


def _of_losses(history: History) -> Iterator[Finding]:
    trained, valid = _finite(history, "loss"), _finite(history, "valid_loss")
    climbing, learned = _climbing(trained), _learned(history, trained)
    if climbing is not None:
        yield climbing
    elif learned is not None and history.guess is not None and learned < LITTLE:
        yield _finding(
            "notice",
            "It has hardly learned the training data",
            f"The training loss is {trained[-1]:.4g} after {len(trained)} epochs; always the same "
            f"prediction gets {history.guess[0]:.4g}.",
            "Try another learning rate, more epochs, or a larger network; look whether the inputs "
            "tell anything about the target.",
        )
    elif len(valid) >= 2:
        yield from _of_validation(history, valid, trained, learned)


def _finite(history: History, name: str) -> list[float]:
    values = [row.get(name) for row in history.epochs]
    return [v for v in values if v is not None and math.isfinite(v)]


def _learned(history: History, trained: list[float]) -> float | None:
    """How far the training loss went from a guess, or else from the first epoch, to the least."""
    if len(trained) < 2:
        return None
    start, least = history.guess or (trained[0], 0.0)
    return (start - trained[-1]) / (start - least) if start > least else None


def _climbing(trained: list[float]) -> Finding | None:
    """The training loss itself rises: more than noise, and more than a part of what it fell by."""
    if len(trained) < 2:
        return None
    least = min(trained)
    rose = trained[-1] - least
    if not rose > max(RISEN * (trained[0] - least), NOISE * abs(least)):
        return None
    beyond = trained[-1] > trained[0]
    return _finding(
        "warning" if beyond else "notice",
        "The training loss climbs" if beyond else "The training loss rose again",
        f"It was {least:.4g} after epoch {trained.index(least) + 1} and is {trained[-1]:.4g} after "
        f"epoch {len(trained)}: the steps are too large.",
        "Lower the learning rate, or let a schedule lower it; clip the gradient (clip_norm).",
    )


def _of_validation(
    history: History, valid: list[float], trained: list[float], learned: float | None
) -> Iterator[Finding]:
    best = valid.index(min(valid))
    fell, rose = valid[0] - valid[best], valid[-1] - valid[best]
    if len(valid) >= ENOUGH and rose > max(RISEN * fell, BETTER * abs(valid[best])):
        cause = (
            f"The validation loss was {valid[best]:.4g} after epoch {best + 1} and is "
            f"{valid[-1]:.4g} after epoch {len(valid)}"
        )
        kept = history.best_epoch
        which = f" The weights are those of epoch {kept}." if kept is not None else ""
        slower = "a lower learning rate, " if best == 0 else ""
        if learned is not None and learned >= LEARNED:
            yield _finding(
                "notice",
                "The network learned the training data by heart",
                f"{cause}, while the training loss is {trained[-1]:.4g}.{which}",
                f"More data, {slower}more dropout or weight decay, a smaller network.",
            )
            return
        yield _does_not_hold(
            f"{cause}{_beside(history, trained)}.{which}",
            f"Look whether the inputs tell anything about the target; more data, {slower}",
        )
    elif (
        len(valid) >= ENOUGH
        and learned is not None
        and learned >= LEARNED
        and history.guess is not None
        and valid[best] > history.guess[0]
    ):
        yield _does_not_hold(
            f"The validation loss is {valid[best]:.4g} at best{_beside(history, trained)}.",
            "Look whether both are encoded and scaled the same way; more data, ",
        )
    elif len(valid) >= ENOUGH and best == 0:
        yield _finding(
            "notice",
            "No epoch was better than the first",
            f"The validation loss was {valid[0]:.4g} after epoch 1 and is {valid[-1]:.4g} after "
            f"epoch {len(valid)}.",
            "Fewer epochs do, if that is good enough; if not, try another learning rate.",
        )
    elif (
        history.stopped == "epochs"
        and best == len(valid) - 1
        and valid[-2] - valid[-1] > BETTER * abs(valid[-2])
    ):
        yield _finding(
            "notice",
            "It was still getting better",
            f"The last epoch lowered the validation loss from {valid[-2]:.4g} to {valid[-1]:.4g}.",
            "Train for more epochs.",
        )


def _beside(history: History, trained: list[float]) -> str:
    """What to compare a validation loss with."""
    told = f", while the training loss is {trained[-1]:.4g}" if trained else ""
    if told and history.guess is not None:
        told += f" and always the same prediction gets {history.guess[0]:.4g}"
    return told


def _does_not_hold(cause: str, remedy: str) -> Finding:
    return _finding(
        "notice",
        "What it learns does not hold for the validation data",
        cause,
        f"{remedy}and training and validation rows of the same kind.",
    )
