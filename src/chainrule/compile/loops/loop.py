"""A scan taken apart: what goes in, what one step does, what comes out; and put together again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ... import ops
from ...graph import Graph, Node, topological
from ..rewriting import apply, copies, item, with_inputs


@dataclass
class Input:
    """A constant of a loop, or one of its xs.

    outside   the value; of an x, with the steps along its first axis
    inside    the leaf of the body that stands for it; of an x, for its row
    """

    outside: Node
    inside: Node


@dataclass
class Carry:
    """A value that goes from step to step.

    first    the value before the first step
    before   the leaf of the body that stands for it
    after    the body's node that is the next step's `before`
    """

    first: Node
    before: Node
    after: Node


@dataclass
class Loop:
    """A scan, or what a pass makes of it.

    scan   the node that it was
    ys     the body's nodes that are stacked
    """

    scan: Node
    constants: list[Input]
    carries: list[Carry]
    xs: list[Input]
    ys: list[Node]

    @property
    def length(self) -> int:
        """The number of steps."""
        length: int = self.scan.params["length"]
        return length

    def body(self) -> Graph:
        """One step: constants, carries and rows -> the next carries, and what is stacked."""
        inputs = [c.inside for c in self.constants]
        inputs += [c.before for c in self.carries]
        inputs += [x.inside for x in self.xs]
        return Graph(inputs, [*(c.after for c in self.carries), *self.ys])

    def replace(self, nodes: Mapping[Node, Node]) -> None:
        """Put other nodes in the place of some of the body."""
        ends = [*(c.after for c in self.carries), *self.ys]
        new = dict(nodes)
        for node in topological(ends):
            if node not in new:
                new[node] = with_inputs(node, tuple([new[i] for i in node.inputs]))
        for carry in self.carries:
            carry.after = new[carry.after]
        self.ys = [new[y] for y in self.ys]

    def node(self) -> Node:
        """The scan. Its results are the last carries, and the stacked ys."""
        inputs = [c.outside for c in self.constants]
        inputs += [c.first for c in self.carries]
        inputs += [x.outside for x in self.xs]
        return apply(
            ops.scan,
            *inputs,
            source=self.scan.source,
            graph=self.body(),
            length=self.length,
            consts=len(self.constants),
            carries=len(self.carries),
            reverse=self.scan.params["reverse"],
        )


def taken_apart(scan: Node, inputs: Sequence[Node] | None = None) -> Loop:
    """The loop of a scan, on other inputs if these are given."""
    outside = scan.inputs if inputs is None else inputs
    body: Graph = scan.params["graph"]
    pairs = list(zip(outside, body.inputs, strict=True))
    consts, carries = scan.params["consts"], scan.params["carries"]
    end = consts + carries
    return Loop(
        scan,
        [Input(*pair) for pair in pairs[:consts]],
        [Carry(*p, after) for p, after in zip(pairs[consts:end], body.outputs, strict=False)],
        [Input(*pair) for pair in pairs[end:]],
        list(body.outputs[carries:]),
    )


def change_loops(
    graph: Graph, change: Callable[[Loop, Collection[int]], Mapping[int, Node] | None]
) -> Graph:
    """A new graph, in which `change(loop, positions of results that are read)` replaces each loop.

    It returns a node for each of these results (but for those that only unused inputs of later
    loops read); None leaves the loop as it is.
    """
    read = results_read(graph)
    if not read:
        return graph
    new: dict[Node, Node] = {}
    results: dict[Node, Mapping[int, Node]] = {}
    copied = copies(graph)
    for node in graph.nodes:
        inputs = tuple([new[i] for i in node.inputs if i not in results])
        if node.op is ops.scan:
            replaced = change(taken_apart(node, inputs), read[node])
            if replaced is None:
                new[node] = with_inputs(copied(node), inputs)
            else:
                results[node] = replaced
        elif node.op is ops.item and node.inputs[0] in results:
            new[node] = results[node.inputs[0]].get(node.params["index"], node)
        else:
            new[node] = node if node.op is None else with_inputs(copied(node), inputs)
    return Graph(graph.inputs, [new[o] for o in graph.outputs])


def items(scan: Node, positions: Collection[int]) -> dict[int, Node]:
    """These results of a scan."""
    return {k: item(scan, k) for k in positions}


def results_read(graph: Graph) -> dict[Node, set[int]]:
    """The scans of a graph, and which of their results are read."""
    read: dict[Node, set[int]] = {node: set() for node in graph.nodes if node.op is ops.scan}
    if read:
        for node in graph.nodes:
            if node.op is ops.item and node.inputs[0] in read:
                read[node.inputs[0]].add(node.params["index"])
    return read
