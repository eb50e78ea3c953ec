"""Identities that make a graph shorter to read, one function for each operation that has some.

They hold for every input; a sum may round differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import ops
from ...compile.rewriting import apply, number, with_inputs
from ...dtypes import is_floating
from ...graph import Node, Operation, Shape


def simpler(node: Node) -> Node:
    """The node, or what says the same in a shorter way; its inputs are as short already."""
    if node.op in ops.POINTWISE and not isinstance(node.dtype, tuple):
        numbers = [number(i) for i in node.inputs]
        if all(n is not None for n in numbers):
            with np.errstate(all="ignore"):
                value = node.op.evaluate(*map(np.asarray, numbers), **node.params)
            return _full(value, node.shape, node)
    rule = _RULES.get(node.op)
    return node if rule is None else rule(node) or node


def _new(op: Operation, *inputs: Node, node: Node, **params: object) -> Node:
    return apply(op, *inputs, source=node.source, **params)


def _alias(node: Node) -> Node | None:
    return node.inputs[0]


def _equal(node: Node) -> Node | None:
    """A mask as numbers is 0 where the mask does not hold."""
    x, zero = node.inputs
    mask = _as_mask(x)
    if mask is not None and number(zero) == 0:
        return _new(ops.bitwise_invert, mask, node=node)
    return None


def _as_mask(x: Node) -> Node | None:
    """The mask whose 0 and 1 these numbers are."""
    if x.op is ops.astype and x.inputs[0].dtype == np.bool_:
        return x.inputs[0]
    return None


def _and(node: Node) -> Node | None:
    """Nothing holds together with what never does."""
    return next((x for x in node.inputs if number(x) is not None and not number(x)), None)


def _where(node: Node) -> Node | None:
    """Where the mask is inverted the branches change places; in one, mask as a number is 1."""
    condition, yes, no = node.inputs
    if number(condition) is not None:
        return yes if number(condition) else no
    if condition.op is ops.bitwise_invert:
        condition, yes, no = condition.inputs[0], no, yes
    if number(no) == 0 and _is_zero_without(yes, condition):
        return yes
    if yes.op is ops.where and yes.inputs[0] is condition:
        yes = yes.inputs[1]
    if no.op is ops.where and no.inputs[0] is condition:
        no = no.inputs[2]
    if yes.op is ops.multiply:
        for factor, other in (yes.inputs, yes.inputs[::-1]):
            if _as_mask(factor) is condition:
                yes = other
                break
    if number(yes) == 1 and number(no) == 0 and is_floating(node.dtype):
        return _new(ops.astype, condition, node=node, dtype=node.dtype)
    if is_count(no) and number(yes) == 1 and condition.op is ops.equal:
        first, second = condition.inputs
        if first is no and number(second) == 0:
            return _new(ops.maximum, no, _full(1, no.shape, node), node=node)
    if (condition, yes, no) == node.inputs:
        return None
    return with_inputs(node, (condition, yes, no))


def _is_zero_without(x: Node, mask: Node) -> bool:
    """Whether x is 0 where the mask does not hold, by the branches that made it."""
    while x.op is ops.where:
        condition, yes, no = x.inputs
        if condition is mask and number(no) == 0:
            return True
        if number(no) == 0:
            x = yes
        elif number(yes) == 0:
            x = no
        else:
            break
    return False


def _is_masked(x: Node) -> bool:
    """Whether it is 0 where a mask does not hold."""
    return x.op is ops.where and number(x.inputs[2]) == 0


def is_count(x: Node) -> bool:
    """Whether it is a sum of a mask's 0 and 1."""
    while x.op is ops.reshape:
        x = x.inputs[0]
    return x.op is ops.sum and _as_mask(x.inputs[0]) is not None


def _full(value: Any, shape: Shape, node: Node) -> Node:
    """A constant of the node's dtype."""
    one = np.full((1,) * len(shape), value, node.dtype)
    leaf = Node(None, (), {}, one.shape, one.dtype, one, False, node.source)
    return leaf if one.shape == shape else _new(ops.broadcast_to, leaf, node=node, shape=shape)


