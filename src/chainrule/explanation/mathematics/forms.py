"""The forms of factors and axes that decide how an expression is written."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from .expression import Count, Expr, Index, Number, Power, Product, Reduce

Order = tuple[Index | None, ...]  # the axes of a matrix; None for one of size 1


def fits(read: Order, order: Order) -> bool:
    """Whether axes are those of a matrix, or broadcast to them: a row, a column, a number."""
    while len(read) > len(order) and read[0] is None:
        read = read[1:]
    return len(read) <= len(order) and all(
        a is None or a is b for a, b in zip(reversed(read), reversed(order), strict=False)
    )


def mean(factors: Sequence[Expr]) -> Sequence[Expr]:
    """A sum over the samples by their number is their mean, so that the number is N."""
    rows = [f.index.size for f in factors if isinstance(f, Reduce) and f.index.rows]
    match factors:
        case (Number(Fraction(numerator=1) as value), *rest) if value.denominator in rows:
            return [Power(Count(value.denominator), Number(Fraction(-1))), *rest]
    return factors


def decimal(value: Fraction) -> str:
    """A fraction such as 9/10 as a decimal number; "" if it is none, is long, or 1 / n."""
    text = f"{float(value):.4g}"
    short = value.numerator != 1 and value.denominator != 1 and "e" not in text
    return text if short and Fraction(text) == value else ""


def without_sign(e: Expr) -> tuple[bool, Expr]:
    """Whether it has a minus in front, and it without."""
    if isinstance(e, Number) and e.value < 0:
        return True, Number(-e.value)
    if isinstance(e, Product):
        first = e.factors[0]
        if isinstance(first, Number) and first.value < 0:
            rest = e.factors[1:]
            if first.value == -1:
                return True, rest[0] if len(rest) == 1 else Product(rest)
            return True, Product((Number(-first.value), *rest))
    return False, e
