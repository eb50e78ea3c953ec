"""Running a function for its graph: traced to a graph, replayed from one, or pulled back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import ops
from .errors import GradientError, TraceError
from .graph import Graph, Node, spec_text, topological
from .reverse import sweep
from .sparse import RowSparse
from .tensor import Tensor, as_tensor, enable_grad, held, make, no_grad, quiet, trace_hold, wrap
from .trace import Trace, state

Function = Callable[[list[Tensor]], Sequence[Tensor]]


@dataclass
class Recorded:
    """A traced function: its graph, and the tensors from outside that it reads and assigns.

    inputs of the graph     the arguments, then `reads`
    outputs of the graph    the results, then the new values of `writes`
    """

    graph: Graph
    reads: list[tuple[Any, str]]
    writes: list[Any]
    trace: Trace
    results: int


def record(function: Function, arguments: Sequence[tuple[Any, Any, bool]]) -> Recorded:
    """Trace the function on inputs of these (shape, dtype, requires_grad)."""
    trace = Trace()
    with trace:
        inputs = [trace.input(*spec) for spec in arguments]
        results = [trace.node_of(as_tensor(t)) for t in function([wrap(n) for n in inputs])]
    written = set(trace.writes)
    reads: list[tuple[Any, str]] = []
    for key, (owner, slot, node) in trace.reads.items():
        if node in trace.made and key not in written:
            node.value = owner._value  # made inside, assigned nowhere: a constant
            continue
        reads.append((owner, slot))
        inputs.append(node)
    writes = [owner for owner, _, _ in trace.writes.values()]
    outputs = results + [node for _, _, node in trace.writes.values()]
    return Recorded(Graph(inputs, outputs), reads, writes, trace, len(results))


def record_inner(
    name: str, function: Function, arguments: Sequence[tuple[Any, Any, bool]]
) -> Recorded:
    """Trace the body of a control operation, which may assign tensors but not gradients."""
    out = record(function, arguments)
    if out.trace.grads or any(slot != "value" for _, slot in out.reads):
        raise TraceError(
            name,
            "got a function that calls backward()",
            "gradients inside are taken with cr.grad",
            "use cr.grad, or call backward() outside",
        )
    return out


def replay(graph: Graph, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The graph's operations done again, on these inputs."""
    values: dict[Node, Any] = dict(zip(graph.inputs, tensors, strict=True))
    for node in graph.nodes:
        if node in values:
            continue
        if node.op is None:
            values[node] = make(node.value)
        elif node.op is ops.item:
            values[node] = values[node.inputs[0]][node.params["index"]]
        else:
            inputs = tuple(values[i] for i in node.inputs)
            values[node] = _apply(node, inputs)
    return [values[o] for o in graph.outputs]


def _apply(node: Node, inputs: tuple[Tensor, ...]) -> Any:
    assert node.op is not None
    first = inputs[0] if inputs else make(np.zeros(()))
    if node.requires_grad or not state.grad:
        return first._bind(node.op, inputs, node.params)
    with no_grad():  # it was computed without recording
        return first._bind(node.op, inputs, node.params)


def fresh(x: Tensor) -> Tensor:
    """The same value as a variable of its own, so that a derivative is with respect to it alone."""
    trace = state.trace
    if trace is not None:
        return wrap(trace.apply(ops.alias, (trace.node_of(x),), {}, True))
    if x.requires_grad:
        return x.clone()
    out = make(x._value)
    out._node = Node(None, (), {}, x.shape, x.dtype, x._value, True)
    return out


def pullback(
    name: str, function: Function, inputs: Sequence[Tensor]
) -> tuple[Sequence[Tensor], Callable[[Sequence[Any]], list[Any]]]:
    """The results, and a function from their cotangents to those of the inputs (None: zero).

    What comes back can be differentiated again, with respect to anything that requires a gradient.
    """
    outer = state.grad
    with enable_grad():
        variables = [fresh(x) if x.dtype.kind in "fV" else x for x in inputs]
        results = function(variables)
    trace = state.trace

    def node_of(t: Tensor) -> Node | None:
        return trace.node_of(t) if trace is not None else t._node

    wrt = [node_of(v) for v, x in zip(variables, inputs, strict=True) if x.dtype.kind in "fV"]

    def pull(cotangents: Sequence[Any]) -> list[Any]:
        seeds: dict[Node, Any] = {}
        for result, g in zip(results, cotangents, strict=True):
            node = node_of(result)
            if g is None or node is None or not node.requires_grad:
                continue
            if g.shape != result.shape or g.dtype != result.dtype:
                raise GradientError(
                    name,
                    f"got a cotangent {spec_text(g)}",
                    f"{spec_text(result)} is needed, like the result",
                    "reshape or convert it",
                )
            seeds[node] = g if node not in seeds else seeds[node] + g
        targets = [n for n in wrt if n is not None]
        record_again = outer and (trace is not None or _reaches_further(seeds, set(targets)))
        mode = enable_grad() if record_again else no_grad()
        with mode, quiet():
            hold = held_in(trace)
            found = sweep(seeds, hold, targets)
        shares = iter([found.get(n) if n is not None else None for n in wrt])
        out = [next(shares) if x.dtype.kind in "fV" else None for x in inputs]
        return [g.to_dense() if isinstance(g, RowSparse) else g for g in out]

    return results, pull


def _reaches_further(seeds: dict[Node, Any], targets: set[Node]) -> bool:
    """Whether the result can depend on something that requires a gradient besides the targets."""
    if any(g.requires_grad for g in seeds.values()):
        return True
    return any(n.op is None and n not in targets for n in topological(seeds, only_grad=True))


def held_in(trace: Trace | None) -> Callable[[Node], Any]:
    """How rules hold nodes: of the trace, or of an eager recording."""
    if trace is None:
        return held
    return lambda node: trace_hold(trace, node)
