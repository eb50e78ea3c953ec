"""Findings from the noise of the gradients: a loss that has stopped falling."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..finding import Finding
from ..wording import number
from .reading import TrainingHistory, Values, advice, finite, late

ALONE = 0.05  # the signal of noise alone: 1/20, of 20 measured steps
NOISY = 1.5  # times that: hardly more
EPOCHS = 6  # at least: two thirds are compared
FLAT = 0.02  # of the loss of a guess: by how much it fell from one third to the next


def plateau_findings(history: TrainingHistory, values: Values) -> Iterator[Finding]:
    """The training loss falls no more, and the gradients of the batches are noise."""
    losses = finite(history, "loss")
    signals = [late(of_layer) for of_layer in values.get("signal", {}).values()]
    known = [signal for signal in signals if np.isfinite(signal)]
    if len(losses) < EPOCHS or not known:
        return
    third = len(losses) // 3
    before, last = float(np.mean(losses[-2 * third : -third])), float(np.mean(losses[-third:]))
    start = history.guess[0] if history.guess is not None else losses[0]
    signal = float(np.median(known))
    if abs(before - last) < FLAT * abs(start) and signal < NOISY * ALONE:
        yield Finding(
            "plateau",
            "",
            f"the training loss was {before:.4g} and is {last:.4g}, in the mean of {third} epochs "
            f"each, and the gradients of the batches are noise: their squared mean is "
            f"{number(signal)} of their variance",
            {"before": before, "loss": last, "signal": signal},
            0.4,
            advice(
                "a schedule that lowers the learning rate",
                "a larger batch",
                "a larger network, or inputs that contain more about the target",
            ),
        )
