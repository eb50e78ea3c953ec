"""The table of derivatives as a page: every row run on symbols and written as mathematics."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import derivatives
from ..derivative_rows import Row
from ..dtypes import bool_, float64, int64
from ..graph import Graph, Node, Operation
from ..nn import functional
from ..sparse import RowSparse
from ..tensor import Tensor, constant, wrap
from ..trace import Trace
from .derivation import MOVES
from .formula import formula

_HEADINGS = {
    "negative": ("Elementwise, one argument", "∂y/∂x"),
    "add": ("Elementwise, two arguments", "∂y/∂x"),
    "sign": ("Elementwise, piecewise constant", "∂y/∂x"),
    "where": ("Choosing and copying", "∂y/∂x"),
    "broadcast_to": ("Shape", "∂loss/∂x"),
    "sum": ("Reductions and scans along an axis", "∂loss/∂x"),
    "matmul": ("Contractions and windows", "∂loss/∂x"),
    "take": ("Indexing", "∂loss/∂x"),
    "random_bits": ("Random and control", "∂loss/∂x"),
}


def row_formulas(row: Row) -> list[tuple[str, str]]:
    """(the input, the formula) for each input that has a rule, by running the rule on symbols.

    Elementwise operations are run on scalars with g = 1, which gives ∂y/∂x; others on the shapes
    of their first case, which gives what becomes of the cotangent g.
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

        def tensor_of(n: Node) -> Any:
            return wrap(y) if n is node else Tensor._traced(trace, n)

        seed: Any = constant((), 1.0, dtype) if scalar else wrap(g)
        if op.joint is not None:
            shares = op.joint(seed, node, tensor_of)
        else:
            shares = [None if pull is None else pull(seed, node, tensor_of) for pull in op.pulls]
        out = []
        for k, share in enumerate(shares):
            if share is None:
                continue
            by = names[inputs[k]]
            out.append((by, _formula(trace, share, inputs, y, g, names, not scalar)))
        return out


_POINTWISE = ("negative", "add", "subtract", "multiply", "where", "alias", "astype")


def _symbol(trace: Trace, op: Operation, k: int, entry: Any, scalar: bool) -> Node:
    if isinstance(entry, np.ndarray):
        return trace.input(entry.shape, entry.dtype)
    is_mask = op.name == "where" and k == 0
    return trace.input(() if scalar else entry, bool_ if is_mask else float64)


def _names(op: Operation, inputs: list[Node]) -> dict[Node, str]:
    if op.arguments == ("*xs",):
        return {n: f"x{k + 1}" for k, n in enumerate(inputs)}
    return dict(zip(inputs, op.arguments, strict=True))


def _formula(
    trace: Trace, share: Any, inputs: list[Node], y: Node, g: Node, names: Any, shaped: bool
) -> str:
    if isinstance(share, RowSparse):
        rows, values = (
            _text(trace, t, inputs, y, g, names, shaped) for t in (share.indices, share.values)
        )
        return f"rows {rows}: {values}"
    return _text(trace, share, inputs, y, g, names, shaped)


def _text(
    trace: Trace, t: Tensor, inputs: list[Node], y: Node, g: Node, names: Any, shaped: bool
) -> str:
    graph = Graph([*inputs, y, g], [trace.node_of(t)])
    return formula(graph, names, shaped)


LONGEST = 110  # characters; a longer formula gives way to the first line of its rule's docstring


def _shown(row: Row, k: int, text: str) -> str:
    rules = [r for r in (*row.rules, row.joint) if r is not None]
    doc = inspect.getdoc(rules[min(k, len(rules) - 1)])
    if len(text) > LONGEST and doc:
        return doc.splitlines()[0]
    return "`" + text.replace("|", "\\|") + "`"


