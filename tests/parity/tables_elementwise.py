"""Cases of the functions that act element by element."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from parity_harness import (
    Case,
    above_one,
    distinct,
    points,
    positive,
    real,
    rows,
    unit,
    within,
)

import chainrule as cr

F = torch.nn.functional
inf, nan = math.inf, math.nan

SHAPES = [(), (1,), (0,), (2, 3), (2, 1, 4)]
SPECIAL = [0.0, -0.0, 1.0, -1.0, inf, -inf, nan]

# name, PyTorch's function (None: of the same name), domain
UNARY: list[tuple[str, Any, Any]] = [
    ("negative", None, real),
    ("positive", None, real),
    ("abs", None, real),
    ("square", None, real),
    ("reciprocal", None, real),
    ("sqrt", None, positive),
    ("rsqrt", None, positive),
    ("exp", None, real),
    ("expm1", None, real),
    ("log", None, positive),
    ("log1p", None, unit),
    ("log2", None, positive),
    ("log10", None, positive),
    ("sin", None, real),
    ("cos", None, real),
    ("tan", None, unit),
    ("asin", None, unit),
    ("acos", None, unit),
    ("atan", None, real),
    ("sinh", None, real),
    ("cosh", None, real),
    ("tanh", None, real),
    ("asinh", None, real),
    ("acosh", None, above_one),
    ("atanh", None, unit),
    ("sigmoid", None, real),
    ("erf", None, real),
    ("erfinv", None, unit),
    ("relu", None, real),
    ("softplus", F.softplus, real),
    ("sign", None, distinct),
    ("floor", None, distinct),
    ("ceil", None, distinct),
    ("trunc", None, distinct),
    ("round", None, distinct),
    ("real", None, real),
    ("conj", None, real),
]

# places beyond SPECIAL at which a function is delicate
PLACES: dict[str, list[float]] = {
    "exp": [-750.0, 709.0, 710.0],
    "expm1": [1e-10, -40.0],
    "log": [1e-300],
    "log1p": [1e-10],
    "sqrt": [1e-300],
    "tanh": [1e-10, 25.0, -25.0, 400.0],
    "sigmoid": [40.0, -40.0, 800.0, -800.0],
    "softplus": [1e-10, 19.0, 25.0, -40.0, 800.0, -800.0],
    "erf": [1e-10, 0.46875, 3.0, 7.0, -7.0],
    "erfinv": [1e-10, 0.85, 0.999999, -0.999999, 1.5],
    "asin": [1.5],
    "acos": [1.5],
    "atanh": [1.5],
    "acosh": [0.5, 1e150],
    "asinh": [1e150, 1e-10],
    "cosh": [710.0],
    "sinh": [710.0, -710.0],
    "tan": [math.pi / 2],
    "floor": [0.5, -0.5],
    "ceil": [0.5, -0.5],
    "trunc": [0.5, -0.5],
    "round": [0.5, 1.5, 2.5, -0.5],
    "square": [1e200],
}

BROADCASTS = [
    ((), ()),
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((2, 1), (1, 3)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((4, 1, 2), (3, 1)),
    ((0, 3), (1, 3)),
    ((1,), (1, 1, 1)),
]

# name, PyTorch's function, domain of both (or of each), levels
BINARY: list[tuple[str, Any, Any]] = [
    ("add", None, real),
    ("subtract", None, real),
    ("multiply", None, real),
    ("divide", None, real),
    ("power", torch.pow, (positive, real)),
    ("remainder", None, (real, above_one)),
    ("floor_divide", None, (real, above_one)),
    ("maximum", None, distinct),
    ("minimum", None, distinct),
    ("atan2", None, real),
    ("hypot", None, real),
    ("logaddexp", None, real),
    ("copysign", None, real),
]

PAIRS = list(itertools.product([0.0, -0.0, 1.0, -2.0, inf, -inf, nan], repeat=2))
OPERATORS: dict[str, Any] = {
    "x+2": lambda x: x + 2,
    "2.5+x": lambda x: 2.5 + x,
    "x-2": lambda x: x - 2,
    "2-x": lambda x: 2 - x,
    "x*3": lambda x: x * 3,
    "3.0*x": lambda x: 3.0 * x,
    "x/4": lambda x: x / 4,
    "4/x": lambda x: 4 / x,
    "x**2": lambda x: x**2,
    "x**3": lambda x: x**3,
    "x**0": lambda x: x**0,
    "x**-1": lambda x: x**-1,
    "x**0.5": lambda x: x**0.5,
    "x**1.5": lambda x: x**1.5,
    "2**x": lambda x: 2**x,
    "x%1.5": lambda x: x % 1.5,
    "x//1.5": lambda x: x // 1.5,
    "-x": lambda x: -x,
    "abs(x)": lambda x: abs(x),
    "x*x": lambda x: x * x,
    "x-x": lambda x: x - x,
    "x/x": lambda x: x / x,
}


def unary() -> Iterator[Case]:
    for name, other, domain in UNARY:
        ours, theirs = getattr(cr, name), other or getattr(torch, name)
        yield from rows(name, ours, theirs, SHAPES, on=domain)
        yield from points(name, ours, theirs, SPECIAL + PLACES.get(name, []))


def binary() -> Iterator[Case]:
    for name, other, domain in BINARY:
        ours, theirs = getattr(cr, name), other or getattr(torch, name)
        if domain is distinct:
            domain = (distinct, within(-0.4, 0.4))
        yield from rows(name, ours, theirs, BROADCASTS, on=domain)
        yield from points(name, ours, theirs, PAIRS)


def operators() -> Iterator[Case]:
    for name, f in OPERATORS.items():
        yield from rows(name, f, f, [(), (2, 3)], on=positive)
        places = [0.0, -0.0, -1.0, inf, nan]
        if name not in ("x**0.5", "x**1.5"):  # pow(-inf, ½) is inf, √-inf is NaN: either may run
            places.append(-inf)
        yield from points(name, f, f, places)
    binary_operators: dict[str, Any] = {
        "x+y": lambda x, y: x + y,
        "x-y": lambda x, y: x - y,
        "x*y": lambda x, y: x * y,
        "x/y": lambda x, y: x / y,
        "x**y": lambda x, y: x**y,
        "x%y": lambda x, y: x % y,
    }
    for name, f in binary_operators.items():
        yield from rows(name, f, f, [((2, 3), (3,)), ((), (2,))], on=positive)


def _mask(x: Any) -> np.ndarray:
    """A fixed pattern of the shape."""
    return np.arange(int(np.prod(x.shape))).reshape(tuple(x.shape)) % 3 == 0


def choosing() -> Iterator[Case]:
    shapes = [((2, 3), (2, 3)), ((4,), ()), ((), ()), ((2, 1), (1, 3)), ((0, 2), (2,))]
    yield from rows(
        "where",
        lambda x, y: cr.where(cr.Tensor(_mask(x)), x, y),
        lambda x, y: torch.where(torch.tensor(_mask(x)), x, y),
        shapes,
    )
    yield from rows(
        "where-number",
        lambda x: cr.where(x > 0, x, 0.5),
        lambda x: torch.where(x > 0, x, 0.5),
        [(), (2, 3)],
    )
    guarded = {
        "where-guarded-log": (
            lambda x: cr.where(x > 0, cr.log(x), 0.0),
            lambda x: torch.where(x > 0, torch.log(x), 0.0),
        ),
        "where-x-if-x<0": (
            lambda x: cr.where(x < 0, x, -x),
            lambda x: torch.where(x < 0, x, -x),
        ),
    }
    for name, (ours, theirs) in guarded.items():
        yield from points(name, ours, theirs, [1.0, -1.0, inf, -inf, nan])
    bounds = [(-0.5, 0.5), (None, 0.5), (-0.5, None), (0.5, -0.5), (-inf, inf)]
    yield from rows("clip", cr.clip, torch.clip, [(), (7,), (2, 3), (0, 2)], bounds)
    clip = {
        "clip01": (lambda x: cr.clip(x, 0.0, 1.0), lambda x: torch.clip(x, 0.0, 1.0)),
        "clip0": (lambda x: cr.clip(x, 0.0), lambda x: torch.clip(x, 0.0)),
        "clip1": (lambda x: cr.clip(x, None, 1.0), lambda x: torch.clip(x, None, 1.0)),
    }
    for name, (ours, theirs) in clip.items():
        yield from points(name, ours, theirs, [*SPECIAL, 0.5, 2.0])
    yield from rows(
        "clip-tensors",
        cr.clip,
        torch.clip,
        [((5,), (5,), (5,)), ((2, 3), (3,), ()), ((), (), ())],
        on=(real, within(-1, -0.5), within(0.5, 1)),
    )


def cases() -> Iterator[Case]:
    """All of them."""
    for table in (unary, binary, operators, choosing):
        yield from table()
