"""The passes: graph in, graph out, same meaning. They run in the order of `PASSES`.

The graph is verified after each: the nodes that are new. A pass may not change a result by as much
as a bit; identities that hold for real numbers but not for NaN, infinities or the sign of zero are
left out. (Those of `loops` that say so change the order in which terms are added.)

A graph that has others inside, of loops and checkpoints, goes through `of_inner()` too. The last
pass is `checkpoints`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from .. import ops
from ..functions import standardising
from ..graph import Graph, Node, verify
from ..recording import record_inner
from .checkpoints import checkpoints
from .joining import join
from .rewriting import constant_key, inlined, number, parameters_key, rebuild, with_inputs

Pass = Callable[[Graph], Graph]

FOLD_LIMIT = 4096  # elements: a larger constant costs more to store than to compute again


def optimise(graph: Graph, show: Callable[[str, Graph], None] | None = None) -> Graph:
    """Run every pass, verifying in between.

    show   sees the name of each pass, and the graph after it; of passes on graphs inside only those
           that change something
    """
    return _after((*_passes(graph), checkpoints), graph, show)


def _passes(graph: Graph) -> tuple[Pass, ...]:
    """The passes for a graph, or for one inside of another."""
    has_inner = any("graph" in node.params for node in graph.nodes)
    passes = (*PASSES, *of_inner(), *PASSES) if has_inner else PASSES
    whole = any(node.op is ops.standardise for node in graph.nodes)
    return (compose, *passes) if whole else passes


def _after(
    passes: Sequence[Pass], graph: Graph, show: Callable[[str, Graph], None] | None = None
) -> Graph:
    known: AbstractSet[Node] = set(graph.nodes)  # tracing has inferred their shapes and dtypes
    shown = ""
    for k, run in enumerate(passes):
        graph = run(graph)
        known = verify(graph, known)
        if show and (k < len(PASSES) or str(graph) != shown):
            show(run.__name__, graph)
            shown = str(graph)
    return graph


def _constant(node: Node, value: Any) -> Node:
    return Node(None, (), {}, value.shape, value.dtype, value, False, node.source)


def simplify(graph: Graph) -> Graph:
    """Exact identities, and operations that change nothing, are dropped."""
    return rebuild(graph, simpler)


def simpler(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The node on these inputs, or what is exactly the same with fewer operations."""
    op, params = node.op, node.params
    first = inputs[0] if inputs else None
    if op in (ops.alias, ops.stop_gradient):  # x
        return inputs[0]
    if op in (ops.reshape, ops.broadcast_to) and first is not None and first.shape == node.shape:
        return first  # to its own shape
    if op is ops.astype and first is not None and first.dtype == node.dtype:
        return first  # to its own dtype
    if op is ops.permute_dims and params["axes"] == tuple(range(len(node.shape))):
        return inputs[0]  # in its own order
    if op is ops.slice and first is not None and first.shape == node.shape:
        return first  # the whole of it
    if op is ops.pad and first is not None and first.shape == node.shape:
        return first  # by nothing
    reduces = op in (ops.max, ops.min, ops.prod)  # a sum turns -0 into 0
    if reduces and all(inputs[0].shape[a] == 1 for a in params["axis"]):
        return inputs[0]  # of one element
    if op is ops.concat and len(inputs) == 1:
        return inputs[0]  # of one
    if op is ops.flip and all(node.shape[a] == 1 for a in params["axis"]):
        return inputs[0]  # of one element
    if op is ops.reshape and first is not None and first.op is ops.reshape:
        whole = first.inputs[0].shape == node.shape
        return first.inputs[0] if whole else with_inputs(node, first.inputs)  # of a reshape
    if op is ops.permute_dims and first is not None and first.op is ops.permute_dims:
        order = tuple(first.params["axes"][a] for a in params["axes"])
        if order == tuple(range(len(order))):
            return first.inputs[0]  # and back
        return Node(
            op, first.inputs, {"axes": order}, node.shape, node.dtype, None, False, node.source
        )
    if op is ops.negative and first is not None and first.op is ops.negative:
        return first.inputs[0]  # -(-x)
    if op is ops.multiply:
        if number(inputs[1]) == 1:
            return inputs[0]  # x · 1
        if number(inputs[0]) == 1:
            return inputs[1]  # 1 · x
    if op in (ops.divide, ops.power) and number(inputs[1]) == 1:
        return inputs[0]  # x / 1, x¹
    if op is ops.subtract and number(inputs[1]) == 0 and not np.signbit(number(inputs[1])):
        return inputs[0]  # x - 0 (but x + 0 turns -0 into 0)
    if op is ops.where and inputs[1] is inputs[2]:
        return inputs[1]  # either way the same
    return with_inputs(node, inputs)


