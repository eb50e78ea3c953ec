"""Functions that an emitted module has at its top if it uses them, as they stand here.

They say in a few lines of NumPy what an operation means that has no expression of its own. An image
is (N, *size, C), channels last; a kernel is (*size, C / groups, O).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph import Array


def sigmoid(x: Array) -> Any:
    """1 / (1 + e⁻ˣ), from e^-|x| so that nothing overflows."""
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


def norm(x: Array, axis: Any) -> Any:
    """√∑x² along the axes, which stay with size 1; scaled, so that no square overflows."""
    top = np.abs(x).max(axis=axis, keepdims=True, initial=0)
    scale = np.where((top > 0) & np.isfinite(top), top, 1).astype(x.dtype)
    return scale * np.sqrt(((x / scale) ** 2).sum(axis=axis, keepdims=True))


def standardise(x: Array, scale: Any = 1, *, axis: Any, eps: float) -> Any:
    """scale · (x - mean) / √(variance + eps), the mean and the variance over the axes."""
    mean = x.mean(axis=axis, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=axis, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * scale, mean, variance


# ── along an axis ────────────────────────────────────────────────────────────────────────────────


def argsort_descending(x: Array, axis: int) -> Any:
    """The order from the largest on; equal elements keep theirs, NaN comes first."""
    backwards = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - backwards, axis)


def recurrence(a: Array, b: Array, axis: int) -> Any:
    """hₜ = aₜ hₜ₋₁ + bₜ from h₋₁ = 0, along the axis."""
    a, b = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    h = np.zeros_like(b)
    for t in range(len(b)):
        h[t] = a[t] * h[t - 1] + b[t] if t else b[t]
    return np.moveaxis(h, 0, axis)


def cumulative_sum_by_key(x: Array, keys: Array, axis: int) -> Any:
    """The running sum along the axis, from 0 again where the key is not the one before."""
    out = np.moveaxis(x, axis, 0).copy()
    for t in range(1, len(keys)):
        if keys[t] == keys[t - 1]:
            out[t] += out[t - 1]
    return np.moveaxis(out, 0, axis)


def pad(x: Array, low: Any, high: Any, interior: Any) -> Any:
    """x with zeros before, after and between its elements."""
    spread = [n + max(0, n - 1) * k for n, k in zip(x.shape, interior, strict=True)]
    size = [lo + n + hi for lo, n, hi in zip(low, spread, high, strict=True)]
    out = np.zeros(size, x.dtype)
    places = zip(low, spread, interior, strict=True)
    out[tuple(slice(lo, lo + n, k + 1) for lo, n, k in places)] = x
    return out


# ── rows of tables ───────────────────────────────────────────────────────────────────────────────


def scatter_add(updates: Array, indices: Any, axis: int, size: int) -> Any:
    """Zeros, with each update added at its index along the axis."""
    after = updates.shape[axis + indices.ndim :]
    out = np.zeros((*updates.shape[:axis], size, *after), updates.dtype)
    np.add.at(out, (slice(None),) * axis + (indices,), updates)
    return out


def put_rows(table: Array, rows: Array, values: Array) -> Any:
    """The table with values[k] in row rows[k]; a number outside the table puts nothing."""
    out = table.copy()
    inside = (rows >= 0) & (rows < len(table))
    out[rows[inside].astype(np.int64)] = values[inside]
    return out


# ── windows ──────────────────────────────────────────────────────────────────────────────────────


def unfold(x: Array, window: Any, stride: Any = None, dilation: Any = None) -> Any:
    """The windows of x: (N, *size, C) -> (N, *places, *window, C)."""
    n = len(window)
    stride, dilation = stride or (1,) * n, dilation or (1,) * n
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    places = [slice(None, None, s) for s in stride]
    inside = [slice(None, None, d) for d in dilation]
    axes = tuple(range(1, n + 1))
    fits = all(r <= size for r, size in zip(reach, x.shape[1:], strict=False))
    if not fits:
        return np.zeros((x.shape[0], *(0,) * n, *window, x.shape[-1]), x.dtype)
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axes)  # (N, *places, C, *reach)
    return np.moveaxis(view[(slice(None), *places, slice(None), *inside)], n + 1, -1)


def fold(x: Array, size: Any, stride: Any = None, dilation: Any = None) -> Any:
    """Every window added to where it came from: (N, *places, *window, C) -> (N, *size, C)."""
    n = len(size)
    stride, dilation = stride or (1,) * n, dilation or (1,) * n
    out = np.zeros((x.shape[0], *size, x.shape[-1]), x.dtype)
    for k in np.ndindex(*x.shape[n + 1 : -1]):
        at = zip(k, x.shape[1:], stride, dilation, strict=False)
        where = [slice(p * d, p * d + (c - 1) * s + 1, s) for p, c, s, d in at]
        out[(slice(None), *where)] += x[(slice(None),) * (n + 1) + k]
    return out


def spread(x: Array, padding: Any = None, dilation: Any = None) -> Any:
    """The image with zeros between its elements and around it; a negative padding crops."""
    n = x.ndim - 2
    padding, dilation = padding or ((0, 0),) * n, dilation or (1,) * n
    sizes = [(n - 1) * d + 1 for n, d in zip(x.shape[1:], dilation, strict=False)]
    out = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    out[(slice(None), *(slice(None, None, d) for d in dilation))] = x
    out = np.pad(out, [(0, 0), *((max(0, lo), max(0, hi)) for lo, hi in padding), (0, 0)])
    crop = [slice(max(0, -lo), min(0, hi) or None) for lo, hi in padding]
    return out[(slice(None), *crop)]


def convolution(
    x: Array,
    w: Array,
    stride: Any = None,
    padding: Any = None,
    input_dilation: Any = None,
    kernel_dilation: Any = None,
    groups: int = 1,
) -> Any:
    """Each window of x times the kernel, summed: a product of matrices for each group."""
    n = w.ndim - 2
    windows = unfold(spread(x, padding, input_dilation), w.shape[:n], stride, kernel_dilation)
    inner = [*range(n + 1, 2 * n + 2)]
    parts = zip(np.split(windows, groups, -1), np.split(w, groups, -1), strict=True)
    return np.concatenate([np.tensordot(a, b, (inner, [*range(n + 1)])) for a, b in parts], -1)


def convolution_weight(
    x: Array,
    z: Array,
    kernel: Any,
    stride: Any = None,
    padding: Any = None,
    input_dilation: Any = None,
    kernel_dilation: Any = None,
    groups: int = 1,
) -> Any:
    """What each weight of the kernel collects: ∑ over all windows of x · z (N, *places, O)."""
    n = len(kernel)
    windows = unfold(spread(x, padding, input_dilation), kernel, stride, kernel_dilation)
    windows = windows[tuple(slice(size) for size in z.shape[:-1])]
    z = z[tuple(slice(size) for size in windows.shape[: n + 1])]
    inner = [*range(n + 1)]
    parts = zip(np.split(windows, groups, -1), np.split(z, groups, -1), strict=True)
    return np.concatenate([np.tensordot(a, b, (inner, inner)) for a, b in parts], -1)


def max_pool(
    x: Array, window: Any, stride: Any = None, dilation: Any = None, padding: Any = None
) -> Any:
    """The largest of each window, and its number in the window: the first of equal ones."""
    n = len(window)
    sides = [(0, 0), *(padding or ((0, 0),) * n), (0, 0)]
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    inside = np.pad(np.ones_like(x, bool), sides)
    views = unfold(np.pad(x, sides, constant_values=lowest), window, stride, dilation)
    valid = unfold(inside, window, stride, dilation)
    flat = (*views.shape[: n + 1], -1, x.shape[-1])
    views, valid = views.reshape(flat), valid.reshape(flat)
    best = np.where(views.max(-2) == lowest, valid.argmax(-2), views.argmax(-2))
    return np.take_along_axis(views, best[..., None, :], -2)[..., 0, :], best


# ── attention: (N, T, H, d), positions before heads ──────────────────────────────────────────────


def heads_first(x: Array) -> Any:
    """(N, T, H, d) as (N, H, T, d), and back."""
    return x.transpose(0, 2, 1, 3)


def attention_scores(query: Array, key: Array, masks: Any, causal: bool, scale: float) -> Any:
    """scale · q kᵀ, plus the masks; -inf where attending is not allowed."""
    scores = query * scale @ key.mT
    if causal:
        scores = np.where(np.tri(scores.shape[-2], scores.shape[-1], dtype=bool), scores, -np.inf)
    for mask in masks:
        allows = mask.dtype == np.bool_
        scores = np.where(mask, scores, -np.inf) if allows else scores + mask
    return scores


def attention(
    query: Array, key: Array, value: Array, *masks: Any, causal: bool, scale: float
) -> Any:
    """softmax(scale · q kᵀ + masks) v, and log ∑ eˢ of each row s of the scores."""
    query, key, value = heads_first(query), heads_first(key), heads_first(value)
    scores = attention_scores(query, key, masks, causal, scale)
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), 0, top)
    powers = np.exp(scores - top)
    total = powers.sum(-1, keepdims=True)
    weights = powers / (np.where(total == 0, 1, total) if masks else total)
    return heads_first(weights @ value), heads_first(top + np.log(total))


def attention_derivative(
    g: Array,
    delta: Array,
    log_total: Array,
    query: Array,
    key: Array,
    value: Array,
    *masks: Any,
    causal: bool,
    scale: float,
) -> Any:
    """The gradients of query, key and value, from the gradient g of the result.

    With weights p, ∂loss/∂scores = p (g vᵀ - delta), where delta = ∑ g · result of each row.
    """
    g, delta, log_total = heads_first(g), heads_first(delta), heads_first(log_total)
    query, key, value = heads_first(query), heads_first(key), heads_first(value)
    scores = attention_scores(query, key, masks, causal, scale)
    weights = np.exp(scores - np.where(np.isneginf(log_total), 0, log_total))
    d_scores = weights * (g @ value.mT - delta) * scale
    d_query, d_key, d_value = d_scores @ key, d_scores.mT @ query, weights.mT @ g
    return heads_first(d_query), heads_first(d_key), heads_first(d_value)


# ── random ───────────────────────────────────────────────────────────────────────────────────────


def random_bits(state: Array, shape: Any) -> Any:
    """32 random bits per element, of (seed, number of the draw): Philox4x32-10."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    size = int(np.prod(shape))
    block = np.arange((size + 3) // 4, dtype=np.uint64)
    draw = np.full_like(block, state[1])
    c0, c1, c2, c3 = block & low, block >> half, draw & low, draw >> half
    k0, k1 = int(state[0]) & 0xFFFFFFFF, int(state[0]) >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> half) ^ c1 ^ np.uint64(k0), (p0 >> half) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & low, p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], -1).astype(np.uint32).reshape(-1)[:size].reshape(shape)
