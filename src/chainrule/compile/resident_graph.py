"""The graph of a step whose tensors stay with it: whether they can, and how gradients come out."""

from __future__ import annotations

import math
from typing import NamedTuple

from .. import backends, ops
from ..graph import Graph, Node, Shape
from ..recording import Recorded
from ..tensor import Tensor

SMALL = 4096  # bytes: no more are cheaper to copy, or to write, than to treat otherwise


class Gradient(NamedTuple):
    """A gradient that a step leaves.

    tensor    whose gradient
    shape     of a row-sparse one, () for a tensor, None for no gradient
    outputs   the number of outputs that it takes
    scaled    two outputs: the gradient before its last factor, and that factor
    """

    tensor: Tensor
    shape: Shape | None
    outputs: int
    scaled: bool = False


def can_stay(recorded: Recorded, differentiable: bool) -> bool:
    """Whether the tensors of a step can stay with it.

    They cannot where the backend keeps no memory, where results are to be differentiated from
    outside, and where gradients from before the call are read.
    """
    owners = {id(owner) for owner, slot in recorded.reads if slot == "value"}
    return (
        backends.current().keeps_memory
        and not differentiable
        and not recorded.trace.without_grad
        and len(owners) == len(recorded.reads)
        and all(id(t) in owners for t, _ in recorded.grads)
    )


def unscaled(graph: Graph, recorded: Recorded) -> tuple[Graph, list[Gradient]]:
    """The graph of a step that keeps its gradients until they are read.

    Large ones that end in a factor, as clipping makes them, are left without it, and the factor is
    a further output: `ResidentTensors` multiplies, so that a step whose gradients are not read need
    not write them. An argument, or what is assigned too, is copied, or it would change with that.
    """
    first = recorded.results + len(recorded.writes)
    outputs, rest = list(graph.outputs[:first]), iter(graph.outputs[first:])
    written = set(outputs[recorded.results :])
    gradients = []
    for tensor, shape in recorded.grads:
        nodes = [next(rest) for _ in range(0 if shape is None else 2 if shape else 1)]
        parts = _factored(nodes[0]) if shape == () else None
        nodes = parts or nodes
        gradients.append(Gradient(tensor, shape, len(nodes), parts is not None))
        outputs += [_copied(n) if n.op is None or n in written else n for n in nodes]
    return Graph(graph.inputs, outputs), gradients


def _copied(node: Node) -> Node:
    return Node(ops.alias, (node,), {}, node.shape, node.dtype, None, False, node.source)


def _factored(node: Node) -> list[Node] | None:
    """What is computed in the step, and the number that it is multiplied by."""
    if node.op is not ops.multiply or math.prod(node.shape) * node.dtype.itemsize <= SMALL:
        return None
    for value, factor in (node.inputs, node.inputs[::-1]):
        while factor.op in (ops.broadcast_to, ops.reshape):
            factor = factor.inputs[0]
        if value.shape == node.shape and factor.shape == ():
            return [value, factor]
    return None
