"""What passes are written with: a graph made again node by node, nodes made from operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import ops
from ..graph import Graph, Node


def rebuild(
    graph: Graph,
    visit: Callable[[Node, tuple[Node, ...]], Node],
    leaf: Callable[[Node], Node] = lambda node: node,
) -> Graph:
    """A new graph in which every operation's node is what `visit(node, new inputs)` returns."""
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op is None:
            new[node] = leaf(node)
        else:
            new[node] = visit(node, tuple([new[i] for i in node.inputs]))
    return Graph(graph.inputs, [new[o] for o in graph.outputs])


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The node with other inputs; the same node if they are the same."""
    if inputs == node.inputs:
        return node
    return Node(node.op, inputs, node.params, node.shape, node.dtype, None, False, node.source)


def number(node: Node) -> Any:
    """The one number that a constant holds everywhere, or None."""
    if node.op is ops.broadcast_to:
        node = node.inputs[0]
    if node.op is None and node.value is not None and node.value.size == 1:
        return node.value.reshape(())[()]
    return None
