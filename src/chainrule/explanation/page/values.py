"""The nodes of a page and the values that it has of them, as far as there is room.

The page computes the graph itself, so it needs the values of inputs and constants alone, and those
of what only Python can compute.
"""

from __future__ import annotations

import base64
from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...dtypes import is_half
from ...graph import Array, Dtype, Node
from ..derivation import Derivation

_FEW = 64  # elements that are compared before all others
MOST_BYTES = 1_200_000  # of values, 1.6 MB in base64: 300 thousand parameters in float32


def page_nodes(derivation: Derivation) -> list[Node]:
    """The nodes of a page, each at the place that is its id: inputs, what is fixed, the others."""
    ends = [derivation.loss, *derivation.gradients.values()]
    ends += [n for p in derivation.pulls for n in (*p.upstream, *p.shares) if n is not None]
    forward = {*derivation.forward}
    backward = [n for n in derivation.between(ends) if n not in forward]
    computed = [*derivation.forward, *backward]
    fixed: set[Node] = set()
    waiting = [*ends, *(i for node in computed for i in node.inputs)]
    while waiting:
        node = waiting.pop()
        if node in derivation.fixed and node not in fixed:
            fixed.add(node)
            waiting += node.inputs
    return [*derivation.inputs, *sorted(fixed, key=derivation.position.__getitem__), *computed]


def fits(derivation: Derivation) -> bool:
    """Whether a page has the values of all inputs; else it has no variants either."""
    leaves = _leaves(derivation, page_nodes(derivation))
    return sum(_stored(derivation.value(n)) for n in leaves) <= MOST_BYTES


def values_of(
    derivation: Derivation, nodes: Sequence[Node], shown: Container[Node]
) -> tuple[dict[Node, Any], list[str]]:
    """The values that a page has by node, and the names of the inputs that are left out.

    The largest inputs are left out where all have more than MOST_BYTES. Then there are values of
    what the page cannot compute without them, as far as there is room.

    shown   the nodes whose values a reader sees first
    """
    sizes = {n: _stored(derivation.value(n)) for n in nodes}
    stored: list[Node] = []

    def store(some: Iterable[Node], most: int = MOST_BYTES) -> None:
        """The smallest of them, as many as there is room."""
        room = most - sum(sizes[n] for n in stored)
        for node in sorted(some, key=sizes.__getitem__):
            room -= sizes[node]
            if room < 0:
                return
            stored.append(node)

    leaves = _leaves(derivation, nodes)
    store(leaves, MOST_BYTES if fits(derivation) else MOST_BYTES // 2)
    store(n for n in nodes if not computes(n))
    known = {*stored}
    for node in nodes:
        if computes(node) and node.inputs and all(i in known for i in node.inputs):
            known.add(node)
    settled = known.union(leaves)
    unknown = [n for n in nodes if n not in settled]
    store(n for n in unknown if n in shown)
    store(n for n in unknown if n not in shown)
    left_out = [i.name for node, i in derivation.inputs.items() if node not in known]
    return {n: derivation.value(n) for n in stored}, left_out


def _leaves(derivation: Derivation, nodes: Iterable[Node]) -> list[Node]:
    return [n for n in nodes if n.op is None or n in derivation.inputs]


def _stored(value: Any) -> int:
    """The bytes that a page has of a value."""
    if isinstance(value, tuple):
        return sum(map(_stored, value))
    array = np.asarray(value)
    return array.itemsize if _uniform(array) else array.nbytes


def _uniform(value: Array) -> bool:
    """Whether all elements have the same bits."""

    def same(some: Array) -> bool:
        return some.tobytes() == some[:1].tobytes() * some.size

    return value.size > 0 and same(value.flat[:_FEW]) and same(value.reshape(-1))


def computes(node: Node) -> bool:
    """Whether the page can compute it: it is in the table, and so is what is inside of it."""
    if node.op is None:
        return True
    inner = node.params.get("graph")
    return ops.TABLE.get(node.op.name) is node.op and (inner is None or all(map(computes, inner)))


def encoded(value: Any) -> Any:
    """dtype, shape and the elements in base64, little-endian; of equal elements only the first.

    A value of several results is a list of them.
    """
    if isinstance(value, tuple):
        return [encoded(v) for v in value]
    array = np.asarray(value)
    flat = array.reshape(-1)[: 1 if _uniform(array) else array.size]
    return {
        "dtype": str(array.dtype),
        "shape": [*array.shape],
        "data": base64.b64encode(flat.astype(_little(array.dtype)).tobytes()).decode(),
    }


def _little(dtype: Dtype) -> Dtype:
    return dtype if is_half(dtype) else dtype.newbyteorder("<")
