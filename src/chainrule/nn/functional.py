"""Layers without state, as functions; PyTorch's names. Channels are the last axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import random
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import elementwise, habits, reductions
from ..functions.contractions import matmul
from ..functions.elementwise import relu as relu
from ..functions.elementwise import sigmoid as sigmoid
from ..functions.elementwise import softplus as softplus
from ..functions.elementwise import where
from ..functions.shaping import one_hot as one_hot
from ..functions.shaping import split
from ..graph import spec_text
from ..hints import missing
from ..tensor import Tensor, as_tensor
from .losses import *  # noqa: F403 - the losses are functions too
from .losses import masked_fill as masked_fill

tanh = elementwise.tanh
softmax, log_softmax = map(habits.explained, (reductions.softmax, reductions.log_softmax))


def linear(x: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b."""
    y = matmul(x, weight.T)
    return y if bias is None else y + bias


def at_least(x: Tensor, low: float) -> Tensor:
    """x, or `low` where x is below it."""
    return where(x < low, low, x)


# ── activations ──────────────────────────────────────────────────────────────────────────────────


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """x above 0, slope · x below."""
    x = as_tensor(x)
    return where(x > 0, x, x * negative_slope)


def relu6(x: Any) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(x, 0.0, 6.0)


def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x held between two numbers; derivative 0 at and beyond them."""
    x = as_tensor(x)
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


def hardsigmoid(x: Any) -> Tensor:
    """min(max(x/6 + 1/2, 0), 1)."""
    return hardtanh(as_tensor(x) / 6 + 0.5, 0.0, 1.0)


def hardswish(x: Any) -> Tensor:
    """x · hardsigmoid(x)."""
    x = as_tensor(x)
    return x * hardtanh(x + 3, 0.0, 6.0) / 6


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, α (eˣ - 1) below (Clevert et al., 2015)."""
    x = as_tensor(x)
    below = elementwise.expm1(where(x > 0, 0.0, x))
    return where(x > 0, x, alpha * below)


def selu(x: Any) -> Tensor:
    """λ · elu(x, α) with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, α (e^(x/α) - 1) below."""
    x = as_tensor(x)
    return where(x > 0, x, alpha * elementwise.expm1(where(x > 0, 0.0, x) / alpha))


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x Φ(x), Φ the normal distribution; "tanh" approximates it (Hendrycks and Gimpel, 2016)."""
    x = as_tensor(x)
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
        return 0.5 * x * (1 + elementwise.tanh(inner))
    if approximate != "none":
        raise ArgumentError("gelu", f"got approximate {approximate!r}", "none or tanh", "choose")
    return 0.5 * x * (1 + elementwise.erf(x * math.sqrt(0.5)))


def silu(x: Any) -> Tensor:
    """x · sigmoid(x), also called swish."""
    x = as_tensor(x)
    return x * sigmoid(x)


def mish(x: Any) -> Tensor:
    """x · tanh(softplus(x)) (Misra, 2019)."""
    x = as_tensor(x)
    return x * elementwise.tanh(softplus(x))


def softsign(x: Any) -> Tensor:
    """x / (1 + |x|)."""
    x = as_tensor(x)
    return x / (1 + elementwise.abs(x))


def logsigmoid(x: Any) -> Tensor:
    """log sigmoid(x)."""
    return -softplus(-as_tensor(x))


def softshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """x moved λ towards 0, and 0 within λ of it."""
    x = as_tensor(x)
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, 0.0 * x))


def hardshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """x, and 0 within λ of 0."""
    x = as_tensor(x)
    inside = (x >= -lambd) & (x <= lambd)
    return where(inside, 0.0, x)


def tanhshrink(x: Any) -> Tensor:
    """x - tanh x."""
    x = as_tensor(x)
    return x - elementwise.tanh(x)


def threshold(x: Any, threshold: float, value: float) -> Tensor:
    """x above the threshold, the value elsewhere."""
    x = as_tensor(x)
    return where(x > threshold, x, value)


def prelu(x: Any, weight: Tensor) -> Tensor:
    """x above 0, weight · x below; one weight, or one a channel."""
    x = as_tensor(x)
    return where(x > 0, x, weight * x)


@habits.explained
def glu(x: Any, axis: int = -1) -> Tensor:
    """a · sigmoid(b), a and b the halves of x along the axis (Dauphin et al., 2016)."""
    x = as_tensor(x)
    a, b = split(x, 2, axis)
    return a * sigmoid(b)


# ── dropout and normalisation ────────────────────────────────────────────────────────────────────


@habits.explained
def dropout(
    x: Any, p: float = 0.5, training: bool = True, *,
    generator: random.Generator | None = None, shape: Any = None,
) -> Tensor:  # fmt: skip
    """Each element 0 with probability p, else divided by 1 - p (Srivastava et al., 2014)."""
    x = as_tensor(x)
    if not 0 <= p <= 1:
        raise ArgumentError("dropout", f"got p {p}", "0 to 1", "p is the share that is dropped")
    if not training or p == 0:
        return x
    source = random.default if generator is None else generator
    keep = source.bernoulli(1 - p, x.shape if shape is None else shape)
    return where(keep, x * (1 / (1 - p) if p < 1 else 0.0), 0.0)


def normalised(x: Tensor, axes: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / √(variance + ε) over the axes, the mean and the (biased) variance."""
    mean = reductions.mean(x, axis=tuple(axes), keepdims=True)
    centred = x - mean
    variance = reductions.mean(elementwise.square(centred), axis=tuple(axes), keepdims=True)
    return centred * elementwise.rsqrt(variance + eps), mean, variance


