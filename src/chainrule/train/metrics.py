"""Metrics: functions of all predictions and all targets, (N, …) arrays, that give one number."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..graph import Array

Metric = Callable[[Array, Array], float]


def classes_of(prediction: Array, target: Array) -> Array:
    """Class numbers: the largest of the scores, or above 0 where there is one score each."""
    return prediction.argmax(-1) if prediction.ndim > target.ndim else (prediction > 0).astype(int)


def accuracy(prediction: Array, target: Array) -> float:
    """The share of predictions that hit; prediction (..., C) scores, or one logit each."""
    return float(np.mean(classes_of(prediction, target) == target))


def confusion(prediction: Array, target: Array, classes: int) -> Array:
    """(C, C) counts: rows are the true classes, columns the predicted ones."""
    cells = target.reshape(-1).astype(np.int64) * classes + classes_of(prediction, target).ravel()
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def f1(prediction: Array, target: Array) -> float:
    """The mean over the classes of 2 · hits / (true + predicted); 0 for one that never occurs."""
    count = prediction.shape[-1] if prediction.ndim > target.ndim else 2
    table = confusion(prediction, target, count)
    total = table.sum(0) + table.sum(1)
    return float(np.mean(2 * table.diagonal() / np.maximum(total, 1)))


def auc(prediction: Array, target: Array) -> float:
    """The chance that a positive scores above a negative, ties half; (N,) scores, targets 0 or 1.

    By ranks (Mann and Whitney, 1947). NaN if one of the classes is missing.
    """
    score = prediction[..., 1] - prediction[..., 0] if prediction.ndim > target.ndim else prediction
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place.reshape(score.shape)]
    positive = target == 1
    p, n = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - p * (p + 1) / 2) / (p * n)) if p and n else float("nan")


def r2(prediction: Array, target: Array) -> float:
    """1 - ∑(y - ŷ)² / ∑(y - mean y)²: the share of the variance that is explained."""
    y, t = _alike(prediction, target)
    spread = float(np.square(t - t.mean()).sum())
    return 1 - float(np.square(t - y).sum()) / spread if spread else float("nan")


def mae(prediction: Array, target: Array) -> float:
    """The mean of |ŷ - y|."""
    y, t = _alike(prediction, target)
    return float(np.abs(y - t).mean())


def rmse(prediction: Array, target: Array) -> float:
    """The root of the mean of (ŷ - y)²."""
    y, t = _alike(prediction, target)
    return float(np.sqrt(np.square(y - t).mean()))


def _alike(prediction: Array, target: Array) -> tuple[Array, Array]:
    y = prediction.reshape(target.shape) if prediction.size == target.size else prediction
    return y.astype(np.float64), target.astype(np.float64)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy, "f1": f1, "auc": auc, "r2": r2, "mae": mae, "rmse": rmse,
}  # fmt: skip


def named(metrics: Iterable[str | Metric]) -> dict[str, Metric]:
    """Metrics by name; each may be given by its name or as a function."""
    found: dict[str, Metric] = {}
    for metric in [metrics] if isinstance(metrics, str) else metrics:
        if callable(metric):
            found[getattr(metric, "__name__", "metric")] = metric
        elif metric in METRICS:
            found[metric] = METRICS[metric]
        else:
            near: Any = difflib.get_close_matches(str(metric), METRICS, n=1)
            raise ArgumentError(
                "fit", f"got the metric {metric!r}", f"one of {', '.join(METRICS)}, or a function",
                f"did you mean {near[0]}?" if near else "choose one",
            )  # fmt: skip
    return found
