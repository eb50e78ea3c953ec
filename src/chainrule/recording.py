"""Functions as graphs: traced to a graph, replayed from one, or pulled back."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import ops
from .backpropagation import sweep
from .dtypes import is_floating
from .errors import GradientError, TraceError
from .graph import Graph, Node, spec_text, topological
from .sparse import RowSparse
from .tensor import Tensor, as_tensor, enable_grad, make, no_grad, quiet, wrap
from .trace import Trace, state

Function = Callable[[list[Tensor]], Sequence[Tensor]]


@dataclass
class Recorded:
    """A traced function: its graph, and the tensors from outside that it reads and assigns.

    inputs of the graph     the arguments, then `reads`
    outputs of the graph    the results, the new values of `writes`, then the new `grads`
    grads                   tensor, and the shape of its row-sparse gradient, () for a tensor or
                            None for no gradient
    """

    graph: Graph
    reads: list[tuple[Any, str]]
    writes: list[Any]
    grads: list[tuple[Any, Any]]
    trace: Trace
    results: int


def record(
    function: Function,
    arguments: Sequence[tuple[Any, Any, bool]],
    trace: Trace | None = None,
    name: str = "compile",
    values_only: bool = True,
) -> Recorded:
    """Trace the function on inputs of these (shape, dtype, requires_grad).

    values_only   the function may not assign to its arguments: the assignment would be lost
    """
    trace = Trace() if trace is None else trace
    with trace:
        inputs = [trace.input(*spec) for spec in arguments]
        handles = [wrap(n) for n in inputs]
        for node, handle in zip(inputs, handles, strict=True):
            node.owner = weakref.ref(handle) if trace.lasting and node.requires_grad else None
        results = [trace.node_of(as_tensor(t)) for t in function(handles)]
        grads, extra = _gradients(trace)
    for k, (node, handle) in enumerate(zip(inputs, handles, strict=True)):
        if values_only and (handle._node is not node or handle._grad is not None):
            raise TraceError(
                name,
                f"got argument {k} (counting tensors), which is assigned or gets a gradient",
                "expected to assign to tensors from outside only: others are not written back",
                "leave it out of the arguments and use it from outside, or return the new value",
            )
    reads = [(owner, slot) for owner, slot, _ in trace.reads.values()]
    graph = Graph(
        [*inputs, *(node for _, _, node in trace.reads.values())],
        [*results, *(node for _, node in trace.writes.values()), *extra],
    )
    writes = [owner for owner, _ in trace.writes.values()]
    return Recorded(graph, reads, writes, grads, trace, len(results))


def _gradients(trace: Trace) -> tuple[list[tuple[Any, Any]], list[Node]]:
    """The gradients that were assigned (or changed in place), and their nodes."""
    grads: list[tuple[Any, Any]] = []
    nodes: list[Node] = []
    for owner, value, before in list(trace.gradients.values()):
        if value is None:
            grads.append((owner, None))
        elif isinstance(value, RowSparse):
            if before is None:
                grads.append((owner, value.shape))
                nodes += [trace.node_of(value.indices), trace.node_of(value.values)]
        elif trace.node_of(value) is not before:
            grads.append((owner, ()))
            nodes.append(trace.node_of(value))
    return grads, nodes


def record_inner(
    name: str, function: Function, arguments: Sequence[tuple[Any, Any, bool]]
) -> Recorded:
    """Trace the body of a control operation, which may assign tensors but not gradients."""
    out = record(function, arguments, name=name, values_only=name != "scan")
    if out.trace.gradients or out.trace.without_grad:
        raise TraceError(
            name,
            "got a function that calls backward() or reads .grad",
            "expected gradients inside to be taken with cr.grad",
            "use cr.grad, or call backward() outside",
        )
    return out


def write_back(owner: Tensor, value: Tensor) -> None:
    """Repeat the assignment of a traced body; to a leaf it was done without recording."""
    if owner.requires_grad and owner.is_leaf:
        with no_grad():
            owner._assign(value)
    else:
        owner._assign(value)


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
            values[node] = _repeat(node, inputs)
            if state.trace is not None and state.trace.watcher is not None:
                again = values[node][0] if isinstance(values[node], tuple) else values[node]
                state.trace.watcher.repeated(node, again._node)
    return [values[o] for o in graph.outputs]


def _repeat(node: Node, inputs: tuple[Tensor, ...]) -> Any:
    assert node.op is not None
    first = inputs[0] if inputs else make(np.zeros(()))
    if node.requires_grad or not state.grad:
        return first._bind(node.op, inputs, node.params)
    with no_grad():  # it was computed without recording
        return first._bind(node.op, inputs, node.params)


def fresh(x: Tensor) -> Tensor:
    """The same value as a new variable, so that a derivative is with respect to it alone."""
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

    The results can be differentiated again, with respect to anything that requires a gradient.
    """
    outer = state.grad
    with enable_grad():
        variables = [fresh(x) if is_floating(x.dtype) else x for x in inputs]
        floats = [v for v in variables if is_floating(v.dtype)]
        targets = [_noded(v) for v in floats]  # before the function may assign to its arguments
        before = state.variables
        state.variables = (*before, *targets)
        state.pullbacks += 1
        try:
            results = function(variables)
        finally:
            state.variables = before
    trace = state.trace
    nodes = [trace.node_of(t) if trace is not None else t._node for t in results]
    # Whether the results depend on something that requires a gradient, other than the variables.
    further = trace is not None or any(
        n.is_leaf and n not in targets
        for n in topological([n for n in nodes if n is not None], only_grad=True)
    )
    if not further:  # for others they are plain values: no graph is kept alive
        results = [make(t._value) for t in results]

    def pull(cotangents: Sequence[Any]) -> list[Any]:
        seeds: dict[Node, Any] = {}
        for result, node, g in zip(results, nodes, cotangents, strict=True):
            if g is None or node is None or not node.requires_grad:
                continue
            if g.shape != result.shape or g.dtype != result.dtype:
                raise GradientError(
                    name,
                    f"got a cotangent {spec_text(g)}",
                    f"expected {spec_text(result)}, like the result",
                    "reshape or convert it",
                )
            seeds[node] = g if node not in seeds else seeds[node] + g
        record_again = outer and (further or any(g.requires_grad for g in seeds.values()))
        mode = enable_grad() if record_again else no_grad()
        with mode, quiet():
            gradients = sweep(seeds, Tensor._tensors_of_nodes(trace, True), targets)
        shares = iter([gradients.get(n) for n in targets])
        out = [next(shares) if is_floating(x.dtype) else None for x in inputs]
        dense = [g.to_dense() if isinstance(g, RowSparse) else g for g in out]
        return [None if g is None else g._new_handle() for g in dense]

    return results, pull


def _noded(x: Tensor) -> Node:
    assert x._node is not None
    return x._node