def layer_norm(
    x: Any, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Mean 0 and variance 1 over the last axes, then scale and shift (Ba et al., 2016)."""
    x = as_tensor(x)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if x.shape[x.ndim - len(shape) :] != shape:
        raise ShapeError(
            "layer_norm", f"got {spec_text(x)}", f"(..., {', '.join(map(str, shape))})",
            "normalise over the last axes' sizes", user_line(),
        )  # fmt: skip
    y, _, _ = normalised(x, range(x.ndim - len(shape), x.ndim), eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def rms_norm(
    x: Any, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / √(mean x² + ε) over the last axes, then scale (Zhang and Sennrich, 2019)."""
    x = as_tensor(x)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    small = float(np.finfo(np.float32).eps) if eps is None else eps
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    power = reductions.mean(elementwise.square(x), axis=axes, keepdims=True)
    y = x * elementwise.rsqrt(power + small)
    return y if weight is None else y * weight


# ── attention ────────────────────────────────────────────────────────────────────────────────────


def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None,
) -> Tensor:  # fmt: skip
    """softmax(q kᵀ / √d + mask) v (Vaswani et al., 2017).

    query (..., T, d), key (..., S, d), value (..., S, e); a bool mask is True where attending is
    allowed, a float mask is added; is_causal allows no later position.
    """
    query, key, value = as_tensor(query), as_tensor(key), as_tensor(value)
    return matmul(attention_weights(query, key, attn_mask, dropout_p, is_causal, scale), value)


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Any, dropout_p: float, is_causal: bool,
    scale: float | None,
) -> Tensor:  # fmt: skip
    """The softmax of `scaled_dot_product_attention`."""
    size = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = matmul(query * size, key.mT)
    if is_causal:
        allowed = np.tri(query.shape[-2], key.shape[-2], dtype=bool)
        scores = where(Tensor(allowed), scores, -math.inf)
    if attn_mask is not None:
        mask = as_tensor(attn_mask)
        is_bool = mask.dtype == np.bool_
        scores = where(mask, scores, -math.inf) if is_bool else scores + mask
    return dropout(softmax(scores), dropout_p)


@habits.explained
def normalize(x: Any, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖, ε) along the axis."""
    x = as_tensor(x)
    return x / at_least(reductions.norm(x, ord=p, axis=axis, keepdims=True), eps)


if not TYPE_CHECKING:  # a type checker is to know which names there are

    def __getattr__(name: str) -> NoReturn:
        raise missing(__name__, name)
