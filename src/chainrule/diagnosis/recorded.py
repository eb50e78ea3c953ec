"""A function recorded with its gradients, and the values that it would read now."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import tree
from ..compile.arguments import Arguments
from ..dtypes import is_floating
from ..errors import ArgumentError
from ..explanation.owners import Owners
from ..explanation.simplified import value_of
from ..graph import Array, Node, spec_text
from ..nn import Module
from ..recording import record
from ..sparse import RowSparse
from ..tensor import Tensor, as_tensor, quiet
from ..trace import Trace
from .places import Places


@dataclass
class Recorded:
    """A recorded function.

    values     of the inputs of its graph, which are those of now
    names      of these inputs
    data       the inputs that are arguments; if none is, the tensors from outside that are data
    results    what it computes, in the order in which it is looked at: what it returns, gradients,
               new values of tensors from outside; each with its name
    places     where each node comes from
    owners     the names of modules
    """

    values: dict[Node, Array]
    names: dict[Node, str]
    data: list[Node]
    results: list[tuple[str, Node]]
    places: Places
    owners: Owners


def recorded(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    model: Module | None = None,
) -> Recorded:
    """Record function(*args, **kwargs), and the gradients of what it returns if it is a loss.

    Nothing is computed or assigned.

    model   has the names of parameters and modules, if the function does not show it
    """
    if isinstance(function, Tensor) or not callable(function):
        got = spec_text(function) if isinstance(function, Tensor) else type(function).__name__
        raise ArgumentError(
            "first_nonfinite",
            f"got {got}",
            "expected the function that computes the values, and its arguments",
            "first_nonfinite(lambda x, y: loss(model(x), y), x, y)",
        )
    arguments = Arguments(args, kwargs)
    # A leaf that requires a gradient is one variable, seen from outside or passed.
    passed = [k for k, t in enumerate(arguments.tensors) if not (t.requires_grad and t.is_leaf)]
    tensors = [arguments.tensors[k] for k in passed]
    owners = Owners(function, args, kwargs)
    if model is not None:
        owners.add_module(model)
    names = [owners.arguments[k] for k in passed]
    trace = Trace()
    trace.watcher = places = Places()
    gradients: list[tuple[str, Node]] = []

    def body(handles: list[Tensor]) -> list[Tensor]:
        for handle in handles:
            if handle._node is not None and handle._node.requires_grad:
                handle._node.owner = weakref.ref(handle)
        own = [*arguments.tensors]
        for k, handle in zip(passed, handles, strict=True):
            own[k] = handle
        new_args, new_kwargs = arguments.with_tensors(own)
        out = [as_tensor(t) for t in tree.flatten(function(*new_args, **new_kwargs))[0]]
        if not trace.roots and out and _is_loss(trace.node_of(out[0])):
            out[0].backward()
        ends = [*zip(names, (h._grad for h in handles), strict=True)]
        ends += [(owners.name(owner), g) for owner, g, _ in trace.gradients.values()]
        for name, g in ends:
            if g is not None:
                values = g.values if isinstance(g, RowSparse) else g
                gradients.append((f"the gradient of {name}", trace.node_of(values)))
        return out

    specs = [(t.shape, t.dtype, t.requires_grad) for t in tensors]
    with quiet():
        graph = record(body, specs, trace, "first_nonfinite", False)
    count = graph.results
    kinds = ["loss" if node in trace.roots else "result" for node in graph.graph.outputs[:count]]
    results = [
        (f"the {kind}", node) for kind, node in zip(kinds, graph.graph.outputs[:count], strict=True)
    ]
    results += [("the loss", node) for node in trace.roots if node not in graph.graph.outputs]
    results += gradients
    results += [
        (f"the new value of {owners.name(owner)}", node) for owner, node in trace.writes.values()
    ]
    inputs = graph.graph.inputs
    values: dict[Node, Array] = {
        node: t._value for node, t in zip(inputs, tensors, strict=False) if t._value is not None
    }
    named = dict(zip(inputs, names, strict=False))
    data = [*inputs[: len(tensors)]]
    for (owner, slot), node in zip(graph.reads, inputs[len(tensors) :], strict=True):
        values[node] = value_of(owner, slot)
        gradient = "the gradient of " if slot != "value" else ""
        named[node] = gradient + owners.name(owner)
        if not tensors and not owner.requires_grad and owners.kind(owner) == "data":
            data.append(node)
    return Recorded(values, named, data, results, places, owners)


def _is_loss(node: Node) -> bool:
    one = all(n == 1 for n in node.shape)
    return one and node.requires_grad and is_floating(node.dtype)
