"""Sums of many numbers in NumPy, in an order that keeps their error small.

NumPy adds along the axis that is contiguous in memory by halves, and along any other one row by
row: after ten million rows float32 is 1 % off. Here no more than FEW terms are added one by one in
float32; further sums are of float64. The error is then below 32 · 2⁻²⁴ of ∑|x|, however many terms
there are. The order follows from shape and strides alone. docs/decisions/007-sums.md
"""

from __future__ import annotations

import math

import numpy as np

from .dtypes import is_ieee_floating
from .graph import Array, Shape

FEW = 64  # terms that are added one by one
BLOCK = 32  # terms of a block, where there are more
SMALL = 1 << 14  # elements that are added in float64 at once: less to do than to cut them up
WIDE = 1024  # elements of rows that are added at once: of narrow ones several
# Of sums of squares: below which they have lost something, and what numbers are then multiplied by
# so that their squares neither vanish nor, where the sum was infinite, overflow.
SQUARES = {
    np.dtype(np.float32): (2.0**-100, 2.0**90, 2.0**-80),
    np.dtype(np.float64): (2.0**-960, 2.0**600, 2.0**-600),
}


def total(x: Array, axis: Shape) -> Array:
    """∑x along the axes, which stay with size 1."""
    count = math.prod([x.shape[a] for a in axis])
    if count <= FEW or not is_ieee_floating(x.dtype):
        return np.add.reduce(x, axis, x.dtype, keepdims=True)
    if not x.flags.c_contiguous:
        order = sorted(range(x.ndim), key=x.strides.__getitem__, reverse=True)
        moved = np.ascontiguousarray(x.transpose(order))
        places = np.argsort(order)
        return total(moved, tuple(sorted(places[[*axis]]))).transpose(places)
    if axis[0] == x.ndim - len(axis):  # the last axes: by halves
        return np.add.reduce(x, axis, x.dtype, keepdims=True)
    if x.size <= SMALL:
        return np.add.reduce(x, axis, np.float64, keepdims=True).astype(x.dtype, copy=False)
    y, size, after = x, 1, 1  # from the last axis on: neighbours that are reduced, what stays
    for a, n in reversed([*enumerate(x.shape)]):
        if a in axis:
            size *= n
        elif n > 1:
            y, size, after = _down(y.reshape(-1, size, after)), 1, after * n
    y = _down(y.reshape(-1, size, after)).astype(x.dtype, copy=False)
    return y.reshape([1 if a in axis else n for a, n in enumerate(x.shape)])


def _down(x: Array) -> Array:
    """(A, N, C) -> (A, C), in float64 where something has been added."""
    if x.shape[1] == 1:
        return x
    if x.shape[2] == 1:
        return np.add.reduce(x, 1).astype(np.float64)
    while x.shape[1] > FEW:
        a, n, c = x.shape
        wide = max(1, min(WIDE // c, n // (8 * BLOCK)))  # neighbouring rows that are taken as one
        whole = n // (wide * BLOCK) * wide * BLOCK
        blocks = x[:, :whole].reshape(a, -1, BLOCK, wide * c)
        parts = np.add.reduce(blocks, 2, x.dtype).reshape(a, -1, c).astype(np.float64, copy=False)
        x = np.concatenate([parts, x[:, whole:]], 1) if whole < n else parts
    return np.add.reduce(x, 1, np.float64)


def norm(x: Array, axis: Shape) -> Array:
    """√∑x² along the axes, which stay with size 1; right where x² would overflow or vanish."""
    squares = total(np.square(x), axis)
    low, up, down = SQUARES[x.dtype]
    fine = (squares >= low) & (squares < np.inf)
    if fine.all():
        return np.sqrt(squares)
    scale = np.where(squares > 1, down, up).astype(x.dtype)
    scaled = np.sqrt(total(np.square(x * scale), axis)) / scale
    return np.where(fine, np.sqrt(squares), scaled)


def running(x: Array, axis: int) -> Array:
    """The sums of the first 1, 2, … elements along the axis; of floats in float64."""
    if x.shape[axis] <= FEW or not is_ieee_floating(x.dtype):
        return np.cumsum(x, axis=axis, dtype=x.dtype)
    y = x.astype(np.float64)
    return np.cumsum(y, axis=axis, out=y).astype(x.dtype, copy=False)


def product(x: Array, axis: Shape) -> Array:
    """∏x along the axes, which stay with size 1, in the order of the index.

    Overflow, and the partner of an infinity, depend on the order. NumPy's is that of memory.
    """
    return np.multiply.reduce(np.asarray(x, order="C"), axis, x.dtype, keepdims=True)


def standardise(x: Array, *scale: Array, axis: Shape, eps: float) -> tuple[Array, Array, Array]:
    """scale · (x - mean) / √(variance + eps), the mean and the variance."""
    kind = x.dtype.type
    n = kind(math.prod(x.shape[a] for a in axis))
    mean = total(x, axis) / n
    centred = x - mean
    variance = total(centred * centred, axis) / n
    centred *= 1 / np.sqrt(variance + kind(eps))
    if scale:
        centred *= scale[0]
    return centred, mean, variance
