"""Values that an earlier loop has computed, read by a later one instead of computed again."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...graph import Graph, Node
from ..rewriting import constant_key, copies, item, parameters_key, with_inputs
from .invariants import fixed_nodes
from .loop import Input, Loop, results_read, taken_apart

SAME_SIZE = {ops.reshape, ops.permute_dims, ops.flip, ops.broadcast_to}  # … or larger
CHEAP = SAME_SIZE | {
    ops.slice,
    ops.astype,
    ops.negative,
    ops.abs,
    ops.square,
    ops.sign,
    ops.add,
    ops.subtract,
    ops.multiply,
    ops.maximum,
    ops.minimum,
    ops.where,
    ops.equal,
    ops.not_equal,
    ops.less,
    ops.less_equal,
    ops.bitwise_and,
    ops.bitwise_or,
    ops.bitwise_xor,
    ops.bitwise_invert,
}


def saved(graph: Graph) -> Graph:
    """A loop that would compute again what an earlier one has computed, reads it.

    The derivative of a loop does all of the loop's steps again, from their incoming carries. A node
    of its body is equal to one of the earlier body if it is the same operation on equal inputs,
    and leaves are equal if they stand for the same constant or the same rows: the earlier loop
    stacks the node, and it becomes an x. Only those that something unequal reads are saved; what
    few operations make of values that are there is computed again, and views are.
    """
    loops = {scan: taken_apart(scan) for scan in results_read(graph)}
    changed: set[Node] = set()
    results = (n for n in graph.nodes if n.op is ops.item)
    stacked = {(n.inputs[0], n.params["index"]): n for n in results}
    for scan, later in loops.items():
        for before, earlier in loops.items():
            if before is scan:
                break
            fits = later.length == earlier.length and _reads(later, before)
            if fits and _take(later, earlier, stacked):
                changed |= {before, scan}
    return _with(graph, {scan: loops[scan] for scan in changed}) if changed else graph


def _reads(later: Loop, scan: Node) -> bool:
    return any(x.outside.op is ops.item and x.outside.inputs[0] is scan for x in later.xs)


def _take(later: Loop, earlier: Loop, stacked: dict[tuple[Node, int], Node]) -> bool:
    """Let the later loop read what the earlier one computes; whether anything was to be read.

    stacked   the results of loops by position, and what stands for those that they will have
    """
    equal = _equal(later, earlier)
    leaves: dict[Node, Node] = {}
    for node in _frontier(later, equal):
        if equal[node] not in earlier.ys:
            earlier.ys.append(equal[node])
        place = earlier.scan, len(earlier.carries) + earlier.ys.index(equal[node])
        if place not in stacked:
            shape = (earlier.length, *node.shape)
            index = {"index": place[1]}
            stacked[place] = Node(ops.item, (earlier.scan,), index, shape, node.dtype)
        leaves[node] = Node(None, (), {}, node.shape, node.dtype)
        later.xs.append(Input(stacked[place], leaves[node]))
    later.replace(leaves)
    return bool(leaves)


def _equal(later: Loop, earlier: Loop) -> dict[Node, Node]:
    """Nodes of the later body, and those of the earlier one that have the same value."""
    rows = {x.outside: x.inside for x in earlier.xs}
    constants: dict[Any, Node] = {c.outside: c.inside for c in earlier.constants}
    known: dict[Any, Node] = {}
    for node in earlier.body().nodes:
        if node.value is not None:
            constants[constant_key(node)] = node
        elif node.op is not None:
            known[node.op, node.inputs, parameters_key(node.params)] = node
    equal: dict[Node, Node] = {}
    for x in later.xs:
        outside = x.outside
        if outside in rows:
            equal[x.inside] = rows[outside]
        elif outside.op is ops.item and outside.inputs[0] is earlier.scan:
            place = outside.params["index"] - len(earlier.carries)
            if place >= 0:
                equal[x.inside] = earlier.ys[place]
    for c in later.constants:
        if c.outside in constants:
            equal[c.inside] = constants[c.outside]
    for node in later.body().nodes:
        if node.value is not None:
            same = constants.get(constant_key(node))
        elif node.op is None or any(i not in equal for i in node.inputs):
            continue
        else:
            params = parameters_key(node.params)
            inputs = tuple([equal[i] for i in node.inputs])
            same = None if params is None else known.get((node.op, inputs, params))
        if same is not None:
            equal[node] = same
    return equal


def _frontier(later: Loop, equal: dict[Node, Node]) -> list[Node]:
    """The equal nodes to read: those that others read, or what views of them are views of.

    Not those that few operations make of what is there.
    """
    body = later.body()
    wanted = {i for n in body.nodes if n not in equal for i in n.inputs if i in equal}
    wanted |= {o for o in body.outputs if o in equal}
    roots = set()
    for node in wanted:
        while node.op in SAME_SIZE:
            node = node.inputs[0]
        if not isinstance(node.dtype, tuple):
            roots.add(node)
    there = fixed_nodes(later) | {x.inside for x in later.xs}
    frontier = []
    for node in body.nodes:
        if node not in there and node.op in CHEAP and all(i in there for i in node.inputs):
            there.add(node)
        if node in roots and node not in there:
            there.add(node)
            frontier.append(node)
    return frontier


def _with(graph: Graph, loops: dict[Node, Loop]) -> Graph:
    """The graph with these loops for its scans."""
    new: dict[Node, Node] = {}

    def outside(node: Node) -> Node:
        return new[node] if node in new else item(new[node.inputs[0]], node.params["index"])

    copied = copies(graph)
    for node in graph.nodes:
        if node not in loops:
            inputs = tuple([new[i] for i in node.inputs])
            new[node] = node if node.op is None else with_inputs(copied(node), inputs)
            continue
        loop = loops[node]
        for i in loop.constants + loop.xs:
            i.outside = outside(i.outside)
        for carry in loop.carries:
            carry.first = outside(carry.first)
        new[node] = loop.node()
    return Graph(graph.inputs, [new[o] for o in graph.outputs])
