"""Functions that act element by element.

Inputs broadcast; integers become float32 where the mathematics needs floats.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import as_tensors, broadcast_binary, cast, common_shape, expand, scalar_dtype
from ..convert import promote
from ..dtypes import bool_, float32, is_floating, is_integer
from ..errors import DtypeError
from ..graph import Operation, spec_text
from ..tensor import Tensor, as_tensor
from .logic import greater, less


def _float(op: Operation, x: Any) -> Tensor:
    x = as_tensor(x)
    out: Tensor = op(x if is_floating(x.dtype) else cast(x, float32))
    return out


def own(out: Tensor, x: Tensor) -> Tensor:
    """`out` as another handle than x: assigning to one must not change the other."""
    return out.clone() if out is x else out


def abs(x: Any, /) -> Tensor:
    """|x|; derivative sign(x), 0 at 0."""
    out: Tensor = ops.abs(as_tensor(x))
    return out


def negative(x: Any, /) -> Tensor:
    """-x."""
    return -as_tensor(x)


def positive(x: Any, /) -> Tensor:
    """+x: x's value."""
    return as_tensor(x).clone()


def real(x: Any, /) -> Tensor:
    """x: every tensor is real."""
    return as_tensor(x).clone()


def conj(x: Any, /) -> Tensor:
    """x, the complex conjugate of a real x."""
    return as_tensor(x).clone()


def square(x: Any, /) -> Tensor:
    """x²."""
    out: Tensor = ops.square(as_tensor(x))
    return out


def reciprocal(x: Any, /) -> Tensor:
    """1 / x."""
    return 1 / as_tensor(x)


def sqrt(x: Any, /) -> Tensor:
    """√x; NaN below 0."""
    return _float(ops.sqrt, x)


def rsqrt(x: Any, /) -> Tensor:
    """1 / √x."""
    return 1 / sqrt(x)


def exp(x: Any, /) -> Tensor:
    """eˣ."""
    return _float(ops.exp, x)


def expm1(x: Any, /) -> Tensor:
    """eˣ - 1, exact near 0."""
    return _float(ops.expm1, x)


def log(x: Any, /) -> Tensor:
    """The natural logarithm; NaN below 0, -inf at 0."""
    return _float(ops.log, x)


def log1p(x: Any, /) -> Tensor:
    """log(1 + x), exact near 0."""
    return _float(ops.log1p, x)


def log2(x: Any, /) -> Tensor:
    """The logarithm to base 2."""
    return _float(ops.log2, x)


def log10(x: Any, /) -> Tensor:
    """The logarithm to base 10."""
    return _float(ops.log10, x)


def sin(x: Any, /) -> Tensor:
    """sin x, x in radians."""
    return _float(ops.sin, x)


def cos(x: Any, /) -> Tensor:
    """cos x, x in radians."""
    return _float(ops.cos, x)


def tan(x: Any, /) -> Tensor:
    """tan x, x in radians."""
    return _float(ops.tan, x)


def asin(x: Any, /) -> Tensor:
    """arcsin x in radians; NaN outside -1..1."""
    return _float(ops.asin, x)


def acos(x: Any, /) -> Tensor:
    """arccos x in radians; NaN outside -1..1."""
    return _float(ops.acos, x)


def atan(x: Any, /) -> Tensor:
    """arctan x in radians."""
    return _float(ops.atan, x)


def sinh(x: Any, /) -> Tensor:
    """(eˣ - e⁻ˣ) / 2."""
    return _float(ops.sinh, x)


def cosh(x: Any, /) -> Tensor:
    """(eˣ + e⁻ˣ) / 2."""
    return _float(ops.cosh, x)


def tanh(x: Any, /) -> Tensor:
    """sinh x / cosh x."""
    return _float(ops.tanh, x)


def asinh(x: Any, /) -> Tensor:
    """The inverse of sinh."""
    return _float(ops.asinh, x)


def acosh(x: Any, /) -> Tensor:
    """The inverse of cosh; NaN below 1."""
    return _float(ops.acosh, x)


def atanh(x: Any, /) -> Tensor:
    """The inverse of tanh; NaN outside -1..1."""
    return _float(ops.atanh, x)


def sigmoid(x: Any, /) -> Tensor:
    """1 / (1 + e⁻ˣ)."""
    return _float(ops.sigmoid, x)


def erf(x: Any, /) -> Tensor:
    """2/√π ∫₀ˣ e^(-t²) dt."""
    return _float(ops.erf, x)


def erfinv(x: Any, /) -> Tensor:
    """The inverse of erf; NaN outside -1..1."""
    return _float(ops.erfinv, x)


def relu(x: Any, /) -> Tensor:
    """max(x, 0), with derivative 0 at 0; NaN stays NaN."""
    x = as_tensor(x)
    out: Tensor = ops.where(x <= 0, 0, x)
    return out


def softplus(x: Any, /) -> Tensor:
    """log(1 + eˣ), without overflow."""
    x = as_tensor(x)
    return logaddexp(x, 0.0)


def sign(x: Any, /) -> Tensor:
    """-1, 0 or 1; NaN for NaN."""
    out: Tensor = ops.sign(as_tensor(x))
    return out


def floor(x: Any, /) -> Tensor:
    """The largest whole number not above x."""
    return _whole(ops.floor, x)


def ceil(x: Any, /) -> Tensor:
    """The smallest whole number not below x."""
    return _whole(ops.ceil, x)


def trunc(x: Any, /) -> Tensor:
    """x without its fraction."""
    return _whole(ops.trunc, x)


