"""The graph of a derivation with its larger operations taken apart.

`standardise` and `attention` become what they are composed of, checkpoints their graphs, and loops
one step at a time t. Nodes that compute the same are one node; so what a backward pass computes
again is the forward pass's. What is chosen between 0 and what is 0 there anyway is no choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import ops
from ...compile.rewriting import constant_key, inlined, item, number, parameters_key, with_inputs
from ...functions import attention, standardising
from ...graph import Array, Node, Operation
from ...recording import record_inner
from ..derivation import Derivation
from ..samples import mean_of
from .expression import Index
from .means import Counted, shares_of_means

_COMPOSED: dict[Operation, Callable[..., Any]] = {
    ops.standardise: standardising.composed,
    ops.attention: attention.composed,
    ops.attention_derivative: attention.composed_derivative,
}


@dataclass(eq=False)
class Carry:
    """A value that a loop carries from step to step.

    leaf      what a step reads
    out       what it computes for the next one
    start     what the first step reads
    step      1, or -1 in a loop from the last to the first
    loop      the node, and the number among what it carries
    """

    leaf: Node
    out: Node
    start: Node
    step: int
    time: Index
    loop: tuple[Node, int]

    @property
    def first(self) -> int:
        """The first time."""
        return 0 if self.step == 1 else self.time.size - 1

    @property
    def last(self) -> int:
        """The last time."""
        return self.time.size - 1 - self.first

    @property
    def grows(self) -> Node | None:
        """What every step adds, if it does nothing else with what it reads."""
        if self.out.op is ops.add and self.leaf in self.out.inputs:
            a, b = self.out.inputs
            added = b if a is self.leaf else a
            return None if self.leaf in _below(added) else added
        return None


class Opened:
    """The nodes after taking apart.

    new       for each node of the derivation
    old       for each new node that has one, a node of the derivation of the same value
    order     the new nodes, inputs before users, with the node of the derivation they belong to
    carries   of loops, by the leaf
    rows      (tensor, time) of a leaf that is one row of the tensor
    stacked   (node in the loop, time) of the rows that a loop stacks
    finals    the carry whose last value a node is
    time      of a node in a loop
    counted   constants that are the size of a mean, or a number divided by sizes of means
    """

    def __init__(self, derivation: Derivation) -> None:
        self.new: dict[Node, Node] = {n: n for n in derivation.inputs}
        self.old: dict[Node, Node] = {n: n for n in derivation.inputs}
        self.order: dict[Node, Node] = {}
        self.carries: dict[Node, Carry] = {}
        self.rows: dict[Node, tuple[Node, Index]] = {}
        self.stacked: dict[Node, tuple[Node, Index]] = {}
        self.finals: dict[Node, Carry] = {}
        self.time: dict[Node, Index] = {}
        self.parts: dict[Node, list[Node]] = {}  # the results of what was taken apart
        self.texts: dict[Node, str] = {}  # names for nodes in what was taken apart
        self.counted: dict[Node, Counted] = {}
        self._times: dict[int, Index] = {}
        self._zero: dict[Node, frozenset[tuple[Node, bool]]] = {}  # (condition, its value) -> 0
        self._known: dict[Any, Node] = {}
        self._shares = shares_of_means(derivation)
        fixed = sorted(derivation.fixed, key=lambda n: derivation.position[n])
        above = [u for pull in derivation.pulls for u in pull.upstream if u is not None]
        ends = [derivation.loss, *derivation.gradients.values(), *above]
        for node in [*fixed, *derivation.between(ends)]:
            self._visit(node, derivation)

    def of(self, node: Node) -> Node:
        """The new node."""
        return self.new.get(node, node)

    def _visit(self, node: Node, derivation: Derivation) -> None:
        if node.op is ops.item and self.of(node.inputs[0]) in self.parts:
            out = self.parts[self.of(node.inputs[0])][node.params["index"]]
        elif node in self._shares:
            out = self._counted(derivation.value(node), self._shares[node], node)
        else:
            inputs = tuple(self.of(i) for i in node.inputs)
            out = self._one(with_inputs(node, inputs), node)
            if node.op in _COMPOSED:
                self._compose(node, out)
            elif node.op in (ops.call, ops.custom):
                results = inlined(node.params["graph"], out.inputs)
                self.parts[out] = self._all(results, node)
            elif node.op is ops.scan:
                self._unroll(node, out)
        self.new[node] = out
        self.old.setdefault(out, node)

    def _one(self, node: Node, owner: Node) -> Node:
        """The node, or the one that computes the same."""
        if node.op is ops.alias:
            return node.inputs[0]
        if node.op is ops.where:
            condition, yes, no = node.inputs
            for is_true, zero, other in ((True, yes, no), (False, no, yes)):
                if is_zero(zero) and (condition, is_true) in self._zero.get(other, ()):
                    return other
        key: Any = parameters_key(node.params) if node.params else ()
        if node.op is None:
            key = None if node.value is None else constant_key(node)
        elif key is not None:
            key = node.op, node.inputs, key
        out = node if key is None else self._known.setdefault(key, node)
        mean = mean_of(out)
        if mean is not None and out.inputs[1] not in self.counted:
            one = np.asarray(number(out.inputs[1]), out.dtype)
            divisor = self._counted(np.broadcast_to(one, out.shape), Counted((mean,)), owner)
            return self._one(with_inputs(out, (out.inputs[0], divisor)), owner)
        if out not in self.order:
            self.order[out] = owner
            if conditions := self._zero_where(out):
                self._zero[out] = conditions
            times = [self.time[i] for i in out.inputs if i in self.time]
            if times:
                self.time[out] = times[0]
        return out

    def _counted(self, value: Array, counted: Counted, owner: Node) -> Node:
        """A constant as a node of its own, apart from others of the same value."""
        leaf = Node(None, (), {}, value.shape, value.dtype, value)
        out = self._known.setdefault((counted, value.shape, value.dtype), leaf)
        self.counted[out] = counted
        self.order.setdefault(out, owner)
        return out

    def _zero_where(self, node: Node) -> frozenset[tuple[Node, bool]]:
        """Conditions, with their values, where the node is 0."""
        each = [self._zero.get(i, frozenset()) for i in node.inputs]
        match node.op:
            case ops.multiply:
                return each[0] | each[1]
            case ops.add | ops.subtract:
                return each[0] & each[1]
            case ops.negative | ops.astype | ops.divide:
                return each[0]
            case ops.where:
                condition, yes, no = node.inputs
                return frozenset(
                    (condition, k) for k, x in ((True, yes), (False, no)) if is_zero(x)
                ) | (each[1] if is_zero(no) else each[2] if is_zero(yes) else each[1] & each[2])
        return frozenset()

    def _all(self, ends: Sequence[Node], owner: Node) -> list[Node]:
        """The ends of new nodes, each node one of those that are known."""
        done: dict[Node, Node] = {n: n for n in self.order} | {n: n for n in self.new.values()}
        done |= {n: n for n in (*self.carries, *self.rows)}
        waiting = list(ends)
        while waiting:
            node = waiting[-1]
            missing = [i for i in node.inputs if i not in done]
            if node in done or not missing:
                waiting.pop()
                if node not in done:
                    inputs = tuple(done[i] for i in node.inputs)
                    new = self._one(with_inputs(node, inputs), owner)
                    done[node] = done[new] = new
            else:
                waiting += missing
        return [done[e] for e in ends]

    def _compose(self, node: Node, new: Node) -> None:
        compose = _COMPOSED[node.op]  # type: ignore[index]
        specs = [(x.shape, x.dtype, False) for x in new.inputs]
        body = record_inner(str(node.op), lambda xs: compose(xs, **node.params), specs)
        self.parts[new] = results = self._all(inlined(body.graph, new.inputs), node)
        for inner, text in _INNER[node.op](results):  # type: ignore[index]
            self.texts.setdefault(inner, text)

    def _unroll(self, node: Node, new: Node) -> None:
        """One step of a loop."""
        p, graph = node.params, node.params["graph"]
        consts, carries, step = p["consts"], p["carries"], -1 if p["reverse"] else 1
        time = self._times.setdefault(p["length"], Index(p["length"], time=True))
        leaves = [_leaf(n) for n in graph.inputs[consts : consts + carries]]
        self.time |= dict.fromkeys(leaves, time)
        self.order |= dict.fromkeys(leaves, node)
        stacked_rows = [self._row(x, time, node) for x in new.inputs[consts + carries :]]
        for k, (leaf, start) in enumerate(zip(leaves, new.inputs[consts:], strict=False)):
            self.carries[leaf] = Carry(leaf, leaf, start, step, time, (node, k))
        inputs = [*new.inputs[:consts], *leaves, *stacked_rows]
        outs = self._all(inlined(graph, inputs), node)
        for leaf, out in zip(leaves, outs, strict=False):
            self.carries[leaf].out = out
        results = [item(new, k) for k in range(len(outs))]
        for k, (result, out) in enumerate(zip(results, outs, strict=True)):
            if k < carries:
                self.finals[result] = self.carries[leaves[k]]
            else:
                self.stacked[result] = out, time
            self.order[result] = node
        self.parts[new] = results

    def _row(self, tensor: Node, time: Index, owner: Node) -> Node:
        """The tensor's row at this time."""
        if tensor in self.stacked and self.stacked[tensor][1] is time:
            return self.stacked[tensor][0]
        for leaf, row in self.rows.items():
            if row == (tensor, time):
                return leaf
        leaf = Node(None, (), {}, tensor.shape[1:], tensor.dtype)
        self.rows[leaf], self.time[leaf], self.order[leaf] = (tensor, time), time, owner
        return leaf


