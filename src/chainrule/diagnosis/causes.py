"""Why an operation on finite numbers gives NaN or infinity, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..graph import Dtype
from .places import BACKWARD


class Cause(NamedTuple):
    """In plain English: why, and what to try."""

    why: str
    remedy: str


LOGARITHMS = {"log": 0.0, "log2": 0.0, "log10": 0.0, "log1p": -1.0}
DOMAINS = {  # operations that have no value outside of these bounds
    "asin": (-1.0, 1.0),
    "acos": (-1.0, 1.0),
    "acosh": (1.0, math.inf),
    "atanh": (-1.0, 1.0),
    "erfinv": (-1.0, 1.0),
}
# Forward operations whose derivative is infinite at the edge, where a rule divides by 0.
EDGES = {
    "sqrt": ("the derivative of the square root is infinite at 0", "sqrt(x + 1e-8)"),
    "log": ("the derivative of the logarithm is infinite at 0", "log(x + 1e-8)"),
    "log1p": ("the derivative of log1p is infinite at -1", "log1p(maximum(x, -1 + 1e-6))"),
    "divide": (
        "the derivative of a quotient divides by its denominator, which is 0",
        "x / (y + 1e-8)",
    ),
    "asin": ("the derivative of asin is infinite at -1 and 1", "clip(x, -1 + 1e-6, 1 - 1e-6)"),
    "acos": ("the derivative of acos is infinite at -1 and 1", "clip(x, -1 + 1e-6, 1 - 1e-6)"),
    "acosh": ("the derivative of acosh is infinite at 1", "maximum(x, 1 + 1e-6)"),
    "atanh": ("the derivative of atanh is infinite at -1 and 1", "clip(x, -1 + 1e-6, 1 - 1e-6)"),
    "power": ("the derivative of a power below 1 is infinite at 0", "(x + 1e-8) ** p"),
}


def cause_of(
    operation: str, values: Sequence[float], result: float, dtype: Dtype, phase: str, forward: str
) -> Cause:
    """The cause for an operation on these operands.

    forward   of an operation of the backward pass: the operation whose rule it is part of
    """
    infinite = [v for v in values if math.isinf(v)]
    if infinite:
        return _of_infinities(operation, values)
    if phase == BACKWARD and forward in EDGES and 0 in values and operation in ("divide", "power"):
        why, inside = EDGES[forward]
        return Cause(why, f"keep away from that point: {inside}")
    first, last = (values[0], values[-1]) if values else (math.nan, math.nan)
    if operation in LOGARITHMS:
        edge = LOGARITHMS[operation]
        if first == edge:
            return Cause(
                f"{operation} of {edge:g} is minus infinity",
                f"add a small number inside, {operation}(x + 1e-8), or use a loss that takes the "
                "scores: cross_entropy, log_softmax",
            )
        return Cause(
            f"{operation} has no value below {edge:g}",
            f"make its operand positive first: {operation}(maximum(x, 1e-8)), or softplus",
        )
    if operation == "sqrt":
        return Cause("a negative number has no square root", "sqrt(maximum(x, 0) + 1e-8)")
    if operation in DOMAINS:
        low, high = DOMAINS[operation]
        return Cause(
            f"{operation} has no finite value outside of {low:g} to {high:g}, nor at such an edge",
            f"clip its operand: clip(x, {low:g} + 1e-6, {high:g} - 1e-6)"
            if high < math.inf
            else "maximum(x, 1)",
        )
    if operation == "divide" and last == 0:
        return Cause(
            "0 / 0 has no value" if first == 0 else "a number divided by 0 is infinite",
            "add a small number to the denominator, x / (y + 1e-8), or choose by where "
            "what to divide",
        )
    if operation == "power" and first <= 0 and len(values) > 1:
        return Cause(
            "0 to a negative power is infinite"
            if first == 0
            else "a negative number has no power with a fraction",
            "make the base positive: maximum(x, 1e-8) ** p",
        )
    if operation in ("remainder", "floor_divide") and last == 0:
        return Cause(
            "there is no remainder of a division by 0", "add a small number to the divisor"
        )
    if math.isnan(result):
        return Cause(
            f"numbers on the way overflow {dtype}, some to inf and some to -inf, and inf - inf has "
            "no value",
            _smaller(dtype, phase),
        )
    return _overflow(operation, dtype, phase)


def _of_infinities(operation: str, values: Sequence[float]) -> Cause:
    shown = [f"{v:g}" for v in values]
    if operation in ("multiply", "matmul"):
        why = f"{' · '.join(shown)} has no value"
    elif operation in ("add", "subtract"):
        why = f"{(' + ' if operation == 'add' else ' - ').join(shown)} has no value"
    else:
        why = f"{operation} has no value at {', '.join(shown)}"
    return Cause(why, "use a large finite number, such as -1e9, in place of the infinite constant")


def _overflow(operation: str, dtype: Dtype, phase: str) -> Cause:
    why = f"the result is larger than the largest {dtype}, {_largest(dtype):.3g}"
    if operation in ("exp", "expm1", "sinh", "cosh") and phase != BACKWARD:
        return Cause(why, "subtract the largest operand first, as softmax and logsumexp do")
    return Cause(why, _smaller(dtype, phase))


def _largest(dtype: Dtype) -> float:
    names = {"float16": 65504.0, "bfloat16": 3.39e38, "float32": 3.4028235e38}
    return names.get(str(dtype), 1.7976931348623157e308)


def _smaller(dtype: Dtype, phase: str) -> str:
    wider = f", or compute it in {'float32' if dtype.itemsize == 2 else 'float64'}"
    more = wider if dtype.itemsize < 8 else ""
    if phase == BACKWARD:
        return f"clip_norm=1.0 does not help here: scale the inputs or lower the rate{more}"
    return f"scale the inputs to mean 0 and deviation 1, or lower the learning rate{more}"
