"""NumPy meanings that do not fit a line of `ops.py`.

Each function here says in NumPy what one operation computes; the reference backend and eager mode
run it, other backends are tested against it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .dtypes import is_bfloat16, is_half, is_integer
from .errors import ArgumentError, ChainruleError, RangeError, Refusal
from .graph import Array, Dtype, Graph, Node, Shape


def wide(function: Callable[..., Array]) -> Callable[..., Array]:
    """Compute float16 and bfloat16 in float32: they are for storage, sums need more bits."""

    @functools.wraps(function)
    def meaning(*xs: Array, **params: Any) -> Array:
        dtype = xs[0].dtype
        if not is_half(dtype):
            return function(*xs, **params)
        xs = tuple(x.astype(np.float32) if x.dtype == dtype else x for x in xs)
        return function(*xs, **params).astype(dtype)

    return meaning


# ── elementwise ──────────────────────────────────────────────────────────────────────────────────

BY_BITS = 8192  # elements; of fewer NumPy's own where is as fast


def where(condition: Array, x1: Array, x2: Array) -> Array:
    """x1 where the condition holds, else x2: of many elements by their bits.

    NumPy's where guesses at each element which way it goes; masks take a tenth of the time.
    """
    if condition.size < BY_BITS:
        return np.where(condition, x1, x2)
    bits = f"i{x1.dtype.itemsize}"
    mask = np.negative(condition.view("i1").astype(bits))  # all bits, or none
    if _is_zero(x2):
        mask &= x1.view(bits)
    elif _is_zero(x1):
        np.invert(mask, out=mask)
        mask &= x2.view(bits)
    else:
        mask &= x1.view(bits) ^ x2.view(bits)
        mask ^= x2.view(bits)
    return mask.view(x1.dtype)


def _is_zero(x: Array) -> bool:
    """Whether it is a broadcast number without any bits: 0, and not -0."""
    return not any(x.strides) and x.flat[0].tobytes().count(0) == x.itemsize


def in_float64(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Compute in float64 and round once."""

    @functools.wraps(function)
    def meaning(x: Array) -> Array:
        return function(x.astype(np.float64, copy=False)).astype(x.dtype, copy=False)

    return meaning


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), from e^-|x| so that nothing overflows."""
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


# erf(x) / x - 1 as a function of x², for |x| < 0.84375: Sun's fdlibm (1993), highest power first.
ERF_NEAR = (
    (
        -2.37630166566501626084e-5,
        -5.77027029648944159157e-3,
        -2.84817495755985104766e-2,
        -3.25042107247001499370e-1,
        1.28379167095512558561e-1,
    ),
    (
        -3.96022827877536812320e-6,
        1.32494738004321644526e-4,
        5.08130628187576562776e-3,
        6.50222499887672944485e-2,
        3.97917223959155352819e-1,
        1.0,
    ),
)
# e^(x²) erfc(x) for 0.46875 ≤ x ≤ 4, and to 6 within 1e-12: Cody, "Rational Chebyshev
# approximations for the error function" (1969), highest power first.
ERFC = (
    (
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e0,
        6.61191906371416295e1,
        2.98635138197400131e2,
        8.81952221241769090e2,
        1.71204761263407058e3,
        2.05107837782607147e3,
        1.23033935479799725e3,
    ),
    (
        1.0,
        1.57449261107098347e1,
        1.17693950891312499e2,
        5.37181101862009858e2,
        1.62138957456669019e3,
        3.29079923573345963e3,
        4.36261909014324716e3,
        3.43936767414372164e3,
        1.23033935480374942e3,
    ),
)


def _ratio(tables: tuple[tuple[float, ...], ...], x: Array) -> Array:
    return np.asarray(np.polyval(tables[0], x) / np.polyval(tables[1], x))


@in_float64
def erf(x: Array) -> Array:
    """2/√π ∫₀ˣ e^(-t²) dt, by a rational function near 0 and one for 1 - erf above."""
    z = np.abs(x)
    near = z < 0.84375
    small = np.where(near, x, 0)
    big = np.clip(np.where(near, 1, z), None, 6)  # from 6 on, erf rounds to 1
    inside = small + small * _ratio(ERF_NEAR, small * small)
    outside = 1 - np.exp(-big * big) * _ratio(ERFC, big)
    return np.where(near, inside, np.copysign(outside, x))


# Wichura, "Algorithm AS 241: the percentage points of the normal distribution" (1988), PPND16.
PPND16_A = (
    3.3871328727963666080e0,
    1.3314166789178437745e2,
    1.9715909503065514427e3,
    1.3731693765509461125e4,
    4.5921953931549871457e4,
    6.7265770927008700853e4,
    3.3430575583588128105e4,
    2.5090809287301226727e3,
)
PPND16_B = (
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
)
PPND16_C = (
    1.42343711074968357734e0,
    4.63033784615654529590e0,
    5.76949722146069140550e0,
    3.64784832476320460504e0,
    1.27045825245236838258e0,
    2.41780725177450611770e-1,
    2.27238449892691845833e-2,
    7.74545014278341407640e-4,
)
PPND16_D = (
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
)
PPND16_E = (
    6.65790464350110377720e0,
    5.46378491116411436990e0,
    1.78482653991729133580e0,
    2.96560571828504891230e-1,
    2.65321895265761230930e-2,
    1.24266094738807843860e-3,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)
PPND16_F = (
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
    7.86869131145613259100e-4,
    1.84631831751005468180e-5,
    1.42151175831644588870e-7,
    2.04426310338993978564e-15,
)


def erfinv(x: Array) -> Array:
    """The inverse of erf: AS 241 for the normal quantile at (1 + x) / 2, over √2.

    That is good for 7 units in the last place of float64; there a Newton step makes it 2.
    """
    flat = x.reshape(-1).astype(np.float64, copy=False)
    out = _erfinv(flat)
    if x.dtype == np.float64:
        out = _refined(out, flat)
    return out.astype(x.dtype, copy=False).reshape(x.shape)


def _erfinv(x: Array) -> Array:
    q = x / 2
    out = np.full(x.shape, np.nan)

    def ratio(r: Array, num: tuple[float, ...], den: tuple[float, ...]) -> Array:
        return np.asarray(np.polyval(num[::-1], r) / np.polyval(den[::-1], r))

    mid = np.abs(q) <= 0.425
    out[mid] = q[mid] * ratio(0.180625 - q[mid] ** 2, PPND16_A, PPND16_B)
    tail = ~mid & (np.abs(q) < 0.5)
    r = np.sqrt(-np.log((1 - np.abs(x[tail])) / 2))
    value = np.where(r <= 5, ratio(r - 1.6, PPND16_C, PPND16_D), ratio(r - 5, PPND16_E, PPND16_F))
    out[tail] = np.copysign(value, q[tail])
    edge = np.abs(x) == 1
    out[edge] = np.copysign(np.inf, x[edge])
    return np.asarray(out / math.sqrt(2))


def _refined(y: Array, x: Array) -> Array:
    """y - (erf(y) - x) / erf′(y), with the difference taken so that little of it is lost."""
    z = np.abs(y)
    near = z < 0.84375
    small, big = np.where(near, y, 0), np.clip(np.where(near, 1, z), None, 6)
    inside = ((small - x) + small * _ratio(ERF_NEAR, small * small)) * np.exp(small * small)
    scaled = _ratio(ERFC, big)
    far = big > 4
    if far.any():  # e^(z²) erfc(z) = 1 / (√π f) with f = z + ½/(z + 1/(z + ³⁄₂/(z + …
        f = big[far]
        for k in range(60, 0, -1):
            f = big[far] + k / 2 / f
        scaled[far] = 1 / (math.sqrt(math.pi) * f)
    outside = np.sign(x) * ((1 - np.abs(x)) * np.exp(big * big) - scaled)
    return np.asarray(y - math.sqrt(math.pi) / 2 * np.where(near, inside, outside))


def shift(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """A shift by the width or more gives what shifting bit by bit would (C leaves it undefined)."""

    def meaning(x1: Array, x2: Array) -> Array:
        width = x1.dtype.itemsize * 8
        part = function(x1, np.minimum(x2, width - 1).astype(x1.dtype))
        return np.where(x2 < width, part, function(part, x1.dtype.type(1)))

    return meaning


def whole_division(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Dividing a whole number by 0 is an error; floats give inf or NaN."""

    def meaning(x1: Array, x2: Array) -> Array:
        if is_integer(x2.dtype) and not x2.all():
            raise ArgumentError(
                function.__name__,
                "got a whole number divided by 0",
                "expected divisors other than 0",
                "mask them with cr.where first, or convert to float",
            )
        return function(x1, x2)

    return meaning


