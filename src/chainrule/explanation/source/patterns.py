"""What parts of a graph compute, by their operations."""

from __future__ import annotations

import numpy as np

from ... import ops
from ...compile.rewriting import number
from ...graph import Node


def as_mask(x: Node) -> Node | None:
    """The mask whose 0 and 1 these numbers are."""
    if x.op is ops.astype and x.inputs[0].dtype == np.bool_:
        return x.inputs[0]
    return None


def is_masked(x: Node) -> bool:
    """Whether it is 0 where a mask does not hold."""
    return x.op is ops.where and number(x.inputs[2]) == 0


def is_zero_where(x: Node, mask: Node, branch: int, depth: int = 6) -> bool:
    """Whether x is 0 where this branch of the mask is taken, by the branches that made it."""
    value = number(x)
    if value is not None or not depth:
        return bool(value == 0)
    if x.op is ops.where:
        taken = (branch,) if x.inputs[0] is mask else (1, 2)
        return all(is_zero_where(x.inputs[k], mask, branch, depth - 1) for k in taken)
    factor = number(x.inputs[-1]) if x.op in (ops.multiply, ops.divide) else None
    finite = factor is not None and np.isfinite(factor) and factor != 0
    return (x.op is ops.negative or finite) and is_zero_where(x.inputs[0], mask, branch, depth - 1)


def is_count(x: Node) -> bool:
    """Whether it is a sum of a mask's 0 and 1."""
    while x.op is ops.reshape:
        x = x.inputs[0]
    return x.op is ops.sum and as_mask(x.inputs[0]) is not None


def is_class_of(condition: Node, axis: int) -> bool:
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


def is_one_hot(node: Node) -> bool:
    """Whether it holds at one class of each row."""
    axes = range(len(node.shape))
    return node.op is ops.equal and any(is_class_of(node, a) for a in axes)


def is_picked(node: Node) -> bool:
    """Whether it is, of each row, what stands at one class."""
    return node.op is ops.sum and is_masked(node.inputs[0]) and is_one_hot(node.inputs[0].inputs[0])


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
