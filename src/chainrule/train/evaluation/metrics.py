"""Metrics: functions of all predictions and all targets, (N, …) arrays, that return one number.

Without targets (no rows, or each target ignored) a metric is NaN, which never counts as better.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import ArgumentError, ShapeError
from ...graph import Array
from ...hints import names
from .objective import Objective

Metric = Callable[[Array, Array], float]


def _scores(prediction: Array, target: Array) -> Array:
    """Scores (..., C), or one score per target in its shape; a last axis of 1 is removed."""
    if prediction.shape == target.shape or prediction.shape[:-1] == target.shape != ():
        one = prediction.ndim > target.ndim and prediction.shape[-1] == 1
        return prediction[..., 0] if one else prediction
    raise _unlike(
        prediction, target, "the same number of rows, and scores for each class or one for each row"
    )


def _unlike(prediction: Array, target: Array, needed: str) -> ShapeError:
    return ShapeError(
        "metric",
        f"got predictions {prediction.shape} and targets {target.shape}",
        f"expected {needed}",
        "check the output of the model, or pass a function (predictions, targets) as the metric",
    )


def classes_of(prediction: Array, target: Array) -> Array:
    """Class numbers: the index of the largest score, or score > 0 with one score per row."""
    scores = _scores(prediction, target)
    return scores.argmax(-1) if scores.ndim > target.ndim else (scores > 0).astype(int)


def _nan_if_empty(metric: Metric) -> Metric:
    """The metric; NaN without a warning where there are no targets."""

    @functools.wraps(metric)
    def defined(prediction: Array, target: Array) -> float:
        return metric(prediction, target) if np.size(target) else float("nan")

    return defined


@_nan_if_empty
def accuracy(prediction: Array, target: Array) -> float:
    """The share of correct predictions; prediction (..., C) scores, or one logit per row."""
    scores = _scores(prediction, target)
    _expect_classes(target, scores.shape[-1] if scores.ndim > target.ndim else 2)
    return float(np.mean(classes_of(prediction, target) == target))


def _expect_classes(target: Array, classes: int) -> None:
    """Raise unless these are class numbers: no prediction could match others."""
    if not (((target >= 0) & (target < classes)).all() and (target == target.astype(int)).all()):
        raise ArgumentError(
            "metric",
            f"got targets from {target.min()} to {target.max()}, not all class numbers",
            f"expected classes 0 to {classes - 1}",
            'for measurements use "r2", "mae" or "rmse"; number '
            "classes from 0; leave rows that do not count out of the data for the metrics",
        )


def confusion(prediction: Array, target: Array, classes: int) -> Array:
    """(C, C) counts: rows are the true classes, columns the predicted ones."""
    if target.size:
        _expect_classes(target, classes)
    cells = target.reshape(-1).astype(np.int64) * classes + classes_of(prediction, target).ravel()
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@_nan_if_empty
def f1(prediction: Array, target: Array) -> float:
    """2 · hits / (true + predicted), the mean over the classes that occur in either (macro F1).

    Of two classes too: the mean of both, scikit-learn's average="macro" and not its "binary".
    """
    scores = _scores(prediction, target)
    table = confusion(scores, target, scores.shape[-1] if scores.ndim > target.ndim else 2)
    total = table.sum(0) + table.sum(1)
    return float(np.mean(2 * table.diagonal()[total > 0] / total[total > 0]))


@_nan_if_empty
def auc(prediction: Array, target: Array) -> float:
    """The probability that a positive scores above a negative; ties count half.

    Scores (N,), targets 0 or 1.

    By ranks (Mann and Whitney, 1947). NaN if one of the classes is missing.
    """
    score = _scores(prediction, target)
    if score.ndim > target.ndim:
        if score.shape[-1] != 2:
            raise _unlike(prediction, target, "one score per row, or two: auc is for two classes")
        score = score if score.dtype.kind in "fV" else score.astype(np.float64)  # bytes wrap
        score = score[..., 1] - score[..., 0]
    _expect_classes(target, 2)
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place.reshape(score.shape)]
    positive = target == 1
    p, n = int(positive.sum()), int((~positive).sum())
    return float((rank[positive].sum() - p * (p + 1) / 2) / (p * n)) if p and n else float("nan")


@_nan_if_empty
def r2(prediction: Array, target: Array) -> float:
    """1 - ∑(y - ŷ)² / ∑(y - mean y)²: the share of the variance that is explained.

    The mean over the columns of a target (N, K). NaN if one of them does not vary.
    """
    y, t = (a.reshape(len(a), -1) for a in _alike(prediction, target))
    spread = np.square(t - t.mean(0)).sum(0)
    return float((1 - np.square(t - y).sum(0) / spread).mean()) if spread.all() else float("nan")


@_nan_if_empty
def mae(prediction: Array, target: Array) -> float:
    """The mean of |ŷ - y|."""
    y, t = _alike(prediction, target)
    return float(np.abs(y - t).mean())


@_nan_if_empty
def rmse(prediction: Array, target: Array) -> float:
    """The root of the mean of (ŷ - y)²."""
    y, t = _alike(prediction, target)
    return float(np.sqrt(np.square(y - t).mean()))


def _alike(prediction: Array, target: Array) -> tuple[Array, Array]:
    shapes = (prediction.shape, (*prediction.shape, 1), prediction.shape[:-1])
    if target.shape not in shapes or prediction.size != target.size:
        raise _unlike(prediction, target, "a prediction for each target")
    y = prediction.reshape(target.shape)
    return y.astype(np.float64), target.astype(np.float64)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "auc": auc,
    "r2": r2,
    "mae": mae,
    "rmse": rmse,
}
VALUE_LOSSES = (  # whose predictions are values like the target, or its probability
    "binary_cross_entropy",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
)


def metrics_by_name(
    metrics: str | Metric | Iterable[str | Metric] | Mapping[str, Metric] | None,
    objective: Objective | None = None,
) -> dict[str, Metric]:
    """Metrics as a dict; each is a name or a function, or all are a dict already.

    objective   the loss: for metrics by name it decides how predictions and targets are read
    """
    if isinstance(metrics, Mapping):
        return dict(metrics)
    chosen: dict[str, Metric] = {}
    for metric in [metrics] if isinstance(metrics, str) or callable(metrics) else metrics or ():
        if callable(metric):
            name = own = getattr(metric, "__name__", "metric")
            count = 1
            while name in chosen:  # two lambdas have the same name
                count += 1
                name = f"{own}_{count}"
            chosen[name] = metric
        elif metric in METRICS:
            chosen[metric] = _read_as(METRICS[metric], objective)
        else:
            ours = names.METRICS.get(str(metric))
            near = [ours] if ours else difflib.get_close_matches(str(metric), METRICS, 1)
            raise ArgumentError(
                "fit",
                f"got the metric {metric!r}",
                f"expected one of {', '.join(METRICS)}, or a function",
                f"did you mean {near[0]}?" if near else 'metrics="accuracy", or metrics=function',
            )
    return chosen


def _read_as(metric: Metric, objective: Objective | None) -> Metric:
    """The metric for predictions and targets in the form of this loss."""
    if metric not in (accuracy, f1, auc):
        return lambda prediction, target: metric(*_arrays(prediction, target))
    loss, settings = "", dict[str, Any]()
    if objective is not None and objective.known:
        loss, settings = objective.name, objective.settings

    def read(prediction: Array, target: Array) -> float:
        prediction, target = _arrays(prediction, target)
        if loss in ("cross_entropy", "nll_loss"):
            if target.shape == prediction.shape and target.dtype.kind in "fV":
                target = target.argmax(-1)
            counts = target != settings.get("ignore_index", -100)
            if not counts.any():
                return float("nan")
            if not counts.all():
                if counts.shape != prediction.shape[:-1]:
                    raise _unlike(prediction, target, "scores for each class in each row")
                prediction, target = prediction[counts], target[counts]
        elif loss == "soft_margin_loss":
            target = (target > 0).astype(int)  # they are 1 and -1
        elif metric is not auc and _threshold_is_half(loss, _scores(prediction, target), target):
            prediction = prediction - 0.5
        return metric(prediction, target)

    return read


def _arrays(prediction: Any, target: Any) -> tuple[Array, Array]:
    if isinstance(prediction, np.ndarray) and isinstance(target, np.ndarray):
        return prediction, target
    whose = "predictions" if isinstance(target, np.ndarray) else "targets"
    raise ArgumentError(
        "metric",
        f"got {whose} in several arrays",
        "expected one array of predictions and one of targets",
        "pass a function (predictions, targets) that takes several arrays",
    )


def _threshold_is_half(loss: str, scores: Array, target: Array) -> bool:
    """Whether class 1 starts at ½, not at 0: for probabilities, or values near 0 and 1."""
    if scores.ndim > target.ndim or loss.endswith("with_logits"):
        return False
    return loss in VALUE_LOSSES or bool(((scores >= 0) & (scores <= 1)).all())
