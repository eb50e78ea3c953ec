"""THE table of derivatives: one row for each operation of `ops.py`, in the same order.

    y    the output            x, x1, x2 …   the inputs, by the names in `ops.py`
    g    ∂loss/∂y, the cotangent that comes from above; a rule returns ∂loss/∂x

The meaning of a row depends on the operation's kind:

    elementwise   ∂y/∂x, one entry per input; the sweep multiplies it by g.
                  A rule that names g selects instead of multiplying, and returns ∂loss/∂x.
    linear        the adjoint of the operation, applied to g
    bilinear      for each input the adjoint of the operation with the other input fixed
    other         a named function, whose docstring derives it
    zero          nothing: the derivative is zero wherever it exists, and the row says why

The names of a rule's arguments are its needs: if a rule names `x`, the input is saved for the
backward pass; if it names `y`, the output; `x_shape` and `x_dtype` save nothing. Other names are
the operation's parameters. Rules are written with the operations themselves, so that a derivative
can be differentiated again; shapes and dtypes match already, and no rule knows about broadcasting.

At a kink the rules take the mean of the two sides (abs′(0) = 0, ties are split equally). A NaN
stays visible: where max, min, maximum or minimum meet one, the derivative is NaN as the value is.

The columns after the rules serve the checker: `on` is the domain that each input is drawn from,
`kinks` are inputs at which the rule must still equal the central difference.

Longer than other files: one table, and the rules of its longer rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from . import ops
from .derivative_rows import Interval, Row, Rule, install
from .graph import Operation, Shape
from .ops import (
    cos,
    cosh,
    exp,
    flip,
    floor_divide,
    hypot,
    log,
    permute_dims,
    reshape,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    where,
)
from .sparse import RowSparse, add_up

REAL = Interval(0.1, 2.0, mirrored=True)
POSITIVE = Interval(0.2, 2.0)
UNIT = Interval(0.05, 0.9, mirrored=True)
ABOVE_ONE = Interval(1.2, 3.0)

TABLE: dict[str, Row] = {}


def row(op: Operation, *rules: Rule | None, on: Any = REAL, kinks: Any = ()) -> None:
    """A rule for each input; None where there is no derivative in that input."""
    _add(Row(op, rules, None, "", on if isinstance(on, tuple) else (on,), tuple(kinks)))


def joint(op: Operation, rule: Rule) -> None:
    """One rule that returns the cotangents of all inputs."""
    _add(Row(op, joint=rule, on=(REAL,)))


def zero(reason: str, *operations: Operation) -> None:
    """No derivative, for the stated reason."""
    for op in operations:
        _add(Row(op, reason=reason))


def elsewhere(reason: str, *operations: Operation) -> None:
    """A derivative that is no row, for the stated reason."""
    for op in operations:
        TABLE[op.name] = Row(op, reason=reason)


def _add(entry: Row) -> None:
    TABLE[entry.op.name] = entry
    install(entry)


# ── named rules ──────────────────────────────────────────────────────────────────────────────────


def repeated(shape: Shape, like: Shape) -> Shape:
    """The axes along which `like` is larger than `shape`."""
    return tuple(k for k, (a, b) in enumerate(zip(shape, like, strict=True)) if a != b)


def inverse(axes: Shape) -> Shape:
    """The permutation that undoes `axes`."""
    return tuple(axes.index(k) for k in range(len(axes)))


def power_base(x1: Any, x2: Any) -> Any:
    """∂(x₁^x₂)/∂x₁ = x₂ x₁^(x₂-1), and 0 for x₁ = x₂ = 0, where x₁^(-1) is infinite."""
    exponent = where(ops.bitwise_and(x1 == 0, x2 == 0), 1.0, x2)
    return x2 * x1 ** (exponent - 1)


def power_exponent(g: Any, x1: Any, x2: Any, y: Any) -> Any:
    """∂(x₁^x₂)/∂x₂ = y log x₁, and 0 for x₁ = 0 ≤ x₂ where log is infinite."""
    still = ops.bitwise_and(x1 == 0, x2 >= 0)
    return where(still, 0.0, g * (y * log(x1)))


def larger(g: Any, this: Any, that: Any) -> Any:
    """g where `this` wins, half of it in a tie, nothing where it loses; NaN where one is NaN."""
    return where(this > that, g, where(this < that, 0.0, where(this == that, 0.5 * g, math.nan)))


def largest(g: Any, x: Any, y: Any, axis: Shape) -> Any:
    """max: the elements that equal the result get equal parts of g; if it is NaN, all get NaN."""
    return extremum(g, x < y, y, axis)


def smallest(g: Any, x: Any, y: Any, axis: Shape) -> Any:
    """min: the elements that equal the result get equal parts of g; if it is NaN, all get NaN."""
    return extremum(g, x > y, y, axis)


def extremum(g: Any, losers: Any, y: Any, axis: Shape) -> Any:
    """What reaches those that do not lose, in equal parts; NaN for all where the result is NaN."""
    count = ops.sum(ops.astype(~losers, dtype=g.dtype), axis=axis)
    share = g / where(y == y, count, math.nan)
    return where(losers, 0.0, ops.broadcast_to(share, shape=losers.shape))


def over_length(x: Any, r: Any) -> Any:
    """x / r, where r is the length of a vector that has x in it: 0 at the origin."""
    return x / where(r == 0, 1.0, r)


def direction(g: Any, x: Any, y: Any) -> Any:
    """∂‖x‖/∂x = x / ‖x‖; 0, and so are all further derivatives, where x = 0."""
    g, y = (ops.broadcast_to(t, shape=x.shape) for t in (g, y))
    return where(y == 0, 0.0, g * (x / y))


def prod_rule(g: Any, x: Any, axis: Shape) -> Any:
    """∂(∏x)/∂xᵢ = the product of the others = (∏ before i)(∏ after i): no division by xᵢ."""
    rest = tuple(k for k in range(len(x.shape)) if k not in axis)
    order = rest + axis
    moved = permute_dims(x, axes=order)
    n = math.prod(x.shape[a] for a in axis)
    flat = reshape(moved, shape=(math.prod(x.shape[a] for a in rest), n))
    before = ops.cumulative_prod(earlier(flat, 1, 1.0), axis=1)
    after = flip(ops.cumulative_prod(earlier(flip(flat, axis=(1,)), 1, 1.0), axis=1), axis=(1,))
    others = reshape(before * after, shape=moved.shape)
    return ops.broadcast_to(g, shape=x.shape) * permute_dims(others, axes=inverse(order))


def earlier(x: Any, axis: int, first: float) -> Any:
    """x moved one place on along the axis, with `first` in the place that falls free."""
    if x.shape[axis] == 0:
        return x
    stop = tuple(n - (k == axis) for k, n in enumerate(x.shape))
    none, one = (0,) * len(stop), (1,) * len(stop)
    edge = x._full(tuple(1 if k == axis else n for k, n in enumerate(x.shape)), first)
    return ops.concat(edge, ops.slice(x, start=none, stop=stop, step=one), axis=axis)


def recurrence_back(a: Any, g: Any, axis: int) -> Any:
    """λₜ = gₜ + aₜ₊₁ λₜ₊₁: what reaches hₜ = aₜ hₜ₋₁ + bₜ from all later outputs."""
    later, back = earlier(flip(a, axis=(axis,)), axis, 0.0), flip(g, axis=(axis,))
    return flip(ops.recurrence(later, back, axis=axis), axis=(axis,))


def cumulative_product(g: Any, x: Any, y: Any, axis: int) -> Any:
    """yₜ = xₜ yₜ₋₁ is a recurrence from y₋₁ = 1: ∂loss/∂xₜ = λₜ yₜ₋₁."""
    return recurrence_back(x, g, axis) * earlier(y, axis, 1.0)


def conv_input(
    g: Any,
    w: Any,
    x_shape: Shape,
    stride: Any,
    padding: Any,
    input_dilation: Any,
    kernel_dilation: Any,
    groups: int,
) -> Any:
    """Spread g by the stride and correlate it with the mirrored kernel, inputs and outputs swapped.

    Sizes: the padding is what makes the result as large as x.
    """
    n = len(stride)
    kernel, (c, o) = w.shape[:n], w.shape[n:]
    split = reshape(flip(w, axis=tuple(range(n))), shape=(*kernel, c, groups, o // groups))
    swapped = permute_dims(split, axes=(*range(n), n + 2, n + 1, n))
    swapped = reshape(swapped, shape=(*kernel, o // groups, groups * c))
    pads = []
    for k in range(n):
        reach = (kernel[k] - 1) * kernel_dilation[k]
        low = reach - padding[k][0]
        spread_g = (g.shape[k + 1] - 1) * stride[k]
        high = (x_shape[k + 1] - 1) * input_dilation[k] + reach - spread_g - low
        pads.append((low, high))
    return ops.convolution(
        g,
        swapped,
        stride=input_dilation,
        padding=tuple(pads),
        input_dilation=stride,
        kernel_dilation=kernel_dilation,
        groups=groups,
    )


def conv_kernel(
    g: Any,
    x: Any,
    w_shape: Shape,
    stride: Any,
    padding: Any,
    input_dilation: Any,
    kernel_dilation: Any,
    groups: int,
) -> Any:
    """Correlate x with g over positions and batch."""
    return ops.convolution_weight(
        x,
        g,
        kernel=w_shape[:-2],
        stride=stride,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        groups=groups,
    )


def conv_kernel_input(
    g: Any,
    z: Any,
    x_shape: Shape,
    stride: Any,
    padding: Any,
    input_dilation: Any,
    kernel_dilation: Any,
    groups: int,
) -> Any:
    """⟨g, convolution_weight(x, z)⟩ = ⟨convolution(x, g), z⟩: conv_input with g as the kernel."""
    return conv_input(z, g, x_shape, stride, padding, input_dilation, kernel_dilation, groups)


def conv_kernel_output(
    g: Any,
    x: Any,
    stride: Any,
    padding: Any,
    input_dilation: Any,
    kernel_dilation: Any,
    groups: int,
) -> Any:
    """⟨g, convolution_weight(x, z)⟩ = ⟨convolution(x, g), z⟩."""
    return ops.convolution(
        x,
        g,
        stride=stride,
        padding=padding,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        groups=groups,
    )


def take_rows(g: Any, indices: Any, x_shape: Shape, axis: int) -> Any:
    """Add each piece of g where it was taken from; on the first axis the result stays row-sparse.

    scatter_add is the adjoint of take.
    """
    if axis:
        return add_up(g, indices, axis=axis, size=x_shape[axis])
    n = math.prod(indices.shape)
    return RowSparse(reshape(indices, shape=(n,)), reshape(g, shape=(n, *x_shape[1:])), x_shape)


def put_table(g: Any, rows: Any, values_shape: Shape) -> Any:
    """The table gets g, but nothing in the rows that were put over."""
    return ops.put_rows(g, rows, g._full(values_shape, 0.0))


def put_values(g: Any, rows: Any, values_shape: Shape) -> Any:
    """Each value gets g of the row that has it in the end, by the value's own number."""
    numbers = ops.argsort(rows._full(rows.shape, 0), axis=0, descending=False)
    winners = ops.put_rows(numbers._full(g.shape[:1], -1), rows, numbers)
    return ops.put_rows(g._full(values_shape, 0.0), winners, g)


