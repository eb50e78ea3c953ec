"""Losses by name, as functions (prediction, target): the formulas of the collection's build.py.

Targets are classes (N,), classes of a sequence (N, T) with -1 where there is none, or floats
(N, outputs). `reduction`: mean (the default), sum, sum_over_rows (a wrong axis), broadcast (a wrong
shape: every row against every other).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import chainrule as cr
from chainrule.nn import functional

Loss = Callable[[Any, Any], cr.Tensor]


def loss(spec: Mapping[str, Any]) -> Loss:
    """The loss of a recipe."""
    name, reduction = spec["name"], spec.get("reduction", "mean")
    if name in LOG_PROBABILITIES:
        return lambda prediction, target: _over_classes(name, reduction, prediction, target)
    if name not in PER_ELEMENT:
        names = ", ".join((*LOG_PROBABILITIES, *PER_ELEMENT))
        raise ValueError(f"got the loss {name!r}; expected one of {names}")
    lowest = spec.get("clip")
    return lambda prediction, target: _over_elements(name, reduction, lowest, prediction, target)


# ── cross-entropy over classes ───────────────────────────────────────────────────────────────────


def _renormalised(p: cr.Tensor) -> cr.Tensor:
    return cr.log(cr.clip(p / cr.sum(p, axis=-1, keepdims=True), 1e-7, 1 - 1e-7))


LOG_PROBABILITIES: dict[str, Callable[[cr.Tensor], cr.Tensor]] = {
    "cce_probs": _renormalised,
    "cce_logits": functional.log_softmax,
    "cce_log": cr.log,
    "cce_clip": lambda p: cr.log(cr.clip(p, 1e-32, 1.0)),
}


def _over_classes(name: str, reduction: str, p: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    if p.ndim == 3:
        return _over_steps(name, reduction, p, y)
    if cr.isdtype(y.dtype, "integral"):
        y = _one_hot(y, p)
    if reduction == "broadcast":
        return -cr.mean(y[None] * functional.log_softmax(p)[:, None])
    per = -(y * LOG_PROBABILITIES[name](p))
    if reduction == "sum_over_rows":
        return cr.mean(cr.sum(per, axis=0))
    return _reduced(reduction, cr.sum(per, axis=-1))


def _over_steps(name: str, reduction: str, p: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    """Of a sequence, the steps that have a target."""
    real = y >= 0
    p = cr.where(real[..., None], p, 1.0)
    per = -cr.sum(_one_hot(y, p) * LOG_PROBABILITIES[name](p), axis=-1)
    total = cr.sum(cr.where(real, per, 0.0))
    return total / cr.sum(real.astype(p.dtype)) if reduction == "mean" else total


# ── losses by element ────────────────────────────────────────────────────────────────────────────


def _binary(p: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    p = cr.clip(p, 1e-7, 1 - 1e-7)
    return -(y * cr.log(p) + (1 - y) * cr.log(1 - p))


def _binary_clipped_below(p: cr.Tensor, y: cr.Tensor, lowest: float | None) -> cr.Tensor:
    one, zero = p, 1 - p
    if lowest is not None:
        one, zero = cr.clip(one, lowest), cr.clip(zero, lowest)
    return -(y * cr.log(one) + (1 - y) * cr.log(zero))


def _against(p: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    """The targets; classes as one-hot rows if the prediction has more columns."""
    return y if y.shape[-1] == p.shape[-1] else _one_hot(y[:, 0], p)


PER_ELEMENT: dict[str, Callable[[cr.Tensor, cr.Tensor, float | None], cr.Tensor]] = {
    "bce_probs": lambda p, y, _: _binary(p, y),
    "bce_one_hot": lambda p, y, _: _binary(p, _one_hot(y[:, 0], p)),
    "bce_one_hot_log": lambda p, y, lowest: _binary_clipped_below(p, _one_hot(y[:, 0], p), lowest),
    "bce_logits": lambda p, y, _: functional.softplus(p) - p * y,
    "mse": lambda p, y, _: (p - y) ** 2,
    "mae": lambda p, y, _: cr.abs(p - y),
    "neg_y_log": lambda p, y, _: -(y * cr.log(cr.clip(p, 1e-10, 1.0))),
}


def _over_elements(
    name: str, reduction: str, lowest: float | None, p: cr.Tensor, y: cr.Tensor
) -> cr.Tensor:
    y = y.astype(p.dtype)
    if y.ndim == 1:
        y = y[:, None]
    if name in ("mse", "mae"):
        y = _against(p, y)
        if reduction == "broadcast":
            y = y[:, 0][None]
    per = PER_ELEMENT[name](p, y, lowest)
    return _reduced("sum" if name == "neg_y_log" else reduction, per)


# ── both ─────────────────────────────────────────────────────────────────────────────────────────


def _one_hot(y: cr.Tensor, p: cr.Tensor) -> cr.Tensor:
    """Classes as rows of 0 and 1, as wide as the prediction; a class outside counts as the last."""
    return cr.one_hot(cr.clip(y.astype(cr.int64), 0, p.shape[-1] - 1), p.shape[-1], dtype=p.dtype)


def _reduced(reduction: str, per: cr.Tensor) -> cr.Tensor:
    if reduction not in ("mean", "sum", "broadcast"):
        raise ValueError(f"got the reduction {reduction!r}; expected mean, sum or broadcast")
    return cr.sum(per) if reduction == "sum" else cr.mean(per)
