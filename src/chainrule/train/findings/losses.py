"""Findings from the training and validation losses."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .finding import RISEN, Finding, TrainingHistory, finding

NOISE = 0.1  # of a training loss: differences between the last epochs
BETTER = 0.02  # of a validation loss: an epoch that lowers it by more suggests more epochs
LEARNED = 0.5  # of the way from guessing to the least loss: training data was learned well
LITTLE = 0.05  # of that way: almost nothing was learned
ENOUGH = 5  # epochs that show the trend of a loss


def loss_findings(history: TrainingHistory) -> Iterator[Finding]:
    trained, valid = _finite(history, "loss"), _finite(history, "valid_loss")
    climbing, learned = _climbing(trained), _learned(history, trained)
    if climbing is not None:
        yield climbing
    elif learned is not None and history.guess is not None and learned < LITTLE:
        yield finding(
            "notice",
            "It has hardly learned the training data",
            f"The training loss is {trained[-1]:.4g} after {len(trained)} epochs; "
            f"the best constant prediction gets {history.guess[0]:.4g}.",
            "Try another learning rate, more epochs, or a larger network; check whether the inputs "
            "contain information about the target.",
        )
    elif len(valid) >= 2:
        yield from _validation_findings(history, valid, trained, learned)


def first_epoch_kept(history: TrainingHistory) -> bool:
    """Whether no epoch was better than the first, of some."""
    return history.best_epoch == 1 and len(history.epochs) >= ENOUGH


def _finite(history: TrainingHistory, name: str) -> list[float]:
    values = [row.get(name) for row in history.epochs]
    return [v for v in values if v is not None and math.isfinite(v)]


def _learned(history: TrainingHistory, trained: list[float]) -> float | None:
    """How far the training loss went from a guess (else the first epoch) to the least loss."""
    if len(trained) < 2:
        return None
    start, least = history.guess or (trained[0], 0.0)
    return (start - trained[-1]) / (start - least) if start > least else None


def _climbing(trained: list[float]) -> Finding | None:
    """The training loss rises: by more than noise, and by a large part of what it fell before."""
    if len(trained) < 2:
        return None
    least = min(trained)
    rose = trained[-1] - least
    if not rose > max(RISEN * (trained[0] - least), NOISE * abs(least)):
        return None
    beyond = trained[-1] > trained[0]
    return finding(
        "warning" if beyond else "notice",
        "The training loss rises" if beyond else "The training loss rose again",
        f"It was {least:.4g} after epoch {trained.index(least) + 1} and is {trained[-1]:.4g} after "
        f"epoch {len(trained)}: the steps are too large.",
        "Lower the learning rate, or let a schedule lower it; clip the gradient (clip_norm).",
    )


def _validation_findings(
    history: TrainingHistory, valid: list[float], trained: list[float], learned: float | None
) -> Iterator[Finding]:
    best = valid.index(min(valid))
    fell, rose = valid[0] - valid[best], valid[-1] - valid[best]
    if len(valid) >= ENOUGH and rose > max(RISEN * fell, BETTER * abs(valid[best])):
        cause = (
            f"The validation loss was {valid[best]:.4g} after epoch {best + 1} and is "
            f"{valid[-1]:.4g} after epoch {len(valid)}"
        )
        best_epoch = history.best_epoch
        which = f" The weights are those of epoch {best_epoch}." if best_epoch is not None else ""
        slow = best == 0 or first_epoch_kept(history)
        slower = "a lower learning rate (lr, --lr), " if slow else ""
        if learned is not None and learned >= LEARNED:
            yield finding(
                "notice",
                "The network overfits the training data",
                f"{cause}, while the training loss is {trained[-1]:.4g}.{which}",
                f"More data, {slower}more dropout or weight decay, a smaller network.",
            )
            return
        yield _does_not_generalize(
            f"{cause}{_comparison(history, trained)}.{which}",
            f"Check whether the inputs contain information about the target; more data, {slower}",
        )
    elif (
        len(valid) >= ENOUGH
        and learned is not None
        and learned >= LEARNED
        and history.guess is not None
        and valid[best] > history.guess[0]
    ):
        yield _does_not_generalize(
            f"The validation loss is {valid[best]:.4g} at best{_comparison(history, trained)}.",
            "Check whether both are encoded and scaled the same way; more data, ",
        )
    elif len(valid) >= ENOUGH and best == 0:
        yield finding(
            "notice",
            "No epoch was better than the first",
            f"The validation loss was {valid[0]:.4g} after epoch 1 and is {valid[-1]:.4g} after "
            f"epoch {len(valid)}.",
            "If the result is good enough, use fewer epochs; if not, the learning rate may be too "
            "high: try a lower one (lr, --lr).",
        )
    elif (
        history.stopped == "epochs"
        and best == len(valid) - 1
        and valid[-2] - valid[-1] > BETTER * abs(valid[-2])
    ):
        yield finding(
            "notice",
            "It was still getting better",
            f"The last epoch lowered the validation loss from {valid[-2]:.4g} to {valid[-1]:.4g}.",
            "Train for more epochs.",
        )


def _comparison(history: TrainingHistory, trained: list[float]) -> str:
    """For comparison with a validation loss: the training loss and that of a guess."""
    text = f", while the training loss is {trained[-1]:.4g}" if trained else ""
    if text and history.guess is not None:
        text += f" and the best constant prediction gets {history.guess[0]:.4g}"
    return text


def _does_not_generalize(cause: str, remedy: str) -> Finding:
    return finding(
        "notice",
        "The network does not generalize to the validation data",
        cause,
        f"{remedy}training and validation data of the same kind.",
    )