def concat_rule(g: Any, xs_shapes: Sequence[Shape], axis: int) -> list[Any]:
    """concat: each input gets its part of g."""
    out, at, one = [], 0, (1,) * len(xs_shapes[0])
    for shape in xs_shapes:
        start = tuple(at if k == axis else 0 for k in range(len(shape)))
        stop = tuple(a + n for a, n in zip(start, shape, strict=True))
        out.append(ops.slice(g, start=start, stop=stop, step=one))
        at += shape[axis]
    return out


def unslice(g: Any, x_shape: Shape, start: Shape, step: Shape) -> Any:
    """Put g back to where it was cut from: zeros before, between (step - 1) and after."""
    last = [a + max(0, n - 1) * k + (n > 0) for a, n, k in zip(start, g.shape, step, strict=True)]
    high = tuple(n - b for n, b in zip(x_shape, last, strict=True))
    return ops.pad(g, low=start, high=high, interior=tuple(k - 1 for k in step))


def unpad(g: Any, low: Shape, high: Shape, interior: Shape) -> Any:
    """Cut the padding off g."""
    stop = tuple(n - b for n, b in zip(g.shape, high, strict=True))
    return ops.slice(g, start=low, stop=stop, step=tuple(k + 1 for k in interior))


# Aligned by hand, for the eye that proofreads it.
# fmt: off

