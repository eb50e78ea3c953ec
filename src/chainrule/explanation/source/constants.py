"""Constants as Python writes them: numbers, progressions, small arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...graph import Array
from .expressions import ATOM, PRODUCT, UNARY, Expression, dtype_text, reshaped, stripped

LITERAL = 32  # elements of a constant that is written out


def _written(value: Array) -> bool | int | float:
    """The number in Python; whole floats without their fraction."""
    number: bool | int | float = value.item()
    if not isinstance(number, float) or not number.is_integer() or abs(number) >= 1e6:
        return number
    return number if number == 0 and math.copysign(1, number) < 0 else int(number)


def number_literal(value: Any) -> str:
    """A number as Python writes it."""
    value = np.asarray(value)
    number = _written(value)
    if not isinstance(number, float):
        return str(number)
    if not math.isfinite(number):
        return f"np.{number}".replace("np.-", "-np.")
    return str(value.dtype.type(number)) if value.dtype != np.float64 else repr(number)


def number(value: Any) -> Expression:
    """A number, which takes the dtype of the array that it meets."""
    value = np.asarray(value)
    n = inverse(value)
    if n is not None:
        return Expression(f"1 / {number_literal(n)}", PRODUCT, (), weak=True)
    text, written = number_literal(value), _written(value)
    level = UNARY if text.startswith("-") else ATOM
    return Expression(text, level, (), True, number=written if type(written) is int else None)


def inverse(value: Any) -> Any:
    """n of a number 1 / n that is longer to write than n, else None."""
    value = np.asarray(value)
    if value.dtype.kind != "f" or len(number_literal(value)) <= 8 or not np.isfinite(1 / value):
        return None
    n = np.float64(f"{1 / float(value):.6g}")
    return n if value.dtype.type(1 / n) == value else None


def collapsed(value: Array) -> Array:
    """The array with size 1 along the axes on which it repeats itself, and those in front gone."""
    for axis, n in enumerate(value.shape):
        if n > 1:
            first = value[(slice(None),) * axis + (slice(0, 1),)]
            if value.strides[axis] == 0 or np.array_equal(
                np.broadcast_to(first, value.shape), value, equal_nan=value.dtype.kind == "f"
            ):
                value = first
    return value.reshape(stripped(value.shape))


def constant(value: Array) -> Expression | None:
    """An expression for a constant; None for one that is too large to be written out."""
    if value.size == 0:
        text = f"np.zeros({value.shape}, {dtype_text(value.dtype)})"
        return Expression(text, ATOM, value.shape)
    value = collapsed(value)
    shape = value.shape
    if not shape:
        return number(value)
    line = value.reshape(-1)
    along = _progression(line) if math.prod(shape) == max(shape) else None
    if along is not None:
        e = Expression(along, ATOM, line.shape, weight=1)
        return reshaped(e, (1,) * (len(shape) - 1) + line.shape, shape)
    matrix = _triangle(value) or _identity(value) if value.ndim == 2 else None
    if matrix is not None:
        return Expression(matrix, ATOM, shape, weight=1)
    if value.size > LITERAL:
        return None
    return Expression(array_literal(value), ATOM, shape, weight=1)


def array_literal(value: Array) -> str:
    """A small array, written out."""

    def rows(x: Array) -> str:
        return f"[{', '.join(map(rows, x))}]" if x.ndim else number_literal(x)

    return f"np.array({rows(value)}, {dtype_text(value.dtype)})"


def _triangle(value: Array) -> str | None:
    """A mask that holds up to a diagonal, as `np.tri`."""
    n, m = value.shape
    count = value.sum(axis=1) if value.dtype == np.bool_ else np.zeros(0)
    rows = np.flatnonzero((count > 0) & (count < m))
    if not rows.size:
        return None
    k = int(count[rows[0]] - 1 - rows[0])
    if not np.array_equal(value, np.tri(n, m, k, dtype=bool)):
        return None
    return f"np.tri({n}, {m}{f', {k}' if k else ''}, dtype=bool)"


def _identity(value: Array) -> str | None:
    n, m = value.shape
    if n != m or np.count_nonzero(value) != n or not (np.diagonal(value) == 1).all():
        return None
    return f"np.eye({n}, dtype={dtype_text(value.dtype)})"


def _progression(line: Array) -> str | None:
    """Whole numbers at equal distances, as `np.arange`."""
    if line.dtype.kind not in "iu" or line.size < 2:
        return None
    start, step = int(line[0]), int(line[1]) - int(line[0])
    stop = start + step * line.size
    fits = min(start, stop) > -(2**62) and max(start, stop) < 2**62
    if step == 0 or not fits or not np.array_equal(line, np.arange(start, stop, step)):
        return None
    bounds = f"{stop}" if (start, step) == (0, 1) else f"{start}, {stop}"
    bounds += "" if step == 1 else f", {step}"
    kind = "" if line.dtype == np.int64 else f", dtype={dtype_text(line.dtype)}"
    return f"np.arange({bounds}{kind})"
