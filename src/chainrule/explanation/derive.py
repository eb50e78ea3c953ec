"""Records a function with its backward pass, as a `Derivation`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from .. import ops
from ..compile.arguments import Arguments
from ..dtypes import is_floating
from ..errors import ArgumentError, GradientError, ShapeError
from ..graph import Node, spec_text, topological
from ..recording import Recorded, record
from ..sparse import RowSparse
from ..tensor import Tensor, no_grad, quiet
from ..trace import Trace, state
from .derivation import Derivation, Input, evaluated
from .names import names_of
from .owners import Owners, distinct
from .recorder import Call, Exchange, Line, NotCalledError, Pull, Recorder
from .simplified import simplified, value_of, without_inputs
from .steps import steps_of


def derive(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    exchanges: Sequence[Exchange] = (),
) -> Derivation:
    """Record the function's loss, the backward pass from it, and what the function assigns.

    function    returns the loss (or a tuple that begins with it), or calls backward() on it
    exchanges   what runs in place of some modules of the user's

    NotCalledError: the function does not call one of these modules.
    """
    if isinstance(function, Tensor) or not callable(function):
        got = spec_text(function) if isinstance(function, Tensor) else type(function).__name__
        raise ArgumentError(
            "explain",
            f"got {got}",
            "expected the function that computes the loss, and its arguments",
            "explain(lambda x, y: loss(model(x), y), x, y)",
        )
    arguments = Arguments(args, kwargs)
    recording = _Recording(function, arguments, exchanges)
    if not recording.ends:  # no parameters: by the arguments
        recording = _Recording(function, arguments, exchanges, by_arguments=True)
        if not recording.ends:
            raise GradientError(
                "explain",
                f"got a loss {spec_text(recording.loss)} computed from nothing that requires a "
                "gradient",
                "expected parameters, or floating arguments",
                "pass what to differentiate by as an argument, or set requires_grad=True on it",
            )
    owners = Owners(function, args, kwargs)
    for exchange in exchanges:
        owners.add_exchange(exchange)
    return _derivation(recording, owners)


class _Recording:
    """The function, recorded with its backward pass.

    A leaf that requires a gradient is one variable, whether the function gets it as an argument,
    sees it from outside, or both.

    tensors    those of the arguments that are inputs, and their places among the arguments' tensors
    inputs     the nodes that stand for them
    ends       (owner, node) for each gradient; the owner is a tensor, or a place in `tensors`
    sparse     for row-sparse gradients (owner, node of the rows, node of the values)
    assigned   (owner, node) for each new value of a tensor from outside
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Arguments,
        exchanges: Sequence[Exchange],
        by_arguments: bool = False,
    ) -> None:
        self._function, self._arguments = function, arguments
        self.places = [
            k
            for k, t in enumerate(arguments.tensors)
            if by_arguments or not (t.requires_grad and t.is_leaf)
        ]
        self.tensors = [arguments.tensors[k] for k in self.places]
        self.recorder = Recorder(exchanges)
        trace = Trace()
        trace.watcher = self.recorder
        self.ends: list[tuple[Any, Node]] = []
        self.sparse: list[tuple[Any, Node, Node]] = []
        specs = [
            (t.shape, t.dtype, is_floating(t.dtype) if by_arguments else t.requires_grad)
            for t in self.tensors
        ]
        with quiet():
            self.recorded: Recorded = record(self._body, specs, trace, "explain", False)
        if self.recorder.unused:
            raise NotCalledError
        self.inputs = self.recorded.graph.inputs[: len(self.tensors)]
        self.assigned = [(owner, node) for owner, node in trace.writes.values()]

    def _body(self, handles: list[Tensor]) -> list[Tensor]:
        trace = state.trace
        assert trace is not None
        for handle in handles:
            if handle._node is not None and handle._node.requires_grad:
                handle._node.owner = weakref.ref(handle)
        tensors = [*self._arguments.tensors]
        for k, handle in zip(self.places, handles, strict=True):
            tensors[k] = handle
        args, kwargs = self._arguments.with_tensors(tensors)
        out = self._function(*args, **kwargs)
        loss = _loss_of(out, trace)
        self.loss = trace.node_of(loss)
        if not self.loss.requires_grad:
            return [loss]
        if not trace.roots:
            loss.backward()
        pairs = [(k, h._grad) for k, h in enumerate(handles)]
        pairs += [(owner, g) for owner, g, _ in trace.gradients.values()]
        with no_grad():
            for owner, g in pairs:
                if isinstance(g, RowSparse):
                    rows, values = trace.node_of(g.indices), trace.node_of(g.values)
                    self.sparse.append((owner, rows, values))
                    g = g.to_dense()
                if g is not None:
                    self.ends.append((owner, trace.node_of(g)))
        return [loss]


def _loss_of(out: Any, trace: Trace) -> Tensor:
    """The loss: what backward() was called on, or what was returned."""
    if len(trace.roots) > 1:
        raise ArgumentError(
            "explain",
            f"got a function with {len(trace.roots)} calls of backward()",
            "expected one backward pass",
            "explain the loss of each by itself, or add the losses up",
        )
    if trace.roots:
        (root,) = trace.roots
        return Tensor._of_node(root)
    first = out[0] if isinstance(out, (tuple, list)) and out else out
    if not isinstance(first, Tensor):
        raise ArgumentError(
            "explain",
            f"got a function that returns {type(out).__name__}",
            "expected a loss: a tensor of one element, or a step that calls backward()",
            "return the loss",
        )
    if first.size != 1 or not is_floating(first.dtype):
        raise ShapeError(
            "explain",
            f"got a function that returns {spec_text(first)}",
            "expected a loss: one floating number",
            "reduce it with mean() or sum()",
        )
    return first


