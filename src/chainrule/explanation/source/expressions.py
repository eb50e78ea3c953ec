"""Python expressions on NumPy arrays: texts that know their precedence and their shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import ArgumentError
from ...graph import Array, Dtype, Shape

# How tightly a text binds. Python has one level for * and @; here a product of matrices in one of
# numbers, or the other way around, has parentheses.
COMPARISON, OR, XOR, AND, SHIFT, SUM, MATMUL, PRODUCT, UNARY, POWER, ATOM, NAME = range(12)

WIDTH = 88  # characters of a line
LITERAL = 32  # elements of a constant that is written out


@dataclass(frozen=True)
class Expression:
    """An expression for a node.

    text    in Python
    level   how tightly the outermost operation binds
    shape   of what the text computes: it broadcasts to the node's shape
    weak    a Python number, which takes the dtype of the array that it meets
    weight  how many operations it has
    number  of a whole number that is written out, which one
    mean    of a sum, the number of terms, and their mean
    narrow  the same without axes of size 1 that it keeps
    inside  of |x|, x
    sized   the text ends with the shape
    """

    text: str
    level: int
    shape: Shape
    weak: bool = False
    weight: int = 0
    number: int | None = None
    mean: tuple[int, Expression] | None = None
    narrow: Expression | None = None
    inside: Expression | None = None
    sized: bool = False

    def within(self, level: int) -> str:
        """The text as an operand where this level is expected."""
        return self.text if self.level >= level else f"({self.text})"

    @property
    def atom(self) -> str:
        """The text before a dot or a bracket."""
        return self.within(ATOM)


def name(text: str, shape: Shape, weak: bool = False) -> Expression:
    """A variable."""
    return Expression(text, NAME, shape, weak)


def stripped(shape: Sequence[int]) -> Shape:
    """The shape without axes of size 1 in front: NumPy broadcasts as if they were there."""
    shape = tuple(shape)
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def text_literal(text: str) -> str:
    """A text in quotes; what is not printable, as a line end, is escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped)
    return f'"{"".join(shown)}"'


def dtype_text(dtype: Dtype) -> str:
    """The dtype in NumPy."""
    if dtype == np.bool_:
        return "bool"
    if dtype.kind not in "iufb":
        raise ArgumentError(
            "explain",
            f"got values of dtype {dtype}",
            "expected dtypes that NumPy has",
            "convert the model and the data to float32 or float64",
        )
    return f"np.{dtype.name}"


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────


def as_whole(e: Expression, shape: Shape, dtype: Dtype) -> Expression:
    """The expression as an array of exactly this shape."""
    if e.shape == shape and not e.weak:
        return e
    weight = e.weight + 1
    if e.weak:
        kind = None if e.number is None else {0: "zeros", 1: "ones"}.get(e.number)
        default = "" if dtype == np.float64 and kind else f", {dtype_text(dtype)}"
        text = f"np.{kind}({shape}{default})" if kind else f"np.full({shape}, {e.text}{default})"
        return Expression(text, ATOM, shape, weight=weight, sized=True)
    extra = len(e.shape) - len(shape)
    if extra > 0:  # axes of size 1 in front, such as those of a batch of one
        first = f"{e.atom}[{', '.join(['0'] * extra)}]"
        return as_whole(Expression(first, ATOM, e.shape[extra:], weight=weight), shape, dtype)
    if shape == (1,) * -extra + e.shape:
        axes = ", ".join(["None"] * -extra)
        return Expression(f"{e.atom}[{axes}]", ATOM, shape, weight=weight)
    text = f"np.broadcast_to({e.text}, {shape})"
    return Expression(text, ATOM, shape, weight=weight, sized=True)


def with_axes(e: Expression, count: int) -> Expression:
    """The expression with that number of axes: those in front have size 1."""
    missing = count - len(e.shape)
    if missing <= 0 or e.weak:
        return replace(e, shape=(1,) * max(0, missing) + e.shape)
    text = f"{e.atom}[{', '.join(['None'] * missing)}]"
    return Expression(text, ATOM, (1,) * missing + e.shape, weight=e.weight)