def round(x: Any, /) -> Tensor:
    """The nearest whole number, ties to even."""
    return _whole(ops.round, x)


def _whole(op: Operation, x: Any) -> Tensor:
    x = as_tensor(x)
    return x.clone() if is_integer(x.dtype) else op(x)


def isnan(x: Any, /) -> Tensor:
    """Whether x is NaN."""
    x = as_tensor(x)
    return x != x


def isinf(x: Any, /) -> Tensor:
    """Whether x is inf or -inf."""
    x = as_tensor(x)
    return abs(x) == math.inf if is_floating(x.dtype) else x != x


def isfinite(x: Any, /) -> Tensor:
    """Whether x is neither NaN nor infinite."""
    x = as_tensor(x)
    return abs(x) < math.inf if is_floating(x.dtype) else x == x


def signbit(x: Any, /) -> Tensor:
    """Whether the sign bit is set (as for -0.0)."""
    return copysign(1.0, as_tensor(x)) < 0


def add(x1: Any, x2: Any, /) -> Tensor:
    """x1 + x2."""
    return broadcast_binary(ops.add, x1, x2)


def subtract(x1: Any, x2: Any, /) -> Tensor:
    """x1 - x2."""
    return broadcast_binary(ops.subtract, x1, x2)


def multiply(x1: Any, x2: Any, /) -> Tensor:
    """x1 · x2."""
    return broadcast_binary(ops.multiply, x1, x2)


def divide(x1: Any, x2: Any, /) -> Tensor:
    """x1 / x2; whole numbers become float32."""
    return broadcast_binary(ops.divide, x1, x2)


def power(x1: Any, x2: Any, /) -> Tensor:
    """x1 to the power x2."""
    return as_tensor(x1) ** x2 if type(x1) is Tensor else broadcast_binary(ops.power, x1, x2)


pow = power


def floor_divide(x1: Any, x2: Any, /) -> Tensor:
    """The largest whole number not above x1 / x2."""
    return broadcast_binary(ops.floor_divide, x1, x2)


def remainder(x1: Any, x2: Any, /) -> Tensor:
    """x1 - floor(x1 / x2) · x2: the sign is x2's."""
    return broadcast_binary(ops.remainder, x1, x2)


def maximum(x1: Any, x2: Any, /) -> Tensor:
    """The larger; NaN if either is, and so are both gradients. A tie halves the gradient."""
    return broadcast_binary(ops.maximum, x1, x2)


def minimum(x1: Any, x2: Any, /) -> Tensor:
    """The smaller; NaN if either is, and so are both gradients. A tie halves the gradient."""
    return broadcast_binary(ops.minimum, x1, x2)


def atan2(x1: Any, x2: Any, /) -> Tensor:
    """The angle of the point (x2, x1), in radians from -π to π; derivatives 0 at (0, 0)."""
    return broadcast_binary(ops.atan2, x1, x2)


def hypot(x1: Any, x2: Any, /) -> Tensor:
    """√(x1² + x2²), without overflow on the way; derivatives 0 at (0, 0)."""
    return broadcast_binary(ops.hypot, x1, x2)


def logaddexp(x1: Any, x2: Any, /) -> Tensor:
    """log(e^x1 + e^x2), without overflow."""
    return broadcast_binary(ops.logaddexp, x1, x2)


def copysign(x1: Any, x2: Any, /) -> Tensor:
    """|x1| with the sign of x2."""
    return broadcast_binary(ops.copysign, x1, x2)


def nextafter(x1: Any, x2: Any, /) -> Tensor:
    """The floating-point number next to x1 on the way to x2."""
    return broadcast_binary(ops.nextafter, x1, x2)


def where(condition: Any, x1: Any, x2: Any, /) -> Tensor:
    """x1 where the condition holds, x2 elsewhere; gradients flow to the chosen one alone.

    What was not chosen gets 0, also through elementwise functions that are infinite or NaN there.
    """
    condition = as_tensor(condition)
    if condition.dtype != bool_:
        raise DtypeError(
            "where", f"got a condition {spec_text(condition)}", "expected bool", "try x != 0"
        )
    x1, x2 = pair(x1, x2)
    dtype = promote(x1.dtype, x2.dtype)
    shape = common_shape("where", condition.shape, x1.shape, x2.shape)
    chosen, other = expand(cast(x1, dtype), shape), expand(cast(x2, dtype), shape)
    out: Tensor = ops.where(expand(condition, shape), chosen, other)
    return out


def pair(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Two operands as tensors; a Python number takes the other's dtype."""
    for a, b in ((x1, x2), (x2, x1)):
        if type(a) is Tensor and isinstance(b, (bool, int, float)):
            number = Tensor(b, dtype=scalar_dtype(a, b))
            return (a, number) if a is x1 else (number, a)
    x1, x2 = as_tensors(x1, x2)
    return x1, x2


def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:
    """x limited to the range from min to max, where its derivative is 1, at both ends too.

    Dtypes are promoted as by `where`; NaN, in x or in a bound, gives NaN, and gets the gradient.
    """
    out = x = as_tensor(x)
    for bound, beyond in ((min, less), (max, greater)):
        if bound is None:
            continue
        if isinstance(bound, int) and is_integer(x.dtype):
            info = np.iinfo(x.dtype)
            if (bound <= info.min and beyond is less) or (bound >= info.max and beyond is greater):
                continue
        limit = pair(x, bound)[1]
        chosen = beyond(out, limit)
        if not isinstance(bound, (int, float)) or math.isnan(bound):
            chosen = chosen | isnan(limit)
        out = where(chosen, limit, out)
    return own(out, x)
