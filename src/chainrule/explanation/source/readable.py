"""The graph as it reads best: calls become part of it, and what is noise is written shorter.

This is not for compiled steps, whose bits must stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from ... import ops
from ...compile.passes import PASSES
from ...compile.rewriting import inlined, number, parameters_key, with_inputs
from ...graph import Graph, Node
from .identities import simpler


@dataclass
class Readable:
    """A rewritten graph.

    new       the node that each old node became
    position  of each new node, for an order near to the recorded one
    """

    new: dict[Node, Node] = field(default_factory=dict)
    position: dict[Node, int] = field(default_factory=dict)

    def of(self, node: Node) -> Node:
        """What the node became; inputs and constants stay."""
        return self.new.get(node, node)

    def order(self, ends: Iterable[Node], leaves: AbstractSet[Node]) -> list[Node]:
        """What the new ends depend on, without leaves and constants, inputs before users."""
        seen: set[Node] = set()
        stack = list(ends)
        while stack:
            node = stack.pop()
            if node not in seen and node not in leaves and node.op is not None:
                seen.add(node)
                stack += node.inputs
        return sorted(seen, key=lambda n: (self.position.get(n, 0), n.serial))


def rewritten(order: Sequence[Node], leaves: AbstractSet[Node]) -> Readable:
    """The nodes, which are in order, rewritten.

    leaves   inputs, and nodes that are computed in advance
    """
    out = Readable()
    results: dict[Node, list[Node]] = {}
    known: dict[Any, Node] = {}  # what is computed twice is computed once
    for k, node in enumerate(order):
        inputs = tuple([_shared(out.of(i), known) for i in node.inputs])
        if node.op is ops.item and node.inputs[0] in results:
            new = results[node.inputs[0]][node.params["index"]]
        elif node.op in (ops.call, ops.custom):
            results[node] = _body(node.params["graph"], inputs, leaves)
            for result in results[node]:
                _place(result, k, out.position, leaves)
            continue
        else:
            new = simpler(with_inputs(node, inputs))
            key = parameters_key(new.params)
            if new.op is not None and key is not None:
                new = known.setdefault((new.op, new.inputs, key), new)
        out.new[node] = new
        _place(new, k, out.position, leaves)
    return out


def _shared(node: Node, known: dict[Any, Node]) -> Node:
    """One node for all constants that are the same number everywhere."""
    value = number(node)
    if value is None:
        return node
    return known.setdefault((node.shape, value.dtype, value.tobytes()), node)


def tidied(graph: Graph) -> Graph:
    """A graph inside of a node, after the exact passes of compiled steps."""
    for run in PASSES:
        if run.__name__ != "join":
            graph = run(graph)
    return graph


def _body(graph: Graph, inputs: Sequence[Node], leaves: AbstractSet[Node]) -> list[Node]:
    """The results of the graph on these inputs, rewritten."""
    results = inlined(tidied(graph), inputs)
    known = {*inputs, *leaves}
    inner = Readable().order(results, known)
    again = rewritten(inner, known)
    return [again.of(r) for r in results]


def _place(node: Node, k: int, position: dict[Node, int], leaves: AbstractSet[Node]) -> None:
    stack = [node]
    while stack:
        n = stack.pop()
        if n not in position and n not in leaves and n.op is not None:
            position[n] = k
            stack += n.inputs