# ── elementwise, one argument ────────────────────────────────────────────────────────────────────
row(ops.negative,     lambda g:       -g)
row(ops.abs,          lambda g, x:    where(x == 0, 0.0, g * sign(x)),     kinks=[0.0])
row(ops.square,       lambda x:       2 * x)
row(ops.sqrt,         lambda y:       0.5 / y,                             on=POSITIVE)
row(ops.exp,          lambda y:       y)
row(ops.expm1,        lambda y:       y + 1)
row(ops.log,          lambda x:       1 / x,                               on=POSITIVE)
row(ops.log1p,        lambda x:       1 / (x + 1),                         on=UNIT)
row(ops.log2,         lambda x:       1 / (x * math.log(2)),               on=POSITIVE)
row(ops.log10,        lambda x:       1 / (x * math.log(10)),              on=POSITIVE)
row(ops.sin,          lambda x:       cos(x))
row(ops.cos,          lambda x:       -sin(x))
row(ops.tan,          lambda y:       1 + square(y),                       on=UNIT)
row(ops.asin,         lambda x:       1 / sqrt(1 - square(x)),             on=UNIT)
row(ops.acos,         lambda x:       -1 / sqrt(1 - square(x)),            on=UNIT)
row(ops.atan,         lambda x:       1 / (1 + square(x)))
row(ops.sinh,         lambda x:       cosh(x))
row(ops.cosh,         lambda x:       sinh(x))
row(ops.tanh,         lambda y:       1 - square(y))
row(ops.asinh,        lambda x:       1 / hypot(x, 1))
row(ops.acosh,        lambda x:       1 / (sqrt(x - 1) * sqrt(x + 1)),     on=ABOVE_ONE)
row(ops.atanh,        lambda x:       1 / (1 - square(x)),                 on=UNIT)
row(ops.sigmoid,      lambda y:       y * (1 - y))
row(ops.erf,          lambda x:       2 / math.sqrt(math.pi) * exp(-square(x)))
row(ops.erfinv,       lambda y:       math.sqrt(math.pi) / 2 * exp(square(y)), on=UNIT)