def permuted(e: Expression, axes: Shape) -> Expression:
    """The expression with its axes in another order."""
    if not e.shape:
        return e
    count = len(axes)
    if len(e.shape) > count:  # of a reduction that leaves axes of size 1
        e = as_whole(e, e.shape[-count:], np.dtype(np.float64))
    if len(e.shape) == 1 and axes[-1] != count - 1:  # a row becomes a column
        target = [1] * count
        target[axes.index(count - 1)] = e.shape[0]
        return reshaped(e, (1,) * (count - 1) + e.shape, tuple(target))
    e = with_axes(e, count)
    shape = tuple(e.shape[a] for a in axes)
    order = tuple(range(count))
    if axes == order:
        return e
    if axes == (1, 0):
        text = f"{e.atom}.T"
    elif axes == (*order[:-2], count - 1, count - 2):
        text = f"{e.atom}.mT"
    else:
        text = f"{e.atom}.transpose({', '.join(map(str, axes))})"
    return Expression(text, ATOM, shape, weight=e.weight)


def reshaped(e: Expression, old: Shape, new: Shape) -> Expression:
    """The expression of the old shape in the new shape, by an index where that is enough."""
    if not e.shape:
        return e  # one number, whatever the shape
    if len(e.shape) > len(old):  # of a reduction that leaves axes of size 1
        e = as_whole(e, old, np.dtype(np.float64))
    if e.narrow is not None and stripped(e.narrow.shape) == stripped(new):
        return e.narrow
    if stripped(old) == stripped(new) and len(e.shape) <= len(new):
        return e  # NumPy adds axes in front where it needs them
    if [n for n in old if n != 1] == [n for n in new if n != 1]:
        return _indexed(e, old, new)
    if e.shape != old:
        e = as_whole(e, old, np.dtype(np.float64))
    if not new:
        return Expression(f"{e.atom}[{', '.join('0' for _ in old)}]", ATOM, (), weight=e.weight)
    text = f"{e.atom}.reshape({', '.join(map(str, new))})"
    return Expression(text, ATOM, new, weight=e.weight, sized=True)


def _indexed(e: Expression, old: Shape, new: Shape) -> Expression:
    """By an index: only axes of size 1 come and go."""
    implied = len(old) - len(e.shape)  # axes in front that the expression need not have
    tokens: list[tuple[str, int]] = []  # of each axis its index, and its size in the result
    i = j = 0
    while i < len(old) or j < len(new):
        if i < len(old) and j < len(new) and old[i] == new[j]:
            tokens.append(("", 1) if i < implied else (":", e.shape[i - implied]))
            i, j = i + 1, j + 1
        elif i < len(old) and old[i] == 1:
            tokens += [] if i < implied else [("0", 0)]
            i += 1
        else:
            tokens.append(("None", 1))
            j += 1
    while tokens and tokens[0][0] in ("", "None"):
        tokens.pop(0)
    shape = tuple(n for text, n in tokens if text != "0")
    texts = [text for text, _ in tokens]
    if len(texts) > 2 and texts == [*[":"] * (len(texts) - 1), "None"]:
        texts = ["...", "None"]
    while texts and texts[-1] == ":":
        texts.pop()
    if not texts:
        return replace(e, shape=shape)
    text = f"{e.atom}[{', '.join(texts)}]"
    narrow = e if e.shape == tuple(n for n in shape if n != 1) else None
    return Expression(text, ATOM, shape, weight=e.weight, narrow=narrow)


# ── constants ────────────────────────────────────────────────────────────────────────────────────


def _written(value: Array) -> bool | int | float:
    """The number in Python; whole floats without their fraction."""
    number: bool | int | float = value.item()
    if not isinstance(number, float) or not number.is_integer() or abs(number) >= 1e6:
        return number
    return number if number == 0 and math.copysign(1, number) < 0 else int(number)


def number_text(value: Any) -> str:
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
        return Expression(f"1 / {number_text(n)}", PRODUCT, (), weak=True)
    text, written = number_text(value), _written(value)
    level = UNARY if text.startswith("-") else ATOM
    return Expression(text, level, (), True, number=written if type(written) is int else None)


def inverse(value: Any) -> Any:
    """n of a number 1 / n that is longer to write than n, else None."""
    value = np.asarray(value)
    if value.dtype.kind != "f" or len(number_text(value)) <= 8 or not np.isfinite(1 / value):
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
    return Expression(array_text(value), ATOM, shape, weight=1)


def array_text(value: Array) -> str:
    """A small array, written out."""

    def rows(x: Array) -> str:
        return f"[{', '.join(map(rows, x))}]" if x.ndim else number_text(x)

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
