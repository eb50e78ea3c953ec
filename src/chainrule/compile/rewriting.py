"""What passes are written with: a graph made again node by node, nodes made from operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    copied = copies(graph)
    for node in graph.nodes:
        if node.op is None:
            new[node] = leaf(node)
        else:
            inputs = tuple([new[i] for i in node.inputs])
            new[node] = visit(copied(node), inputs)
    return Graph(graph.inputs, [new[o] for o in graph.outputs])


def copies(graph: Graph) -> Callable[[Node], Node]:
    """What makes a node of the graph once more, if there are checkpoints; else returns it itself.

    Values are computed in the order in which their nodes were made, so nodes that a pass leaves as
    they are come before all new ones. What checkpoints compute again would then be early, and its
    memory in use for long.
    """
    if any(node.op is ops.call for node in graph.nodes):
        return lambda n: Node(n.op, n.inputs, n.params, n.shape, n.dtype, None, False, n.source)
    return lambda n: n


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


def parameters_key(params: Mapping[str, Any]) -> Any:
    """Parameters as a key, or None where they hold something that has no equal."""
    items = tuple(
        (k, type(v), repr(v) if isinstance(v, (int, float)) else v)
        for k, v in sorted(params.items())
        if not isinstance(v, Graph)
    )
    graphs = [_structure(v) for v in params.values() if isinstance(v, Graph)]
    try:
        hash(items)
    except TypeError:
        return None
    return None if None in graphs else (items, *graphs)


def _structure(graph: Graph) -> Any:
    """A key that graphs of equal inputs, constants and operations have, or None."""
    numbers = {node: k for k, node in enumerate(graph.inputs)}
    parts: list[Any] = [(node.shape, node.dtype) for node in graph.inputs]
    for node in graph.nodes:
        if node in numbers:
            continue
        numbers[node] = len(numbers)
        if node.op is None:
            parts.append(constant_key(node))
            continue
        key = parameters_key(node.params)
        if key is None:
            return None
        parts.append((node.op, tuple([numbers[i] for i in node.inputs]), key))
    return *parts, tuple([numbers[o] for o in graph.outputs])


def constant_key(node: Node) -> Any:
    """A key that constants of the same bits have."""
    return node.value.shape, node.value.dtype, node.value.tobytes()
