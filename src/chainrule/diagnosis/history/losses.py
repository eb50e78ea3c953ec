"""Findings from the training and validation losses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..finding import Finding
from .reading import (
    ENOUGH,
    HARDLY,
    LEARNED,
    NOTICE,
    RISEN,
    SOON,
    TrainingHistory,
    advice,
    finite,
    learned,
    steps_of,
)

NOISE = 0.1  # of a training loss: differences between the last epochs
BETTER = 0.02  # of a validation loss: an epoch that lowers it by more suggests more epochs
LITTLE = 0.05  # of the way from guessing to the least loss: almost nothing was learned
BELOW = 10.0  # how far below 0 a loss is, over its first size (1 at least)
STEADY = 0.8  # its falls of the second half of the epochs over those of the first
LOWER_RATE = "a lower learning rate (lr, --lr)"
MORE_DATA = "more data of the same kind"


def loss_findings(history: TrainingHistory) -> Iterator[Finding]:
    trained, valid = finite(history, "loss"), finite(history, "valid_loss")
    climbing, share = _climbing(history, trained), learned(history)
    little = _learned_little(history, trained, share)
    if _falls_without_bound(trained):
        yield Finding(
            "gradient_ascent",
            "loss",
            f"the training loss was {trained[0]:.4g} after epoch 1, is {trained[-1]:.4g} after "
            f"epoch {len(trained)}, and falls on: it has no lower bound, as with a wrong sign",
            {"first": trained[0], "before": trained[-2], "loss": trained[-1]},
            0.8,
            advice("the opposite sign of the loss", "a loss that is least for a right prediction"),
        )
    elif climbing is not None:
        yield climbing
    elif little is not None:
        yield little
    elif len(valid) >= 2:
        yield from _validation_findings(history, valid, trained, share)


def first_epoch_kept(history: TrainingHistory) -> bool:
    """Whether no epoch was better than the first, of some."""
    return history.best_epoch == 1 and len(history.epochs) >= ENOUGH


def _climbing(history: TrainingHistory, trained: list[float]) -> Finding | None:
    """The training loss rises: by more than noise, and by a large part of what it fell before."""
    if len(trained) < 2:
        return None
    least = min(trained)
    rose = trained[-1] - least
    if not rose > max(RISEN * (trained[0] - least), NOISE * abs(least)):
        return None
    again = "" if trained[-1] > trained[0] else "again "
    little = history.guess is None and rose <= abs(least)  # it may have been good from the start
    return Finding(
        "lr_too_high",
        "optimizer.lr",
        f"the training loss rose {again}from {least:.4g} after epoch {trained.index(least) + 1} to "
        f"{trained[-1]:.4g} after epoch {len(trained)}: the steps are too large",
        {"least": least, "epoch": trained.index(least) + 1, "loss": trained[-1]},
        NOTICE if again or little else 0.8,
        advice(f"{LOWER_RATE}, or a schedule that lowers it", "a smaller clip_norm"),
    )


def _learned_little(
    history: TrainingHistory, trained: list[float], share: float | None
) -> Finding | None:
    """The training loss is near that of a guess: after few steps, in which healthy trainings may
    not have learned more either, or after many."""
    if history.guess is None or share is None:
        return None
    guess, loss, steps = history.guess[0], trained[-1], steps_of(history)
    evidence = {"loss": loss, "guess": guess, "epochs": len(trained), "steps": steps}
    compared = f"the best constant prediction gets {guess:.4g}"
    if share < HARDLY and steps < SOON and history.stopped == "epochs":
        return Finding(
            "too_few_epochs",
            "epochs",
            f"too few steps to judge by ({steps}): the training loss is {loss:.4g}; {compared}",
            evidence,
            NOTICE,
            advice("more epochs"),
        )
    if share < LITTLE and len(trained) >= 2:
        return Finding(
            "underfitting",
            "",
            f"the training loss is {loss:.4g} after {len(trained)} epochs; {compared}",
            evidence,
            NOTICE,
            advice(
                "another learning rate, more epochs, or a larger network",
                "inputs that contain information about the target",
            ),
        )
    return None


def _falls_without_bound(trained: list[float]) -> bool:
    """Whether the training loss is far below 0, and does not fall more slowly than at first.

    The logarithm of a density may be negative too, but its falls get smaller.
    """
    if len(trained) < ENOUGH or not trained[-1] < -BELOW * max(1.0, abs(trained[0])):
        return False
    falls = -np.diff(trained)
    first, last = falls[: len(falls) // 2].mean(), falls[-(len(falls) // 2) :].mean()
    return bool((falls > 0).all() and last > STEADY * first)


def _validation_findings(
    history: TrainingHistory, valid: list[float], trained: list[float], share: float | None
) -> Iterator[Finding]:
    best = valid.index(min(valid))
    fell, rose = valid[0] - valid[best], valid[-1] - valid[best]
    by_heart = share is not None and share >= LEARNED
    evidence = {"least": valid[best], "epoch": best + 1, "valid_loss": valid[-1]}
    if trained:
        evidence["loss"] = trained[-1]
    if len(valid) >= ENOUGH and rose > max(RISEN * fell, BETTER * abs(valid[best])):
        cause = (
            f"the validation loss was {valid[best]:.4g} after epoch {best + 1} and is "
            f"{valid[-1]:.4g} after epoch {len(valid)}"
        )
        best_epoch = history.best_epoch
        which = f"; the weights are those of epoch {best_epoch}" if best_epoch is not None else ""
        slower = [LOWER_RATE] if best == 0 or first_epoch_kept(history) else []
        if by_heart:
            yield Finding(
                "overfitting",
                "",
                f"{cause}, while the training loss is {trained[-1]:.4g}{which}",
                evidence,
                0.4,
                advice(
                    "more data",
                    *slower,
                    "more dropout or weight decay",
                    "a smaller network",
                ),
            )
            return
        yield Finding(
            "no_generalisation",
            "",
            f"{cause}{_comparison(history, trained)}{which}",
            evidence,
            0.4,
            advice("inputs that contain information about the target", MORE_DATA, *slower),
        )
    elif (
        len(valid) >= ENOUGH
        and by_heart
        and history.guess is not None
        and valid[best] > history.guess[0]
    ):
        yield Finding(
            "no_generalisation",
            "",
            f"the validation loss is {valid[best]:.4g} at best{_comparison(history, trained)}",
            evidence,
            0.4,
            advice("encode and scale training and validation data the same way", MORE_DATA),
        )
    elif len(valid) >= ENOUGH and best == 0:
        yield Finding(
            "plateau",
            "",
            f"no epoch was better than the first: the validation loss was {valid[0]:.4g} after "
            f"epoch 1 and is {valid[-1]:.4g} after epoch {len(valid)}",
            evidence,
            0.3,
            advice("if the result is good enough, fewer epochs", f"if not, {LOWER_RATE}"),
        )
    elif (
        history.stopped == "epochs"
        and not by_heart
        and best == len(valid) - 1
        and valid[-2] - valid[-1] > BETTER * abs(valid[-2])
    ):
        yield Finding(
            "too_few_epochs",
            "epochs",
            f"the last epoch lowered the validation loss from {valid[-2]:.4g} to {valid[-1]:.4g}",
            {"before": valid[-2], "valid_loss": valid[-1]},
            0.4,
            advice("more epochs"),
        )


def _comparison(history: TrainingHistory, trained: list[float]) -> str:
    """For comparison with a validation loss: the training loss and that of a guess."""
    text = f", while the training loss is {trained[-1]:.4g}" if trained else ""
    if text and history.guess is not None:
        text += f" and the best constant prediction gets {history.guess[0]:.4g}"
    return text
