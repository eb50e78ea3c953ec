"""Findings from the gradient norms: layers whose gradient fades, bursts or is 0."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...graph import Array
from .finding import RISEN, Finding, TrainingHistory, finding

FADED = 1e-3  # the first layer's gradient norm over the last one's
BURST = 100.0  # a norm over the median of the ones just before it
LARGE = 10.0  # a norm that is much by itself
NEAR = 20  # how many probes are just before
VANISHING = "Gradients vanish towards the input"


def gradient_findings(history: TrainingHistory) -> Iterator[Finding]:
    norms = np.array(history.gradients.norms, np.float64)
    if not norms.size or norms.shape[1] < 2:
        return
    layers = history.gradients.layers
    usual = np.array([_median(of_layer[~np.isnan(of_layer)]) for of_layer in norms.T])
    dead = usual == 0
    if dead[0] and not dead.all() and usual[~dead].min() < FADED * usual[-1]:
        dead[: int(np.argmin(dead))] = False  # too small for the numbers, after those that fade
        yield _vanishing_gradient(f"{layers[0]} gets nothing", layers, usual)
    elif 0 < usual[0] < FADED * usual[-1] and _fades(usual):
        yield _vanishing_gradient(f"{layers[0]} gets {usual[0]:.1e}", layers, usual)
    if dead.any():
        some = [layers[k] for k in np.flatnonzero(dead)]
        shown = ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")
        yield finding(
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
                finding(
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


def _median(values: Array) -> float:
    return float(np.sort(values)[len(values) // 2])


def _fades(usual: Array) -> bool:
    """Layer by layer, and not between the first two alone, as before a normalisation of inputs
    that are large."""
    return len(usual) == 2 or bool(usual[1] < math.sqrt(FADED) * usual[-1])


def _vanishing_gradient(first: str, layers: list[str], usual: Array) -> Finding:
    return finding(
        "warning",
        VANISHING,
        f"{first}, {layers[-1]} {usual[-1]:.1e} (medians of the norm): "
        "each layer on the way multiplies by less than 1.",
        "Use ReLU or GELU, kaiming initialisation, normalisation layers or residuals.",
    )


def _rose(history: TrainingHistory, step: int) -> bool:
    """Whether the training loss rose by much in the epoch of that step (from 0) or the next."""
    rows = history.epochs
    now = next((k for k, row in enumerate(rows) if row.get("step", 0) > step), None)
    if not now:
        return False
    before = rows[now - 1]["loss"]
    fell = max(0.0, rows[0]["loss"] - before)
    return any(row["loss"] - before > RISEN * fell for row in rows[now : now + 2])
