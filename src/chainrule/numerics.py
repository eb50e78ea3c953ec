"""The meanings of operations in NumPy that do not fit into a line of `ops.py`.

Each function computes one operation; the reference backend and eager mode run it, other backends
are tested against it. Longer than other files: one meaning per operation.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .dtypes import index_dtype, is_bfloat16, is_floating, is_half, is_integer
from .errors import ArgumentError, RangeError, Refusal
from .graph import Array, Dtype, Shape


def wide(function: Callable[..., Array]) -> Callable[..., Array]:
    """Compute float16 and bfloat16 in float32: they are for storage, and sums need more bits."""

    @functools.wraps(function)
    def meaning(*xs: Array, **params: Any) -> Array:
        dtype = xs[0].dtype
        if not is_half(dtype):
            return function(*xs, **params)
        xs = tuple(x.astype(np.float32) if x.dtype == dtype else x for x in xs)
        return function(*xs, **params).astype(dtype)

    return meaning


# ── elementwise ──────────────────────────────────────────────────────────────────────────────────

BY_BITS = 8192  # elements; below that NumPy's where is as fast


def where(condition: Array, x1: Array, x2: Array) -> Array:
    """x1 where the condition holds, else x2: of many elements by their bits.

    NumPy's where branches at each element; masks take a tenth of the time.
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


def cumulative_sum_by_key(x: Array, keys: Array, axis: int) -> Array:
    """The running sum along the axis, from 0 again wherever the key is not the one before.

    The last of each run of equal keys is the sum of the run. Floats are added in float64.
    """
    out = np.moveaxis(x, axis, 0)
    out = out.astype(np.float64) if is_floating(out.dtype) else out.copy()
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]]))
    for k in np.flatnonzero(np.diff(starts) > 1):
        run = out[starts[k] : starts[k + 1]]
        np.add.accumulate(run, axis=0, out=run)
    return np.moveaxis(out, 0, axis).astype(x.dtype, copy=False)


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


def max_pool(
    x: Array,
    window: Shape,
    stride: Shape,
    dilation: Shape,
    padding: tuple[tuple[int, int], ...],
) -> tuple[Array, Array]:
    """The largest of each window, and its number in the window: the first of equal ones, or NaN.

    The padding is never the largest: each window has an element of x.
    """
    n = len(window)
    sides = ((0, 0), *padding, (0, 0))
    lowest = -np.inf if is_floating(x.dtype) else np.iinfo(x.dtype).min
    inside = np.pad(np.ones((1, *x.shape[1:-1], 1), bool), sides)
    views = _windows(np.pad(x, sides, constant_values=lowest), window, stride, dilation)
    valid = _windows(inside, window, stride, dilation)
    flat = (*views.shape[: n + 1], math.prod(window), x.shape[-1])
    views, valid = views.reshape(flat), valid.reshape((1, *flat[1:-1], 1))
    first = valid.argmax(-2)
    best = views.argmax(-2)
    value = np.take_along_axis(views, best[..., None, :], -2)[..., 0, :]
    best = np.where(value == lowest, first, best)
    return value, best.astype(index_dtype(math.prod(window)))


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


def _spread(x: Array, padding: tuple[tuple[int, int], ...], dilation: Shape) -> Array:
    """(N, *size, C) with zeros between the elements and around them; a negative padding crops."""
    low = tuple(max(0, lo) for lo, _ in padding)
    high = tuple(max(0, hi) for _, hi in padding)
    x = pad(x, (0, *low, 0), (0, *high, 0), (0, *(d - 1 for d in dilation), 0))
    crop = (slice(max(0, -lo), x.shape[k + 1] - max(0, -hi)) for k, (lo, hi) in enumerate(padding))
    return x[(slice(None), *crop)]


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
    x = _spread(x, padding, input_dilation)
    view = _windows(x, w.shape[:n], stride, kernel_dilation)
    inner = [*range(n + 1, 2 * n + 1), 2 * n + 1]
    outs = []
    for xg, wg in zip(np.split(view, groups, -1), np.split(w, groups, -1), strict=True):
        outs.append(np.tensordot(xg, wg, (inner, [*range(n), n])))
    return outs[0] if groups == 1 else np.concatenate(outs, -1)


@wide
def convolution_weight(
    x: Array,
    z: Array,
    kernel: Shape,
    stride: Shape,
    padding: tuple[tuple[int, int], ...],
    input_dilation: Shape,
    kernel_dilation: Shape,
    groups: int,
) -> Array:
    """The adjoint of `convolution` in w, of x (N, *size, C) and z (N, *out, O).

    For each place in the kernel one product per group, of what it meets of x and z.
    """
    count, c, o = z.shape[1:-1], x.shape[-1] // groups, z.shape[-1] // groups
    x = _spread(x, padding, input_dilation)
    outs = np.zeros((*kernel, groups, c, o), x.dtype)
    if outs.size == 0 or z.size == 0:
        return outs.reshape((*kernel, c, groups * o))
    many = math.prod(z.shape[:-1])
    rows = np.ascontiguousarray(z.reshape(many, groups, o).transpose(1, 0, 2))
    for place in np.ndindex(*kernel):
        at = zip(place, count, stride, kernel_dilation, strict=True)
        where = (slice(p * d, p * d + (n - 1) * s + 1, s) for p, n, s, d in at)
        met = x[(slice(None), *where)].reshape(many, groups, c)
        outs[place] = matmul(met.transpose(1, 2, 0), rows)
    return np.ascontiguousarray(np.moveaxis(outs, -3, -2)).reshape((*kernel, c, groups * o))


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


