"""A body's nodes computed for all steps at once, outside of the loop; what may be stacked for that.

A node of the body that has the shape (a, b) at each step is (steps, a, b) outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ... import ops
from ...graph import Node, Operation
from ..rewriting import apply, with_inputs
from .invariants import fixed_nodes
from .loop import Loop

STACKED = 64 << 20  # bytes that a loop may stack, so that more is done at once
STACKED_TIMES = 2  # … or this multiple of the xs and ys that it has

REDUCTIONS = {ops.sum, ops.prod, ops.norm, ops.max, ops.min, ops.any, ops.argmax, ops.argmin}
ALONG = {ops.concat, ops.argsort, ops.cumulative_sum, ops.cumulative_prod, ops.recurrence}
SHAPED = {
    ops.reshape,
    ops.permute_dims,
    ops.broadcast_to,
    ops.slice,
    ops.pad,
    ops.flip,
    ops.take,
    ops.matmul,
}


def size(node: Node) -> int:
    """The bytes of a value."""
    bytes_: int = math.prod(node.shape) * node.dtype.itemsize
    return bytes_


def may_stack(loop: Loop, more: Iterable[Node], less: Iterable[Node] = ()) -> bool:
    """Whether a loop may stack these nodes of its body too (and others no more).

    Up to 64 MiB, or up to twice the bytes of the xs and ys that it has. Nothing more if there is
    another loop inside: it may be there to save memory (`checkpoint_every`).
    """
    if any(node.op is ops.scan for node in loop.body().nodes):
        return False
    new = loop.length * (sum(map(size, more)) - sum(map(size, less)))
    there = loop.length * sum(map(size, [*(x.inside for x in loop.xs), *loop.ys]))
    return new <= max(STACKED, STACKED_TIMES * there)


def behind_views(node: Node) -> Node:
    """What to stack for a node: what it is a view of."""
    while node.op in (ops.reshape, ops.permute_dims):
        (node,) = node.inputs
    return node


class AllSteps:
    """Nodes of a loop's body, computed for all steps at once from xs and from what is stacked."""

    def __init__(self, loop: Loop) -> None:
        self._length, self._source = loop.length, loop.scan.source
        self._there = {x.inside: x.outside for x in loop.xs}
        self._fixed = fixed_nodes(loop)
        self._once: dict[Node, Node] = {c.inside: c.outside for c in loop.constants}

    def is_fixed(self, node: Node) -> bool:
        """Whether it is the same at each step."""
        return node in self._fixed

    def is_stacked(self, values: Mapping[Node, Node]) -> None:
        """Say which nodes are stacked, and their values at all steps."""
        self._there.update(values)

    def has_rule(self, node: Node) -> bool:
        """Whether it can be computed if its inputs are there."""
        if node.op is ops.take:
            table, indices = node.inputs
            one = self.is_fixed(indices) or self.is_fixed(table)
            return one and (self.is_fixed(indices) or node.params["axis"] == 0)
        return node.op in ops.POINTWISE or node.op in REDUCTIONS | ALONG | SHAPED

    def of(self, node: Node) -> Node:
        """The node at all steps."""
        order = [node]
        for n in order:  # what it needs, users first
            if n not in self._there and not self.is_fixed(n):
                order += n.inputs
        for n in sorted(set(order), key=lambda n: n.serial):
            if n not in self._there and not self.is_fixed(n):
                self._there[n] = self._lifted(n)
        return self._there[node]

    def _repeated(self, node: Node) -> Node:
        """A node that is the same at each step, for all steps."""
        if not self.is_fixed(node):
            return self._there[node]
        one = self._apply(ops.reshape, self.once(node), shape=(1, *node.shape))
        return self._apply(ops.broadcast_to, one, shape=(self._length, *node.shape))

    def once(self, node: Node) -> Node:
        """A node that is the same at each step, outside of the loop."""
        if node not in self._once:
            inputs = tuple([self.once(i) for i in node.inputs])
            self._once[node] = with_inputs(node, inputs)
        return self._once[node]

    def _apply(self, op: Operation, *inputs: Node, **params: Any) -> Node:
        return apply(op, *inputs, source=self._source, **params)

    def _lifted(self, node: Node) -> Node:
        op, params, inputs = node.op, node.params, node.inputs
        assert op is not None
        if op is ops.matmul and any(map(self.is_fixed, inputs)):
            return self._product(*inputs)
        if op is ops.take:
            table, indices = inputs
            if self.is_fixed(table):
                return self._apply(op, self.once(table), self._there[indices], axis=0)
            axis = params["axis"] + 1
            return self._apply(op, self._there[table], self.once(indices), axis=axis)
        lifted = [self._repeated(i) for i in inputs]
        more: Mapping[str, Any] = params
        if op in REDUCTIONS or op is ops.flip:
            more = {"axis": tuple(a + 1 for a in params["axis"])}
        elif op in ALONG:
            more = {**params, "axis": params["axis"] + 1}
        elif op in FIRST_AXIS:
            more = FIRST_AXIS[op](self._length, params)
        return self._apply(op, *lifted, **more)

    def _product(self, x1: Node, x2: Node) -> Node:
        """The rows of all steps below one another, times a matrix that all steps have."""
        transposed = self.is_fixed(x1)
        if transposed:  # (x₂ᵀ x₁ᵀ)ᵀ
            varying, matrix = _swapped(self._there[x2]), _swapped(self.once(x1))
        else:
            varying, matrix = self._there[x1], self.once(x2)
        last = len(varying.shape) - 1  # axes: steps, batch …, rows, columns
        batch = [*range(1, last - 1)]
        rows = merged(varying, [*batch, 0, last - 1, last], len(batch))
        out = self._apply(ops.matmul, rows, matrix)
        split = (*out.shape[:-2], self._length, varying.shape[-2], out.shape[-1])
        out = self._apply(ops.reshape, out, shape=split)
        first = last - 2
        out = self._apply(ops.permute_dims, out, axes=(first, *range(first), last - 1, last))
        return _swapped(out) if transposed else out


