"""What is known of nodes before they are written, and of what their indices count."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import ops
from ...dtypes import is_exact
from ...graph import Node
from ..derivation import Derivation
from .equation import Equation
from .expression import At, Index, Plain, Symbol
from .opening import Opened


def upstream(derivation: Derivation, opened: Opened) -> dict[Node, Node]:
    """∂loss/∂node for forward nodes; for each result of an operation that has several."""
    out: dict[Node, Node] = {}
    parts: dict[tuple[Node, int], Node] = {}
    for pull in derivation.pulls:
        for k, above in enumerate(pull.upstream):
            if above is not None:
                parts[pull.node, k] = opened.of(above)
                if not isinstance(pull.node.dtype, tuple):
                    out[opened.of(pull.node)] = opened.of(above)
    for node in derivation.forward:
        if node.op is ops.item:
            above = parts.get((node.inputs[0], node.params["index"]))
            if above is not None:
                out[opened.of(node)] = above
    return out


def known(derivation: Derivation, opened: Opened) -> set[Node]:
    """The nodes that depend on constants and on data that are no floating numbers."""
    return _from_data(derivation, opened, lambda node: is_exact(node.dtype))


def of_data(derivation: Derivation, opened: Opened) -> set[Node]:
    """The nodes that depend on constants and on data."""
    return _from_data(derivation, opened, lambda node: True)


def _from_data(derivation: Derivation, opened: Opened, counts: Callable[[Node], bool]) -> set[Node]:
    """The nodes that depend on constants, and on the data that count."""
    kinds = ("data", "buffer")
    start = {n for n, i in derivation.inputs.items() if i.kind in kinds and counts(n)}
    fixed = {opened.of(n) for n in derivation.fixed}
    out = {*start}
    for node in opened.order:
        if node in opened.old and all(i in out or i in fixed for i in node.inputs):
            out.add(node)
    return (out | fixed) - start


def row_axes(derivation: Derivation, opened: Opened) -> set[tuple[Node, int]]:
    """(node, axis) where the axis counts samples: the first of the data, and what comes of it."""
    data = [n for n, i in derivation.inputs.items() if i.kind == "data" and n.shape]
    if len(data) == 1 and len(data[0].shape) == 1:
        return set()  # one vector
    out = {(n, 0) for n in data if n.shape[0] == data[0].shape[0] > 1}
    axes: dict[Node, list[int]] = {n: [0] for n, _ in out}
    for node in opened.order:
        if not isinstance(node.dtype, tuple):
            axes[node] = sorted({k for i in node.inputs for k in _passed(node, i, axes.get(i, ()))})
            out |= {(node, k) for k in axes[node]}
    return out


def _passed(node: Node, i: Node, axes: Sequence[int]) -> list[int]:
    """The axes of a node that are axes of its input."""
    if node.op is ops.permute_dims:
        return [node.params["axes"].index(k) for k in axes]
    if node.op is ops.matmul:
        last = len(i.shape) - 1
        return [k for k in axes if k != (last if i is node.inputs[0] else last - 1)]
    if node.op in (ops.reshape, ops.convolution, ops.take, ops.item):
        return [0 for k in axes if k == 0 and node.shape[:1] == i.shape[:1]]
    if node.op is ops.convolution_weight or len(i.shape) != len(node.shape):
        return []
    return [k for k in axes if i.shape[k] == node.shape[k]]


def mark(equation: Equation, axes: dict[tuple[Symbol, int], str]) -> None:
    """Mark the indices that count samples or time, by the axes that they read."""
    reads = [e for e in equation.right.walk() if isinstance(e, At)]
    for e in (*reads, equation.left):
        for k, p in enumerate(e.at):
            if isinstance(p.atom, Index) and p.atom.time:
                axes[e.symbol, k] = "time"
    for e in reads if isinstance(equation.right, Plain) else ():
        same = e.symbol.shape[:1] == equation.shape[:1]
        if same and equation.shape and axes.get((e.symbol, 0)) == "rows":
            equation.indices[0].rows = True
    for e in reads:
        for k, p in enumerate(e.at):
            if isinstance(p.atom, Index) and (e.symbol, k) in axes:
                setattr(p.atom, axes[e.symbol, k], True)
    for k, p in enumerate(equation.left.at):
        if isinstance(p.atom, Index) and (p.atom.rows or p.atom.time):
            axes[equation.left.symbol, k] = "time" if p.atom.time else "rows"
