"""Standardising: mean 0 and variance 1 over some axes. Batch, layer and group normalization use it.

    y = w x̂,  x̂ = (x - μ) r,  r = 1 / √(σ² + ε)

One operation with three results, y, μ and σ² (biased), because its derivative in closed form needs
two sums, where those of its parts need four, and no array but x. The rule stands here because of
the several results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..broadcasting import expand
from ..derivative_rows import Row, install
from ..graph import Shape
from ..tensor import Tensor
from . import elementwise


def standardise(
    x: Tensor, axis: Sequence[int], eps: float, scale: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """scale · (x - mean) / √(variance + ε) over the axes, the mean and the (biased) variance.

    x       float32 or float64
    scale   of the shape of the mean, in which the axes have size 1; None: 1
    """
    xs = (x,) if scale is None else (x, scale)
    y, mean, variance = ops.standardise(*xs, axis=tuple(axis), eps=eps)
    return y, mean, variance


def composed(xs: Sequence[Tensor], axis: Shape, eps: float) -> list[Tensor]:
    """The same of ordinary operations, which a compiled step is made of."""
    x, *scale = xs
    n = _count(x.shape, axis)
    mean = ops.sum(x, axis=axis) / n
    centred = x - mean
    variance = ops.sum(elementwise.square(centred), axis=axis) / n
    y = centred * elementwise.rsqrt(variance + eps)
    return [y * scale[0] if scale else y, mean, variance]


def _count(shape: Shape, axis: Shape) -> float:
    return float(math.prod(shape[a] for a in axis))


def standardise_rule(
    g: list[Any],
    xs: list[Tensor],
    y: tuple[Tensor, Tensor, Tensor],
    xs_wanted: list[bool],
    axis: Shape,
    eps: float,
) -> list[Any]:
    """∂loss/∂w = ∑ g x̂,  ∂loss/∂x = w r (g - (∑ g + x̂ ∑ g x̂) / n).

    As ∑ x̂ = 0 and ∑ x̂² ≈ n: what x adds to μ and to σ² takes from g its part along 1 and along x̂.
    From those of μ and σ²: g / n and 2 g (x - μ) / n.
    """
    (x, *scale), (_, mean, variance) = xs, y
    n = _count(x.shape, axis)
    shares: list[Any] = [None] * len(xs)
    root = elementwise.rsqrt(variance + eps)
    centred = x - mean
    if g[0] is not None:
        standard = centred * root
        along = ops.sum(g[0] * standard, axis=axis)
        if scale and xs_wanted[1]:
            shares[1] = along
        factor = root * scale[0] if scale else root
        shares[0] = factor * (g[0] - ops.sum(g[0], axis=axis) / n - standard * (along / n))
    for part in (
        None if g[1] is None else expand(g[1] / n, x.shape),
        None if g[2] is None else centred * (g[2] * (2 / n)),
    ):
        if part is not None:
            shares[0] = part if shares[0] is None else shares[0] + part
    return shares


install(Row(ops.standardise, joint=standardise_rule))
