"""A graph written as it is, as a formula in one line: each operation by its usual sign.

For the table of derivatives, and for texts that name every operation. `mathematics` simplifies
instead, in indices and in two notations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops
from ..graph import Graph, Node, Operation
from .numbers import number_text

CONSTANTS = {
    math.pi: "π",
    2 / math.sqrt(math.pi): "2/√π",
    math.sqrt(math.pi) / 2: "√π/2",
    math.sqrt(math.pi): "√π",
    math.sqrt(2 / math.pi): "√(2/π)",
    math.log(2): "log 2",
    math.log(10): "log 10",
}

_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4  # how tightly a text binds

_INFIX: dict[Operation, tuple[str, int]] = {
    ops.add: (" + ", _SUM),
    ops.subtract: (" − ", _SUM),
    ops.multiply: (" · ", _PRODUCT),
    ops.divide: (" / ", _PRODUCT),
    ops.equal: (" = ", 0),
    ops.less: (" < ", 0),
    ops.less_equal: (" ≤ ", 0),
    ops.bitwise_and: (" and ", 0),
    ops.matmul: (" @ ", _PRODUCT),
}
_PLAIN = (ops.reshape, ops.broadcast_to, ops.alias, ops.astype)


def formula(graph: Graph, names: Mapping[Node, str], shaped: bool = False) -> str:
    """The graph's one output as a formula in the inputs' names.

    shaped  keep reshapes and broadcasts, which a formula of scalars leaves out
    """
    return _text(graph.outputs[0], names, shaped)[0]


def _text(node: Node, names: Mapping[Node, str], shaped: bool) -> tuple[str, int]:
    if node in names:
        return names[node], _ATOM
    if node.op is None:
        return _number(node.value)
    op = node.op
    first = node.inputs[0]
    if op in _PLAIN and (not shaped or (first.op is None and first.value is not None)):
        return _text(first, names, shaped)
    parts = [_text(i, names, shaped) for i in node.inputs]
    if op in _INFIX:
        sign, level = _INFIX[op]
        (left, a), (right, b) = parts
        if op is ops.multiply and right == "1":
            return left, a
        if op is ops.multiply and left == "1":
            return right, b
        left = left if a >= level else f"({left})"
        tight = op in (ops.subtract, ops.divide)
        right = right if b > level or (b == level and not tight) else f"({right})"
        return left + sign + right, level
    if op is ops.negative:
        inner, level = parts[0]
        return "−" + (inner if level >= _PRODUCT else f"({inner})"), _PRODUCT
    if op is ops.square:
        inner, level = parts[0]
        return (inner if level == _ATOM else f"({inner})") + "²", _POWER
    if op is ops.sqrt:
        inner, level = parts[0]
        return "√" + (inner if level == _ATOM else f"({inner})"), _POWER
    if op is ops.power:
        (base, a), (exponent, b) = parts
        base = base if a == _ATOM else f"({base})"
        return f"{base}^{exponent if b == _ATOM else f'({exponent})'}", _POWER
    if op is ops.where:
        condition, yes, no = (p[0] for p in parts)
        return f"[{condition}: {yes}, else {no}]", _ATOM
    params = [f"{k}={_param(v)}" for k, v in node.params.items()]
    return f"{op.name}({', '.join([p[0] for p in parts] + params)})", _ATOM


def _number(value: Any) -> tuple[str, int]:
    if np.size(value) != 1:
        return "constant", _ATOM
    number = np.asarray(value).item()
    if number in CONSTANTS:
        return CONSTANTS[number], _ATOM
    text = number_text(number, 6)
    return text, _PRODUCT if text.startswith("−") else _ATOM


def _param(value: Any) -> str:
    return str(value).replace(" ", "")
