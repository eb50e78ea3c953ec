"""Python expressions on NumPy arrays: texts that know their precedence and their shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import ArgumentError
from ...graph import Dtype, Shape

# How tightly a text binds. Python has one level for * and @; here a product of matrices in one of
# numbers, or the other way around, has parentheses.
COMPARISON, OR, XOR, AND, SHIFT, SUM, MATMUL, PRODUCT, UNARY, POWER, ATOM, NAME = range(12)


@dataclass(frozen=True)
class Expression:
    """An expression for a node.

    text    in Python
    level   how tightly the outermost operation binds
    shape   of what the text computes: it broadcasts to the node's shape
    weak    a Python number, which takes the dtype of the array that it meets
    weight  how many operations it has
    number  of a whole number that is written out, which one
    mean    of a sum, the mean of its terms
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
    mean: Expression | None = None
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


def computed(text: str, shape: Shape, *xs: Expression) -> Expression:
    """A call, or another text that binds as tightly, of these operands."""
    return Expression(text, ATOM, shape, weight=1 + sum(x.weight for x in xs))


def stripped(shape: Sequence[int]) -> Shape:
    """The shape without axes of size 1 in front: NumPy broadcasts as if they were there."""
    shape = tuple(shape)
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


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


def permuted(e: Expression, axes: Shape) -> Expression:
    """The expression with its axes in another order."""
    if not e.shape:
        return e
    count = len(axes)
    if len(e.shape) == 1 and axes[-1] != count - 1:  # a row becomes a column
        target = [1] * count
        target[axes.index(count - 1)] = e.shape[0]
        return reshaped(e, (1,) * (count - 1) + e.shape, tuple(target))
    whole = (1,) * (count - len(e.shape)) + e.shape[-count:]  # a reduction may leave more axes
    e = replace(as_whole(e, whole, np.dtype(np.float64)), weight=e.weight)
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
