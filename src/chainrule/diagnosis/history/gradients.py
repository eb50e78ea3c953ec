"""Findings from the gradient norms of the layers: they vanish, explode or are 0; refused steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...graph import Array
from ..finding import Finding
from ..wording import number, place
from .reading import LEARNED, RISEN, TrainingHistory, advice, learned, listed, path_of

VANISHED = 1e-3  # norm of the first layer's gradient over that of the last
GROWN = 1e3  # likewise
LEFT = 1e-3  # of the first gradients, below which a step is that of a trained network
EXPLODED = 100.0  # a norm over the median of the ones just before it
LARGE_NORM = 10.0  # large even without a comparison
WINDOW = 20  # norms that the median is taken of
FEW = 3  # refused steps


def refused_steps(history: TrainingHistory) -> Iterator[Finding]:
    """The steps that the guard has refused, which have changed nothing."""
    if not history.refused:
        return
    first, count = history.refused[0], len(history.refused)
    which = f"{count} steps, first step" if count > 1 else "step"
    share = learned(history)
    harmless = share is not None and share >= LEARNED and count <= FEW
    yield Finding(
        "steps_refused",
        "optimizer",
        f"{which} {first['step']}: {first['reason']}; the weights stayed as they were, and the "
        "rate was halved for a while",
        {"steps": [row["step"] for row in history.refused]},
        0.4 if harmless else 0.9,
        advice("rows without extreme values", "a lower learning rate (lr, --lr)", "clip_norm=1.0"),
    )


def gradient_findings(history: TrainingHistory) -> Iterator[Finding]:
    norms = np.array(history.gradients.norms, np.float64)
    if not norms.size or norms.shape[1] < 2:
        return
    share = learned(history)
    harmless = share is not None and share >= LEARNED
    yield from _by_depth(history.gradients.layers, norms, 0.4 if harmless else 0.9)
    if not harmless:
        yield from _bursts(history, norms)


def _by_depth(layers: list[str], norms: Array, confidence: float) -> Iterator[Finding]:
    """What the median norms of the layers show, from the first to the last, as long as there is
    something to learn: at a loss of 0 all gradients are 0."""
    total = np.sqrt(np.nansum(np.square(norms), axis=1))
    norms = norms[total > LEFT * _median(total[:WINDOW])]
    if not len(norms):
        return
    usual = np.array([_median(of_layer[~np.isnan(of_layer)]) for of_layer in norms.T])
    dead = usual == 0
    if dead[0] and not dead.all() and usual[~dead].min() < VANISHED * usual[-1]:
        dead[: int(np.argmin(dead))] = False  # they underflow, after layers that vanish
        yield _flow("vanishing_gradient", layers, usual, confidence)
    elif 0 < usual[0] < VANISHED * usual[-1] and _changes_by_layer(usual):
        yield _flow("vanishing_gradient", layers, usual, confidence)
    elif usual[0] > GROWN * usual[-1] > 0 and _changes_by_layer(1 / np.maximum(usual, 1e-300)):
        yield _flow("exploding_gradient", layers, usual, confidence)
    if dead.any():
        some = [layers[k] for k in np.flatnonzero(dead)]
        shown = listed(some)
        yield Finding(
            "no_gradient",
            path_of(some[0]),
            f"in most steps the gradient is 0 in {shown}: the units are dead, or a later layer "
            "multiplies by zero",
            {"layers": some},
            confidence,
            advice("a lower learning rate (lr, --lr)", "LeakyReLU in place of ReLU"),
        )


def _bursts(history: TrainingHistory, norms: Array) -> Iterator[Finding]:
    """The most harmful step whose gradient is far longer than those just before it."""
    total = np.sqrt(np.nansum(np.square(norms), axis=1))
    if len(total) <= WINDOW:
        return
    frozen = np.isnan(norms)
    bursts = list[Finding]()
    windows = sliding_window_view(total[:-1], WINDOW)
    for k, before in enumerate(np.sort(windows, axis=1)[:, WINDOW // 2].tolist(), WINDOW):
        same = (frozen[k - WINDOW : k] == frozen[k]).all()  # no layer was just unfrozen
        if same and total[k] > EXPLODED * before > 0:
            step = history.gradients.steps[k]
            harmful = total[k] > LARGE_NORM or _rose(history, step)
            largest = int(np.nanargmax(norms[k]))
            bursts.append(
                Finding(
                    "exploding_gradient",
                    path_of(history.gradients.layers[largest]),
                    f"at step {step + 1} the norm of the gradient was {number(total[k])}, "
                    f"{total[k] / before:.0f} times the median of the steps before"
                    + ("" if harmful else "; the loss hardly rose"),
                    {"step": step + 1, "norm": total[k], "before": before},
                    0.8 if harmful else 0.3,
                    advice(
                        "clip by a smaller global norm (clip_norm)",
                        "a lower learning rate (lr, --lr)",
                        "rows without extreme values",
                    ),
                )
            )
    yield from sorted(bursts, key=lambda finding: -finding.confidence)[:1]


def _median(values: Array) -> float:
    return float(np.sort(values)[len(values) // 2]) if len(values) else math.nan


def _changes_by_layer(usual: Array) -> bool:
    """Whether norms fall towards the input layer by layer, and not only between the first two, as
    before a normalization of large inputs."""
    return len(usual) == 2 or bool(usual[1] < math.sqrt(VANISHED) * usual[-1])


def _flow(kind: str, layers: list[str], usual: Array, confidence: float) -> Finding:
    """The gradient vanishes, or explodes, on its way back to the first layer."""
    vanishes = kind == "vanishing_gradient"
    return Finding(
        kind,
        path_of(layers[0]),
        f"the norm of the gradient is {number(usual[0])} in {place(layers[0])} and "
        f"{number(usual[-1])} in {place(layers[-1])} (medians): on its way back each "
        f"layer makes it {'smaller' if vanishes else 'larger'}",
        {"norms": dict(zip(layers, usual.tolist(), strict=True))},
        confidence,
        advice(
            "ReLU or GELU",
            "kaiming initialization",
            "normalization layers or residuals",
        )
        if vanishes
        else advice(
            "smaller first weights (kaiming or xavier initialization)", "normalization layers"
        ),
    )


def _rose(history: TrainingHistory, step: int) -> bool:
    """Whether the training loss rose much in the epoch of this step (from 0) or the next."""
    rows = history.epochs
    now = next((k for k, row in enumerate(rows) if row.get("step", 0) > step), None)
    if not now:
        return False
    before = rows[now - 1]["loss"]
    fell = max(0.0, rows[0]["loss"] - before)
    return any(row["loss"] - before > RISEN * fell for row in rows[now : now + 2])