# ── attention ────────────────────────────────────────────────────────────────────────────────────


def heads_first(x: Array) -> Array:
    """(N, T, H, d) as (N, H, T, d), and back."""
    return x.transpose(0, 2, 1, 3)


def _scores(
    query: Array, key: Array, masks: tuple[Array, ...], causal: bool, scale: float
) -> Array:
    """scale · q kᵀ, plus the masks: (N, H, T, S); -inf where attending is not allowed."""
    scores = np.matmul(query * query.dtype.type(scale), key.mT)
    if causal:
        allowed = np.tri(scores.shape[-2], scores.shape[-1], dtype=bool)
        scores = np.where(allowed, scores, -np.inf)
    for mask in masks:
        allows = mask.dtype == np.bool_
        scores = np.where(mask, scores, -np.inf) if allows else scores + mask
    return scores.astype(query.dtype, copy=False)


def attention(
    query: Array, key: Array, value: Array, *masks: Array, causal: bool, scale: float
) -> tuple[Array, Array]:
    """softmax(scale · q kᵀ + masks) v, and log ∑ exp of each row of scores.

    query (N, T, H, d), key (N, S, H, d), value (N, S, H, e); masks (N, H, T, S), bool or added,
    each size possibly 1. The results are (N, T, H, e) and (N, T, H, 1). With masks a row without
    any key is 0, and its logarithm -inf.
    """
    query, key, value = map(heads_first, (query, key, value))
    scores = _scores(query, key, masks, causal, scale)
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    top = np.where(top == -np.inf, 0, top).astype(scores.dtype)
    powers = np.exp(scores - top)
    total = powers.sum(-1, keepdims=True)
    weights = powers / (np.where(total == 0, 1, total) if masks else total)
    out = np.matmul(weights.astype(value.dtype, copy=False), value)
    return heads_first(out), heads_first(top + np.log(total))


def attention_derivative(
    g: Array,
    delta: Array,
    logsumexp: Array,
    query: Array,
    key: Array,
    value: Array,
    *masks: Array,
    causal: bool,
    scale: float,
) -> tuple[Array, Array, Array]:
    """The cotangents of query, key and value, from that of the result.

    The weights are p = exp(scores - logsumexp), ∂loss/∂scores = p (g vᵀ - delta), where
    delta = ∑ g · result - (the cotangent of logsumexp), for each row.
    """
    g, delta, log = map(heads_first, (g, delta, logsumexp))
    query, key, value = map(heads_first, (query, key, value))
    scores = _scores(query, key, masks, causal, scale)
    log = np.where(log == -np.inf, 0, log).astype(log.dtype) if masks else log
    weights = np.exp(scores - log)
    d_scores = weights * (np.matmul(g, value.mT) - delta) * query.dtype.type(scale)
    d_query, d_key = np.matmul(d_scores, key), np.matmul(d_scores.mT, query)
    return heads_first(d_query), heads_first(d_key), heads_first(np.matmul(weights.mT, g))


# ── indexing ─────────────────────────────────────────────────────────────────────────────────────


def _checked(name: str, indices: Array, size: int) -> Array:
    """Indices from 0 in int64; outside -size..size-1 is an error, never a wrap."""
    if indices.size and (indices.min() < -size or indices.max() >= size):
        worst = indices.max() if indices.max() >= size else indices.min()
        raise RangeError(
            name,
            f"got index {worst} for an axis of size {size}",
            f"expected {-size} to {size - 1}",
            "number the ids from 0, or enlarge the table",
        )
    indices = indices.astype(np.int64, copy=False)
    return np.where(indices < 0, indices + size, indices)


def checked_index(indices: Array, size: int, refusal: Refusal | None = None) -> Array:
    """As `_checked`; with a refusal numbers below 0 are outside too, and its text is the error."""
    if refusal is None:
        return _checked("index", indices, size)
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        first = np.argwhere((indices < 0) | (indices >= size))[0]
        worst, place = indices[tuple(first)], tuple(first.tolist())
        at = f" at position {place if len(place) > 1 else place[0]}" if place else ""
        operation, arrived, needed, advice = refusal
        raise RangeError(operation, arrived.format(f"{worst}{at}"), needed, advice)
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


def put_rows(table: Array, rows: Array, values: Array, distinct: bool = False) -> Array:
    """The table with values[k] in row rows[k].

    Of equal rows the last one stays; a number outside 0..size-1 puts nothing.

    distinct   no row is put twice, so that they can be put in any order
    """
    out = table.copy()
    inside = (rows >= 0) & (rows < len(table))
    out[rows[inside].astype(np.int64)] = values[inside]  # NumPy assigns in order
    return out


# ── random ───────────────────────────────────────────────────────────────────────────────────────


def random_bits(state: Array, shape: Shape) -> Array:
    """Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

    The key is the seed; the counter is (block, draw): each draw has its own 2⁶⁴ blocks.
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