# ── elementwise, two arguments ───────────────────────────────────────────────────────────────────
row(ops.add,          lambda g:       g,
                      lambda g:       g)
row(ops.subtract,     lambda g:       g,
                      lambda g:       -g)
row(ops.multiply,     lambda g, x2:   g * x2,
                      lambda g, x1:   g * x1)
row(ops.divide,       lambda g, x2:   g / x2,
                      lambda g, x2, y: -g * y / x2)
row(ops.power,        power_base,
                      power_exponent,                                      on=(POSITIVE, REAL),
                      kinks=[(0.0, 2.0), (0.0, 1.0), (1.5, 0.0)])
row(ops.remainder,    lambda g:       g,
                      lambda x1, x2:  -floor_divide(x1, x2),               on=(REAL, ABOVE_ONE))
row(ops.maximum,      lambda g, x1, x2: larger(g, x1, x2),
                      lambda g, x1, x2: larger(g, x2, x1),                 kinks=[(1.0, 1.0)])
row(ops.minimum,      lambda g, x1, x2: larger(g, x2, x1),
                      lambda g, x1, x2: larger(g, x1, x2),                 kinks=[(1.0, 1.0)])
row(ops.atan2,        lambda x1, x2:  over_length(over_length(x2, hypot(x1, x2)), hypot(x1, x2)),
                      lambda x1, x2:  over_length(over_length(-x1, hypot(x1, x2)), hypot(x1, x2)))
row(ops.hypot,        lambda x1, y:   over_length(x1, y),
                      lambda x2, y:   over_length(x2, y),                  kinks=[(0.0, 0.0)])
row(ops.logaddexp,    lambda x1, x2:  sigmoid(x1 - x2),
                      lambda x1, x2:  sigmoid(x2 - x1))
row(ops.copysign,     lambda x1, y:    sign(x1) * sign(y),
                      None,                                                kinks=[(0.0, 1.0)])

# ── elementwise, piecewise constant ──────────────────────────────────────────────────────────────
zero("constant between its jumps", ops.sign, ops.floor, ops.ceil, ops.trunc, ops.round,
     ops.floor_divide)
zero("the neighbour in the floating-point grid, a number about the format", ops.nextafter)
zero("the result is a truth value", ops.equal, ops.not_equal, ops.less, ops.less_equal)
zero("acts on the bits of integers", ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor,
     ops.bitwise_invert, ops.bitwise_left_shift, ops.bitwise_right_shift)

