"""Findings from the gradient norms: gradients that vanish, explode or are 0."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...graph import Array
from .finding import RISEN, Finding, TrainingHistory, finding

VANISHED = 1e-3  # norm of the first layer's gradient over that of the last
EXPLODED = 100.0  # a norm over the median of the ones just before it
LARGE_NORM = 10.0  # large even without a comparison
WINDOW = 20  # norms that the median is taken of
VANISHING = "Gradients vanish towards the input"
REFUSED = "The guard refused steps"


def refused_steps(history: TrainingHistory) -> Iterator[Finding]:
    """The steps that the guard has refused, which have changed nothing."""
    if not history.refused:
        return
    first, several = history.refused[0], len(history.refused) > 1
    count = f"{len(history.refused)} steps, first" if several else "Step"
    yield finding(
        "warning",
        REFUSED,
        f"{count} {first['step']}: {first['reason']}. The weights stayed as they were, and the "
        "rate was halved for a while.",
        "Look for rows with extreme values; lower the learning rate, or clip the gradient "
        "(clip_norm).",
    )


def gradient_findings(history: TrainingHistory) -> Iterator[Finding]:
    norms = np.array(history.gradients.norms, np.float64)
    if not norms.size or norms.shape[1] < 2:
        return
    layers = history.gradients.layers
    usual = np.array([_median(of_layer[~np.isnan(of_layer)]) for of_layer in norms.T])
    dead = usual == 0
    if dead[0] and not dead.all() and usual[~dead].min() < VANISHED * usual[-1]:
        dead[: int(np.argmin(dead))] = False  # they underflow, after layers that vanish
        yield _vanishing_gradient(f"{layers[0]} gets nothing", layers, usual)
    elif 0 < usual[0] < VANISHED * usual[-1] and _falls_by_layer(usual):
        yield _vanishing_gradient(f"{layers[0]} gets {usual[0]:.1e}", layers, usual)
    if dead.any():
        some = [layers[k] for k in np.flatnonzero(dead)]
        shown = ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")
        yield finding(
            "warning",
            f"{shown} get{'s' * (len(some) == 1)} no gradient in most steps",
            "The units are dead, or a later layer multiplies by zero.",
            "Lower the learning rate, or use LeakyReLU.",
        )
    total = np.sqrt(np.nansum(np.square(norms), axis=1))
    frozen = np.isnan(norms)
    explosions = []
    if len(total) <= WINDOW:
        return
    windows = sliding_window_view(total[:-1], WINDOW)
    for k, before in enumerate(np.sort(windows, axis=1)[:, WINDOW // 2].tolist(), WINDOW):
        same = (frozen[k - WINDOW : k] == frozen[k]).all()  # no layer was just unfrozen
        if same and total[k] > EXPLODED * before > 0:
            step = history.gradients.steps[k]
            harmful = total[k] > LARGE_NORM or _rose(history, step)
            explosions.append(
                finding(
                    "warning" if harmful else "notice",
                    "The gradient exploded",
                    f"At step {step + 1} its norm was {total[k]:.1e}, {total[k] / before:.0f} "
                    "times the median of the steps before"
                    + ("." if harmful else "; the loss hardly rose."),
                    "Clip by a smaller global norm (clip_norm), lower the learning rate, look for "
                    "rows with extreme values.",
                )
            )
    yield from sorted(explosions, key=lambda finding: finding["level"] != "warning")[:1]


def _median(values: Array) -> float:
    return float(np.sort(values)[len(values) // 2])


def _falls_by_layer(usual: Array) -> bool:
    """Whether norms fall layer by layer, and not only between the first two, as before a
    normalization of large inputs."""
    return len(usual) == 2 or bool(usual[1] < math.sqrt(VANISHED) * usual[-1])


def _vanishing_gradient(first: str, layers: list[str], usual: Array) -> Finding:
    return finding(
        "warning",
        VANISHING,
        f"{first}, {layers[-1]} {usual[-1]:.1e} (medians of the norm): "
        "each layer in between scales the gradient down.",
        "Use ReLU or GELU, kaiming initialization, normalization layers or residuals.",
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
