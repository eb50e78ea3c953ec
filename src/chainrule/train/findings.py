"""What a finished run shows of itself: findings with cause and remedy, for the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .history import History

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
FEW = 30  # test rows: then the metrics say little
FAIR = 0.1  # of the way from guessing to perfect
SPREAD = 1.64  # standard deviations that chance is granted: 1 of 20 goes further


def findings(
    history: History, untrained: list[str], metrics: Mapping[str, float], rows: int,
    guess: Guess | None,
) -> list[Finding]:  # fmt: skip
    """Findings from the test metrics, the gradient norms, the losses, the untrained parameters.

    rows    of the test
    guess   None: there is no such number
    """
    found = [
        _finding(
            "warning", f"Not trained: {text.partition(':')[0]}",
            text.partition(": ")[2].capitalize() + ".",
            "Use the parameter on the way to the loss, or remove it.",
        )
        for text in untrained
    ]  # fmt: skip
    found += [*_of_test(metrics, rows, guess), *_of_gradients(history), *_of_losses(history)]
    if not found:
        found = [
            _finding(
                "good", "Gradients reach every layer",
                "From the first step to the last no layer's gradient faded or burst.", "",
            )
        ]  # fmt: skip
    return found


def _of_test(metrics: Mapping[str, float], rows: int, guess: Guess | None) -> Iterator[Finding]:
    undefined = ""
    if guess is not None:
        value = metrics[guess.metric]
        chance = 0.0 if guess.metric == "r2" else SPREAD * math.sqrt(
            guess.value * (1 - guess.value) / rows)  # fmt: skip
        if math.isnan(value) and rows < FEW:
            undefined = f"{guess.metric} is not defined for them. "
        elif not value > guess.value + max(FAIR * (1 - guess.value), chance):
            yield _finding(
                "warning", "It does hardly better than a guess",
                f"{guess.metric} {value:.3g} on {rows} test rows, where a model that has learned "
                f"nothing gets {guess.value:.3g}"
                + (f", and chance alone moves that by {chance:.2g}." if chance else "."),
                "One class is much more frequent than the others: with class_weight = \"balanced\" "
                "(--class-weight balanced) the rare ones weigh as much; look at the F1 of each."
                if guess.imbalanced else
                "Look at the inputs (do they tell anything about the target? are there outliers?), "
                "or try another learning rate.",
            )  # fmt: skip
    if rows < FEW:
        yield _finding(
            "notice", f"Only {rows} test row{'s' * (rows != 1)}",
            f"{undefined}A few rows more or less right change the metrics a lot.",
            "Collect more data, or repeat with other seeds and compare.",
        )  # fmt: skip


def _finding(level: str, title: str, cause: str, remedy: str) -> Finding:
    return {"level": level, "title": title, "cause": cause, "remedy": remedy}


def _of_gradients(history: History) -> Iterator[Finding]:
    norms = np.array(history.gradients.norms, np.float64)
    if not norms.size or norms.shape[1] < 2:
        return
    layers = history.gradients.layers
    usual = np.sort(norms, axis=0)[len(norms) // 2]
    if 0 < usual[0] < FADED * usual[-1]:
        yield _finding(
            "warning", "Gradients vanish towards the input",
            f"{layers[0]} gets {usual[0]:.1e}, {layers[-1]} {usual[-1]:.1e} (medians of the norm): "
            "each layer on the way multiplies by less than 1.",
            "Use ReLU or GELU, kaiming initialisation, normalisation layers or residuals.",
        )  # fmt: skip
    for k in np.flatnonzero(usual == 0).tolist():
        yield _finding(
            "warning", f"{layers[k]} gets no gradient in most steps",
            "Its units are dead, or what follows multiplies by zero.",
            "Lower the learning rate, or use LeakyReLU.",
        )  # fmt: skip
    total = np.sqrt(np.square(norms).sum(1))
    bursts = []
    if len(total) <= NEAR:
        return
    windows = sliding_window_view(total[:-1], NEAR)
    for k, before in enumerate(np.sort(windows, axis=1)[:, NEAR // 2].tolist(), NEAR):
        if total[k] > BURST * before > 0:
            step = history.gradients.steps[k]
            harm = total[k] > LARGE or _rose(history, step)
            bursts.append(_finding(
                "warning" if harm else "notice", "The gradient burst",
                f"At step {step + 1} its norm was {total[k]:.1e}, {total[k] / before:.0f} times "
                "the median of the steps before" + ("." if harm else "; the loss hardly rose."),
                "Clip by a smaller global norm (clip_norm), lower the learning rate, look for rows "
                "with extreme values.",
            ))  # fmt: skip
    yield from sorted(bursts, key=lambda found: found["level"] != "warning")[:1]


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
    if "valid_loss" not in history.names():
        return
    valid = [v for v in history["valid_loss"] if v is not None and math.isfinite(v)]
    if len(valid) < 2:
        return
    fell, rose = valid[0] - min(valid), valid[-1] - min(valid)
    if len(valid) >= 5 and rose > RISEN * fell > 0:
        yield _finding(
            "notice", "The network learned the training data by heart",
            f"The validation loss rose from {min(valid):.4g} to {valid[-1]:.4g} after it had "
            f"fallen from {valid[0]:.4g}. The weights are those of the best epoch.",
            "More data, more dropout or weight decay, a smaller network.",
        )  # fmt: skip
    elif history.stopped == "epochs" and valid[-2] - valid[-1] > 0.02 * valid[-2]:
        yield _finding(
            "notice", "It was still getting better",
            f"The last epoch lowered the validation loss from {valid[-2]:.4g} to {valid[-1]:.4g}.",
            "Train for more epochs.",
        )  # fmt: skip
