"""Which nodes inside a step are worth a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from ... import ops
from ...graph import Node

_LONGEST = 50  # operations in a row, from names to names
_LARGEST = 6  # of a longer row: operations that a tensor is made of, from those with names
_MOVING = (ops.reshape, ops.permute_dims, ops.broadcast_to, ops.astype, ops.slice)
_LINEAR = (*_MOVING, ops.add, ops.subtract, ops.negative, ops.multiply)
_PRODUCTS = (ops.matmul, ops.convolution)


def boundaries(
    nodes: Sequence[Node],
    outputs: Sequence[Node],
    users: Mapping[Node, Sequence[Node]],
    fixed: AbstractSet[Node],
) -> tuple[list[Node], set[Node]]:
    """Sums of products inside a step, of which something is a function, a product or a slice.

    Also the nodes that are such sums, or parts of them.
    """
    affine: set[Node] = set()
    inside = {*nodes}
    for node in nodes:
        linear = node.op in _LINEAR and all(
            i in affine or i not in inside or _is_constant(i, fixed) or is_moved_leaf(i)
            for i in node.inputs
        )
        if node.op in _PRODUCTS or (linear and any(i in affine for i in node.inputs)):
            affine.add(node)
    ends = [
        node
        for node in nodes
        if node in affine
        and node not in outputs
        and node.op not in (*_MOVING, ops.multiply)
        and any(
            user not in affine or user.op in (ops.slice, ops.matmul)
            for user in _effective_users(node, users, fixed)
            if user in inside
        )
    ]
    return ends, affine


def _is_constant(node: Node, fixed: AbstractSet[Node]) -> bool:
    while node.op is ops.broadcast_to:
        (node,) = node.inputs
    return node in fixed or (node.op is None and node.value is not None)


def is_moved_leaf(node: Node) -> bool:
    while node.op in _MOVING:
        node = node.inputs[0]
    return node.op is None


def _effective_users(
    node: Node, users: Mapping[Node, Sequence[Node]], fixed: AbstractSet[Node]
) -> list[Node]:
    """The nodes that use it, or use it moved or times a number."""
    out: list[Node] = []
    waiting = [node]
    while waiting:
        for user in users.get(waiting.pop(), ()):
            times = user.op is ops.multiply and any(_is_constant(i, fixed) for i in user.inputs)
            moves = user.op in _MOVING and user.op is not ops.slice
            (waiting if times or moves else out).append(user)
    return out


def blocks(node: Node) -> list[tuple[Node, tuple[int, ...]]]:
    """(part, its first place on each axis) of a tensor that is put together of parts."""
    if node.op is ops.concat:
        parts: list[tuple[Node, tuple[int, ...]]] = []
        first, axis = 0, node.params["axis"]
        for n in node.inputs:
            parts.append((n, tuple(first * (k == axis) for k in range(len(n.shape)))))
            first += n.shape[axis]
        return parts
    return padded(node)


def padded(node: Node) -> list[tuple[Node, tuple[int, ...]]]:
    """(part, its first place on each axis) of padded parts that are added, and fill the whole."""
    parts: list[tuple[Node, tuple[int, ...]]] = []
    waiting = [node]
    while waiting:
        n = waiting.pop()
        if n.op is ops.add:
            waiting += reversed(n.inputs)
        elif n.op is ops.pad and not any(n.params["interior"]):
            parts.append((n.inputs[0], tuple(n.params["low"])))
        else:
            return []
    axes = {k for part, _ in parts for k, n in enumerate(part.shape) if n != node.shape[k]}
    if len(axes) != 1 or len({n for n, _ in parts}) != len(parts):
        return []
    (axis,) = axes
    parts.sort(key=lambda p: p[1][axis])
    end = 0
    for part, first in parts:
        if first[axis] != end:
            return []
        end += part.shape[axis]
    return parts if end == node.shape[axis] else []


def crowded(
    nodes: Sequence[Node], users: Mapping[Node, Sequence[Node]], is_known: Callable[[Node], bool]
) -> Iterator[Node]:
    """The nodes in long rows that are made of many without names; each has one when it is back."""

    def far(node: Node, counts: Mapping[Node, int], others: Iterable[Node]) -> int:
        return 0 if is_known(node) else 1 + max((counts.get(n, 0) for n in others), default=0)

    before: dict[Node, int] = {}
    after: dict[Node, int] = {}
    for node in nodes:
        before[node] = far(node, before, node.inputs)
    for node in reversed(nodes):
        after[node] = far(node, after, users.get(node, ()))
    size: dict[Node, int] = {}
    for node in nodes:
        size[node] = 0 if is_known(node) else 1 + sum(size.get(n, 0) for n in node.inputs)
        if size[node] > _LARGEST and before[node] + after[node] > _LONGEST:
            yield node
            size[node] = 0
