"""Which lookups cannot fail: their numbers were checked before, or are positions of a sorting."""

from __future__ import annotations

from .... import ops
from ....graph import Node
from ...program import Kernel

_KEEPING = (ops.alias, ops.broadcast_to, ops.permute_dims, ops.reshape, ops.take)


def is_sure(kernel: Kernel) -> bool:
    """Whether the numbers of a `take` are known to be from 0 and inside its axis."""
    table, numbers = kernel.node.inputs
    return _is_below(numbers, table.shape[kernel.params["axis"]])


def _is_below(node: Node, size: int) -> bool:
    """Whether all elements are from 0 to size - 1."""
    if node.op is ops.checked_index:
        return bool(node.params["size"] <= size)
    if node.op is ops.argsort:
        return bool(node.shape[node.params["axis"]] <= size)
    return node.op in _KEEPING and _is_below(node.inputs[0], size)
