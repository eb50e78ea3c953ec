"""Records a function with its backward pass, as a `Derivation`."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from .. import ops
from ..compile.arguments import Arguments
from ..compile.passes import fold, simpler
from ..compile.rewriting import apply, number, parameters_key, rebuild, with_inputs
from ..dtypes import is_floating
from ..errors import ArgumentError, GradientError, ShapeError
from ..graph import Array, Graph, Node, spec_text, topological
from ..recording import Recorded, record
from ..sparse import RowSparse
from ..tensor import Tensor, no_grad, quiet
from ..trace import Trace, state
from .derivation import Derivation, Input, evaluated
from .owners import Owners, is_generator_state
from .recorder import Call, Exchange, Line, Pull, Recorder


def derive(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    optimizer: Any = None,
    exchanges: Sequence[Exchange] = (),
) -> Derivation:
    """Record the function's loss, the backward pass from it, and the optimizer's step.

    function    returns the loss (or a tuple that begins with it), or calls backward() on it
    optimizer   steps after the backward pass, if the function does not step one itself
    exchanges   what runs in place of some modules of the user's
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
    recording = _Recording(function, arguments, optimizer, exchanges)
    if not recording.ends:  # no parameters: by the arguments
        floats = [is_floating(t.dtype) for t in arguments.tensors]
        recording = _Recording(function, arguments, optimizer, exchanges, floats)
        if not recording.ends:
            raise GradientError(
                "explain",
                f"got a loss {spec_text(recording.loss)} computed from nothing that requires a "
                "gradient",
                "expected parameters, or floating arguments",
                "pass what to differentiate by as an argument, or set requires_grad=True on it",
            )
    owners = Owners(function, args, kwargs, optimizer)
    for exchange in exchanges:
        owners.add_exchange(exchange)
    return _derivation(recording, owners)


