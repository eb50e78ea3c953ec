"""Predictions and targets that do not fit the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import ArgumentError, RangeError, ShapeError
from ...graph import Array, spec_text
from ...nn import Module
from ...tensor import Tensor
from ..evaluation.objective import Objective
from ..evaluation.tracing import forward_graph, traced_graph


def check_several_scores(objective: Objective, prediction: Any, y: Any) -> None:
    """Raise if cross-entropy gets one score per row."""
    if not (objective.known and objective.name == "cross_entropy"):
        return
    if prediction.ndim == 1 or (prediction.shape[-1:] == (1,) and prediction.ndim == y.ndim + 1):
        raise ShapeError(
            "fit",
            f"got one score per row, {spec_text(prediction)}, for cross_entropy",
            "expected a score for each class, (..., C) with C at least 2",
            'give the last layer 2 outputs, or use loss="bce_with_logits" and 1 output',
        )


def check_scores(
    objective: Objective, prediction: Any, y: Any, sigmoid: Callable[[], bool]
) -> None:
    if not isinstance(prediction, Tensor) or not isinstance(y, Tensor):
        return
    p = prediction.numpy()
    check_several_scores(objective, prediction, y)
    scores = objective.known and objective.name == "cross_entropy"
    if scores and _probabilities(p):
        raise ArgumentError(
            "fit",
            "got probabilities (rows that sum to 1) for cross_entropy, which has a softmax",
            "expected scores (logits)",
            "remove the softmax at the end of the model",
        )
    if scores and p.ndim and p.shape == y.shape:
        t, slack = y.numpy().astype(np.float64), 1e-3 if y.dtype.itemsize > 2 else 0.05
        totals = t.sum(-1)
        if (t < -slack).any() or (totals > 1 + slack).any():
            raise RangeError(
                "fit",
                f"got targets from {t.min():.3g} to {t.max():.3g}, in sum up to "
                f"{totals.max():.3g}, for cross_entropy",
                "expected probabilities of the classes, or a class number each",
                'number the classes; loss="bce_with_logits" is for classes of which several hold, '
                'loss="mse" for measurements',
            )
    if objective.name.endswith("with_logits") and ((p >= 0) & (p <= 1)).all() and sigmoid():
        raise ArgumentError(
            "fit",
            f"got a sigmoid before {objective.name}, which takes a sigmoid itself",
            "expected scores (logits)",
            'remove the sigmoid, or use loss="bce"',
        )
    binary = objective.name.startswith("binary_cross_entropy")
    if binary and (((t := y.numpy()) < 0) | (t > 1)).any():
        raise RangeError(
            "fit",
            f"got targets from {t.min()} to {t.max()} for {objective.name}",
            "expected 0 to 1",
            "number the classes 0 and 1: y = (y > 0).astype('float32')",
        )
    if objective.name == "nll_loss" and (p > 1e-6).any():
        raise ArgumentError(
            "fit",
            f"got values up to {p.max():.3g} for nll_loss",
            "expected log-probabilities, 0 or less",
            'end the model with LogSoftmax, or use loss="cross_entropy"',
        )


def check_pairs(objective: Objective, prediction: Any, y: Any) -> None:
    """Raise if a custom loss function combines each prediction with each target.

    That is what (N, 1) - (N,) does; a function that takes prediction[:, 0] first does not.
    """
    if objective.known or not isinstance(prediction, Tensor) or not isinstance(y, Tensor):
        return
    p, t = prediction.shape, y.shape
    if sorted((p, t), key=len) != [(len(y),), (len(y), 1)] or len(y) < 2:
        return
    specs = [(p, prediction.dtype, False), (t, y.dtype, False)]
    recorded = traced_graph(lambda both: [objective.mean(*both)], specs)
    if recorded is not None and any(
        node.shape == (len(y), len(y)) for node in recorded.graph.nodes
    ):
        raise ShapeError(
            "fit",
            f"got a prediction {spec_text(prediction)} and a target {spec_text(y)}",
            "expected equal shapes; these broadcast to all pairs",
            "squeeze the prediction, prediction[..., 0], or the target, y[..., None]",
        )


def expect_scalar(loss: Tensor, objective: Objective) -> None:
    """Raise if a loss is not one number."""
    if loss.shape != ():
        raise ShapeError(
            "fit",
            f"got a loss of shape {loss.shape} from {objective.name}",
            "expected one number",
            "take its mean()",
        )


def _probabilities(p: Array) -> bool:
    if p.ndim < 1 or p.shape[-1] < 2 or p.dtype.kind != "f" or not p.size:
        return False
    return bool((p >= 0).all() and np.allclose(p.sum(-1), 1, atol=1e-5))


def check_some_count(objective: Objective, targets: Any, name: str) -> None:
    """Raise if the loss ignores every target: it would be 0, which looks perfect."""
    ignored = objective.settings.get("ignore_index", -100)
    y = np.asarray(targets) if isinstance(targets, (np.ndarray, Tensor)) else np.zeros(0)
    classes = objective.known and objective.name in ("cross_entropy", "nll_loss")
    if classes and y.size and y.dtype.kind in "iu" and (y == ignored).all():
        raise ArgumentError(
            "fit",
            f"got {name} in which each target is {ignored}, which {objective.name} ignores",
            "expected one or more targets that count",
            "pass the classes, or another ignore_index",
        )


def check_classes(objective: Objective, outputs: int | None, targets: Any, where: str = "") -> None:
    """Raise if a class number in these targets has no score."""
    if (
        outputs is None
        or objective.name not in ("cross_entropy", "nll_loss")
        or not objective.known
    ):
        return
    y = np.asarray(targets) if isinstance(targets, (np.ndarray, Tensor)) else np.zeros(0)
    if y.dtype.kind not in "iu":
        return
    counts = y != objective.settings.get("ignore_index", -100)
    bad = counts & ((y < 0) | (y >= outputs))
    if bad.any():
        place = tuple(np.argwhere(bad)[0])
        raise RangeError(
            "fit",
            f"got class {y[place]} ({where}row {place[0] if place else 0})",
            f"expected 0 to {outputs - 1}: the model has {outputs} scores",
            "number the classes from 0, or enlarge the last layer",
        )


def ends_in_sigmoid(model: Module, x: Any) -> bool:
    recorded = forward_graph(model, x)
    node = recorded.graph.outputs[0] if recorded is not None else None
    while node is not None and node.op is not None and node.op.name in ("reshape", "alias"):
        node = node.inputs[0]
    return node is not None and node.op is not None and node.op.name == "sigmoid"
