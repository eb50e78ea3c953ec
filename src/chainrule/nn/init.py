"""Initial values, by PyTorch's names. Each fills a tensor in place and returns it.

fan_in and fan_out are the numbers of inputs and outputs that a weight connects: of (out, in) for a
matrix, of (*kernel, in / groups, out) for a convolution, where the kernel's size multiplies both.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random
from ..errors import ArgumentError, ShapeError
from ..functions import creation, elementwise
from ..graph import spec_text
from ..hints import check_kinds
from ..tensor import Tensor, no_grad
from .arguments import expect_number

Source = random.Generator | None


def _fill(t: Tensor, values: Any) -> Tensor:
    with no_grad():
        t[...] = values
    return t


def _source(generator: Source) -> random.Generator:
    return random.default if generator is None else generator


def zeros_(t: Tensor) -> Tensor:
    """0."""
    return _fill(t, creation.zeros_like(t))


def ones_(t: Tensor) -> Tensor:
    """1."""
    return _fill(t, creation.ones_like(t))


@check_kinds
def constant_(t: Tensor, value: float) -> Tensor:
    """The value."""
    return _fill(t, creation.full_like(t, value))


def eye_(t: Tensor) -> Tensor:
    """The identity matrix."""
    return _fill(t, creation.eye(*t.shape, dtype=t.dtype))


@check_kinds
def uniform_(t: Tensor, a: float = 0.0, b: float = 1.0, generator: Source = None) -> Tensor:
    """U(a, b)."""
    return _fill(t, _source(generator).uniform(t.shape, low=a, high=b, dtype=t.dtype))


@check_kinds
def normal_(t: Tensor, mean: float = 0.0, std: float = 1.0, generator: Source = None) -> Tensor:
    """N(mean, std²)."""
    return _fill(t, _source(generator).normal(t.shape, mean=mean, std=std, dtype=t.dtype))


@check_kinds
def trunc_normal_(
    t: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Source = None,
) -> Tensor:
    """N(mean, std²) between a and b, by inverting the normal distribution."""
    expect_number("trunc_normal_", "std", std, 1.0, above=0)
    if not a < b:
        raise ArgumentError(
            "trunc_normal_", f"got a={a!r}, b={b!r}", "expected an a below b", f"a={b!r}, b={a!r}"
        )
    low, high = (math.erf((v - mean) / (std * math.sqrt(2))) for v in (a, b))
    u = _source(generator).uniform(t.shape, low=low, high=high, dtype=t.dtype)
    z = elementwise.erfinv(u) * (std * math.sqrt(2)) + mean
    return _fill(t, elementwise.clip(z, a, b))


@check_kinds
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that preserves the variance through a nonlinearity."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        names = ", ".join([*gains, "leaky_relu"])
        raise ArgumentError(
            "calculate_gain",
            f"got {nonlinearity!r}",
            f"expected one of {names}",
            '"linear" has gain 1',
        )
    return gains[nonlinearity]


def fans(t: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out)."""
    if t.ndim < 2:
        raise ShapeError(
            "init", f"got {spec_text(t)}", "expected two axes or more", "use uniform_ or zeros_"
        )
    if t.ndim == 2:
        return t.shape[1], t.shape[0]
    area = math.prod(t.shape[:-2])
    return t.shape[-2] * area, t.shape[-1] * area


@check_kinds
def xavier_uniform_(t: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """U(-a, a) with a = gain √(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    a = gain * math.sqrt(6 / max(1, sum(fans(t))))
    return uniform_(t, -a, a, generator)


@check_kinds
def xavier_normal_(t: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """N(0, σ²) with σ = gain √(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    return normal_(t, 0.0, gain * math.sqrt(2 / max(1, sum(fans(t)))), generator)


def _kaiming(t: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(
            "kaiming", f"got mode {mode!r}", "expected fan_in or fan_out", 'mode="fan_in" is usual'
        )
    fan = fans(t)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan))


@check_kinds
def kaiming_uniform_(
    t: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source = None,
) -> Tensor:
    """U(-b, b) with b = gain √(3 / fan) (He et al., 2015); a is the slope of a leaky ReLU."""
    bound = math.sqrt(3) * _kaiming(t, a, mode, nonlinearity)
    return uniform_(t, -bound, bound, generator)


@check_kinds
def kaiming_normal_(
    t: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source = None,
) -> Tensor:
    """N(0, σ²) with σ = gain / √fan (He et al., 2015); a is the slope of a leaky ReLU."""
    return normal_(t, 0.0, _kaiming(t, a, mode, nonlinearity), generator)


@check_kinds
def orthogonal_(t: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """A random orthogonal matrix times the gain (Saxe et al., 2014)."""
    rows, columns = t.shape[0], math.prod(t.shape[1:])
    z = _source(generator).normal((max(rows, columns), min(rows, columns)), dtype=np.float64)
    q, r = np.linalg.qr(z.numpy())
    q = q * np.sign(np.diag(r))
    q = q.T if rows < columns else q
    return _fill(t, Tensor((gain * q).reshape(t.shape), dtype=t.dtype))