def _multiply(node: Node) -> Node | None:
    """x · (1 / y) = x / y; a mask leaves what is 0 without it; a number goes into the branch.

    x · x = x²; g / ∑eˣ · eˣ = g · softmax(x).
    """
    if node.inputs[0] is node.inputs[1]:
        return _new(ops.square, node.inputs[0], node=node)
    for x, y in (node.inputs, node.inputs[::-1]):
        mask = _as_mask(y)
        if mask is not None and _is_masked(x) and x.inputs[0] is mask:
            return x
        if _is_masked(x) and number(y) is not None and np.isfinite(number(y)):
            condition, yes, no = x.inputs
            scaled = simpler(_new(ops.multiply, yes, y, node=node))
            return _new(ops.where, condition, scaled, no, node=node)
        if y.op is ops.divide and number(y.inputs[0]) == 1:
            return _new(ops.divide, x, y.inputs[1], node=node)
        if number(y) == -1:
            return _new(ops.negative, x, node=node)
        if y.op is ops.exp and x.op is ops.broadcast_to and x.inputs[0].op is ops.divide:
            g, total = x.inputs[0].inputs
            if total.op is ops.sum and total.inputs[0] is y:
                wide = [
                    _new(ops.broadcast_to, part, node=node, shape=y.shape) for part in (g, total)
                ]
                return _new(
                    ops.multiply, wide[0], _new(ops.divide, y, wide[1], node=node), node=node
                )
    return None


def _add(node: Node) -> Node | None:
    """x + 0 = x; x + x = 2 x; x + (-y) = x - y; parts with zeros around them are joined."""
    x, y = node.inputs
    if number(x) == 0 or number(y) == 0:
        return y if number(x) == 0 else x
    if x is y:
        return simpler(_new(ops.multiply, _full(2, node.shape, node), x, node=node))
    if y.op is ops.negative:
        return _new(ops.subtract, x, y.inputs[0], node=node)
    if x.op is ops.negative:
        return _new(ops.subtract, y, x.inputs[0], node=node)
    return _joined(node)


def _negative(node: Node) -> Node | None:
    """-(-x) = x; the sign goes to the branch that is not 0."""
    x = node.inputs[0]
    if x.op is ops.negative:
        return x.inputs[0]
    if _is_masked(x):
        condition, yes, no = x.inputs
        return _new(
            ops.where, condition, simpler(_new(ops.negative, yes, node=node)), no, node=node
        )
    if x.op is ops.broadcast_to:
        inner = simpler(_new(ops.negative, x.inputs[0], node=node))
        return _new(ops.broadcast_to, inner, node=node, shape=x.shape)
    return None


def _subtract(node: Node) -> Node | None:
    x, y = node.inputs
    if y.op is ops.negative:
        return _new(ops.add, x, y.inputs[0], node=node)
    return None


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
    return _new(ops.concat, *pieces, node=node, axis=axis)


def _zeros(node: Node, axis: int, size: int) -> Node:
    shape = tuple(size if a == axis else n for a, n in enumerate(node.shape))
    return _full(0, shape, node)


def _sum(node: Node) -> Node | None:
    """Of an array that is 0 except at one class of each row: what stands at this class."""
    axis = node.params["axis"]
    x = node.inputs[0]
    if x.op is ops.negative:
        return _new(
            ops.negative, simpler(_new(ops.sum, x.inputs[0], node=node, axis=axis)), node=node
        )
    if x.op is not ops.where or len(axis) != 1 or number(x.inputs[2]) != 0:
        return None
    condition, value, _ = x.inputs
    one = value.op is ops.broadcast_to and value.inputs[0].shape == node.shape
    if one and condition.op is ops.equal and _is_class_of(condition, axis[0]):
        return value.inputs[0]
    return None


