"""What a loop computes from its constants alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ... import ops
from ...graph import Graph, Node, topological
from ..rewriting import with_inputs
from .loop import Input, Loop, change_loops, items

VIEW_OPERATIONS = {ops.reshape, ops.permute_dims, ops.broadcast_to, ops.slice, ops.flip}


def invariants(graph: Graph) -> Graph:
    """What each step would compute from constants alone is computed once, before the loop.

    Views stay inside, where they cost nothing, unless something that moves out reads them. Loops
    have two steps or more here, so nothing is computed that would not be, errors included.
    """
    return change_loops(graph, _without_invariants)


def fixed_nodes(loop: Loop) -> set[Node]:
    """The body's nodes that are the same at each step: they depend on constants alone."""
    fixed = {c.inside for c in loop.constants}
    for node in loop.body().nodes:
        if node.value is not None or (node.op and all(i in fixed for i in node.inputs)):
            fixed.add(node)
    return fixed


def _without_invariants(loop: Loop, read: Collection[int]) -> Mapping[int, Node] | None:
    moving = {n for n in fixed_nodes(loop) if n.op is not None and n.op not in VIEW_OPERATIONS}
    ends = _reached(loop, moving)
    if not ends:
        return None
    new = {c.inside: c.outside for c in loop.constants}
    for node in topological(ends):
        if node not in new:
            new[node] = with_inputs(node, tuple([new[i] for i in node.inputs]))
    leaves = {n: Node(None, (), {}, n.shape, n.dtype) for n in ends}
    loop.constants += [Input(new[n], leaf) for n, leaf in leaves.items()]
    loop.replace(leaves)
    return items(loop.node(), read)


def _reached(loop: Loop, moving: Collection[Node]) -> list[Node]:
    """Those of the moving nodes that a step reads."""
    reached: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = list(loop.body().outputs)
    while stack:
        node = stack.pop()
        if node in moving:
            reached[node] = None
        elif node not in seen:
            seen.add(node)
            stack += node.inputs
    return sorted(reached, key=lambda n: n.serial)
