"""The pass that joins parts: what slices of one tensor give back to it.

The derivative of a slice pads with zeros, and the cotangents of several slices are added up. Where
the slices lie side by side (the gates of a recurrent layer, the heads of an attention), each sum
has one part that is not 0: pad(a) + pad(b) = concat(a + 0, b + 0). The added 0 turns -0 into 0, as
the sum does. If the axes of the whole are moved, those of each part are instead: as views.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..graph import Graph, Node
from .rewriting import apply, rebuild, with_inputs


@dataclass(frozen=True)
class _Parts:
    """A tensor that is 0 but for parts of it along an axis: (first index, end, part) in order."""

    axis: int
    parts: tuple[tuple[int, int, Node], ...]


def join(graph: Graph) -> Graph:
    """A sum of parts that were padded to lie side by side is the parts side by side."""
    padded: dict[Node, _Parts] = {}
    joined: set[Node] = set()
    uses = Counter(i for node in graph.nodes for i in node.inputs)
    uses.update(graph.outputs)

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        new = with_inputs(node, inputs)
        if node.op is ops.permute_dims and inputs[0] in joined and uses[node.inputs[0]] == 1:
            return _with_axes_moved(inputs[0], node)
        if node.op is ops.pad:
            parts = _of_pad(new)
        elif node.op is ops.add and all(i in padded for i in inputs):
            parts = _both(*(padded[i] for i in inputs))
        else:
            return new
        if parts is None:
            return new
        if node.op is ops.add and _covers(parts, new):
            whole = _side_by_side(parts, new)
            joined.add(whole)
            return whole
        padded[new] = parts
        return new

    return rebuild(graph, visit)


def _of_pad(node: Node) -> _Parts | None:
    """The one part, if a pad is along one axis and leaves no gaps inside."""
    low, high, interior = (node.params[name] for name in ("low", "high", "interior"))
    axes = [a for a in range(len(node.shape)) if low[a] or high[a] or interior[a]]
    if len(axes) != 1 or any(interior):
        return None
    (axis,) = axes
    return _Parts(axis, ((low[axis], node.shape[axis] - high[axis], node.inputs[0]),))


def _both(a: _Parts, b: _Parts) -> _Parts | None:
    """The parts of a sum; None where they overlap."""
    parts = tuple(sorted((*a.parts, *b.parts), key=lambda part: part[:2]))
    overlap = any(end > first for (_, end, _), (first, _, _) in itertools.pairwise(parts))
    return None if a.axis != b.axis or overlap else _Parts(a.axis, parts)


def _covers(parts: _Parts, node: Node) -> bool:
    """Whether nothing is left between the parts."""
    return sum(end - first for first, end, _ in parts.parts) == node.shape[parts.axis]


def _side_by_side(parts: _Parts, node: Node) -> Node:
    """The parts side by side, each with 0 added."""
    value = np.zeros((1,) * len(node.shape), node.dtype)
    zero = Node(None, (), {}, value.shape, value.dtype, value, False, node.source)
    added = []
    for _, _, part in parts.parts:
        zeros = apply(ops.broadcast_to, zero, source=node.source, shape=part.shape)
        added.append(apply(ops.add, part, zeros, source=node.source))
    return apply(ops.concat, *added, source=node.source, axis=parts.axis)


def _with_axes_moved(whole: Node, node: Node) -> Node:
    """The parts side by side, with the axes of each in the node's order."""
    axes = node.params["axes"]
    parts = [apply(ops.permute_dims, i, source=node.source, axes=axes) for i in whole.inputs]
    return apply(ops.concat, *parts, source=node.source, axis=axes.index(whole.params["axis"]))
