"""Reductions along one axis, several or (axis=None) all, and running sums and products."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from numbers import Real
from typing import Any, Concatenate, ParamSpec

from .. import ops
from ..broadcasting import cast, common_shape, expand
from ..convert import promote, to_dtype
from ..dtypes import (
    bool_,
    float32,
    float64,
    int64,
    is_boolean,
    is_floating,
    is_signed,
    is_unsigned,
    uint64,
)
from ..errors import ArgumentError, ShapeError, user_line
from ..graph import Operation, spec_text
from ..hints import explain_arguments
from ..tensor import Tensor, as_tensor
from . import axes as _axes
from . import elementwise as _el
from .logic import logical_not

P = ParamSpec("P")


def _reduce(op: Operation, x: Any, axis: Any, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    where = _axes.several(op.name, axis, len(x.shape))
    return _without_axes(op.name, op(x, axis=where), where, keepdims)


def _without_axes(name: str, out: Tensor, axis: Any, keepdims: bool) -> Tensor:
    """The result of a reduction, without its axes of size 1 unless keepdims."""
    if _axes.flag(name, "keepdims", keepdims):
        return out
    where = _axes.several(name, axis, out.ndim)
    if where:
        out = ops.reshape(out, shape=tuple(n for k, n in enumerate(out.shape) if k not in where))
    return out


def _sum_dtype(x: Tensor, dtype: Any) -> Tensor:
    """Small integers and bools are summed in 64 bits."""
    if dtype is not None:
        return cast(x, to_dtype("sum", dtype))
    if is_boolean(x.dtype) or is_signed(x.dtype):
        return cast(x, int64)
    return cast(x, uint64) if is_unsigned(x.dtype) else x


@explain_arguments
def sum(x: Any, /, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Tensor:
    """∑x; 0 for no elements. Integers are summed in 64 bits."""
    return _reduce(ops.sum, _sum_dtype(as_tensor(x), dtype), axis, keepdims)


@explain_arguments
def prod(x: Any, /, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Tensor:
    """∏x; 1 for no elements. Its gradient does not divide, so zeros are safe."""
    return _reduce(ops.prod, _sum_dtype(as_tensor(x), dtype), axis, keepdims)


def _count(x: Tensor, axis: Any) -> int:
    return math.prod(x.shape[a] for a in _axes.several("mean", axis, x.ndim))


def in_float32(
    function: Callable[Concatenate[Tensor, P], Tensor],
) -> Callable[Concatenate[Any, P], Tensor]:
    """float16 and bfloat16 computed in float32 and rounded once; whole numbers become float32."""

    @functools.wraps(function)
    def computed(x: Any, /, *args: P.args, **params: P.kwargs) -> Tensor:
        x = as_tensor(x)
        if x.dtype in (float32, float64):
            return function(x, *args, **params)
        out = function(cast(x, float32), *args, **params)
        return cast(out, x.dtype) if is_floating(x.dtype) else out

    return computed


def _number(name: str, value: Any) -> Any:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ArgumentError(
            name, f"got {value!r}", "expected a number", "convert it with float()", user_line()
        )
    return value


@explain_arguments
@in_float32
def mean(x: Tensor, /, axis: Any = None, keepdims: bool = False) -> Tensor:
    """∑x / n; NaN for no elements."""
    n = _count(x, axis)
    total = _reduce(ops.sum, x, axis, keepdims)
    return total / n if n else total / 0.0


@explain_arguments
@in_float32
def var(
    x: Tensor, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """∑(x - mean)² / (n - correction)."""
    n = _count(x, axis)
    centred = x - mean(x, axis=axis, keepdims=True)
    correction = _number("var", correction)
    total = _reduce(ops.sum, _el.square(centred), axis, keepdims)
    return total / (n - correction) if n > correction else total / 0.0


@explain_arguments
@in_float32
def std(
    x: Tensor, /, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """√var. Its gradient where all elements are equal is 0."""
    n = _count(x, axis)
    correction = _number("std", correction)
    size = _reduce(ops.norm, x - mean(x, axis=axis, keepdims=True), axis, keepdims)
    return size / math.sqrt(n - correction) if n > correction else size / 0.0


@explain_arguments
def max(x: Any, /, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest; NaN if one is, and so are all gradients. Ties share the gradient equally."""
    return _reduce(ops.max, x, axis, keepdims)


