"""Attention: the operation `ops.attention` on tensors of any batch axes, and its derivatives.

    s = σ q kᵀ + masks,   p = softmax(s),   y = p v

The operation gives y and the logarithm of ∑ eˢ of each row, from which its derivative, an operation
too, computes p again: a backend need not store a matrix of all queries and keys. The rules stand
here and not in the table, because both operations have several results.

Inside the operations axes are (N, T, H, d): positions before heads, as layers make them. In the
rules heads come first, as a matrix product needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import cast, expand
from ..derivative_rows import Row, install
from ..dtypes import float32, float64, is_boolean, is_floating
from ..graph import Shape
from ..tensor import Tensor
from . import elementwise, reductions
from .contractions import matmul


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    masks: Sequence[Tensor],
    causal: bool,
    scale: float | None = None,
) -> Tensor:
    """softmax(scale · q kᵀ + masks) v: (..., T, d), (..., S, d), (..., S, e) -> (..., T, e).

    Batch axes and dtypes are equal; float16 and bfloat16 are computed in float32. Masks broadcast
    to (..., T, S): a bool one is True where attending is allowed, others are added.

    scale   None: 1 / √d
    """
    batch, dtype = query.shape[:-2], float64 if query.dtype == float64 else float32
    xs = [_by_positions(cast(x, dtype), batch) for x in (query, key, value)]
    added = (m if is_boolean(m.dtype) else cast(m, dtype) for m in masks)
    fitting = [_as_batch_and_heads(_with_axes(m, len(batch) + 2), batch) for m in added]
    out, _ = ops.attention(*xs, *fitting, causal=causal, scale=_scale(query, scale))
    shape = (*query.shape[:-1], value.shape[-1])
    return cast(ops.reshape(_heads_first(out), shape=shape), query.dtype)


def _scale(query: Tensor, scale: float | None) -> float:
    return 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale)


def _by_positions(x: Tensor, batch: Shape) -> Tensor:
    """(..., T, d) as (N, T, H, d)."""
    return _heads_first(_as_batch_and_heads(x, batch))


def _with_axes(mask: Tensor, count: int) -> Tensor:
    """The mask with that number of axes: those in front are 1."""
    return expand(mask, (*(1,) * (count - mask.ndim), *mask.shape))


def _as_batch_and_heads(x: Tensor, batch: Shape) -> Tensor:
    """(..., n, m) as (N, H, n, m), H the last batch axis; what is repeated stays 1 if it can."""
    own, (n, m) = x.shape[: len(batch)], x.shape[len(batch) :]
    outer, heads = own[:-1], own[-1:] or (1,)
    if math.prod(outer) != 1 and outer != batch[:-1]:
        outer = batch[:-1]
        x = expand(x, (*outer, *own[-1:], n, m))
    shape = (math.prod(outer), *heads, n, m)
    return x if x.shape == shape else ops.reshape(x, shape=shape)


def _heads_first(x: Tensor) -> Tensor:
    """(N, T, H, d) as (N, H, T, d), and back."""
    out: Tensor = ops.permute_dims(x, axes=(0, 2, 1, 3))
    return out


def masked_scores(
    query: Tensor, key: Tensor, masks: Sequence[Tensor], causal: bool, scale: float | None
) -> Tensor:
    """scale · q kᵀ + masks of (..., T, d) and (..., S, d); -inf where attending is not allowed."""
    out = matmul(query * _scale(query, scale), key.mT)
    if causal:
        out = elementwise.where(
            Tensor(np.tri(out.shape[-2], out.shape[-1], dtype=bool)), out, -math.inf
        )
    for mask in masks:
        allows = is_boolean(mask.dtype)
        out = elementwise.where(mask, out, -math.inf) if allows else out + cast(mask, out.dtype)
    return out


@reductions.in_float32
def masked_softmax(scores: Tensor, /) -> Tensor:
    """eˣ / ∑eˣ along the last axis; 0 if all elements are -inf."""
    if not scores.shape[-1]:
        return scores
    top = reductions.max(scores, axis=-1, keepdims=True).detach()
    powers = elementwise.exp(scores - elementwise.where(top == -math.inf, 0.0, top))
    total = reductions.sum(powers, axis=-1, keepdims=True)
    return powers / elementwise.where(total == 0, 1.0, total)


def composed(xs: Sequence[Tensor], causal: bool, scale: float) -> list[Tensor]:
    """The results of `ops.attention`, of ordinary operations."""
    query, key, value = map(_heads_first, xs[:3])
    scores = masked_scores(query, key, xs[3:], causal, scale)
    weights = masked_softmax(scores) if xs[3:] else reductions.softmax(scores, axis=-1)
    total = reductions.logsumexp(scores, axis=-1, keepdims=True)
    return [_heads_first(matmul(weights, value)), _heads_first(total)]


# ── derivatives ──────────────────────────────────────────────────────────────────────────────────


def attention_rule(
    g: list[Any],
    xs: list[Tensor],
    y: tuple[Tensor, Tensor],
    xs_wanted: list[bool],
    causal: bool,
    scale: float,
) -> list[Any]:
    """With ḡ = ∂loss/∂y: ∂loss/∂s = p (ḡ vᵀ - δ), δ = ∑ ḡ y - ∂loss/∂logsumexp, for each row.

    The softmax's own derivative is p (x - ∑ p x), where x = ḡ vᵀ, and ∑ p x = ∑ ḡ y.
    """
    out, logsumexp = y
    above = _or_zeros(g[0], out)
    delta = ops.sum(above * out, axis=(3,))
    if g[1] is not None:
        delta = delta - g[1]
    saved = (above, delta, logsumexp)
    shares = ops.attention_derivative(*saved, *xs, causal=causal, scale=scale)
    if not any(xs_wanted[3:]):
        return [*shares, *[None] * (len(xs) - 3)]
    inside = _Inside(saved, xs, causal, scale)
    return [*shares, *inside.of_masks(inside.d_scores, xs_wanted[3:])]


def derivative_rule(
    g: list[Any], xs: list[Tensor], xs_wanted: list[bool], causal: bool, scale: float
) -> list[Any]:
    """From those of dq = σ ds k, dk = σ dsᵀ q and dv = pᵀ ḡ, which are a, b, c.

    With x = ḡ vᵀ, ds = p (x - δ), p = eˢ⁻ˡ where l is the logsumexp:

        w = ∂/∂ds = σ (a kᵀ + q bᵀ)          u = ∂/∂x = w p,  ∂/∂δ = -∑ u
        r = ∂/∂s = p (ḡ cᵀ + w (x - δ)),     ∂/∂l = -∑ r
        ∂/∂ḡ = u v + p c                     ∂/∂v = uᵀ ḡ
        ∂/∂q = σ (ds b + r k)                ∂/∂k = σ (dsᵀ a + rᵀ q)
    """
    saved, inputs = xs[:3], xs[3:]
    a, b, c = (_heads_first(_or_zeros(part, x)) for part, x in zip(g, inputs[:3], strict=True))
    at = _Inside(saved, inputs, causal, scale)
    w = scale * (matmul(a, at.key.mT) + matmul(at.query, b.mT))
    u = w * at.weights
    r = at.weights * (matmul(at.above, c.mT) + w * at.centred)
    shares = (
        matmul(u, at.value) + matmul(at.weights, c),
        -ops.sum(u, axis=(3,)),
        -ops.sum(r, axis=(3,)),
        scale * (matmul(at.d_scores, b) + matmul(r, at.key)),
        scale * (matmul(at.d_scores.mT, a) + matmul(r.mT, at.query)),
        matmul(u.mT, at.above),
    )
    return [*map(_heads_first, shares), *at.of_masks(r, xs_wanted[6:])]


def composed_derivative(xs: Sequence[Tensor], causal: bool, scale: float) -> list[Tensor]:
    """The results of `ops.attention_derivative`, of ordinary operations.

    dq = σ ds k,  dk = σ dsᵀ q,  dv = pᵀ ḡ
    """
    at = _Inside(xs[:3], xs[3:], causal, scale)
    shares = (
        scale * matmul(at.d_scores, at.key),
        scale * matmul(at.d_scores.mT, at.query),
        matmul(at.weights.mT, at.above),
    )
    return [*map(_heads_first, shares)]


def _or_zeros(g: Any, like: Tensor) -> Any:
    return like._full(like.shape, 0.0) if g is None else g


class _Inside:
    """The matrices of all queries and keys, (N, H, T, S), as ordinary operations.

    weights p, centred x - δ, d_scores ds
    """

    def __init__(
        self, saved: Sequence[Tensor], xs: Sequence[Tensor], causal: bool, scale: float
    ) -> None:
        self.above, delta, logsumexp = map(_heads_first, saved)
        self.query, self.key, self.value = map(_heads_first, xs[:3])
        self._masks = xs[3:]
        s = masked_scores(self.query, self.key, self._masks, causal, scale)
        if self._masks:  # a row without any key
            logsumexp = elementwise.where(logsumexp == -math.inf, 0.0, logsumexp)
        self.weights = elementwise.exp(s - logsumexp)
        self.centred = matmul(self.above, self.value.mT) - delta
        self.d_scores = self.weights * self.centred

    def of_masks(self, d_scores: Tensor, wanted: Sequence[bool]) -> list[Any]:
        """The cotangents of the masks that are added, from that of the scores."""
        out: list[Any] = []
        for mask, is_wanted in zip(self._masks, wanted, strict=True):
            repeated = [k for k, n in enumerate(mask.shape) if n != d_scores.shape[k]]
            adds = is_wanted and is_floating(mask.dtype)
            out.append(ops.sum(d_scores, axis=tuple(repeated)) if adds else None)
        return out


install(Row(ops.attention, joint=attention_rule))
install(Row(ops.attention_derivative, joint=derivative_rule))