# ── shape ────────────────────────────────────────────────────────────────────────────────────────


def broadcast_to(x: Array, shape: Shape) -> Array:
    """A view that repeats sizes of 1 by strides of 0."""
    if is_bfloat16(x.dtype) or not x.flags.c_contiguous:
        return np.broadcast_to(x, shape)
    old = zip(x.shape, shape, x.strides, strict=True)  # the same, without its checks: 10× faster
    view = np.ndarray(shape, x.dtype, x, 0, tuple(0 if n == 1 != m else s for n, m, s in old))
    view.flags.writeable = False
    return view


def pad(x: Array, low: Shape, high: Shape, interior: Shape) -> Array:
    size = zip(x.shape, low, high, interior, strict=True)
    out = np.zeros([lo + hi + n + max(0, n - 1) * k for n, lo, hi, k in size], x.dtype)
    inner = zip(x.shape, low, interior, strict=True)
    out[tuple(slice(lo, lo + n + max(0, n - 1) * k, k + 1) for n, lo, k in inner)] = x
    return out


def astype(x: Array, dtype: Dtype) -> Array:
    return x.astype(dtype)


def ordered(x: Array) -> Array:
    """x as NumPy can sort it: it does not know where bfloat16's NaN sorts."""
    return x.astype(np.float32) if is_bfloat16(x.dtype) else x