def handbook(names: Sequence[str] = ()) -> Iterator[str]:
    """The page, line by line, in Markdown, or only the rows of these operations.

    The page is generated; `docs/derivatives.md` is its print.
    """
    if not names:
        yield from _PREFACE.splitlines()
    heading: tuple[str, str] | None = None
    for row in derivatives.TABLE.values():
        heading = _HEADINGS.get(row.op.name, heading)
        if names and row.op.name not in names:
            continue
        if heading is not None:
            title, column = heading
            yield from ("", f"## {title}", "", f"| operation | kind | by | {column} |")
            yield "|---|---|---|---|"
            heading = None
        yield from _lines(row)
    if not names:
        yield from _COMPOSITION.splitlines()
        yield from map(_composed, _COMPOSED)


# Functions without a row of their own, with the shapes of what they are run on; a shape of integers
# is a list.
_COMPOSED: dict[str, list[Any]] = {
    "relu": [()],
    "leaky_relu": [()],
    "elu": [()],
    "gelu": [()],
    "silu": [()],
    "softplus": [()],
    "softmax": [(3,)],
    "log_softmax": [(3,)],
    "linear": [(2, 3), (4, 3), (4,)],
    "mse_loss": [(3,), (3,)],
    "binary_cross_entropy_with_logits": [(), ()],
    "cross_entropy": [(2, 3), [2]],
}


def _composed(name: str) -> str:
    """A function, what it is composed of, and the operations through which a gradient flows."""
    function, trace = getattr(functional, name), Trace()
    with trace:
        shapes = _COMPOSED[name]
        inputs = [trace.input(tuple(s), int64 if isinstance(s, list) else float64) for s in shapes]
        out = function(*(Tensor._traced(trace, n) for n in inputs))
        graph = Graph(inputs, [trace.node_of(out)])
    arguments = [*inspect.signature(function).parameters][: len(inputs)]
    text = formula(graph, dict(zip(inputs, arguments, strict=True)))
    text = "`" + text.replace("|", "\\|") + "`"
    if len(text) > LONGEST:
        text = (inspect.getdoc(function) or "").splitlines()[0]
    rows = ", ".join(f"`{op}`" for op in _passed(graph))
    return f"| `{name}({', '.join(arguments)})` | {text} | {rows} |"


def _passed(graph: Graph) -> list[str]:
    """The operations through which a gradient flows, except those that only move elements."""

    def passes(node: Node) -> bool:
        return node.op is not None and not derivatives.TABLE[node.op.name].reason

    moving, needed = {*graph.inputs}, {*graph.outputs}
    for node in graph.nodes:
        if passes(node) and not moving.isdisjoint(node.inputs):
            moving.add(node)
    for node in reversed(graph.nodes):
        if node in needed and node in moving and passes(node):
            needed.update(node.inputs)
    between = [n.op for n in graph.nodes if n in moving and n in needed and n.op not in MOVES]
    return [*dict.fromkeys(op.name for op in between if op is not None)]


def _lines(row: Row) -> Iterator[str]:
    if row.reason:
        yield f"| `{row.op.name}` | {row.op.kind} | – | {row.reason} |"
        return
    for k, (by, text) in enumerate(row_formulas(row)):
        name, kind = (f"`{row.op.name}`", row.op.kind) if not k else ("", "")
        yield f"| {name} | {kind} | {by} | {_shown(row, k, text)} |"


_COMPOSITION = """
## Functions without a row

All other functions are composed of these operations, so their derivatives come from the rows
above by the chain rule. Some of them, run on symbols, or by the first line of their docstring:

| function | composed as | rows that its gradient needs |
|---|---|---|"""

_PREFACE = """# The derivatives

Printed by `chainrule check --page`, which runs every rule of
`src/chainrule/derivatives.py` on symbols. A test keeps this file and the code equal.

`y` is the operation's output. Where the column says ∂y/∂x it is the derivative, element
by element. Where it says ∂loss/∂x it is what becomes of `g` = ∂loss/∂y, the cotangent
from above, on small shapes (those of the operation's first case in `ops.py`); a rule
too long for a line is named by what its docstring derives.

- `[condition: a, else b]` is a where the condition holds and b elsewhere.
- `rows i: v` is row-sparse: the values v belong to the rows i, and all other rows are 0."""