FIRST_AXIS: dict[Operation, Callable[[int, Mapping[str, Any]], dict[str, Any]]] = {
    ops.reshape: lambda n, p: {"shape": (n, *p["shape"])},
    ops.broadcast_to: lambda n, p: {"shape": (n, *p["shape"])},
    ops.permute_dims: lambda n, p: {"axes": (0, *(a + 1 for a in p["axes"]))},
    ops.slice: lambda n, p: {
        "start": (0, *p["start"]),
        "stop": (n, *p["stop"]),
        "step": (1, *p["step"]),
    },
    ops.pad: lambda n, p: {k: (0, *p[k]) for k in ("low", "high", "interior")},
}


def _swapped(node: Node) -> Node:
    """A matrix, or matrices, transposed."""
    last = len(node.shape) - 1
    axes = (*range(last - 1), last, last - 1)
    return apply(ops.permute_dims, node, source=node.source, axes=axes)


def merged(node: Node, order: Sequence[int], at: int) -> Node:
    """The node with its axes in this order, of which two, from position `at` on, become one.

    What was permuted is not permuted again: the axes of its source are merged, where they are
    neighbours, so that nothing moves.
    """
    source, axes = node.source, list(order)
    while node.op is ops.permute_dims:
        axes = [node.params["axes"][a] for a in axes]
        (node,) = node.inputs
    first, second = axes[at], axes[at + 1]
    if second == first + 1:
        shape = [*node.shape[:first], -1, *node.shape[second + 1 :]]
        shape[first] = node.shape[first] * node.shape[second]
        node = apply(ops.reshape, node, source=source, shape=tuple(shape))
        axes = [a - (a >= second) for a in axes if a != second]
        return apply(ops.permute_dims, node, source=source, axes=tuple(axes))
    node = apply(ops.permute_dims, node, source=source, axes=tuple(axes))
    shape = [*node.shape[:at], node.shape[at] * node.shape[at + 1], *node.shape[at + 2 :]]
    return apply(ops.reshape, node, source=source, shape=tuple(shape))
