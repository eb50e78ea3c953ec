"""Recorded graphs made shorter to explain, and what of them depends on constants alone."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from .. import ops
from ..compile.passes import fold, simpler
from ..compile.rewriting import apply, number, parameters_key, rebuild, with_inputs
from ..graph import Array, Graph, Node


def simplified(
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


def value_of(owner: Any, slot: str) -> Array:
    """What a captured tensor, or its gradient, holds."""
    if slot == "value":
        out: Array = owner._value
        return out
    _, *parts = slot.split(".")
    value = owner._grad
    for part in parts:
        value = getattr(value, part)
    return np.asarray(value._value)


def without_inputs(order: Sequence[Node], read: AbstractSet[Node]) -> tuple[set[Node], set[Node]]:
    """The nodes that depend on constants alone, and those that depend on random bits too."""
    fixed: set[Node] = set()
    random: set[Node] = set()
    for node in order:
        if node.op is ops.random_bits:
            random.add(node)
        elif node not in read and all(i in fixed or i in random for i in node.inputs):
            (random if any(i in random for i in node.inputs) else fixed).add(node)
    return fixed, random
