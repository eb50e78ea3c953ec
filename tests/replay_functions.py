"""The steps of the zoo that compute functions: of every operation, dtype and layout."""

from __future__ import annotations

from typing import Any

import chainrule as cr
from replay_zoo import Step, reals, step, wholes

# Functions, by what they take.
REAL = (
    *(cr.abs, cr.acos, cr.acosh, cr.asin, cr.asinh, cr.atan, cr.atanh, cr.cos, cr.cosh, cr.erf),
    *(cr.erfinv, cr.exp, cr.expm1, cr.log, cr.log10, cr.log1p, cr.log2, cr.negative),
    *(cr.reciprocal, cr.rsqrt, cr.sigmoid, cr.sin, cr.sinh, cr.softplus, cr.sqrt, cr.square),
    *(cr.tan, cr.tanh),
)
STEPS = (cr.ceil, cr.floor, cr.round, cr.sign, cr.trunc)
REAL_PAIRS = (
    *(cr.add, cr.atan2, cr.copysign, cr.divide, cr.hypot, cr.logaddexp, cr.maximum, cr.minimum),
    *(cr.multiply, cr.power, cr.remainder, cr.subtract),
)
STEP_PAIRS = (cr.floor_divide, cr.nextafter)
TESTS = (cr.isfinite, cr.isinf, cr.isnan, cr.signbit)
COMPARISONS = (cr.equal, cr.greater, cr.greater_equal, cr.less, cr.less_equal, cr.not_equal)
BITS = (cr.bitwise_and, cr.bitwise_or, cr.bitwise_xor)
SHIFTS = (cr.bitwise_left_shift, cr.bitwise_right_shift)


def elementwise(dtype: str) -> Step:
    """Each function on an input of its own, so that none shares a loop with all others."""

    def apply(x: Any, y: Any) -> list[Any]:
        out = [f(x) for f in (*REAL, *STEPS, *TESTS)]
        return out + [f(x, y) for f in (*REAL_PAIRS, *STEP_PAIRS, *COMPARISONS)]

    return apply, (reals(3, 5, dtype=dtype), reals(3, 5, dtype=dtype))


@step
def elementwise_float32() -> Step:
    return elementwise("float32")


@step
def elementwise_float64() -> Step:
    return elementwise("float64")


@step
def elementwise_derivatives() -> Step:
    def total(x: Any, y: Any) -> Any:
        parts = [f(x) for f in REAL] + [f(x, y) for f in REAL_PAIRS]
        return cr.sum(cr.stack(parts))

    return cr.grad(total, argnums=(0, 1)), (reals(5), reals(5))


@step
def whole_numbers() -> Step:
    def apply(i: Any, u: Any, b: Any) -> list[Any]:
        out: list[Any] = []
        for x in (i, u):
            y = x + 1
            pairs = (cr.add, cr.multiply, cr.floor_divide, cr.remainder)
            out += [f(x, y) for f in (*pairs, *BITS, *SHIFTS, *COMPARISONS)]
            out += [cr.sum(x), cr.prod(x, axis=0), cr.max(x), cr.min(x, axis=1), cr.square(x)]
            out += [cr.astype(x, "float32"), cr.bitwise_invert(x), cr.abs(x), x @ x]
        out += [f(b, ~b) for f in (*BITS, cr.equal, cr.logical_or)]
        return [*out, cr.any(b), cr.all(b, axis=0), cr.astype(b, "int8"), cr.where(b, i, -i)]

    booleans = wholes(4, 4, below=2).astype(bool)
    return apply, (wholes(4, 4, dtype="int32"), wholes(4, 4, dtype="uint8"), booleans)


@step
def short_floats() -> Step:
    """float16 and bfloat16."""

    def apply(h: Any, b: Any) -> list[Any]:
        sums = (lambda x: cr.sum(x * x, axis=0), lambda x: cr.relu(x @ x.T - x[:, :1]))
        return [f(x) for x in (h, b) for f in (cr.exp, cr.relu, *sums)]

    halves = reals(3, 4, dtype="float16")
    return apply, (halves, cr.asarray(halves).astype("bfloat16"))


@step
def casts() -> Step:
    def apply(x: Any) -> list[Any]:
        kinds = ("float64", "int32", "int64", "uint8", "bool", "float16")
        return [cr.astype(x, kind) * cr.astype(x, kind) for kind in kinds if kind != "bool"]

    return apply, (reals(3, 4),)


@step
def views() -> Step:
    def apply(x: Any) -> Any:
        parts = [x[:, 1:3].T, cr.flip(x, axis=0)[:2], cr.permute_dims(x[None], (2, 0, 1))]
        parts += [cr.reshape(x.T, (2, 8)), cr.reshape(x[::2], (-1,)), cr.broadcast_to(x, (2, 4, 4))]
        parts += [cr.pad(x, 1), cr.concat([x, x[1:] * 2, cr.flip(x)]), cr.roll(x, 1, axis=0)]
        parts += [cr.tile(x, (2, 1)), cr.repeat(x, 2, axis=1), cr.stack([x, x.T]), cr.tril(x)]
        return sum(cr.sum(cr.sin(p + 1)) for p in parts)

    return cr.value_and_grad(apply), (reals(4, 4),)


