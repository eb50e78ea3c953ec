"""What is known of nodes before they are written, and of what their indices count."""

from __future__ import annotations

from collections.abc import Callable

from ...dtypes import is_exact
from ...graph import Node
from ..derivation import Derivation
from ..samples import followed, samples_of
from .equation import Equation
from .expression import At, Index, Plain, Symbol
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
