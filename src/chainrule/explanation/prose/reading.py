"""What words are made of: names of values, their gradients, and what reaches them from where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ... import ops
from ...graph import Node
from ..derivation import MOVES, Derivation
from ..numbers import array_text
from ..owners import distinct
from ..recorder import Pull
from ..samples import Samples, samples_of
from .formulas import constant_text, is_turned, rule_text, written

PRODUCTS = (ops.matmul, ops.convolution)  # with weights
_FOLDS = (ops.sum, ops.prod, ops.max, ops.min)  # along axes of size 1
_NEUTRAL = {ops.add: 0, ops.subtract: 0, ops.multiply: 1, ops.divide: 1}  # as second operand


@dataclass
class Share:
    """What a use of the chain rule gives to one input of an operation.

    node       the input
    upstream   ∂loss/∂output, as a node
    share      ∂loss/∂input as far as it comes from here, as a node
    rule       as text, in the names of the values
    whole      whether it is all of ∂loss/∂input
    """

    pull: Pull
    node: Node
    upstream: Node | None
    share: Node
    rule: str
    whole: bool


class Reading:
    """A derivation with names for all that is said.

    A value without a name is called a1, a2, …, in the order of the pass.
    """

    def __init__(self, derivation: Derivation) -> None:
        self.derivation, names = derivation, derivation.names
        self.pulls = derivation.pulls
        self._named, taken = {*names}, {*names.values()}
        self._names = {
            node: distinct(f"out_{name}", taken) if name.isdigit() else name
            for node, name in names.items()
        }  # a layer's number is no name in a formula
        self.moving = derivation.moving
        self.same: dict[Node, Node] = {}
        for node in derivation.forward:
            source = None if node in names else self._source(node)
            if source is not None:
                self.same[node] = source
        k = 0
        for node in self._said():
            k += 1
            while f"a{k}" in taken:
                k += 1
            self._names[node] = f"a{k}"
        self._gradient_names = {g: f"∂loss/∂{self.spread(n)}" for n, g in self._reached()}

    def _said(self) -> list[Node]:
        """The values without a name that formulas refer to, in order."""
        said: set[Node] = set()
        for node in reversed(self.derivation.forward):
            if node in self._names or node in self.gradients or node in said:
                said.discard(node)
                if node in self.same:
                    said.add(self.same[node])
                elif not self._is_known(node):
                    said.update((node, *node.inputs))
        return [n for n in self.derivation.forward if n in said and n not in self._names]

    def _is_known(self, node: Node) -> bool:
        """Whether it is a number, known before the pass, that formulas have in its place."""
        known = node not in self.moving and node not in self._names and node not in self.same
        return known and constant_text(self.value(node)) != ""

    def is_shown(self, node: Node) -> bool:
        """Whether the operation computes something new on this sample."""
        return node in self._names

    def _source(self, node: Node) -> Node | None:
        """The input that the operation hands on: as ever, or on this sample."""
        first, *others = node.inputs
        if node.op in MOVES or node.op is ops.broadcast_to:
            return first
        if not isinstance(node.dtype, tuple) and 0 in node.shape:
            return None  # of no number everything is true
        if node.op in _FOLDS and self.value(first).size == self.value(node).size:
            return first
        if node not in self.moving:
            return next((i for i in node.inputs if self._is_equal(i, node)), None)
        if node.op is ops.where and (first not in self.moving or node not in self.gradients):
            chosen = np.asarray(self.value(first))
            return others[0] if chosen.all() else None if chosen.any() else others[1]
        if node.op in (ops.add, ops.multiply) and self._is_all(first, node.op is ops.multiply):
            return others[0]
        if node.op in _NEUTRAL and self._is_all(others[0], _NEUTRAL[node.op]):
            return first
        return None

    def _is_equal(self, i: Node, node: Node) -> bool:
        """Whether an input that is known before the pass is what the operation results in."""
        values = self.value(i), self.value(node)
        several = any(isinstance(v, tuple) for v in values)
        return i not in self.derivation.fixed and not several and np.array_equal(*values)

    def _is_all(self, node: Node, neutral: int) -> bool:
        """Whether it is this number, all over and before the pass."""
        return node not in self.moving and bool(np.all(np.asarray(self.value(node)) == neutral))

    def name(self, node: Node) -> str:
        """The value's name; a number that is known before the pass is itself."""
        turned = False
        while node not in self._names and node in self.same:
            turned ^= is_turned(node)
            node = self.same[node]
        name = self._names.get(node)
        if name is None:
            while node.op is ops.broadcast_to and 0 in node.shape:  # it has no number
                (node,) = node.inputs
            value = self.value(node)
            name = constant_text(value) or f"({array_text(value)})"
        return name + "ᵀ" * turned

    def value(self, node: Node) -> Any:
        """On the sample."""
        return self.derivation.value(node)

    def shape(self, node: Node) -> Any:
        """The shape of the value that has the node's name."""
        while node in self.same and node.op in (ops.reshape, ops.alias, ops.astype):
            node = self.same[node]
        return node.shape

    @cached_property
    def samples(self) -> Samples:
        """The samples of the data, and what the loss is of them."""
        return samples_of(self.derivation)

    def taken(self) -> set[str]:
        """The names in use."""
        return {*self._names.values()}

    def written(self, node: Node) -> str:
        """The operation as a formula of its inputs' names."""
        return written(node, [self.name(i) for i in node.inputs])

    def adds_bias(self, node: Node) -> bool:
        """Whether it adds a parameter to sums."""
        if node.op is not ops.add:
            return False
        sums, bias = map(self._behind_moves, node.inputs)
        kind = self.derivation.inputs[bias].kind if bias in self.derivation.inputs else ""
        return sums.op in (*PRODUCTS, ops.sum) and kind == "parameter"

    def _behind_moves(self, node: Node) -> Node:
        while node.op in (*MOVES, ops.broadcast_to):
            (node,) = node.inputs
        return node

    def stops(self, node: Node) -> bool:
        """Whether no gradient flows through a value, although some could: a stop_gradient."""
        return (
            node in self.moving
            and not isinstance(node.dtype, tuple)
            and node.dtype.kind == "f"
            and node.op is not ops.item
            and node not in self._pulled
            and any(i in self._pulled or i in self.gradients for i in node.inputs)
        )

    @cached_property
    def _pulled(self) -> set[Node]:
        return {p.node for p in self.pulls}

    @cached_property
    def gradients(self) -> dict[Node, Node]:
        """∂loss/∂value of each value that has one, complete, as a node."""
        d = self.derivation
        out = {p.node: p.upstream[0] for p in self.pulls if len(p.upstream) == 1}
        by_name = {i.name: node for node, i in d.inputs.items()}
        out |= {by_name[name]: node for name, node in d.gradients.items()}
        return {node: g for node, g in out.items() if g is not None}

    def _reached(self) -> Iterator[tuple[Node, Node]]:
        """The values with their gradients; later names of a gradient win: those of the user's
        code, and of what is near the loss."""
        pairs = [*reversed(self.gradients.items())]
        yield from pairs
        yield from ((node, g) for node, g in pairs if node in self._named)

    def gradient_name(self, node: Node, upstream: Node | None) -> str:
        """∂loss/∂value of an operation's output; the name that the gradient has already, if any."""
        name = self._names.get(node)
        if upstream is None or name is not None:
            return f"∂loss/∂{name or self.spread(node)}"
        return self._gradient_names.get(upstream, f"∂loss/∂{self.spread(node)}")

    def spread(self, node: Node) -> str:
        """The name of a value that gets a share; of one that is copied, each copy."""
        return f"each {self.name(node)}" if node.op is ops.broadcast_to else self.name(node)

    @cached_property
    def readers(self) -> dict[Node, list[Pull]]:
        """The uses of the chain rule at the operations that read a value."""
        out: dict[Node, list[Pull]] = {}
        for pull in self.pulls:
            for node in dict.fromkeys(pull.node.inputs):
                out.setdefault(node, []).append(pull)
        return out

    @cached_property
    def between(self) -> set[Node]:
        """The gradients of what goes between steps."""
        outputs = {node for step in self.derivation.steps for node in step.outputs}
        return {g for node, g in self.gradients.items() if node in outputs}

    @cached_property
    def _uses(self) -> Counter[Node]:
        """How many shares each value gets."""
        return Counter(
            node
            for p in self.pulls
            for node, share in zip(p.node.inputs, p.shares, strict=True)
            if share is not None
        )

    def shares(self, pull: Pull) -> list[Share]:
        """What goes to each input of the pull's operation, if it is more than what it got."""
        node = pull.node
        assert node.op is not None
        if node in self.same and node.op is not ops.broadcast_to:
            return []
        (upstream, *more) = pull.upstream
        out = []
        for k, (i, share) in enumerate(zip(node.inputs, pull.shares, strict=True)):
            if share is None or i not in self.moving or self.value(share) is None:
                continue  # it leads to no gradient
            if share is not upstream or i.op is not ops.broadcast_to:
                rule = self._rule(node, k, None if more else upstream)
                out.append(Share(pull, i, upstream, share, rule, self._is_whole(i)))
        return out

    def _is_whole(self, node: Node) -> bool:
        """Whether a value gets one share alone; what it only moves is the same value."""
        while self._uses[node] == 1 and node.op in MOVES and node in self.same:
            node = self.same[node]
        return self._uses[node] == 1

    def _rule(self, node: Node, k: int, upstream: Node | None) -> str:
        """The rule of the table in the names of the values."""
        assert node.op is not None
        names = dict(zip(node.op.arguments, map(self.name, node.inputs), strict=False))
        names |= {"y": self.name(node), "g": self.gradient_name(node, upstream)}
        return rule_text(node.op, k, names)

    def factor(self, share: Share) -> Any:
        """The local derivative of an operation that acts element by element; None of others, and
        where the gradient of the output is 0, which hides it."""
        op = share.pull.node.op
        if op not in ops.POINTWISE or share.upstream is None:
            return None
        g, out = (np.asarray(self.value(n), np.float64) for n in (share.upstream, share.share))
        if g.shape != out.shape or not np.all(g):
            return None
        with np.errstate(all="ignore"):
            return out / g