@step
def views_stored() -> Step:
    def apply(x: Any) -> list[Any]:
        flat = cr.reshape(cr.permute_dims(x, (2, 0, 1)), (4, 6))
        return [flat, cr.flip(flat, axis=1)[1:, ::2], cr.exp(x)[1], cr.expand_dims(x, axis=1)]

    return apply, (reals(2, 3, 4),)


@step
def lookups() -> Step:
    def apply(x: Any, i: Any, j: Any) -> Any:
        parts = [cr.take(x, i, axis=0), cr.take_along_axis(x, j, axis=1), x[i], x[i, i]]
        parts += [cr.scatter_add(x[:3], i, size=5), cr.gather(x, 1, j)]
        return sum(cr.sum(cr.square(p)) for p in parts)

    return cr.value_and_grad(apply), (reals(4, 4), wholes(3), wholes(4, 2))


@step
def reductions() -> Step:
    def apply(x: Any) -> list[Any]:
        out: list[Any] = []
        for f in (cr.sum, cr.mean, cr.prod, cr.max, cr.min, cr.norm, cr.var, cr.std, cr.logsumexp):
            out += [f(x), f(x, axis=1), f(x, axis=(0, 2), keepdims=True)]
        out += [f(x > 0.5, axis=0) for f in (cr.any, cr.all, cr.count_nonzero)]
        return [*out, cr.norm(x[0], ord=1), cr.norm(x[0], ord=float("inf")), cr.softmax(x)]

    return apply, (reals(3, 4, 5),)


@step
def reduction_derivatives() -> Step:
    def apply(x: Any) -> Any:
        parts = [f(x, axis=1) for f in (cr.mean, cr.prod, cr.max, cr.min, cr.norm, cr.std)]
        return cr.sum(cr.stack(parts)) + cr.sum(cr.log_softmax(x)[:, 0])

    return cr.grad(apply), (reals(3, 4),)


@step
def reductions_large() -> Step:
    """Reductions along either axis that are cut into parts."""
    return (lambda x: (cr.sum(x), cr.sum(x, axis=0), cr.max(cr.exp(x), axis=1))), (
        reals(512, 1024),
    )


@step
def running() -> Step:
    def apply(x: Any) -> Any:
        parts = [cr.cumulative_sum(x, axis=0), cr.cumulative_prod(x, axis=1)]
        parts += [cr.recurrence(x, x, axis=0), cr.diff(x)]
        return sum(cr.sum(cr.square(p)) for p in parts)

    return cr.value_and_grad(apply), (reals(4, 3),)


@step
def ordering() -> Step:
    def apply(x: Any) -> list[Any]:
        out = [cr.argmax(x, axis=1), cr.argmin(x), cr.sort(x), cr.argsort(x, descending=True)]
        return [*out, *cr.top_k(x, 2), cr.searchsorted(cr.sort(x[0]), x[1])]

    return apply, (reals(3, 5),)


@step
def products() -> Step:
    """Every layout of both operands, batches, vectors, and an epilogue."""

    def apply(a: Any, b: Any, s: Any) -> list[Any]:
        out = [a @ b, a @ b.T, a.T @ a, b.T @ a.T, b.T @ b.T, a[::2, :4] @ b[:4]]
        out += [cr.relu(a @ b + 1), s @ cr.matrix_transpose(s), s @ s[0]]
        out += [cr.einsum("ij,kj->ik", a, a)]
        return [
            *out,
            a[0] @ b,
            cr.outer(a[0], b[0]),
            cr.vecdot(a, a),
            cr.tensordot(s, b[:5, :5], axes=1),
        ]

    return apply, (reals(7, 9), reals(9, 9), reals(3, 5, 5))


@step
def products_float64() -> Step:
    return cr.value_and_grad(lambda a, b: cr.sum(cr.tanh(a @ b)), argnums=(0, 1)), (
        reals(20, 30, dtype="float64"),
        reals(30, 40, dtype="float64"),
    )


@step
def products_large() -> Step:
    return (lambda a, b: (cr.relu(a @ b) @ b, a.T @ a)), (reals(300, 700), reals(700, 700))


@step
def inner_functions() -> Step:
    """Graphs within operations: scan, checkpoint and a custom rule."""
    double = cr.custom_vjp(lambda x: 2 * cr.sin(x), lambda g, out, x: (2 * g * cr.cos(x),))
    again = cr.checkpoint(lambda x: cr.exp(cr.sin(x)))

    def apply(x: Any) -> Any:
        state, steps = cr.scan(lambda c, row: (c * 0.5 + row, c), x[0], x)
        return cr.sum(state) + cr.sum(steps) + cr.sum(double(x)) + cr.sum(again(x))

    return cr.value_and_grad(apply), (reals(4, 3),)


@step
def windows() -> Step:
    def apply(x: Any) -> Any:
        parts = [cr.unfold(x, 3), cr.max_pool(x, 2), cr.sum_pool(x, 2, stride=1)]
        return sum(cr.sum(cr.square(p)) for p in parts)

    return cr.value_and_grad(apply), (reals(2, 8, 3),)
