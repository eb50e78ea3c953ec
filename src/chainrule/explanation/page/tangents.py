"""How the outputs of a step change with its inputs, as graphs.

    (values of the inputs, a tangent for each varying one) ──► tangents of the outputs
    (values of the inputs, a gradient for each output)     ──► shares of the varying inputs

It comes from the rules of the backward pass: gᵀJ is linear in g, and its transpose is J.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import ops
from ...compile.passes import PASSES
from ...dtypes import is_floating
from ...errors import ChainruleError
from ...graph import Graph, Node
from ...recording import record
from ...tensor import Tensor, make, no_grad, quiet
from ...transforms import jvp, vjp
from ..derivation import Derivation
from ..steps import Step


@dataclass(frozen=True)
class Tangent:
    """The derivative of a step, along a direction or back.

    varying   the inputs that have a tangent
    outputs   the outputs that have one
    graph     from the step's inputs and the tangents of `varying`: those of `outputs`
    back      from the step's inputs and the gradients of `outputs`: the share of each of `varying`
    """

    varying: list[Node]
    outputs: list[Node]
    graph: Graph | None
    back: Graph | None


def tangent_of(derivation: Derivation, step: Step) -> Tangent | None:
    """The step's derivative; None if nothing varies."""
    flows = {p.node: [share is not None for share in p.shares] for p in derivation.pulls}
    reached = {*flows} | {n for n, i in derivation.inputs.items() if i.name in derivation.gradients}
    reached |= {n for n in derivation.forward if n.op is ops.item and n.inputs[0] in flows}
    varying = [n for n in step.inputs if n in reached and _is_floating(n)]
    outputs = [n for n in step.outputs if n in reached and _is_floating(n)]
    if not varying or not outputs:
        return None

    def parts(handles: list[Tensor]) -> tuple[Any, list[Tensor], list[Tensor]]:
        """The step as a function of what varies, these inputs, and what the derivative acts on."""
        inputs = dict(zip(step.inputs, handles[: len(step.inputs)], strict=True))

        def forward(*xs: Tensor) -> list[Tensor]:
            values = _repeated(step, {**inputs, **dict(zip(varying, xs, strict=True))}, flows)
            return [values[n] for n in outputs]

        return forward, [inputs[n] for n in varying], handles[len(step.inputs) :]

    def along(handles: list[Tensor]) -> list[Tensor]:
        return [*jvp(*parts(handles))[1]]

    def back(handles: list[Tensor]) -> list[Tensor]:
        forward, inputs, upstream = parts(handles)
        return [*vjp(forward, *inputs)[1](upstream)]

    return Tangent(
        varying,
        outputs,
        _recorded(along, [*step.inputs, *varying]),
        _recorded(back, [*step.inputs, *outputs]),
    )


def _recorded(body: Callable[[list[Tensor]], list[Tensor]], inputs: list[Node]) -> Graph | None:
    """The body's graph of inputs like these; None if a rule cannot be differentiated again."""
    specs = [(n.shape, n.dtype, False) for n in inputs]
    try:
        with quiet():
            graph = record(body, specs, None, "explain", False).graph
    except ChainruleError:
        return None
    for run in PASSES:
        graph = run(graph)
    return graph


def _is_floating(node: Node) -> bool:
    return not isinstance(node.dtype, tuple) and is_floating(node.dtype)


def _repeated(
    step: Step, values: dict[Node, Any], flows: Mapping[Node, Sequence[bool]]
) -> dict[Node, Any]:
    """The step's values, recorded where a gradient flows and not where it does not.

    flows   for each node that a gradient reaches: whether it passes a share to each of its inputs
    """
    for node in step.nodes:
        if node.op is ops.item:
            values[node] = _value(values, node.inputs[0])[node.params["index"]]
            continue
        inputs = tuple(_value(values, i) for i in node.inputs)
        if node in flows:
            pairs = zip(inputs, flows[node], strict=True)
            inputs = tuple(x if flow or isinstance(x, tuple) else x.detach() for x, flow in pairs)
            values[node] = inputs[0]._bind(node.op, inputs, node.params)
        else:
            with no_grad():
                values[node] = inputs[0]._bind(node.op, inputs, node.params)
    return values


def _value(values: dict[Node, Any], node: Node) -> Any:
    """A node's value; of a constant, and of what depends on constants alone, computed now."""
    if node not in values:
        if node.op is None:
            values[node] = make(node.value)
        else:
            inputs = tuple(_value(values, i) for i in node.inputs)
            with no_grad():
                values[node] = inputs[0]._bind(node.op, inputs, node.params)
    return values[node]
