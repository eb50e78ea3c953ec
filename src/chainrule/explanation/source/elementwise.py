"""Expressions of elementwise operations: their operands broadcast as NumPy does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import ops
from ...compile.rewriting import number
from ...graph import Node
from ..samples import mean_of
from .expressions import (
    ATOM,
    COMPARISON,
    OR,
    POWER,
    PRODUCT,
    UNARY,
    Expression,
    as_whole,
    dtype_text,
)
from .functions import Functions

Emission = Callable[[Node, list[Expression], Functions], Expression]


def elementwise(
    node: Node, xs: Sequence[Expression], text: str, level: int, by_python: bool = False
) -> Expression:
    """An expression with the shape that broadcasting gives.

    by_python   the text has signs only, so that of Python's numbers it is one
    """
    shape = np.broadcast_shapes(*[x.shape for x in xs])
    weight = 1 + sum(x.weight for x in xs)
    weak = by_python and all(x.weak for x in xs)
    whole = any(x.number is not None for x in xs)  # an int, of which NumPy makes one
    other = node.dtype != np.bool_ if whole else node.dtype not in (np.float64, np.bool_)
    if not weak and all(x.weak for x in xs) and other:
        text, level = f"{dtype_text(node.dtype)}({text})", ATOM
    return Expression(text, level, shape, weak, weight)


def infix(sign: str, level: int) -> Emission:
    """x1 sign x2, the second one in parentheses unless it binds more tightly."""

    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        a, b = xs
        text = f"{a.within(level)} {sign} {b.within(level + 1)}"
        return elementwise(node, xs, text, level, by_python=True)

    return emission


def divide(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    a, b = xs
    if a.mean is not None and mean_of(node):
        return a.mean
    return elementwise(node, xs, f"{a.within(PRODUCT)} / {b.within(UNARY)}", PRODUCT, True)


def power(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    a, b = xs
    return elementwise(node, xs, f"{a.atom} ** {b.within(UNARY)}", POWER, by_python=True)


def square(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    return elementwise(node, xs, f"{xs[0].atom} ** 2", POWER, by_python=True)


def negative(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    x = xs[0]
    if x.level == PRODUCT:
        return elementwise(node, xs, f"-{x.text}", PRODUCT, by_python=True)
    return elementwise(node, xs, f"-{x.within(UNARY + 1)}", UNARY, by_python=True)


def comparison(sign: str, function: str) -> Emission:
    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        a, b = xs
        if all(x.weak for x in xs):
            return elementwise(node, xs, f"{function}({a.text}, {b.text})", ATOM)
        if a.inside is not None and node.op is ops.less and number(node.inputs[1]) == np.inf:
            return elementwise(node, [a.inside], f"np.isfinite({a.inside.text})", ATOM)
        left, right, as_read = (b, a, sign.replace("<", ">")) if a.weak else (a, b, sign)
        text = f"{left.within(OR)} {as_read} {right.within(OR)}"  # a number stands on the right
        return elementwise(node, xs, text, COMPARISON)

    return emission


def absolute(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    """|x|, of which a comparison may need x."""
    return replace(function("np.abs")(node, xs, functions), inside=xs[0])


def invert(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    if xs[0].weak:
        return elementwise(node, xs, f"np.invert({xs[0].text})", ATOM)
    return elementwise(node, xs, f"~{xs[0].within(UNARY)}", UNARY)


def function(name: str) -> Emission:
    """name(x1, ...), elementwise."""

    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        return elementwise(node, xs, f"{name}({', '.join(x.text for x in xs)})", ATOM)

    return emission


def own(function: Any, wide: bool = False) -> Emission:
    """A function that the module brings along, elementwise.

    wide  it computes in float64
    """

    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        name = functions.add(function, function.__name__, str(node.op))
        x = as_whole(xs[0], node.shape, node.dtype) if xs[0].weak else xs[0]
        cast = f".astype({dtype_text(node.dtype)})" if wide and node.dtype != np.float64 else ""
        return elementwise(node, [x], f"{name}({x.text}){cast}", ATOM)

    return emission


def where(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    text = f"np.where({', '.join(x.text for x in xs)})"
    out = elementwise(node, xs, text, ATOM)
    if xs[1].weak and xs[2].weak:
        return replace(out, text=f"{text}.astype({dtype_text(node.dtype)})")
    return out


def astype(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    x = xs[0]
    if x.weak and node.dtype.kind == "f":
        return x
    if x.weak:
        x = as_whole(x, node.shape, node.inputs[0].dtype)
    return Expression(f"{x.atom}.astype({dtype_text(node.dtype)})", ATOM, x.shape, weight=x.weight)


def same(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    return xs[0]
