"""What is looked at before the first step and after it: mistakes that would "work"."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import tree
from ..errors import ArgumentError, ChainruleError, GradientError, RangeError, ShapeError
from ..graph import Array, spec_text
from ..nn import LogSoftmax, Module, Sigmoid, Softmax
from ..optim import Optimizer
from ..recording import record
from ..sparse import RowSparse
from ..tensor import Tensor, as_tensor, no_grad
from .inference import evaluating
from .objective import Objective


def check_finite(what: str, data: Any) -> None:
    """Raise if floating-point data holds NaN or an infinity; says in which row and column."""
    for array in (np.asarray(leaf) for leaf in tree.flatten(data)[0]):
        if array.dtype.kind not in "fV":
            continue
        wide = array.astype(np.float32) if array.dtype.kind == "V" else array
        flat = wide.reshape(len(wide), -1) if wide.ndim else wide.reshape(1, 1)
        if np.isfinite(flat.sum()) or np.isfinite(flat).all():
            continue
        row, column = np.argwhere(~np.isfinite(flat))[0]
        count = int((~np.isfinite(flat)).any(1).sum())
        where = f"row {row}" + (f", column {column}" if flat.shape[1] > 1 else "")
        raise ArgumentError(
            "fit", f"got {flat[row, column]} in the {what} at {where} ({count} rows have such)",
            "finite numbers", "drop these rows, or fill the gaps (with the column's mean)",
        )  # fmt: skip


def check_loss(model: Module, objective: Objective, x: Any, y: Any) -> int:
    """Try the loss on a first batch and raise for what is nearly always a mistake.

    Softmax before cross-entropy, sigmoid before a loss of logits, one score for several classes, a
    prediction and a target that only broadcast, a loss that is not finite at the start. Returns
    the size of the prediction's last axis.
    """
    last: list[Module] = []

    def note(module: Module, args: Any, output: Any) -> None:
        last.append(module)

    inner = [m for m in model.modules() if not list(m.children())]
    handles = [m.register_forward_hook(note) for m in inner]
    try:
        with evaluating(model):
            prediction = model(x)
            _check_scores(objective, prediction, y, last[-1] if last else model)
            loss = float(objective.mean(prediction, y).mean())
    finally:
        for handle in handles:
            handle.remove()
    if not math.isfinite(loss):
        raise GradientError(
            "fit", f"got a loss of {loss} before the first step", "a finite loss",
            "scale the inputs to a few units, and look at the initial weights",
        )  # fmt: skip
    return int(np.shape(prediction)[-1]) if np.ndim(prediction) else 1


def _check_scores(objective: Objective, prediction: Any, y: Any, last: Module) -> None:
    if not isinstance(prediction, Tensor) or not isinstance(y, Tensor):
        return
    p = prediction.numpy()
    scores = objective.name == "cross_entropy"
    if scores and p.ndim and p.shape[-1] == 1 and p.ndim == y.ndim + 1:
        raise ShapeError(
            "fit", f"got one score each, {spec_text(prediction)}, for cross_entropy",
            "a score for each class, (..., C) with C of 2 or more",
            'give the last layer 2 outputs, or use loss="bce_with_logits" and 1 output',
        )  # fmt: skip
    if scores and (isinstance(last, Softmax) or _probabilities(p)):
        raise ArgumentError(
            "fit", "got probabilities (rows that sum to 1) for cross_entropy, which has a softmax",
            "scores (logits)", "remove the softmax at the end of the model",
        )  # fmt: skip
    if objective.name.endswith("with_logits") and isinstance(last, Sigmoid):
        raise ArgumentError(
            "fit", f"got a Sigmoid before {objective.name}, which takes a sigmoid itself",
            "scores (logits)", 'remove the Sigmoid, or use loss="bce"',
        )  # fmt: skip
    if objective.name == "nll_loss" and not isinstance(last, LogSoftmax) and (p > 1e-6).any():
        raise ArgumentError(
            "fit", f"got values up to {p.max():.3g} for nll_loss", "log-probabilities, 0 or less",
            'end the model with LogSoftmax, or use loss="cross_entropy"',
        )  # fmt: skip
    if not objective.known and p.shape == (*y.shape, 1):
        raise ShapeError(
            "fit", f"got a prediction {spec_text(prediction)} and a target {spec_text(y)}",
            "equal shapes: these would be broadcast to all pairs",
            "squeeze the prediction, prediction[..., 0], or the target, y[..., None]",
        )  # fmt: skip


def _probabilities(p: Array) -> bool:
    if p.ndim < 1 or p.shape[-1] < 2 or p.dtype.kind != "f" or not p.size:
        return False
    return bool((p >= 0).all() and np.allclose(p.sum(-1), 1, atol=1e-5))


def check_classes(objective: Objective, outputs: int, targets: Any) -> None:
    """Raise if a class number in the whole of the targets has no score."""
    y = np.asarray(targets)
    if objective.name not in ("cross_entropy", "nll_loss") or y.dtype.kind not in "iu":
        return
    used = y[y != objective.settings.get("ignore_index", -100)]
    if used.size and (used.min() < 0 or used.max() >= outputs):
        worst = used.min() if used.min() < 0 else used.max()
        raise RangeError(
            "fit", f"got class {worst} (row {int(np.argwhere(y == worst)[0][0])})",
            f"0 to {outputs - 1}, one of the model's {outputs} scores",
            "number the classes from 0, or enlarge the last layer",
        )  # fmt: skip


def untrained(model: Module, optimizer: Optimizer, x: Any) -> Iterator[str]:
    """After a first step: each parameter that nothing trains, by name, and why."""
    given = {id(p) for group in optimizer.param_groups for p in group.params}
    used: set[int] | None = None
    for name, p in model.named_parameters():
        if id(p) not in given:
            yield f"{name}: the optimizer was not given it (build it after the last layer is made)"
        elif p.grad is None:
            used = _read(model, x) if used is None else used
            yield f"{name}: " + (
                "no gradient reached it, the way to the loss is cut (detach, argmax, rounding, a "
                "comparison)" if id(p) in used else "forward does not use it"
            )  # fmt: skip
        elif not _any_nonzero(p.grad):
            yield f"{name}: its gradient is 0 everywhere (dead units, or zeros multiply it)"


def _any_nonzero(g: Any) -> bool:
    return bool(np.any((g.values if isinstance(g, RowSparse) else g).numpy()))


def _read(model: Module, x: Any) -> set[int]:
    """The tensors that a forward pass reads."""
    leaves, structure = tree.flatten(x)
    tensors = [as_tensor(leaf) for leaf in leaves]

    def forward(inputs: list[Tensor]) -> list[Tensor]:
        return [as_tensor(t) for t in tree.flatten(model(tree.unflatten(structure, inputs)))[0]]

    try:
        with no_grad():
            made = record(forward, [(t.shape, t.dtype, False) for t in tensors])
    except ChainruleError:  # it decides by values: then only what got a gradient is known
        return set()
    return {id(owner) for owner, _ in made.reads}
