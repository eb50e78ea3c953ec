"""A call of a step whose tensors do not stay with it: they are read before and assigned after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..graph import Graph
from ..sparse import RowSparse
from ..tensor import Tensor, make, record_outputs
from ..trace import optimizer_steps
from . import locks
from .captures import is_trained
from .step import Step


def run(step: Step, arguments: Sequence[Tensor], captured: Sequence[Tensor]) -> Any:
    """What the function returns; new values and gradients are assigned."""
    recorded = step.recorded
    if recorded.trace.steps_optimizer:
        optimizer_steps.count += 1
    step.mark_gradients_unread()
    inputs = (*arguments, *captured)
    outputs = step.executable([t._value for t in inputs])
    count = len(step.differentiable)
    new = [make(v) for v in outputs[:count]]
    if any(step.differentiable):  # recorded as one node, whose derivative does the graph again
        graph = recorded.graph
        params = {"graph": Graph(graph.inputs, graph.outputs[:count])}
        nodes = record_outputs(ops.call, inputs, params, tuple(outputs[:count]))
        triples = zip(nodes, new, step.differentiable, strict=True)
        new = [node if wanted else plain for node, plain, wanted in triples]
    with locks.crossing:
        _assign(recorded.writes, new[recorded.results :])
        gradients = iter(outputs[count:])
        for tensor, shape in recorded.grads:
            if shape is None:
                tensor._grad = None
            elif shape:
                tensor._grad = RowSparse(make(next(gradients)), make(next(gradients)), shape)
            else:
                tensor._grad = make(next(gradients))
    return step.structured(new[: recorded.results])


def _assign(owners: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Each owner gets its new value, a trained one without a history."""
    for owner, value in zip(owners, values, strict=True):
        before, node = owner._node, value._node
        if before is not None and is_trained(owner):
            node = owner._leaf(value._value, before.hooks)
        owner._node = node  # at once: a thread that records may ask whether it is trained
        owner._value = value._value