def fold(graph: Graph) -> Graph:
    """Nodes that depend on constants alone are computed now, if they are small."""

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        assert node.op is not None
        for i in inputs:
            if i.op is not None or i.value is None:
                return with_inputs(node, inputs)
        tuples = isinstance(node.dtype, tuple)
        if not inputs or tuples or math.prod(node.shape) > FOLD_LIMIT:
            return with_inputs(node, inputs)
        if node.op is ops.broadcast_to:
            return with_inputs(node, inputs)  # it is stored smaller as it is
        try:
            with np.errstate(all="ignore"):
                value = node.op.evaluate(*[i.value for i in inputs], **node.params)
        except Exception:  # the step itself will raise it, with the user's line
            return with_inputs(node, inputs)
        return _constant(node, np.asarray(value))

    return rebuild(graph, visit)


def share(graph: Graph) -> Graph:
    """The same operation on the same inputs is done once."""
    known: dict[Any, Node] = {}
    constants: dict[Any, Node] = {}

    def one(node: Node) -> Node:
        """One node for all small constants of the same bits."""
        if node.value is None or node.value.size > FOLD_LIMIT:
            return node
        return constants.setdefault(constant_key(node), node)

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        key = (node.op, inputs, parameters_key(node.params) if node.params else ())
        if key[2] is None:
            return with_inputs(node, inputs)
        return known.setdefault(key, with_inputs(node, inputs))

    return rebuild(graph, visit, one)


def compose(graph: Graph) -> Graph:
    """An operation without a kernel becomes those that it is composed of."""
    results: dict[Node, list[Node]] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op is ops.item and inputs[0] in results:
            return results[inputs[0]][node.params["index"]]
        new = with_inputs(node, inputs)
        if node.op is ops.standardise:
            specs = [(x.shape, x.dtype, False) for x in inputs]
            body = record_inner(
                "standardise", lambda xs: standardising.composed(xs, **node.params), specs
            )
            results[new] = inlined(body.graph, inputs)
        return new

    return rebuild(graph, visit)


def inner(graph: Graph) -> Graph:
    """The graphs inside go through all passes.

    A function with a custom derivative becomes part of the graph around it: its rule was applied
    while recording. A checkpoint does not: it is there to be computed again.
    """
    results: dict[Node, list[Node]] = {}

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        if node.op is ops.item and inputs[0] in results:
            return results[inputs[0]][node.params["index"]]
        new = _with_graph(node, inputs, lambda body: _after(_passes(body), body))
        if node.op is ops.custom:
            results[new] = inlined(node.params["graph"], inputs)
        return new

    return rebuild(graph, visit)


def inner_again(graph: Graph) -> Graph:
    """The graphs inside go through `PASSES`, after those on loops have changed them."""

    def tidied(body: Graph) -> Graph:
        for run in PASSES:
            body = run(body)
        return body

    return rebuild(graph, lambda node, inputs: _with_graph(node, inputs, tidied))


def _with_graph(node: Node, inputs: tuple[Node, ...], run: Pass) -> Node:
    """The node with other inputs, and with what a pass makes of the graph inside."""
    graph = node.params.get("graph")
    if graph is None or node.op is ops.custom:
        return with_inputs(node, inputs)
    params = {**node.params, "graph": run(graph)}
    return Node(node.op, inputs, params, node.shape, node.dtype, None, False, node.source)


PASSES = (fold, simplify, join, share)


def of_inner() -> tuple[Pass, ...]:
    """The passes of graphs that have others inside; few have, so they are imported here."""
    from .loops.invariants import invariants
    from .loops.products import products_after, products_before, products_inside
    from .loops.saved import saved
    from .loops.totals import totals
    from .loops.unused import unroll, unused

    return (
        unroll,
        inner,
        unused,
        invariants,
        share,
        saved,
        unused,
        totals,
        unused,
        products_before,
        products_inside,
        products_after,
        unused,
        inner_again,
    )