# ── names that textbooks have for parts ──────────────────────────────────────────────────────────


def _of_standardise(results: Sequence[Node]) -> list[tuple[Node, str]]:
    """x̂ = (x − μ) / √(σ² + ε), before it is scaled."""
    y, mean, variance = results
    centred = [i for i in y.inputs if i.op is ops.multiply and i.shape == y.shape]
    return [(mean, "μ"), (variance, "σ²"), (centred[0] if centred else y, "x̂")]


def _of_attention(results: Sequence[Node]) -> list[tuple[Node, str]]:
    """S = Q Kᵀ / √d, P = softmax(S), Y = P V."""
    product = _first_product(results[0])
    return [(product.inputs[0], "P"), (product, "Y")]


def _of_derivative(results: Sequence[Node]) -> list[tuple[Node, str]]:
    """∂L/∂P and ∂L/∂S."""
    scores = _first_product(results[0]).inputs[0]
    weights = [_first_product(i) for i in scores.inputs if i.op is ops.subtract]
    return [*((w, "δ_P") for w in weights), (scores, "δ_S")]


def _first_product(node: Node) -> Node:
    while node.op is not ops.matmul:
        node = max(node.inputs, key=lambda i: i.serial)
    return node


_INNER: dict[Operation, Callable[[Sequence[Node]], list[tuple[Node, str]]]] = {
    ops.standardise: _of_standardise,
    ops.attention: _of_attention,
    ops.attention_derivative: _of_derivative,
}


def is_zero(node: Node) -> bool:
    """Whether it is 0 everywhere, whatever the sample."""
    return number(node) == 0


def _leaf(like: Node) -> Node:
    return Node(None, (), {}, like.shape, like.dtype)


def _below(node: Node) -> set[Node]:
    """The nodes that a node depends on, and itself."""
    seen: set[Node] = set()
    waiting = [node]
    while waiting:
        n = waiting.pop()
        if n not in seen:
            seen.add(n)
            waiting += n.inputs
    return seen


def users_of(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """The nodes that read a node."""
    out: dict[Node, list[Node]] = {}
    for node in nodes:
        for i in dict.fromkeys(node.inputs):
            out.setdefault(i, []).append(node)
    return out
