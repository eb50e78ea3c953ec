"""Layers without state, as functions; PyTorch's names. Channels are the last axis.

Functions of real numbers compute integers in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from .. import random
from ..broadcasting import cast
from ..dtypes import float32, float64, is_floating
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import axes, elementwise, reductions
from ..functions.attention import attention, masked_scores, masked_softmax
from ..functions.contractions import matmul
from ..functions.elementwise import relu as relu
from ..functions.elementwise import sigmoid as sigmoid
from ..functions.elementwise import softplus as softplus
from ..functions.elementwise import where
from ..functions.shaping import one_hot as one_hot
from ..functions.shaping import reshape, split
from ..functions.standardising import standardise
from ..graph import Shape, spec_text
from ..hints import check_kinds, explain_arguments, missing
from ..tensor import Tensor, as_tensor
from .arguments import (
    as_floating,
    as_one_batch,
    expect_broadcastable,
    expect_fraction,
    expect_number,
)
from .arguments import mask_of as mask_of
from .losses import *  # noqa: F403 - the losses are functions too
from .resizing import interpolate as interpolate
from .resizing import pixel_shuffle as pixel_shuffle
from .resizing import pixel_unshuffle as pixel_unshuffle

tanh = elementwise.tanh
softmax, log_softmax = reductions.softmax, reductions.log_softmax


def linear(x: Any, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b."""
    y = matmul(x, weight.T)
    return (
        y if bias is None else y + expect_broadcastable("linear", "bias", as_tensor(bias), y.shape)
    )


def masked_fill(x: Any, mask: Any, value: float) -> Tensor:
    """x, and the value where the mask is True; the mask broadcasts to x."""
    x = as_tensor(x)
    return where(expect_broadcastable("masked_fill", "mask", as_tensor(mask), x.shape), value, x)


def at_least(x: Tensor, low: float) -> Tensor:
    """x, or `low` where x is below it."""
    return where(x < low, low, x)


# ── activations ──────────────────────────────────────────────────────────────────────────────────


@check_kinds
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """x above 0, slope · x below."""
    x = as_floating(x)
    return where(x > 0, x, x * negative_slope)


def relu6(x: Any) -> Tensor:
    """min(max(x, 0), 6)."""
    return hardtanh(x, 0.0, 6.0)


@check_kinds
def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x limited to the range between two numbers; derivative 0 at and beyond them."""
    if not min_val <= max_val:
        raise ArgumentError(
            "hardtanh",
            f"got min_val={min_val!r}, max_val={max_val!r}",
            "expected min_val ≤ max_val",
            f"min_val={max_val!r}, max_val={min_val!r}",
            user_line(),
        )
    x = as_tensor(x)
    return where(x <= min_val, min_val, where(x >= max_val, max_val, x))


def hardsigmoid(x: Any) -> Tensor:
    """min(max(x/6 + 1/2, 0), 1)."""
    return hardtanh(as_floating(x) / 6 + 0.5, 0.0, 1.0)


def hardswish(x: Any) -> Tensor:
    """x · hardsigmoid(x)."""
    x = as_floating(x)
    return x * hardtanh(x + 3, 0.0, 6.0) / 6


@check_kinds
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, α (eˣ - 1) below (Clevert et al., 2015)."""
    x = as_floating(x)
    below = elementwise.expm1(where(x > 0, 0.0, x))
    return where(x > 0, x, alpha * below)


def selu(x: Any) -> Tensor:
    """λ · elu(x, α) with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@check_kinds
def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """x above 0, α (e^(x/α) - 1) below; α is not 0."""
    x = as_floating(x)
    if alpha == 0:
        raise ArgumentError(
            "celu", "got alpha=0", "expected a number other than 0", "alpha=1.0 works", user_line()
        )
    return where(x > 0, x, alpha * elementwise.expm1(where(x > 0, 0.0, x) / alpha))


@check_kinds
def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x Φ(x), Φ the normal distribution; "tanh" approximates it (Hendrycks and Gimpel, 2016)."""
    x = as_floating(x)
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
        return 0.5 * x * (1 + elementwise.tanh(inner))
    if approximate != "none":
        raise ArgumentError(
            "gelu",
            f"got approximate {approximate!r}",
            "expected none or tanh",
            'approximate="none" is the default',
        )
    return 0.5 * x * (1 + elementwise.erf(x * math.sqrt(0.5)))


