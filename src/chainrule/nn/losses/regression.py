"""Losses of numbers, and of the distributions that they come from."""

from __future__ import annotations

import math
from typing import Any

from ...errors import ShapeError, user_line
from ...functions import elementwise
from ...functions.elementwise import where
from ...graph import spec_text
from ...tensor import Tensor
from ..arguments import as_floating, expect_number, expect_values
from .common import loss, paired, reduce


@loss
def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """(ŷ - y)²."""
    y, t = paired("mse_loss", input, target)
    return reduce("mse_loss", elementwise.square(y - t), reduction)


@loss
def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """|ŷ - y|."""
    y, t = paired("l1_loss", input, target)
    return reduce("l1_loss", elementwise.abs(y - t), reduction)


@loss
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """½ d² for |d| ≤ δ, else δ (|d| - ½ δ), with d = ŷ - y (Huber, 1964)."""
    expect_number("huber_loss", "delta", delta, 1.0, above=0)
    y, t = paired("huber_loss", input, target)
    d = elementwise.abs(y - t)
    return reduce(
        "huber_loss", where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)), reduction
    )


@loss
def smooth_l1_loss(
    input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """½ d² / β for |d| < β, else |d| - ½ β; for β = 0 it is |d|."""
    expect_number("smooth_l1_loss", "beta", beta, 1.0, least=0)
    y, t = paired("smooth_l1_loss", input, target)
    d = elementwise.abs(y - t)
    losses = where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta) if beta else d
    return reduce("smooth_l1_loss", losses, reduction)


@loss
def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """eˣ - t x (or x - t log x); full adds Stirling's approximation of log t!.

    The targets t are counts, 0 or more.
    """
    expect_number("poisson_nll_loss", "eps", eps, 1e-8, least=0)
    x, t = paired("poisson_nll_loss", input, target)
    t = expect_values(
        "poisson_nll_loss",
        "the target",
        t,
        lambda v: v < 0,
        "counts, 0 or more",
        "mse_loss or gaussian_nll_loss takes other numbers",
    )
    losses = elementwise.exp(x) - t * x if log_input else x - t * elementwise.log(x + eps)
    if full:
        safe = where(t > 1, t, 1.0)
        stirling = safe * elementwise.log(safe) - safe + 0.5 * elementwise.log(2 * math.pi * safe)
        losses = losses + where(t > 1, stirling, 0.0)
    return reduce("poisson_nll_loss", losses, reduction)


@loss
def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """½ (log v + (ŷ - y)² / v), v at least eps; full adds ½ log 2π.

    var   0 or more: a number, or of the prediction's shape, or of that shape with one size 1, or
          without its last axis: then there is one variance per row
    """
    expect_number("gaussian_nll_loss", "eps", eps, 1e-6, least=0)
    x, t = paired("gaussian_nll_loss", input, target)
    v = _variance(var, x)
    floor = v + elementwise.clip(v.detach(), eps) - v.detach()  # the gradient stays v's
    losses = 0.5 * (elementwise.log(floor) + elementwise.square(x - t) / floor)
    losses = losses + 0.5 * math.log(2 * math.pi) if full else losses
    return reduce("gaussian_nll_loss", losses, reduction)


def _variance(var: Any, x: Tensor) -> Tensor:
    v = as_floating(var)
    if v.ndim and v.ndim + 1 == x.ndim and v.shape == x.shape[:-1]:
        v = v[..., None]
    differing = [n for n, m in zip(v.shape, x.shape, strict=False) if n != m]
    if v.ndim and (v.ndim != x.ndim or differing not in ([], [1])):
        raise ShapeError(
            "gaussian_nll_loss",
            f"got the variance {spec_text(v)} for a prediction {spec_text(x)}",
            "expected the prediction's shape, one of its sizes 1, or without its last axis",
            "give a variance per element, or var[:, None] for one per row",
            user_line(),
        )
    return expect_values(
        "gaussian_nll_loss",
        "the variance",
        v,
        lambda a: a < 0,
        "0 or more",
        "let the model return log var, and pass its exp",
    )
