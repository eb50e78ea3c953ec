"""Expressions that call a function: one that the module brings along, or the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import ArgumentError, user_line
from ...graph import Node, Operation
from .constants import array_literal, number_literal
from .elementwise import Emission
from .expressions import Expression, as_whole, computed, dtype_text
from .functions import Functions, ufunc_text


def whole(node: Node, xs: list[Expression]) -> list[Expression]:
    """The operands as arrays of the shapes that the graph has."""
    pairs = zip(xs, node.inputs, strict=True)
    return [x if isinstance(i.dtype, tuple) else as_whole(x, i.shape, i.dtype) for x, i in pairs]


def helper(function: Callable[..., Any]) -> Emission:
    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        return call(node, whole(node, xs), functions, function)

    return emission


def call(node: Node, xs: Sequence[Expression], functions: Functions, function: Any) -> Expression:
    """function(*xs, **params), without the parameters that the function does not know."""
    name = functions.add(function, function.__name__, str(node.op))
    known = inspect.signature(function).parameters
    params = {
        k: v
        for k, v in ((k, node.params[k]) for k in known if k in node.params)
        if v != known[k].default and not (known[k].default is None and _plain(v))
    }
    return _called(node, xs, name, params)


def _plain(value: Any) -> bool:
    """Whether a stride, dilation or padding changes nothing."""
    return {*value} <= {1} or {*value} <= {(0, 0)}


def _called(node: Node, xs: Sequence[Expression], name: str, params: dict[str, Any]) -> Expression:
    arguments = [x.text for x in xs] + [f"{k}={_parameter(v, node)}" for k, v in params.items()]
    return computed(f"{name}({', '.join(arguments)})", node.shape, *xs)


def meaning(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    """An operation of the user's own: its meaning, as the user wrote it."""
    assert node.op is not None
    function = user_meaning(node.op)
    if isinstance(function, np.ufunc):
        name = ufunc_text(function, node.op.name)
    else:
        name = functions.add(function, node.op.name, node.op.name)
    return _called(node, whole(node, xs), name, dict(node.params))


def user_meaning(op: Operation) -> Any:
    """The function that the user passed to `defop`: it stands behind two that this library adds."""
    function: Any = op.evaluate
    for _ in range(2):
        function = getattr(function, "__wrapped__", function)
    return function


def _parameter(value: Any, node: Node) -> str:
    if isinstance(value, np.ndarray):
        return array_literal(value)
    if isinstance(value, np.dtype):
        return dtype_text(value)
    if isinstance(value, (bool, str, type(None))):
        return repr(value)
    if isinstance(value, (int, float, np.generic)):
        return number_literal(value)
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_parameter(v, node) for v in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise ArgumentError(
        "explain",
        f"got an operation {node.op} with a parameter of type {type(value).__name__}",
        "expected numbers, texts, arrays, and tuples of them",
        "pass it to the operation as an input",
        user_line(),
    )
