"""Identities that make a graph shorter to read, one function for each operation that has some.

They hold for every input, except that roundings may differ, and a zero may lose its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import ops
from ...compile import passes
from ...compile.rewriting import apply, number, with_inputs
from ...dtypes import is_floating
from ...graph import Dtype, Node, Operation, Shape
from .constants import inverse
from .patterns import as_mask, is_class_of, is_count, is_masked, is_zero_where


def simpler(node: Node) -> Node:
    """The node, or what says the same in a shorter way; its inputs are as short already."""
    if node.op in ops.POINTWISE and not isinstance(node.dtype, tuple):
        numbers = [number(i) for i in node.inputs]
        if all(n is not None for n in numbers):
            with np.errstate(all="ignore"):
                value = node.op.evaluate(*map(np.asarray, numbers), **node.params)
            return _full(value, node.shape, node.dtype)
    node = passes.simpler(node, node.inputs)  # what holds to the last bit
    rule = _RULES.get(node.op)
    return node if rule is None else rule(node) or node


def _new(op: Operation, *inputs: Node, **params: object) -> Node:
    return apply(op, *inputs, source=None, **params)


def _equal(node: Node) -> Node | None:
    """A mask as numbers is 0 where the mask does not hold."""
    x, zero = node.inputs
    mask = as_mask(x)
    if mask is not None and number(zero) == 0:
        return _new(ops.bitwise_invert, mask)
    return None


def _and(node: Node) -> Node | None:
    """Nothing holds together with what never does."""
    return next((x for x in node.inputs if number(x) is not None and not number(x)), None)


def _where(node: Node) -> Node | None:
    """Where the mask is inverted the branches change places; in each the mask is known.

    Where x is not above 0 it is 0: the larger of both.
    """
    condition, yes, no = node.inputs
    if number(condition) is not None:
        return yes if number(condition) else no
    if condition.op is ops.bitwise_invert:
        condition, yes, no = condition.inputs[0], no, yes
    if number(no) == 0 and is_zero_where(yes, condition, 2):
        return yes
    if number(yes) == 0 and is_zero_where(no, condition, 1):
        return no
    yes, no = _where_known(yes, condition, 1), _where_known(no, condition, 2)
    below = condition.op is ops.less_equal and condition.inputs[0] is no
    if below and number(yes) == 0 and number(condition.inputs[1]) == 0:
        return _new(ops.maximum, no, yes)
    if number(yes) == 1 and number(no) == 0 and is_floating(node.dtype):
        return _new(ops.astype, condition, dtype=node.dtype)
    empty = condition.op is ops.equal and condition.inputs[0] is no and is_count(no)
    if empty and number(yes) == 1 and number(condition.inputs[1]) == 0:
        return _new(ops.maximum, no, yes)
    if (condition, yes, no) == node.inputs:
        return None
    return with_inputs(node, (condition, yes, no))


def _where_known(x: Node, mask: Node, branch: int, depth: int = 4) -> Node:
    """x where this branch of the mask is taken: in the first one, mask as a number is 1."""
    if x.op is ops.where and x.inputs[0] is mask:
        return x.inputs[branch]
    if x.op is ops.multiply and branch == 1:
        for factor, other in (x.inputs, x.inputs[::-1]):
            if as_mask(factor) is mask:
                return other
    if x.op in (ops.negative, ops.multiply, ops.divide) and depth:
        inputs = tuple([_where_known(i, mask, branch, depth - 1) for i in x.inputs])
        return x if inputs == x.inputs else simpler(with_inputs(x, inputs))
    return x


def _opposite(x: Node) -> Node | None:
    """-x, where that is shorter than x."""
    if x.op is ops.negative:
        return x.inputs[0]
    if x.op is ops.broadcast_to and x.inputs[0].op is ops.negative:
        return _new(ops.broadcast_to, x.inputs[0].inputs[0], shape=x.shape)
    value = number(x)
    if value is not None and is_floating(x.dtype) and value < 0:
        return _full(-value, x.shape, x.dtype)
    return None


def _full(value: Any, shape: Shape, dtype: Dtype) -> Node:
    """A constant."""
    one = np.full((1,) * len(shape), value, dtype)
    leaf = Node(None, (), {}, one.shape, one.dtype, one)
    return leaf if one.shape == shape else _new(ops.broadcast_to, leaf, shape=shape)


def _multiply(node: Node) -> Node | None:
    """x · (1 / y) = x / y; a mask leaves what is 0 without it.

    x · x = x²; (-x) y = -(x y); g / ∑eˣ · eˣ = g · softmax(x).
    """
    if node.inputs[0] is node.inputs[1]:
        return _new(ops.square, node.inputs[0])
    for x, y in (node.inputs, node.inputs[::-1]):
        mask = as_mask(y)
        if mask is not None and is_masked(x) and x.inputs[0] is mask:
            return x
        c = number(y)
        if c == -1:
            return simpler(_new(ops.negative, x))
        opposite = _opposite(y)
        if opposite is not None:
            parts = [opposite if i is y else i for i in node.inputs]
            return _new(ops.negative, simpler(_new(ops.multiply, *parts)))
        if c is not None and inverse(c) is not None:
            return simpler(_new(ops.divide, x, _full(inverse(c), x.shape, node.dtype)))
        one = y.inputs[0] if y.op is ops.broadcast_to else y
        if one.op is ops.divide and number(one.inputs[0]) == 1:
            below = _new(ops.broadcast_to, one.inputs[1], shape=y.shape)
            return simpler(_new(ops.divide, x, simpler(below)))
        if y.op is ops.exp and x.op is ops.broadcast_to and x.inputs[0].op is ops.divide:
            g, total = x.inputs[0].inputs
            if total.op is ops.sum and total.inputs[0] is y:
                wide = [_new(ops.broadcast_to, part, shape=y.shape) for part in (g, total)]
                return _new(ops.multiply, wide[0], _new(ops.divide, y, wide[1]))
    return None


def _divide(node: Node) -> Node | None:
    """(-x) / y = -(x / y)."""
    x, y = node.inputs
    above, below = _opposite(x), _opposite(y)
    if above is None and below is None:
        return None
    positive = simpler(_new(ops.divide, above or x, below or y))
    return positive if above and below else _new(ops.negative, positive)


def _add(node: Node) -> Node | None:
    """x + 0 = x; x + x = 2 x; x + (-y) = x - y; parts with zeros around them are joined.

    Of a mask's two branches one array.
    """
    x, y = node.inputs
    if number(x) == 0 or number(y) == 0:
        return y if number(x) == 0 else x
    if x is y:
        return simpler(_new(ops.multiply, _full(2, node.shape, node.dtype), x))
    for first, second in (node.inputs, node.inputs[::-1]):
        opposite = _opposite(second)
        if opposite is not None:
            return _new(ops.subtract, first, opposite)
        if is_masked(first) and is_zero_where(second, first.inputs[0], 1):
            condition, yes, _ = first.inputs
            return _new(ops.where, condition, yes, _where_known(second, condition, 2))
    return _joined(node)


def _negative(node: Node) -> Node | None:
    """The sign goes to the branch that is not 0."""
    x = node.inputs[0]
    if x.op is ops.where and any(number(i) == 0 for i in x.inputs[1:]):
        condition, *branches = x.inputs
        signed = [i if number(i) == 0 else simpler(_new(ops.negative, i)) for i in branches]
        return _new(ops.where, condition, *signed)
    if x.op is ops.broadcast_to:
        inner = simpler(_new(ops.negative, x.inputs[0]))
        return _new(ops.broadcast_to, inner, shape=x.shape)
    return None


def _subtract(node: Node) -> Node | None:
    """x - (-y) = x + y."""
    opposite = _opposite(node.inputs[1])
    return None if opposite is None else _new(ops.add, node.inputs[0], opposite)


def _parts_along(x: Node) -> tuple[int, list[tuple[int, Node]]] | None:
    """The axis along which x is padded, and its parts with the place at which each begins."""
    if x.op is ops.concat:
        out, at = [], 0
        axis = x.params["axis"]
        for part in x.inputs:
            if number(part) != 0:
                out.append((at, part))
            at += part.shape[axis]
        return axis, out
    if x.op is not ops.pad or any(x.params["interior"]):
        return None
    padded = [a for a, n in enumerate(x.shape) if n != x.inputs[0].shape[a]]
    low, high = x.params["low"], x.params["high"]
    if len(padded) != 1 or min(*low, *high) < 0:
        return None
    return padded[0], [(low[padded[0]], x.inputs[0])]


def _joined(node: Node) -> Node | None:
    """A sum of arrays that are 0 where the other is not, as one array."""
    parts_of = [_parts_along(x) for x in node.inputs]
    if parts_of[0] is None or parts_of[1] is None or parts_of[0][0] != parts_of[1][0]:
        return None
    axis = parts_of[0][0]
    parts = sorted([*parts_of[0][1], *parts_of[1][1]], key=lambda part: part[0])
    end, pieces = 0, []
    for at, part in parts:
        if at < end:
            return None
        if at > end:
            pieces.append(_zeros(node, axis, at - end))
        pieces.append(part)
        end = at + part.shape[axis]
    if end < node.shape[axis]:
        pieces.append(_zeros(node, axis, node.shape[axis] - end))
    return _new(ops.concat, *pieces, axis=axis)


def _zeros(node: Node, axis: int, size: int) -> Node:
    shape = tuple(size if a == axis else n for a, n in enumerate(node.shape))
    return _full(0, shape, node.dtype)


def _sum(node: Node) -> Node | None:
    """Of an array that is 0 except at one class of each row: what stands at this class."""
    axis = node.params["axis"]
    x = node.inputs[0]
    if x.op is ops.negative:
        return _new(ops.negative, simpler(_new(ops.sum, x.inputs[0], axis=axis)))
    if x.op is not ops.where or len(axis) != 1 or number(x.inputs[2]) != 0:
        return None
    condition, value, _ = x.inputs
    one = value.op is ops.broadcast_to and value.inputs[0].shape == node.shape
    if one and condition.op is ops.equal and is_class_of(condition, axis[0]):
        return value.inputs[0]
    return None


def _permute_dims(node: Node) -> Node | None:
    """(aᵀ b)ᵀ = bᵀ a."""
    x, axes = node.inputs[0], node.params["axes"]
    count = len(axes)
    if x.op is not ops.matmul or axes != (*range(count - 2), count - 1, count - 2):
        return None
    if not any(i.op is ops.permute_dims and i.params["axes"] == axes for i in x.inputs):
        return None
    return _new(
        ops.matmul, *(simpler(_new(ops.permute_dims, i, axes=axes)) for i in x.inputs[::-1])
    )


def _reshape(node: Node) -> Node | None:
    """A product of rows laid out as a matrix is one of the array."""
    x = node.inputs[0]
    if x.op is ops.matmul and x.inputs[0].op is ops.reshape:
        rows, w = x.inputs
        whole = rows.inputs[0]
        fits = len(whole.shape) > 2 and whole.shape[-1] == rows.shape[-1]
        if fits and node.shape == (*whole.shape[:-1], w.shape[-1]):
            batch = whole.shape[:-2]
            same = _new(ops.reshape, w, shape=(*(1,) * len(batch), *w.shape))
            wide = _new(ops.broadcast_to, same, shape=(*batch, *w.shape))
            return _new(ops.matmul, whole, wide)
    return None


_RULES: Mapping[Operation | None, Callable[[Node], Node | None]] = {
    ops.equal: _equal,
    ops.bitwise_and: _and,
    ops.where: _where,
    ops.multiply: _multiply,
    ops.divide: _divide,
    ops.negative: _negative,
    ops.add: _add,
    ops.subtract: _subtract,
    ops.sum: _sum,
    ops.permute_dims: _permute_dims,
    ops.reshape: _reshape,
}