def argsort(x: Array, axis: int, descending: bool) -> Array:
    """Stable both ways; NaN sorts last when ascending and first when descending."""
    x = ordered(x)
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    backwards = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - backwards, axis)


def recurrence(a: Array, b: Array, axis: int) -> Array:
    """hₜ = aₜ hₜ₋₁ + bₜ from h₋₁ = 0, along the axis."""
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    out = np.empty(b.shape, b.dtype)
    h = np.zeros(b.shape[1:], b.dtype)
    for t in range(len(b)):
        h = out[t] = a[t] * h + b[t] if t else b[t]
    return np.moveaxis(out, 0, axis)


# ── contractions and windows ─────────────────────────────────────────────────────────────────────


def _windows(x: Array, window: Shape, stride: Shape, dilation: Shape) -> Array:
    """(N, *size, C) -> a view (N, *out, *window, C)."""
    n = len(window)
    sizes, steps = x.shape[1 : n + 1], x.strides[1 : n + 1]
    out = [
        max(0, (m - (k - 1) * d - 1) // s + 1)
        for m, k, s, d in zip(sizes, window, stride, dilation, strict=True)
    ]
    strides = [st * s for st, s in zip(steps, stride, strict=True)]
    strides += [st * d for st, d in zip(steps, dilation, strict=True)]
    view: Array = np.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *out, *window, x.shape[-1]),
        (x.strides[0], *strides, x.strides[-1]),
        writeable=False,
    )
    return view