class _Recording:
    """The function, recorded with its backward pass.

    arguments   the tensors among the arguments, and the inputs that stand for them
    ends        (owner, node) for each gradient
    assigned    (owner, node) for each new value of a tensor from outside
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Arguments,
        optimizer: Any,
        exchanges: Sequence[Exchange],
        variables: Sequence[bool] = (),
    ) -> None:
        self._function, self._arguments, self._optimizer = function, arguments, optimizer
        self.tensors = arguments.tensors
        wanted = variables or [t.requires_grad for t in self.tensors]
        self.recorder = Recorder(exchanges)
        trace = Trace()
        trace.watcher = self.recorder
        self.ends: list[tuple[Any, Node]] = []
        specs = [(t.shape, t.dtype, w) for t, w in zip(self.tensors, wanted, strict=True)]
        with quiet():
            self.recorded: Recorded = record(self._body, specs, trace, "explain", False)
        if self.recorder.unused:
            names = [type(e.module).__name__ for e in self.recorder.unused.values()]
            raise ArgumentError(
                "explain",
                f"got a {names[0]} to exchange, which the function does not call",
                "expected a call of the module",
                "call the module itself instead of its forward",
            )
        self.inputs = self.recorded.graph.inputs[: len(self.tensors)]
        self.assigned = [(owner, node) for owner, node in trace.writes.values()]

    def _body(self, handles: list[Tensor]) -> list[Tensor]:
        trace = state.trace
        assert trace is not None
        for handle in handles:
            if handle._node is not None and handle._node.requires_grad:
                handle._node.owner = weakref.ref(handle)
        args, kwargs = self._arguments.with_tensors(handles)
        out = self._function(*args, **kwargs)
        loss = _loss_of(out, trace)
        self.loss = trace.node_of(loss)
        if not self.loss.requires_grad:
            return [loss]
        if not trace.roots:
            loss.backward()
        with no_grad():
            if self._optimizer is not None and not trace.steps_optimizer:
                grads = [(o, g) for o, g, _ in trace.gradients.values()]
                self._optimizer.step()
                for owner, g in grads:
                    owner.grad = g
            pairs = [(k, h._grad) for k, h in enumerate(handles)]
            pairs += [(owner, g) for owner, g, _ in trace.gradients.values()]
            for owner, g in pairs:
                if g is not None:
                    dense = g.to_dense() if isinstance(g, RowSparse) else g
                    self.ends.append((owner, trace.node_of(dense)))
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
    passed = [n for p in pulls for n in (*p.upstream, *p.shares) if n is not None]
    everything = topological([recording.loss, *ends, *written, *passed])
    forward = {n for n in topological([recording.loss]) if n.op is not None}
    new = _simplified(recorded.graph.inputs, everything, forward)

    read: dict[Node, Input] = {}
    for node, t, name in zip(recording.inputs, recording.tensors, owners.arguments, strict=True):
        read[node] = Input(name, "parameter" if node.requires_grad else "data", t._value)
    captured = recorded.graph.inputs[len(recording.inputs) :]
    for (owner, slot), node in zip(recorded.reads, captured, strict=True):
        name = owners.name(owner) + slot.removeprefix("value").replace("grad", "/grad")
        read[node] = Input(name, owners.kind(owner), _value(owner, slot))
    loss = new[recording.loss]
    gradients = {}
    for owner, node in recording.ends:
        name = owners.arguments[owner] if isinstance(owner, int) else owners.name(owner)
        gradients[name] = new[node]
    updated = {
        owners.name(owner): new[node]
        for owner, node in recording.assigned
        if not is_generator_state(owner)
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
    ends = [loss, *gradients.values(), *updated.values()]
    order = sorted({*new.values()}, key=position.__getitem__)
    fixed, random = _without_inputs(order, {*read})
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
        inputs, loss, [], reached, gradients, updated, calls, lines, owners, fixed, position
    )
    out.forward = out.between([loss])
    computed = {*out.forward}
    out.pulls = [p for p in reached if p.node in computed]
    return out


def _simplified(
    inputs: Sequence[Node], nodes: list[Node], forward: AbstractSet[Node]
) -> dict[Node, Node]:
    """Each node after exact simplifications.

    forward   each of these stays a node of its own with its inputs, as the user's code made it; if
              it changes nothing, it is its input
    """
    passed = rebuild(Graph(inputs, nodes), _without_check)
    folded = dict(zip(nodes, fold(passed).outputs, strict=True))
    as_recorded = {folded[n] for n in forward}
    known: dict[Any, Node] = {}

    def visit(node: Node, new: tuple[Node, ...]) -> Node:
        out = simpler(node, new)
        if node in as_recorded:
            return out if out in new else with_inputs(node, new)
        key = (out.op, out.inputs, parameters_key(out.params) if out.params else ())
        return out if key[2] is None or out.op is None else known.setdefault(key, out)

    simplified = rebuild(Graph(inputs, [folded[n] for n in nodes]), visit)
    return dict(zip(nodes, simplified.outputs, strict=True))


def _without_check(node: Node, new: tuple[Node, ...]) -> Node:
    """An index into an axis of size 1 is 0: that it is valid is what it was there to check."""
    if node.op is ops.checked_index and node.params["size"] == 1:
        return _everywhere(0, node)
    if node.op is ops.astype and new[0].op is ops.broadcast_to and number(new[0]) is not None:
        return _everywhere(number(new[0]), node)
    return with_inputs(node, new)


def _everywhere(value: Any, like: Node) -> Node:
    """One number in place of a node."""
    one = np.full((1,) * len(like.shape), value, like.dtype)
    leaf = Node(None, (), {}, one.shape, like.dtype, one, False, like.source)
    if one.shape == like.shape:
        return leaf
    return apply(ops.broadcast_to, leaf, source=like.source, shape=like.shape)


def _value(owner: Any, slot: str) -> Array:
    """What a captured tensor, or its gradient, holds."""
    if slot == "value":
        out: Array = owner._value
        return out
    _, *parts = slot.split(".")
    value = owner._grad
    for part in parts:
        value = getattr(value, part)
    return np.asarray(value._value)


def _without_inputs(order: Sequence[Node], read: AbstractSet[Node]) -> tuple[set[Node], set[Node]]:
    """The nodes that depend on constants alone, and those that depend on random bits too."""
    fixed: set[Node] = set()
    random: set[Node] = set()
    for node in order:
        if node.op is ops.random_bits:
            random.add(node)
        elif node not in read and all(i in fixed or i in random for i in node.inputs):
            (random if any(i in random for i in node.inputs) else fixed).add(node)
    return fixed, random


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
        out[node] = Input(_unused(f"{path}.{what}".lstrip("."), names), "drawn", values[node])
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


def _unused(name: str, used: set[str]) -> str:
    """The name, with a number if it is in use."""
    k, out = 1, name
    while out in used:
        k += 1
        out = f"{name}_{k}"
    used.add(out)
    return out