def silu(x: Any) -> Tensor:
    """x · sigmoid(x), also called swish."""
    x = as_floating(x)
    return x * sigmoid(x)


def mish(x: Any) -> Tensor:
    """x · tanh(softplus(x)) (Misra, 2019)."""
    x = as_floating(x)
    return x * elementwise.tanh(softplus(x))


def softsign(x: Any) -> Tensor:
    """x / (1 + |x|)."""
    x = as_floating(x)
    return x / (1 + elementwise.abs(x))


def logsigmoid(x: Any) -> Tensor:
    """log sigmoid(x)."""
    return -softplus(-as_floating(x))


@check_kinds
def softshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """x moved λ towards 0, and 0 within λ of it; λ is 0 or more."""
    expect_number("softshrink", "lambd", lambd, 0.5, least=0)
    x = as_floating(x)
    inside = (x >= -lambd) & (x <= lambd)
    return where(inside, 0.0, where(x > 0, x - lambd, x + lambd))


@check_kinds
def hardshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """x, and 0 within λ of 0; for a λ below 0, x itself."""
    x = as_floating(x)
    inside = (x >= -lambd) & (x <= lambd)
    return where(inside, 0.0, x)


def tanhshrink(x: Any) -> Tensor:
    """x - tanh x."""
    x = as_floating(x)
    return x - elementwise.tanh(x)


@check_kinds
def threshold(x: Any, threshold: float, value: float) -> Tensor:
    """x above the threshold, else the value; NaN stays NaN."""
    x = as_tensor(x)
    return where(x <= threshold, value, x)


