"""Numbers in expressions: fractions, where floating point can be one."""

from __future__ import annotations

import math
from fractions import Fraction

from .expression import Count, Expr, Number, Power, Product

_LARGEST = 10_000  # of the denominator of a float that is taken for a fraction
_CHANCE = 0.05  # that a number is near a fraction by chance


def number(value: float | int | Fraction, digits: float = 1e-15) -> Expr:
    """The number: as a fraction, or 1/√ of one, if it is one up to this relative rounding."""
    if isinstance(value, (int, Fraction)):
        return Number(Fraction(value))
    if not math.isfinite(value):
        return Number(value)
    largest = min(_LARGEST, int(math.sqrt(_CHANCE / digits)))
    near = Fraction(value).limit_denominator(largest)
    if near == value or (value and abs(float(near) / value - 1) <= digits):
        return Number(near)
    square = value * value
    if square and math.isfinite(square):
        near = Fraction(square).limit_denominator(largest)
        if near and near.numerator in (1, 2) and abs(float(near) / square - 1) <= 2 * digits:
            root = Power(Number(near), Number(Fraction(1, 2)))
            if near.numerator == 1:
                root = Power(Number(1 / near), Number(Fraction(-1, 2)))
            return root if value > 0 else Product((Number(Fraction(-1)), root))
    return Number(value)


ZERO, ONE, MINUS = Number(Fraction(0)), Number(Fraction(1)), Number(Fraction(-1))


def times(a: Fraction | float, b: Fraction | float) -> Fraction | float:
    exact = isinstance(a, Fraction) and isinstance(b, Fraction)
    return a * b if exact else float(a) * float(b)


def plus(a: Fraction | float, b: Fraction | float) -> Fraction | float:
    exact = isinstance(a, Fraction) and isinstance(b, Fraction)
    return a + b if exact else float(a) + float(b)


def value_of(e: Expr) -> Fraction | float | None:
    """The value of a number, or of the number of samples."""
    if isinstance(e, Number):
        return e.value
    return Fraction(e.size) if isinstance(e, Count) else None
