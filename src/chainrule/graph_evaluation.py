"""Graphs evaluated by NumPy: the meaning of the operations that have a graph as a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import ArgumentError, ChainruleError
from .graph import Array, Graph, Node


def run(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """Evaluate a graph on arrays, node by node."""
    values: dict[Node, Any] = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        if node not in values:
            if node.op is None:
                values[node] = node.value
                continue
            try:
                values[node] = node.op.evaluate(*[values[i] for i in node.inputs], **node.params)
            except Exception as error:
                raise failure(node, error) from None
    return [np.asarray(values[o]) for o in graph.outputs]


def failure(node: Node, error: Exception) -> ChainruleError:
    """The error for a node that could not be evaluated, with the line that recorded the node."""
    if isinstance(error, ChainruleError):
        return error.located(node.source)
    return ArgumentError(
        node.op.name if node.op else "constant",
        f"got inputs for which NumPy says: {error}",
        "expected values it can compute",
        "run it without compile, scan or checkpoint to see them",
        node.source,
    )


def call(*xs: Array, graph: Graph, **params: Any) -> tuple[Array, ...]:
    return tuple(run(graph, xs))


def scan(
    *xs: Array, graph: Graph, length: int, consts: int, carries: int, reverse: bool, **params: Any
) -> tuple[Array, ...]:
    """Carry state through `length` steps of the graph; stack the other results of each step."""
    first = consts + carries
    carry, rows = list(xs[consts:first]), xs[first:]
    outs = graph.outputs[carries:]
    stacked = [np.empty((length, *o.shape), o.dtype) for o in outs]
    for t in reversed(range(length)) if reverse else range(length):
        out = run(graph, [*xs[:consts], *carry, *(x[t] for x in rows)])
        carry = out[:carries]
        for whole, part in zip(stacked, out[carries:], strict=True):
            whole[t] = part
    return (*carry, *stacked)
