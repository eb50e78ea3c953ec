"""What a finished run shows of itself: findings with cause and remedy, for the report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .history import History

Finding = dict[str, str]

FADED = 1e-3  # the first layer's gradient norm over the last one's
BURST = 1e3  # the largest norm over the median
RISEN = 1.1  # the last validation loss over the best one


def findings(history: History, untrained: list[str], improving: bool) -> list[Finding]:
    """Findings from the gradient norms, the loss curves and the parameters that were not trained.

    improving   whether the best epoch was among the last ones and nothing stopped the run early
    """
    found = [
        _finding(
            "warning", f"Not trained: {text.partition(':')[0]}",
            text.partition(": ")[2].capitalize() + ".",
            "Use the parameter on the way to the loss, or remove it.",
        )
        for text in untrained
    ]  # fmt: skip
    found += [*_of_gradients(history), *_of_losses(history, improving)]
    if not found:
        found = [
            _finding(
                "good", "Gradients reach every layer",
                "From the first step to the last no layer's gradient faded or burst.", "",
            )
        ]  # fmt: skip
    return found


def _finding(level: str, title: str, cause: str, remedy: str) -> Finding:
    return {"level": level, "title": title, "cause": cause, "remedy": remedy}


def _of_gradients(history: History) -> Iterator[Finding]:
    norms = np.array(history.gradients.norms, np.float64)
    if not norms.size or norms.shape[1] < 2:
        return
    layers = history.gradients.layers
    usual = np.median(norms, axis=0)
    if 0 < usual[0] < FADED * usual[-1]:
        yield _finding(
            "warning", "Gradients vanish towards the input",
            f"{layers[0]} gets {usual[0]:.1e}, {layers[-1]} {usual[-1]:.1e} (medians of the norm): "
            "each layer on the way multiplies by less than 1.",
            "Use ReLU or GELU, kaiming initialisation, normalisation layers or residuals.",
        )  # fmt: skip
    for k in np.flatnonzero(usual == 0):
        yield _finding(
            "warning", f"{layers[k]} gets no gradient in most steps",
            "Its units are dead, or what follows multiplies by zero.",
            "Lower the learning rate, or use LeakyReLU.",
        )  # fmt: skip
    total = np.sqrt(np.square(norms).sum(1))
    middle = float(np.median(total))
    if middle > 0 and total.max() > BURST * middle:
        step = history.gradients.steps[int(total.argmax())]
        yield _finding(
            "warning", "The gradient burst",
            f"At step {step + 1} its norm was {total.max():.1e}, {total.max() / middle:.0f} times "
            "the median.",
            "Clip by the global norm (clip_norm = 1.0), warm the learning rate up.",
        )  # fmt: skip


def _of_losses(history: History, improving: bool) -> Iterator[Finding]:
    column: Any = history.names()
    if "valid_loss" not in column:
        return
    valid = [v for v in history["valid_loss"] if v is not None and math.isfinite(v)]
    loss = history["loss"]
    if len(valid) >= 5 and valid[-1] > RISEN * min(valid) and loss[-1] < loss[0]:
        yield _finding(
            "notice", "The network learned the training data by heart",
            f"The validation loss rose from {min(valid):.4g} to {valid[-1]:.4g} while the training "
            "loss went on falling. The weights are those of the best epoch.",
            "More data, more dropout or weight decay, a smaller network.",
        )  # fmt: skip
    elif improving and len(valid) >= 2 and valid[-1] < 0.98 * valid[-2]:
        yield _finding(
            "notice", "It was still getting better",
            f"The last epoch lowered the validation loss from {valid[-2]:.4g} to {valid[-1]:.4g}.",
            "Train for more epochs.",
        )  # fmt: skip
