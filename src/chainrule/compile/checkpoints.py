"""The last pass: checkpoints become part of the graph around them.

Until then they were graphs inside, so that no pass took what is computed again for what was
computed before.
"""

from __future__ import annotations

from .. import ops
from ..graph import Graph, Node
from .rewriting import inlined, rebuild, with_inputs


def checkpoints(graph: Graph) -> Graph:
    """What a checkpoint computes is done in the graph around it, also in the bodies of loops."""
    if not _has_checkpoint(graph):
        return graph
    results: dict[Node, list[Node]] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op is ops.item and inputs[0] in results:
            return results[inputs[0]][node.params["index"]]
        new = with_inputs(node, inputs)
        if node.op is ops.call:
            results[new] = inlined(checkpoints(node.params["graph"]), inputs)
        elif node.op is ops.scan:
            params = {**node.params, "graph": checkpoints(node.params["graph"])}
            return Node(node.op, inputs, params, node.shape, node.dtype, None, False, node.source)
        return new

    return rebuild(graph, visit)


def _has_checkpoint(graph: Graph) -> bool:
    return any(
        node.op is ops.call or (node.op is ops.scan and _has_checkpoint(node.params["graph"]))
        for node in graph.nodes
    )
