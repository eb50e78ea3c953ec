"""The table of derivatives as a page: every row run on symbols and written as mathematics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import derivatives, shapes
from ..graph import Graph, Node, Operation
from ..rows import Row
from ..sparse import RowSparse
from ..tensor import Tensor, trace_hold, wrap
from ..trace import Trace
from .formula import formula

_HEADINGS = {
    "negative": "Elementwise, one argument",
    "add": "Elementwise, two arguments",
    "sign": "Elementwise, piecewise constant",
    "where": "Choosing and copying",
    "broadcast_to": "Shape",
    "sum": "Reductions and scans along an axis",
    "matmul": "Contractions and windows",
    "take": "Indexing",
    "random_bits": "Random and control",
}


def row_formulas(row: Row) -> list[tuple[str, str]]:
    """(what is differentiated by, the formula) for each input that has a rule.

    The rule is run on symbols: a scalar each for elementwise operations, else the first case's
    shapes. For elementwise rows the formula is ∂y/∂x, for others what becomes of the cotangent g.
    """
    op = row.op
    case, params = op.cases[0]
    scalar = op.kind == "elementwise" or op.name in _POINTWISE
    trace = Trace()
    with trace:
        inputs = [_symbol(trace, op, k, entry, scalar) for k, entry in enumerate(case)]
        shape, dtype = op.infer(*inputs, **params)
        y = trace.input(shape, dtype)
        g = trace.input(shape, dtype)
        names = _names(op, inputs) | {y: "y", g: "g"}
        node = Node(op, tuple(inputs), params, shape, dtype, None, True, None, trace)

        def hold(n: Node) -> Any:
            return wrap(y) if n is node else trace_hold(trace, n)

        seed: Any = wrap(g)
        if op.joint is not None:
            shares = op.joint(seed, node, hold)
        else:
            shares = [None if pull is None else pull(seed, node, hold) for pull in op.pulls]
        out = []
        for k, share in enumerate(shares):
            if share is None:
                continue
            by = names[inputs[k]]
            out.append((by, _formula(trace, share, inputs, y, g, names, not scalar)))
        return out


_POINTWISE = ("negative", "add", "subtract", "multiply", "where")


def _symbol(trace: Trace, op: Operation, k: int, entry: Any, scalar: bool) -> Node:
    if isinstance(entry, np.ndarray):
        return trace.input(entry.shape, entry.dtype)
    is_mask = op.name == "where" and k == 0
    return trace.input(() if scalar else entry, shapes.bool_ if is_mask else shapes.float64)


def _names(op: Operation, inputs: list[Node]) -> dict[Node, str]:
    if op.arguments == ("*xs",):
        return {n: f"x{k + 1}" for k, n in enumerate(inputs)}
    return dict(zip(inputs, op.arguments, strict=True))


def _formula(
    trace: Trace, share: Any, inputs: list[Node], y: Node, g: Node, names: Any, shaped: bool
) -> str:
    if isinstance(share, RowSparse):
        rows, values = (_text(trace, t, inputs, y, g, names, shaped)
                        for t in (share.indices, share.values))  # fmt: skip
        return f"rows {rows}: {values}"
    return _text(trace, share, inputs, y, g, names, shaped)


def _text(
    trace: Trace, t: Tensor, inputs: list[Node], y: Node, g: Node, names: Any, shaped: bool
) -> str:
    graph = Graph([*inputs, y, g], [trace.node_of(t)])
    return formula(graph, names, shaped)


def handbook() -> Iterator[str]:
    """The page, line by line, in Markdown. It is generated; `docs/derivatives.md` is its print."""
    yield "# The derivatives"
    yield ""
    yield "Generated from `src/chainrule/derivatives.py` by running every rule on symbols:"
    yield "`chainrule check --page` prints it, a test compares it with this file."
    yield ""
    yield "`y` is the output, `g` = ∂loss/∂y the cotangent that arrives from above. For one or two"
    yield "arguments that are elementwise, the column shows what the rule returns, ∂loss/∂x; for"
    yield "shaped operations it shows the rule on the small shapes of the operation's first case."
    for row in derivatives.TABLE.values():
        if row.op.name in _HEADINGS:
            yield from ("", f"## {_HEADINGS[row.op.name]}", "")
            yield "| operation | kind | by | ∂loss/∂ |"
            yield "|---|---|---|---|"
        if row.reason:
            yield f"| `{row.op.name}` | {row.op.kind} | – | none: {row.reason} |"
            continue
        for k, (by, text) in enumerate(row_formulas(row)):
            name, kind = (f"`{row.op.name}`", row.op.kind) if not k else ("", "")
            yield f"| {name} | {kind} | {by} | {text.replace('|', chr(92) + '|')} |"
