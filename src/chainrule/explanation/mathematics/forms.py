"""The forms of factors and axes that decide how an expression is written."""

from __future__ import annotations

from fractions import Fraction

from .expression import Expr, Index, Number, Product

Order = tuple[Index | None, ...]  # the axes of a matrix; None for one of size 1


def fits(read: Order, order: Order) -> bool:
    """Whether axes are those of a matrix, or broadcast to them: a row, a column, a number."""
    while len(read) > len(order) and read[0] is None:
        read = read[1:]
    return len(read) <= len(order) and all(
        a is None or a is b for a, b in zip(reversed(read), reversed(order), strict=False)
    )


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