# ── choosing and copying ─────────────────────────────────────────────────────────────────────────
row(ops.where,        None,
                      lambda g, condition: where(condition, g, 0.0),
                      lambda g, condition: where(condition, 0.0, g))
row(ops.alias,        lambda g:       g)
zero("stops the gradient: that is its purpose", ops.stop_gradient)
row(ops.astype,       lambda g, x_dtype: ops.astype(g, dtype=x_dtype))

# ── shape ────────────────────────────────────────────────────────────────────────────────────────
row(ops.broadcast_to, lambda g, x_shape: ops.sum(g, axis=repeated(x_shape, g.shape)))
row(ops.reshape,      lambda g, x_shape: reshape(g, shape=x_shape))
row(ops.permute_dims, lambda g, axes: permute_dims(g, axes=inverse(axes)))
row(ops.slice,        unslice)
row(ops.pad,          unpad)
joint(ops.concat,     concat_rule)
row(ops.flip,         lambda g, axis: flip(g, axis=axis))

# ── reductions and scans along an axis ───────────────────────────────────────────────────────────
row(ops.sum,          lambda g, x_shape: ops.broadcast_to(g, shape=x_shape))
row(ops.prod,         prod_rule,                                           kinks=[0.0])
row(ops.norm,         direction,                                           kinks=[0.0])
row(ops.max,          largest)
row(ops.min,          smallest)
zero("the result is a truth value", ops.any)
zero("the result is a position", ops.argmax, ops.argmin, ops.argsort)
row(ops.cumulative_sum, lambda g, axis: flip(ops.cumulative_sum(flip(g, axis=(axis,)), axis=axis),
                                             axis=(axis,)))
row(ops.cumulative_prod, cumulative_product,                               kinks=[0.0])
row(ops.cumulative_sum_by_key, lambda g, keys, axis: flip(ops.cumulative_sum_by_key(
                          flip(g, axis=(axis,)), flip(keys, axis=(0,)), axis=axis), axis=(axis,)),
                      None)
row(ops.recurrence,   lambda g, a, y, axis: recurrence_back(a, g, axis) * earlier(y, axis, 0.0),
                      lambda g, a, axis: recurrence_back(a, g, axis))

# ── contractions and windows ─────────────────────────────────────────────────────────────────────
row(ops.matmul,       lambda g, x2:   g @ x2.mT,
                      lambda g, x1:   x1.mT @ g)
row(ops.convolution,  conv_input,
                      conv_kernel)
row(ops.convolution_weight,
                      conv_kernel_input,
                      conv_kernel_output)
row(ops.unfold,       lambda g, x_shape, stride, dilation:
                      ops.fold(g, size=x_shape[1:-1], stride=stride, dilation=dilation))
elsewhere("an element gets what the windows get whose largest it is", ops.max_pool)
row(ops.fold,         lambda g, x_shape, stride, dilation:
                      ops.unfold(g, window=x_shape[len(stride) + 1:-1], stride=stride,
                                 dilation=dilation))

elsewhere("in closed form, of two sums", ops.standardise)

# ── attention ────────────────────────────────────────────────────────────────────────────────────
# Of operations with several results: functions/attention.py.
elsewhere("computes the weights again, from the scores and their logsumexp", ops.attention)
elsewhere("matrix products with the weights and their derivative", ops.attention_derivative)

# ── indexing ─────────────────────────────────────────────────────────────────────────────────────
row(ops.take,         take_rows,
                      None)
row(ops.scatter_add,  lambda g, indices, axis: ops.take(g, indices, axis=axis),
                      None)
row(ops.put_rows,     put_table,
                      None,
                      put_values)
zero("the result is a position", ops.checked_index)

# ── random and control ───────────────────────────────────────────────────────────────────────────
zero("bits do not vary smoothly with their seed", ops.random_bits)
# The derivative of a graph is a graph that the sweep makes: functions/scan.py, control.py.
elsewhere("runs its graph again, recorded, and carries g back through it step by step", ops.call)
elsewhere("the rule passed to custom_vjp", ops.custom)
elsewhere("a scan the other way: each step carries the state's cotangent back through the body",
          ops.scan)
elsewhere("picks one of several outputs: the sweep hands its cotangent there", ops.item)
# fmt: on