def _is_class_of(condition: Node, axis: int) -> bool:
    """Whether it holds for exactly one index along the axis: that of a checked class."""
    numbers, classes = condition.inputs
    size = condition.shape[axis]
    if classes.op is not ops.broadcast_to or classes.inputs[0].shape[axis] != 1:
        return False
    index = classes.inputs[0]
    while index.op in (ops.reshape, ops.broadcast_to):
        index = index.inputs[0]
    if index.op is not ops.checked_index or index.params["size"] != size:
        return False
    while numbers.op in (ops.reshape, ops.broadcast_to):
        numbers = numbers.inputs[0]
    known = numbers.value
    return known is not None and np.array_equal(np.ravel(known), np.arange(size))


def is_log_softmax(node: Node) -> bool:
    """Whether it is x - (log ∑eˣ + a shift)."""
    if node.op is not ops.subtract:
        return False
    x = node.inputs[1]
    while x.op in (ops.reshape, ops.broadcast_to):
        x = x.inputs[0]
    return x.op is ops.add and any(
        i.op is ops.log and i.inputs[0].op is ops.sum and i.inputs[0].inputs[0].op is ops.exp
        for i in x.inputs
    )


def is_one_hot(node: Node) -> bool:
    """Whether it holds at one class of each row."""
    axes = range(len(node.shape))
    return node.op is ops.equal and any(_is_class_of(node, a) for a in axes)


def _swapped(x: Node) -> Node | None:
    """The array whose last two axes are swapped in x."""
    count = len(x.shape)
    if x.op is ops.permute_dims and x.params["axes"] == _swap(count):
        return x.inputs[0]
    return None


def _swap(count: int) -> tuple[int, ...]:
    return (*range(count - 2), count - 1, count - 2)


def _permute_dims(node: Node) -> Node | None:
    """(aᵀ b)ᵀ = bᵀ a, and a permutation of a permutation is one."""
    x, axes = node.inputs[0], node.params["axes"]
    if x.op is ops.permute_dims:
        order = tuple(x.params["axes"][a] for a in axes)
        if order == tuple(range(len(order))):
            return x.inputs[0]
        return _new(ops.permute_dims, x.inputs[0], node=node, axes=order)
    if x.op is ops.matmul and axes == _swap(len(axes)):
        a, b = x.inputs
        if _swapped(a) is not None or _swapped(b) is not None:
            turned = [
                simpler(_new(ops.permute_dims, part, node=node, axes=axes)) for part in (b, a)
            ]
            return _new(ops.matmul, *turned, node=node)
    return None


def _reshape(node: Node) -> Node | None:
    """A reshape of a reshape is one; a product of rows laid out as a matrix is one of the array."""
    x = node.inputs[0]
    if x.shape == node.shape:
        return x
    if x.op is ops.reshape:
        return simpler(_new(ops.reshape, x.inputs[0], node=node, shape=node.shape))
    if x.op is ops.matmul and x.inputs[0].op is ops.reshape:
        rows, w = x.inputs
        whole = rows.inputs[0]
        fits = len(whole.shape) > 2 and whole.shape[-1] == rows.shape[-1]
        if fits and node.shape == (*whole.shape[:-1], w.shape[-1]):
            batch = whole.shape[:-2]
            same = _new(ops.reshape, w, node=node, shape=(*(1,) * len(batch), *w.shape))
            wide = _new(ops.broadcast_to, same, node=node, shape=(*batch, *w.shape))
            return _new(ops.matmul, whole, wide, node=node)
    return None


_RULES: Mapping[Operation | None, Callable[[Node], Node | None]] = {
    ops.alias: _alias,
    ops.stop_gradient: _alias,
    ops.equal: _equal,
    ops.bitwise_and: _and,
    ops.where: _where,
    ops.multiply: _multiply,
    ops.negative: _negative,
    ops.add: _add,
    ops.subtract: _subtract,
    ops.sum: _sum,
    ops.permute_dims: _permute_dims,
    ops.reshape: _reshape,
}