def prelu(x: Any, weight: Tensor) -> Tensor:
    """x above 0, weight · x below; one weight, or one per channel, the last axis."""
    x, weight = as_floating(x), as_tensor(weight)
    channels = x.shape[-1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ShapeError(
            "prelu",
            f"got the weight {spec_text(weight)} for {spec_text(x)}",
            f"expected one weight, or one for each of {channels} channels",
            "PReLU(num_parameters=1) fits everything",
            user_line(),
        )
    return where(x > 0, x, (reshape(weight, ()) if weight.size == 1 else weight) * x)


@explain_arguments
@check_kinds
def glu(x: Any, axis: int = -1) -> Tensor:
    """a · sigmoid(b), a and b the halves of x along the axis (Dauphin et al., 2016)."""
    a, b = split(as_floating(x), 2, axis)
    return a * sigmoid(b)


# ── dropout and normalization ────────────────────────────────────────────────────────────────────


@explain_arguments
@check_kinds
def dropout(
    x: Any,
    p: float = 0.5,
    training: bool = True,
    *,
    generator: random.Generator | None = None,
    shape: Any = None,
) -> Tensor:
    """Each element 0 with probability p, else divided by 1 - p (Srivastava et al., 2014)."""
    expect_fraction("dropout", "p", p, 0.5)
    x = as_tensor(x)
    if not training or p == 0:
        return x
    source = random.default if generator is None else generator
    keep = source.bernoulli(1 - p, x.shape if shape is None else shape)
    return where(
        expect_broadcastable("dropout", "shape", keep, x.shape),
        x * (1 / (1 - p) if p < 1 else 0.0),
        0.0,
    )


def normalised(
    x: Tensor, over: Sequence[int], eps: float, scale: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / √(variance + ε) over the axes, the mean and the (biased) variance.

    float16 and bfloat16 are computed in float32: the square of 256 is infinite in float16.

    scale   multiplies the first; of the shape of the mean
    """
    dtype, x = x.dtype, cast(x, float64 if x.dtype == float64 else float32)
    scale = None if scale is None else cast(scale, x.dtype)
    y, mean, variance = standardise(x, over, eps, scale)
    return (cast(y, dtype) if is_floating(dtype) else y), mean, variance


def last_axes(name: str, x: Tensor, normalized_shape: Any, **factors: Tensor | None) -> Shape:
    """The axes of x that have the normalized shape; an error if x or a factor has another shape."""
    shape = axes.counts(name, normalized_shape)
    if not shape or x.shape[x.ndim - len(shape) :] != shape or x.ndim < len(shape):
        raise ShapeError(
            name,
            f"got {spec_text(x)} and the normalized shape {shape}",
            "expected the sizes of the last axes, one or more",
            f"normalized_shape={x.shape[-1:]} is the last axis",
            user_line(),
        )
    for what, factor in factors.items():
        if factor is not None and as_tensor(factor).shape != shape:
            raise ShapeError(
                name,
                f"got the {what} {spec_text(as_tensor(factor))}",
                f"expected the normalized shape {shape}",
                f"leave the {what} out, or reshape it",
                user_line(),
            )
    return tuple(range(x.ndim - len(shape), x.ndim))


@check_kinds
def layer_norm(
    x: Any,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over the last axes, then scale and shift (Ba et al., 2016)."""
    expect_number("layer_norm", "eps", eps, 1e-5, least=0)
    x = as_tensor(x)
    over = last_axes("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    y, _, _ = normalised(x, over, eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@check_kinds
def rms_norm(
    x: Any, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / √(mean x² + ε) over the last axes, then scale (Zhang and Sennrich, 2019).

    eps   by default the distance from 1 to the next number: 2.2e-16 in float64, 1.2e-7 otherwise
    """
    if eps is not None:
        expect_number("rms_norm", "eps", eps, 1e-6, least=0)
    x = as_tensor(x)
    over = last_axes("rms_norm", x, normalized_shape, weight=weight)
    wide = float64 if x.dtype == float64 else float32
    small = float(np.finfo(wide).eps) if eps is None else eps
    dtype, x = x.dtype, cast(x, wide)
    power = reductions.mean(elementwise.square(x), axis=over, keepdims=True)
    y = x * elementwise.rsqrt(power + small)
    y = cast(y, dtype) if is_floating(dtype) else y
    return y if weight is None else y * weight


# ── attention ────────────────────────────────────────────────────────────────────────────────────


@check_kinds
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(q kᵀ / √d + mask) v (Vaswani et al., 2017).

    query (..., T, d), key (..., S, d), value (..., S, e). A bool mask is True where attending is
    allowed, a float mask is added; both broadcast to (..., T, S). is_causal forbids later
    positions. The result of a query that may attend to nothing is 0, with gradients of 0.
    """
    name = "scaled_dot_product_attention"
    expect_fraction(name, "dropout_p", dropout_p)
    query, key, value = as_one_batch(name, *map(as_floating, (query, key, value)))
    shape = (*query.shape[:-1], key.shape[-2])
    masks = [] if attn_mask is None else [mask_of(name, attn_mask)]
    for mask in masks:
        expect_broadcastable("attention", "mask", mask, shape)
    if dropout_p:
        weights = attention_weights(query, key, masks, dropout_p, is_causal, scale)
        return matmul(weights, value)
    return attention(query, key, value, masks, is_causal, scale)


def attention_weights(
    query: Tensor,
    key: Tensor,
    masks: Sequence[Tensor],
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
) -> Tensor:
    """The softmax of `scaled_dot_product_attention`; 0 for queries that may attend to no key."""
    scores = masked_scores(query, key, masks, is_causal, scale)
    weights = masked_softmax(scores) if masks or not key.shape[-2] else softmax(scores)
    return dropout(weights, dropout_p)


@explain_arguments
@check_kinds
def normalize(x: Any, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(‖x‖, ε) along the axis."""
    expect_number("normalize", "eps", eps, 1e-12, least=0)
    x = as_floating(x)
    return x / at_least(reductions.norm(x, ord=p, axis=axis, keepdims=True), eps)


if not TYPE_CHECKING:  # type checkers must see which names there are

    def __getattr__(name: str) -> NoReturn:
        raise missing(__name__, name)