def unfold(x: Array, window: Shape, stride: Shape, dilation: Shape) -> Array:
    return _windows(x, window, stride, dilation)


@wide
def fold(x: Array, size: Shape, stride: Shape, dilation: Shape) -> Array:
    """The adjoint of unfold: every window added back to where it came from."""
    n = len(size)
    out = np.zeros((x.shape[0], *size, x.shape[-1]), x.dtype)
    counts = x.shape[1 : n + 1]
    for place in np.ndindex(*x.shape[n + 1 : -1]):
        at = zip(place, counts, stride, dilation, strict=True)
        where = tuple(slice(p * d, p * d + (c - 1) * s + 1, s) for p, c, s, d in at)
        out[(slice(None), *where)] += x[(slice(None),) * (n + 1) + place]
    return out


@wide
def convolution(
    x: Array,
    w: Array,
    stride: Shape,
    padding: tuple[tuple[int, int], ...],
    input_dilation: Shape,
    kernel_dilation: Shape,
    groups: int,
) -> Array:
    """Cross-correlation, channels last: x (N, *size, C), w (*kernel, C / groups, O).

    A negative padding crops. The windows of x are a view; one matrix product a group does the work.
    """
    n = len(stride)
    low = tuple(max(0, lo) for lo, _ in padding)
    high = tuple(max(0, hi) for _, hi in padding)
    x = pad(x, (0, *low, 0), (0, *high, 0), (0, *(d - 1 for d in input_dilation), 0))
    crop = (slice(max(0, -lo), x.shape[k + 1] - max(0, -hi)) for k, (lo, hi) in enumerate(padding))
    x = x[(slice(None), *crop)]
    view = _windows(x, w.shape[:n], stride, kernel_dilation)
    inner = [*range(n + 1, 2 * n + 1), 2 * n + 1]
    outs = []
    for xg, wg in zip(np.split(view, groups, -1), np.split(w, groups, -1), strict=True):
        outs.append(np.tensordot(xg, wg, (inner, [*range(n), n])))
    return outs[0] if groups == 1 else np.concatenate(outs, -1)


LONG_PRODUCT = 2048  # terms of a product of float32 that are left to BLAS


@wide
def matmul(x1: Array, x2: Array) -> Array:
    """A long sum in pieces that are added in float64: BLAS adds them one by one."""
    k = x1.shape[-1]
    if k <= 8 * LONG_PRODUCT or x1.dtype != np.float32:
        return np.matmul(x1, x2)
    total: Any = 0.0
    for at in range(0, k, LONG_PRODUCT):
        piece = slice(at, at + LONG_PRODUCT)
        total = total + np.matmul(x1[..., piece], x2[..., piece, :]).astype(np.float64)
    return np.asarray(total, np.float32)


# ── indexing ─────────────────────────────────────────────────────────────────────────────────────


def _checked(name: str, indices: Array, size: int) -> Array:
    """Indices from 0 in int64; outside -size..size-1 is an error, never a wrap."""
    if indices.size and (indices.min() < -size or indices.max() >= size):
        worst = indices.max() if indices.max() >= size else indices.min()
        raise RangeError(
            name,
            f"got index {worst} for an axis of size {size}",
            f"expected {-size} to {size - 1}",
            "check how the indices were made (ids from 0?), or enlarge the table",
        )
    indices = indices.astype(np.int64, copy=False)
    return np.where(indices < 0, indices + size, indices)


def checked_index(indices: Array, size: int, refusal: Refusal | None = None) -> Array:
    """As `_checked`; with a refusal numbers below 0 are outside too, and it says what is wrong."""
    if refusal is None:
        return _checked("index", indices, size)
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        worst = indices.min() if indices.min() < 0 else indices.max()
        operation, arrived, needed, advice = refusal
        raise RangeError(operation, arrived.format(worst), needed, advice)
    return indices.astype(np.int64, copy=False)


