"""An optimizer's step after a recorded backward pass."""

from __future__ import annotations

import dataclasses

from ..compile.rewriting import inlined
from ..errors import ArgumentError
from ..graph import Graph, Node, topological
from ..optim.optimizer import Optimizer
from ..recording import record
from ..sparse import RowSparse
from ..tensor import Tensor, no_grad, quiet
from ..trace import Trace
from .derivation import Derivation, Input
from .names import names_of
from .simplified import simplified, value_of, without_inputs


def with_update(derivation: Derivation, optimizer: Optimizer) -> Derivation:
    """The derivation with the optimizer's step on its gradients, as `updated`.

    The parameters are those of the derivation; the optimizer's state and settings those of now.
    """
    owners = derivation.owners.copy()
    owners.add_optimizer(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group.params]
    stepped = [(owners.name(p), p) for p in parameters if owners.name(p) in derivation.gradients]
    assigned = [name for name in derivation.updated if name in derivation.gradients]
    if assigned:
        raise ArgumentError(
            "explain",
            f"got update= for a function that assigns {', '.join(assigned[:3])}",
            "expected a function that leaves its parameters as they are",
            "leave out update: what the function assigns is in its program",
        )
    if not stepped:
        raise ArgumentError(
            "explain",
            "got an optimizer of other parameters",
            f"expected one of {', '.join([*derivation.gradients][:3])}",
            "numpy(update=optim.Adam(model.named_parameters()))",
        )
    sources: list[Node] = []
    for name, _ in stepped:
        sources += derivation.sparse.get(name) or [derivation.gradients[name]]

    def body(handles: list[Tensor]) -> list[Tensor]:
        rest = iter(handles)
        with no_grad():
            for p in parameters:
                p.grad = None
            for name, p in stepped:
                sparse = name in derivation.sparse
                p.grad = RowSparse(next(rest), next(rest), p.shape) if sparse else next(rest)
            optimizer.step()
        return []

    trace = Trace()
    with quiet():
        recorded = record(
            body, [(n.shape, n.dtype, False) for n in sources], trace, "explain", False
        )
    known = {i.name: node for node, i in derivation.inputs.items()}
    inputs, places = dict(derivation.inputs), [*sources]
    captured = recorded.graph.inputs[len(sources) :]
    for (owner, slot), node in zip(recorded.reads, captured, strict=True):
        name = owners.name(owner)
        if name not in known:
            inputs[node] = Input(name, owners.kind(owner), value_of(owner, slot))
        places.append(known.get(name, node))
    written = [node for _, node in trace.writes.values()]
    nodes = topological(written)
    new = simplified(recorded.graph.inputs, nodes, set())
    order = list(dict.fromkeys(new[n] for n in nodes))
    fixed, _ = without_inputs(order, {*recorded.graph.inputs})
    whole = inlined(Graph(recorded.graph.inputs, order), places)
    position, first = dict(derivation.position), len(derivation.position)
    for k, node in enumerate(whole):
        position.setdefault(node, first + k)
    at = dict(zip(order, whole, strict=True))
    out = dataclasses.replace(
        derivation,
        inputs=inputs,
        owners=owners,
        updated=derivation.updated | {owners.name(o): at[new[n]] for o, n in trace.writes.values()},
        fixed=derivation.fixed | {at[n] for n in fixed},
        position=position,
    )
    out.names = names_of(out)  # of the optimizer's state and settings, too
    return out