def _derivation(recording: _Recording, owners: Owners) -> Derivation:
    """The recorded nodes after the exact passes, with their names and values."""
    recorder, recorded = recording.recorder, recording.recorded
    pulls = next((p for outs, p in reversed(recorder.sweeps) if recording.loss in outs), [])
    written = [node for _, node in recording.assigned]
    ends = [node for _, node in recording.ends]
    ends += [node for _, *parts in recording.sparse for node in parts]
    passed = [n for p in pulls for n in (*p.upstream, *p.shares) if n is not None]
    everything = topological([recording.loss, *ends, *written, *passed])
    forward = {n for n in topological([recording.loss]) if n.op is not None}
    new = simplified(recorded.graph.inputs, everything, forward)

    read: dict[Node, Input] = {}
    arguments = [owners.arguments[k] for k in recording.places]
    captured = recorded.graph.inputs[len(recording.inputs) :]
    kinds = {owners.name(owner): owners.kind(owner) for owner, _ in recorded.reads}
    if any(k == "parameter" and n not in owners.arguments for n, k in kinds.items()):
        kinds |= dict.fromkeys(owners.arguments, "data")  # beside parameters, arguments are data
    for node, t, name in zip(recording.inputs, recording.tensors, arguments, strict=True):
        kind = kinds.get(name, "parameter" if node.requires_grad else "data")
        read[node] = Input(name, kind, np.array(t._value))
    for (owner, slot), node in zip(recorded.reads, captured, strict=True):
        name = owners.name(owner) + slot.removeprefix("value").replace("grad", "/grad")
        read[node] = Input(name, kinds[owners.name(owner)], np.array(value_of(owner, slot)))
    loss = new[recording.loss]

    def name_of(owner: Any) -> str:
        return arguments[owner] if isinstance(owner, int) else owners.name(owner)

    gradients = {name_of(owner): new[node] for owner, node in recording.ends}
    sparse = {name_of(owner): (new[rows], new[v]) for owner, rows, v in recording.sparse}
    draws = topological([n for n in recorded.graph if n.op is ops.random_bits])
    generators = {
        id(owner)
        for (owner, _), node in zip(recorded.reads, captured, strict=True)
        if node in draws
    }
    updated = {
        owners.name(owner): new[node]
        for owner, node in recording.assigned
        if id(owner) not in generators
    }
    calls: dict[Node, Call] = {}
    lines: dict[Node, tuple[Line, ...]] = {}
    for old, call in recorder.calls.items():
        if old in new:
            calls.setdefault(new[old], call)
            lines.setdefault(new[old], recorder.lines[old])
    position: dict[Node, int] = {}
    for k, node in enumerate(everything):
        position.setdefault(new[node], k)
    for node in topological({*new.values()}):
        position.setdefault(node, -1)  # a constant that the passes have put in
    ends = [loss, *gradients.values(), *updated.values()]
    order = sorted(position, key=position.__getitem__)
    fixed, random = without_inputs(order, {*read})
    inputs = _inputs(read, calls, owners, ends, order, random)
    gradients = {i.name: gradients[i.name] for i in inputs.values() if i.name in gradients}
    reached = [
        Pull(
            new[p.node],
            [u and new.get(u) for u in p.upstream],
            [s and new.get(s) for s in p.shares],
            list(dict.fromkeys(new[m] for m in p.nodes if m in new)),
        )
        for p in pulls
        if new[p.node] not in {new[i] for i in p.node.inputs}  # else it changes nothing
    ]
    out = Derivation(
        inputs,
        loss,
        [],
        reached,
        gradients,
        sparse,
        updated,
        calls,
        lines,
        owners,
        fixed,
        position,
        [],
        {},
    )
    out.forward = out.between([loss])
    computed = {*out.forward}
    out.pulls = [p for p in reached if p.node in computed]
    out.steps = steps_of(out.forward, inputs, loss, out.pulls, calls, owners.path)
    out.names = names_of(out)
    return out


def _inputs(
    read: Mapping[Node, Input],
    calls: Mapping[Node, Call],
    owners: Owners,
    ends: Sequence[Node],
    order: Sequence[Node],
    random: AbstractSet[Node],
) -> dict[Node, Input]:
    """What the ends need of the inputs; what is computed from random bits alone is an input too."""
    outside = {i for node in order if node not in random for i in node.inputs} | {*ends}
    drawn = [node for node in order if node in random and node in outside]
    behind = _until(drawn, {*read})
    bits = [node for node in order if node in behind and node.op is not None]
    values = evaluated(bits, {node: i.value for node, i in read.items()}) if drawn else {}
    needed = _until(ends, {*drawn})
    out = {node: i for node, i in read.items() if node in needed}
    names = {i.name for i in read.values()}
    for node in drawn:
        call = calls.get(node)
        path = "" if call is None or call.module is None else owners.path(call.module)
        what = "mask" if node.dtype == np.bool_ else "noise"
        out[node] = Input(distinct(f"{path}.{what}".lstrip("."), names), "drawn", values[node])
    return out


def _until(ends: Sequence[Node], stop: AbstractSet[Node]) -> set[Node]:
    """The nodes that the ends depend on, without what is behind `stop`."""
    seen: set[Node] = set()
    stack = list(ends)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += () if node in stop else node.inputs
    return seen