def take(x: Array, indices: Array, axis: int) -> Array:
    return np.take(x, _checked("take", indices, x.shape[axis]), axis=axis)


@wide
def scatter_add(updates: Array, indices: Array, axis: int, size: int) -> Array:
    """Zeros, with each update added at its index along the axis: the adjoint of take."""
    end = axis + indices.ndim
    out = np.zeros((*updates.shape[:axis], size, *updates.shape[end:]), updates.dtype)
    where = _checked("scatter_add", indices, size)
    np.add.at(out, (*(slice(None),) * axis, where), updates)  # type: ignore[arg-type]
    return out


def last_position(indices: Array, size: int) -> Array:
    """For each place the last position in `indices` that names it, or -1."""
    out = np.full(size, -1, np.int64)
    where = _checked("index", indices, size).reshape(-1)
    out[where] = np.arange(where.size)  # NumPy assigns in order: the last one stays
    return out


# ── random ───────────────────────────────────────────────────────────────────────────────────────


def random_bits(state: Array, shape: Shape) -> Array:
    """Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

    The key is the seed; the counter is (block, draw): each draw has 2⁶⁴ blocks of its own.
    """
    return random_words(state, 0, math.prod(shape)).reshape(shape)


def random_words(state: Array, first: int, count: int) -> Array:
    """So many words of a draw, from the one of that number on."""
    block, skipped = divmod(first, 4)
    blocks = np.arange(block, block - (-(skipped + count) // 4), dtype=np.uint64)
    seed, draws = int(state[0]), np.full_like(blocks, state[1])
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    counter = blocks & low, blocks >> half, draws & low, draws >> half
    words = np.stack(philox(*counter, seed & 0xFFFFFFFF, seed >> 32), -1)
    return words.astype(np.uint32).reshape(-1)[skipped : skipped + count]


def philox(c0: Array, c1: Array, c2: Array, c3: Array, k0: int, k1: int) -> tuple[Array, ...]:
    """Ten rounds on a counter of four 32-bit words (in uint64) with a key of two."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> half) ^ c1 ^ np.uint64(k0),
            p1 & low,
            (p0 >> half) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


# ── control ──────────────────────────────────────────────────────────────────────────────────────


def run(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """Evaluate a graph on arrays, node by node."""
    values: dict[Node, Any] = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        if node not in values:
            if node.op is None:
                values[node] = node.value
                continue
            try:
                values[node] = node.op.evaluate(*[values[i] for i in node.inputs], **node.params)
            except Exception as error:
                raise failure(node, error) from None
    return [np.asarray(values[o]) for o in graph.outputs]


def failure(node: Node, error: Exception) -> ChainruleError:
    """What went wrong when a graph's node was evaluated, with the line that made the node."""
    if isinstance(error, ChainruleError):
        return error.located(node.source)
    return ArgumentError(
        node.op.name if node.op else "constant",
        f"got inputs for which NumPy says: {error}",
        "expected values it can compute",
        "run it without compile, scan or checkpoint to see them",
        node.source,
    )


def call(*xs: Array, graph: Graph, **params: Any) -> tuple[Array, ...]:
    return tuple(run(graph, xs))


def scan(
    *xs: Array, graph: Graph, length: int, consts: int, carries: int, reverse: bool, **params: Any
) -> tuple[Array, ...]:
    """Carry state through `length` steps of the graph; stack what each step gives besides."""
    first = consts + carries
    carry, rows = list(xs[consts:first]), xs[first:]
    outs = graph.outputs[carries:]
    stacked = [np.empty((length, *o.shape), o.dtype) for o in outs]
    for t in reversed(range(length)) if reverse else range(length):
        out = run(graph, [*xs[:consts], *carry, *(x[t] for x in rows)])
        carry = out[:carries]
        for whole, part in zip(stacked, out[carries:], strict=True):
            whole[t] = part
    return (*carry, *stacked)
