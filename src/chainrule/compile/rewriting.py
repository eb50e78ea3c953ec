"""What passes are written with: a graph made again node by node, nodes made from operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..errors import type_of_source
from ..graph import Graph, Node, Operation


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


def apply(op: Operation, *inputs: Node, source: type_of_source | None, **params: Any) -> Node:
    """A node of the operation, of the shape and dtype that it infers."""
    shape, dtype = op.infer(*inputs, **params)
    return Node(op, inputs, params, shape, dtype, None, False, source)


def inlined(graph: Graph, inputs: Sequence[Node]) -> list[Node]:
    """The outputs of the graph, its operations done on these inputs."""
    new = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        if node not in new:
            new[node] = with_inputs(node, tuple([new[i] for i in node.inputs]))
    return [new[o] for o in graph.outputs]


def item(whole: Node, index: int) -> Node:
    """One of the results of an operation with several."""
    return apply(ops.item, whole, source=whole.source, index=index)


def number(node: Node) -> Any:
    """The one number that a constant holds everywhere, or None."""
    if node.op is ops.broadcast_to:
        node = node.inputs[0]
    if node.op is None and node.value is not None and node.value.size == 1:
        return node.value.reshape(())[()]
    return None