@explain_arguments
def min(x: Any, /, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest; NaN if one is, and so are all gradients. Ties share the gradient equally."""
    return _reduce(ops.min, x, axis, keepdims)


@explain_arguments
def any(x: Any, /, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether one is true (not 0)."""
    return _reduce(ops.any, x, axis, keepdims)


@explain_arguments
def all(x: Any, /, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether every one is true (not 0)."""
    return ~_reduce(ops.any, logical_not(x), axis, keepdims)


@explain_arguments
def argmax(x: Any, /, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position of the largest, the first if several; without an axis in the flattened x."""
    return _position(ops.argmax, x, axis, keepdims)


@explain_arguments
def argmin(x: Any, /, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The position of the smallest, the first if several; without an axis in the flattened x."""
    return _position(ops.argmin, x, axis, keepdims)


def _position(op: Operation, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    if axis is None:
        out: Tensor = op(ops.reshape(x, shape=(x.size,)), axis=(0,))
        keeps = _axes.flag(op.name, "keepdims", keepdims)
        return ops.reshape(out, shape=(1,) * x.ndim if keeps else ())
    return _reduce(op, x, _axes.one(op.name, axis, x.ndim), keepdims)


@explain_arguments
def count_nonzero(x: Any, /, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The number of elements that are not 0."""
    return sum(as_tensor(x) != 0, axis=axis, keepdims=keepdims)


@explain_arguments
@in_float32
def logsumexp(x: Tensor, /, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log ∑eˣ, without overflow; -inf for no elements."""
    if not _count(x, axis):
        return _reduce(ops.sum, x, axis, keepdims) - math.inf
    top = ops.stop_gradient(_reduce(ops.max, x, axis, True))
    top = ops.where(_el.isfinite(top), top, 0.0)
    out = _el.log(_reduce(ops.sum, _el.exp(x - top), axis, True)) + top
    return _without_axes("logsumexp", out, axis, keepdims)


@explain_arguments
@in_float32
def softmax(x: Tensor, /, axis: int = -1) -> Tensor:
    """eˣ / ∑eˣ along the axis."""
    return _el.exp(log_softmax(x, axis=axis))


@explain_arguments
@in_float32
def log_softmax(x: Tensor, /, axis: int = -1) -> Tensor:
    """x - log ∑eˣ along the axis."""
    return x - logsumexp(x, axis=axis, keepdims=True)


@explain_arguments
@in_float32
def norm(x: Tensor, /, ord: float = 2, axis: Any = None, keepdims: bool = False) -> Tensor:
    """(∑|x|^ord)^(1/ord) over all the named axes; for ord = inf the largest |x|.

    No power overflows or vanishes on the way. Its gradient at x = 0 is 0.
    """
    if _number("norm", ord) == math.inf:
        return max(_el.abs(x), axis=axis, keepdims=keepdims)
    if ord == 1:
        return sum(_el.abs(x), axis=axis, keepdims=keepdims)
    if not ord > 0:
        raise ArgumentError(
            "norm", f"got ord {ord}", "expected a number above 0", "use 1, 2 or inf"
        )
    if ord == 2:
        return _reduce(ops.norm, x, axis, keepdims)
    size = _el.abs(x)
    if not _count(x, axis):
        return sum(size, axis, keepdims=keepdims)
    top = ops.stop_gradient(max(size, axis, True))
    top = ops.where((top == 0) | ~_el.isfinite(top), 1.0, top)  # so that no power overflows
    total = sum((size / top) ** float(ord), axis, keepdims=True)
    none = total == 0  # its minimum: the derivative is 0
    out = ops.where(none, 0.0, top * ops.where(none, 1.0, total) ** (1 / ord))
    return _without_axes("norm", out, axis, keepdims)


@explain_arguments
def cumulative_sum(
    x: Any, /, axis: int | None = None, *, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Running sums along the axis; with include_initial they begin at 0."""
    return _running(ops.cumulative_sum, x, axis, dtype, include_initial, 0)


@explain_arguments
def cumulative_prod(
    x: Any, /, axis: int | None = None, *, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Running products along the axis; with include_initial they begin at 1."""
    return _running(ops.cumulative_prod, x, axis, dtype, include_initial, 1)


def _running(
    op: Operation, x: Any, axis: int | None, dtype: Any, initial: bool, first: int
) -> Tensor:
    x = _sum_dtype(as_tensor(x), dtype)
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(op.name, f"got {spec_text(x)}", "expected an axis", "pass axis=")
        axis = 0
    axis = _axes.one(op.name, axis, x.ndim)
    out: Tensor = op(x, axis=axis)
    if not initial:
        return out
    edge = x._full(tuple(1 if k == axis else n for k, n in enumerate(x.shape)), first)
    return ops.concat(edge, out, axis=axis)


@explain_arguments
def recurrence(a: Any, b: Any, /, axis: int = 0) -> Tensor:
    """hₜ = aₜ hₜ₋₁ + bₜ along the axis, from h₋₁ = 0."""
    a, b = _el.pair(a, b)
    dtype, shape = promote(a.dtype, b.dtype), common_shape("recurrence", a.shape, b.shape)
    dtype = dtype if is_floating(dtype) else float32
    axis = _axes.one("recurrence", axis, len(shape))
    return ops.recurrence(expand(cast(a, dtype), shape), expand(cast(b, dtype), shape), axis=axis)


@explain_arguments
def diff(
    x: Any, /, n: int = 1, axis: int = -1, *, prepend: Any = None, append: Any = None
) -> Tensor:
    """Differences between neighbours along the axis, taken n times; x itself for n = 0.

    prepend, append   what comes before and after x along the axis; a number stands for one element.
                      The dtype is the common one, as of concat
    """
    out = x = as_tensor(x)
    axis, n = _axes.one("diff", axis, x.ndim), _axes.count("diff", n)
    if n == 0:
        return x.clone()
    edge = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    parts = [
        p if p.ndim else expand(p, edge)
        for p in (_el.pair(p, x)[0] for p in (prepend, x, append) if p is not None)
    ]
    if len(parts) > 1:
        dtype = functools.reduce(promote, (p.dtype for p in parts))
        out = ops.concat(*(cast(p, dtype) for p in parts), axis=axis)
    before = (slice(None),) * axis
    for _ in range(n):
        late, early = out[(*before, slice(1, None))], out[(*before, slice(None, -1))]
        out = late ^ early if out.dtype == bool_ else late - early
    return out
