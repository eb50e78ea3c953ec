"""How many floating-point operations a graph does.

A multiplication and an addition count as 2, any function of one element (exp, a comparison, a
choice) as 1. Moving, copying, sorting and converting cost 0, and so does what only integers do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .. import ops
from ..dtypes import is_floating
from ..graph import Graph, Node

FREE = {*ops.MOVES, ops.astype, ops.argsort, ops.checked_index, ops.random_bits, ops.item}
PER_INPUT = {
    ops.sum,
    ops.prod,
    ops.max,
    ops.min,
    ops.any,
    ops.argmax,
    ops.argmin,
    ops.cumulative_sum,
    ops.cumulative_sum_by_key,
    ops.cumulative_prod,
    ops.fold,
    ops.scatter_add,
}


def operations(node: Node) -> int:
    """The operations of one node; a loop does its body `length` times."""
    return sum(count for _, count in counted(node))


def total(graph: Graph) -> int:
    """The operations of all nodes that the outputs depend on."""
    return sum(operations(node) for node in graph.nodes)


def counted(node: Node, times: int = 1) -> Iterator[tuple[Node, int]]:
    """The node and its operations, or, if it does a graph, those of the nodes inside."""
    if node.op in (ops.scan, ops.call, ops.custom):
        times *= node.params.get("length", 1)
        for inner in node.params["graph"].nodes:
            yield from counted(inner, times)
    else:
        yield node, times * _own(node)


def _own(node: Node) -> int:
    op, inputs = node.op, node.inputs
    if op is ops.attention:  # q kᵀ, p v, and a few operations for each score
        return sum(_of_scores(inputs[:3], products=(1, 1), functions=4))
    if op is ops.attention_derivative:  # q kᵀ, ds k, dsᵀ q; ḡ vᵀ, pᵀ ḡ
        return sum(_of_scores(inputs[3:6], products=(3, 2), functions=5))
    if op is ops.max_pool:  # a comparison per element of a window
        return math.prod(node.shape[0]) * math.prod(node.params["window"])
    if op is ops.standardise:  # two sums, a difference, a square, a product
        return 5 * math.prod(inputs[0].shape)
    if op is None or op in FREE or not any(is_floating(n.dtype) for n in (node, *inputs)):
        return 0
    if op is ops.matmul:  # (..., n, k) (..., k, m): 2 k per output
        return 2 * math.prod(node.shape) * inputs[0].shape[-1]
    if op in (ops.convolution, ops.convolution_weight):  # 2 · kernel · C / groups per output
        x, (w, out) = inputs[0], (inputs[1], node)
        if op is ops.convolution_weight:
            w, out = out, w
        # Two places of (input, kernel, output) settle the third: the rest are products with 0.
        sizes = zip(x.shape[1:-1], w.shape[:-2], out.shape[1:-1], strict=True)
        places = math.prod(min(i * k, i * o, k * o) for i, k, o in sizes)
        return 2 * x.shape[0] * places * math.prod(w.shape[-2:])
    if op is ops.recurrence:  # a h + b
        return 2 * math.prod(node.shape)
    if op is ops.norm:  # ∑ x · x
        return 2 * math.prod(inputs[0].shape)
    return math.prod(inputs[0].shape if op in PER_INPUT else node.shape)


def _of_scores(
    inputs: Sequence[Node], products: tuple[int, int], functions: int
) -> tuple[int, int]:
    """The operations of matrix products with queries and keys and with values, and of the others.

    All pairs of a query and a key count, whether a mask allows them or not.
    """
    (n, t, h, d), s, e = inputs[0].shape, inputs[1].shape[1], inputs[2].shape[3]
    pairs = n * h * t * s
    return 2 * pairs * (products[0] * d + products[1] * e), functions * pairs
