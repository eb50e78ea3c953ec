"""One backward pass, recorded: what it reads, what it computes, and which rule made what.

    inputs ── forward ──► loss ── pulls (the chain rule, one node at a time) ──► gradients

Every form of an explanation is made from this record. Nothing is computed while recording; values
are those of the sample, computed by the meaning of each operation when they are asked for.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import ops
from ..compile.arguments import Arguments
from ..compile.passes import PASSES
from ..dtypes import is_floating
from ..errors import ArgumentError, GradientError, ShapeError
from ..graph import Array, Graph, Node, spec_text, topological
from ..graph_evaluation import failure
from ..recording import Recorded, record
from ..sparse import RowSparse
from ..tensor import Tensor, no_grad, quiet
from ..trace import Trace, state
from .owners import Owners, is_generator_state
from .recorder import Call, Pull, Recorder


@dataclass(frozen=True)
class Input:
    """A value that the pass reads.

    name    the parameter's path, the argument's or variable's name
    kind    parameter: requires a gradient; data: an argument or another tensor; buffer: of a
            module; drawn: random numbers, such as a dropout mask; state: of an optimizer;
            setting: a number of an optimizer, such as its learning rate
    value   on the sample
    """

    name: str
    kind: str
    value: Array


@dataclass
class Derivation:
    """A recorded backward pass.

    inputs      what it reads, by node; random numbers are inputs too, so it can be repeated
    loss        the node that is differentiated
    forward     the nodes between inputs and loss, in order
    fixed       the nodes that depend on constants alone; they are not in `forward` and `order`
    pulls       the uses of the chain rule, from the loss back
    gradients   ∂loss/∂input by the input's name, for each variable
    updated     the new values that a training step, or an optimizer, assigns, by name
    calls       the call of a module or function that a node of the forward pass belongs to
    owners      the names of modules and tensors in the user's code
    position    the place of each node in the recording
    """

    inputs: dict[Node, Input]
    loss: Node
    forward: list[Node]
    pulls: list[Pull]
    gradients: dict[str, Node]
    updated: dict[str, Node]
    calls: dict[Node, Call]
    owners: Owners
    fixed: set[Node]
    position: dict[Node, int]

    @cached_property
    def order(self) -> list[Node]:
        """All nodes that are computed: forward, then backward, then update, inputs before users."""
        done: set[Node] = set()
        out: list[Node] = []
        for ends in ([self.loss], self.gradients.values(), self.updated.values()):
            new = [n for n in self.between(ends) if n not in done]
            done.update(new)
            out += new
        return out

    def between(self, ends: Any) -> list[Node]:
        """The nodes from the inputs to these, without inputs and what is fixed, in order."""
        seen: set[Node] = set()
        stack = list(ends)
        while stack:
            node = stack.pop()
            leaf = node in self.inputs or node in self.fixed or node.op is None
            if node not in seen and not leaf:
                seen.add(node)
                stack += node.inputs
        return sorted(seen, key=self.position.__getitem__)

    @cached_property
    def values(self) -> Mapping[Node, Any]:
        """The value of every node on the sample; of an operation with several results a tuple."""
        fixed = sorted(self.fixed, key=self.position.__getitem__)
        inputs = {node: i.value for node, i in self.inputs.items()}
        return evaluated([*(n for n in fixed if n.op is not None), *self.order], inputs)

    def value(self, node: Node) -> Any:
        """A node's value on the sample."""
        return self.values.get(node, node.value)


def evaluated(order: Sequence[Node], values: Mapping[Node, Any]) -> dict[Node, Any]:
    """The values of these nodes, by the meanings of their operations."""
    out = dict(values)

    with np.errstate(all="ignore"):
        for node in order:
            assert node.op is not None
            try:
                out[node] = node.op.evaluate(
                    *[out.get(i, i.value) for i in node.inputs], **node.params
                )
            except Exception as error:
                raise failure(node, error) from None
    return out


# ── recording ────────────────────────────────────────────────────────────────────────────────────


def derive(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    optimizer: Any = None,
) -> Derivation:
    """Record the function's loss, the backward pass from it, and the optimizer's step.

    function    returns the loss (or a tuple that begins with it), or calls backward() on it
    optimizer   steps after the backward pass, if the function does not step one itself
    """
    arguments = Arguments(args, kwargs)
    recording = _Recording(function, arguments, optimizer)
    if not recording.loss.requires_grad:  # no parameters: by the arguments
        floats = [is_floating(t.dtype) for t in arguments.tensors]
        recording = _Recording(function, arguments, optimizer, floats)
        if not recording.loss.requires_grad:
            raise GradientError(
                "explain",
                f"got a loss {spec_text(recording.loss)} computed from nothing that requires a "
                "gradient",
                "expected parameters, or floating arguments",
                "pass what to differentiate by as an argument, or set requires_grad=True on it",
            )
    return _derivation(recording, Owners(function, args, kwargs, optimizer))


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
        variables: Sequence[bool] = (),
    ) -> None:
        self._function, self._arguments, self._optimizer = function, arguments, optimizer
        self.tensors = arguments.tensors
        wanted = variables or [t.requires_grad for t in self.tensors]
        self.recorder = Recorder()
        trace = Trace()
        trace.watcher = self.recorder
        self.ends: list[tuple[Any, Node]] = []
        specs = [(t.shape, t.dtype, w) for t, w in zip(self.tensors, wanted, strict=True)]
        with quiet():
            self.recorded: Recorded = record(self._body, specs, trace, "explain", False)
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
    everything = topological([recording.loss, *ends, *written])
    new = _simplified(recorded.graph.inputs, everything)

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
    for old, call in recorder.calls.items():
        if old in new:
            calls.setdefault(new[old], call)
    position: dict[Node, int] = {}
    for k, node in enumerate(everything):
        position.setdefault(new[node], k)
    ends = [loss, *gradients.values(), *updated.values()]
    order = sorted(topological(ends), key=lambda n: position.get(n, -1))
    fixed, random = _without_inputs(order, {*read})
    inputs = _inputs(read, calls, owners, ends, order, fixed, random)
    gradients = {i.name: gradients[i.name] for i in inputs.values() if i.name in gradients}
    reached = [
        Pull(
            new[p.node],
            [u and new.get(u) for u in p.upstream],
            [s and new.get(s) for s in p.shares],
            list(dict.fromkeys(new[m] for m in p.nodes if m in new)),
        )
        for p in pulls
        if p.node in new
    ]
    out = Derivation(inputs, loss, [], reached, gradients, updated, calls, owners, fixed, position)
    out.forward = out.between([loss])
    return out


def _simplified(inputs: Sequence[Node], nodes: list[Node]) -> dict[Node, Node]:
    """Each node after the exact passes of a compiled step."""
    graph = Graph(inputs, nodes)
    for run in PASSES:
        if run.__name__ != "join":
            graph = run(graph)
    return dict(zip(nodes, graph.outputs, strict=True))


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
    fixed: AbstractSet[Node],
    random: AbstractSet[Node],
) -> dict[Node, Input]:
    """What the ends need of the inputs; what is computed from random bits alone is an input too."""
    outside = {i for node in order if node not in random for i in node.inputs} | {*ends}
    drawn = [node for node in order if node in random and node in outside]
    behind = _until(drawn, set())
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
