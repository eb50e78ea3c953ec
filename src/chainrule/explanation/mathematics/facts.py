"""What is known of nodes before they are written, and of what their indices count."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ... import ops
from ...dtypes import is_exact
from ...graph import Node
from ..derivation import Derivation
from ..samples import followed, samples_of
from .algebra import mul, power
from .equation import Equation
from .expression import At, Count, Expr, Index, Plain, Symbol
from .numbers import MINUS, number
from .opening import Opened


def upstream(derivation: Derivation, opened: Opened) -> dict[Node, Node]:
    """∂loss/∂node for forward nodes, except those that have several results."""
    return {
        opened.of(node): opened.of(of[0])
        for node, of in derivation.upstream.items()
        if not isinstance(node.dtype, tuple) and of[0] is not None
    }


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
    """(node, axis) where the axis counts samples, if there are several."""
    samples = samples_of(derivation)
    if samples.count < 2:
        return set()
    axes = followed(samples.rows, opened.order)
    return {(n, k) for n, of in axes.items() for k, _ in of if n.shape[k] == samples.count}


def counts(derivation: Derivation, opened: Opened, rows: set[tuple[Node, int]]) -> dict[Node, Expr]:
    """Constants that are the number of samples, or come from it: of a mean, and of its gradient."""
    out: dict[Node, Expr] = {}
    for node in derivation.forward:
        new = opened.of(node)
        if node.op is not ops.divide or not _is_number(new.inputs[1]):
            continue
        total = new.inputs[0]
        while total.op is ops.reshape:
            (total,) = total.inputs
        if total.op is ops.sum:
            x, axes = total.inputs[0], total.params["axis"]
            sizes = [(x.shape[k], (x, k) in rows) for k in axes]
            of_rows = [n for n, is_row in sizes if is_row]
            value = float(derivation.value(node.inputs[1]).flat[0])
            if len(of_rows) == 1 and value == math.prod(n for n, _ in sizes):
                rest = math.prod(n for n, is_row in sizes if not is_row)
                out[new.inputs[1]] = mul(Count(of_rows[0]), number(rest))
    for pull in derivation.pulls:
        above, share = _first(pull.upstream), _first(pull.shares)
        if above is None or share is None or not (_is_number(above) and _is_number(share)):
            continue
        g, d = (np.ravel(derivation.value(n))[:1].tolist() for n in (above, share))
        divisor = out.get(opened.of(pull.node.inputs[-1])) if pull.node.inputs else None
        if pull.node.op is ops.divide and divisor is not None and g:
            factor = out.get(opened.of(above), number(float(g[0])))
            out[opened.of(share)] = mul(factor, power(divisor, MINUS))
        elif opened.of(above) in out and d == g:
            out[opened.of(share)] = out[opened.of(above)]
    return out


def _first(nodes: Sequence[Node | None]) -> Node | None:
    return next((n for n in nodes if n is not None), None)


def _is_number(node: Node) -> bool:
    """Whether it is one number everywhere."""
    while node.op in (ops.broadcast_to, ops.reshape):
        (node,) = node.inputs
    return node.op is None and node.value is not None and node.value.size == 1


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
