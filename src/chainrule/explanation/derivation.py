"""One backward pass, recorded: what it reads, what it computes, and which rule made what.

    inputs ── forward ──► loss ── pulls (the chain rule, one node at a time) ──► gradients

Every form of an explanation is made from this record. Nothing is computed while recording; values
are those of the sample, computed by the meaning of each operation when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import ops
from ..graph import Array, Node
from ..graph_evaluation import failure
from .owners import Owners
from .recorder import Call, Line, Pull
from .steps import Step

MOVES = (ops.reshape, ops.permute_dims, ops.alias, ops.astype)  # the same numbers elsewhere


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
    sparse      for row-sparse gradients, by name: the rows, and their values
    updated     the new values that a training step, or an optimizer, assigns, by name
    calls       the call of a module or function that a node of the forward pass belongs to
    lines       the user's lines in which it was computed, innermost first
    owners      the names of modules and tensors in the user's code
    position    every node of the recording, with its place in it
    steps       the forward pass in parts that are explained as one
    names       of inputs and of what steps result in: all distinct
    """

    inputs: dict[Node, Input]
    loss: Node
    forward: list[Node]
    pulls: list[Pull]
    gradients: dict[str, Node]
    sparse: dict[str, tuple[Node, Node]]
    updated: dict[str, Node]
    calls: dict[Node, Call]
    lines: dict[Node, tuple[Line, ...]]
    owners: Owners
    fixed: set[Node]
    position: dict[Node, int]
    steps: list[Step]
    names: dict[Node, str]

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

    def between(self, ends: Iterable[Node]) -> list[Node]:
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
    def step_of(self) -> dict[Node, Step]:
        """The step of each node of the forward pass."""
        return {node: step for step in self.steps for node in step.nodes}

    @cached_property
    def moving(self) -> set[Node]:
        """The variables, and the nodes of the forward pass that depend on them."""
        out = {node for node, i in self.inputs.items() if i.name in self.gradients}
        for node in self.forward:
            if not out.isdisjoint(node.inputs):
                out.add(node)
        return out

    @cached_property
    def upstream(self) -> dict[Node, Sequence[Node | None]]:
        """∂loss/∂node for each result of a node of the forward pass; None where nothing arrives."""
        out: dict[Node, Sequence[Node | None]] = {p.node: p.upstream for p in self.pulls}
        for node in self.forward:
            if node.op is ops.item and node.inputs[0] in out:
                out[node] = [out[node.inputs[0]][node.params["index"]]]
        return {node: of for node, of in out.items() if any(n is not None for n in of)}

    @cached_property
    def values(self) -> Mapping[Node, Any]:
        """The value of every node on the sample; of an operation with several results a tuple."""
        inputs = {node: i.value for node, i in self.inputs.items()}
        ends = [self.loss, *self.gradients.values(), *self.updated.values()]
        ends += [n for p in self.pulls for n in (*p.upstream, *p.shares) if n is not None]
        order = [*self.between(ends), *(n for n in self.fixed if n.op is not None)]
        return evaluated(sorted(order, key=self.position.__getitem__), inputs)

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
