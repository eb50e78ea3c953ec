"""Statements: which values become variables, and loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import ops
from ...errors import printable
from ...graph import Array, Graph, Node
from .constants import constant
from .expressions import ATOM, NAME, Expression, as_whole, dtype_text, name
from .functions import Functions
from .layout import WIDTH, assignment, text_literal, wrapped
from .names import Names
from .operations import expression
from .readable import rewritten, tidied

LONG = 70  # characters of an expression: above that its parts become variables
HEAVY = 5  # operations of an expression: more of them are hard to follow
LITERAL_TEXT = 48  # characters of a constant in an expression
SHORT = 28  # characters of what is repeated rather than given a name


@dataclass
class Constants:
    """Constants that do not fit into an expression.

    assignments  of those that are written out at the top of the module
    arrays       those that are too large for it, by the names of the arrays
    """

    assignments: list[str] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    _known: dict[Any, Expression] = field(default_factory=dict)

    def expression(self, value: Array, names: Names) -> Expression:
        """An expression for the constant: its text where that is short, else a variable."""
        e = constant(value)
        if e is not None and len(e.text) <= LITERAL_TEXT:
            return e
        key = value.shape, value.dtype, value.tobytes()
        if key not in self._known:
            text = names.free("CONSTANT" if e else "constant")
            self._known[key] = name(text, e.shape if e else value.shape)
            if e:
                self.assignments += wrapped(f"{text} = {e.text}")
            else:
                self.arrays[text] = value
        return self._known[key]


class Block:
    """Statements of one indentation.

    values       what stands for each node: a variable, or an expression that is used once
    part, title  comments that are written before the next statement, if there is one
    shapes       whether statements have the shapes of their values as comments
    """

    def __init__(
        self,
        names: Names,
        functions: Functions,
        constants: Constants,
        values: Mapping[Node, Expression],
        known: Callable[[Node], Array | None],
        indent: str = "    ",
        shapes: bool = True,
    ) -> None:
        self.names, self.functions, self.constants = names, functions, constants
        self.values = dict(values)
        self.lines: list[str] = []
        self.part = self.title = ""
        self._known, self._indent, self._shapes = known, indent, shapes
        self._pending: set[Node] = set()  # expressions that may become variables
        self._repeated: set[Node] = set()  # others, which are as short as a variable

    # ── values ───────────────────────────────────────────────────────────────────────────────────

    def value(self, node: Node) -> Expression:
        """The expression that stands for a node."""
        if node not in self.values:
            known = self._known(node)
            assert known is not None, node
            self.values[node] = self.constants.expression(np.asarray(known), self.names)
        return self.values[node]

    def whole(self, node: Node) -> Expression:
        """The same, as an array of the node's shape."""
        return as_whole(self.value(node), node.shape, node.dtype)

    def variable(self, node: Node) -> Expression:
        """The same, as a variable."""
        if node.op is not None and self.value(node).level != NAME:
            self._assign(node, self.value(node))
        e = self.whole(node)
        if e.level != NAME:
            text = self.names.free(self.names.hint(node))
            self._define(text, e)
            e = name(text, e.shape)
        self.values[node] = e
        return e

    def inner(
        self, values: Mapping[Node, Expression], names: Names | None = None, shapes: bool = True
    ) -> Block:
        """A block inside of this one, such as the body of a loop."""
        names = self.names if names is None else names
        indent = self._indent + "    "
        return Block(names, self.functions, self.constants, values, self._known, indent, shapes)

    # ── statements ───────────────────────────────────────────────────────────────────────────────

    def line(self, text: str) -> None:
        """A statement or comment."""
        for comment in (self.part, self.title):
            self.lines += ["", f"{self._indent}# {printable(comment)}"] if comment else []
        self.part = self.title = ""
        self.lines.append(f"{self._indent}{text}" if text else "")

    def write(
        self,
        order: Sequence[Node],
        ends: Sequence[Node],
        before: Callable[[Node], None] = lambda node: None,
    ) -> None:
        """Compute the nodes in this order; the ends are used afterwards."""
        uses = Counter(i for node in order for i in node.inputs)
        uses.update(ends)
        items: dict[Node, dict[int, Node]] = {}
        for node in order:
            if node.op is ops.item:
                items.setdefault(node.inputs[0], {})[node.params["index"]] = node
        for node in order:
            before(node)
            if node in self.values:
                continue
            if node.op is ops.scan:
                self._scan(node, items[node])
            elif isinstance(node.dtype, tuple):
                self._several(node, self._expression(node), items[node])
            else:
                e = self._expression(node)
                simple = e.weak or node.op is ops.negative
                free = (e.weight == 0 or (e.weight == 1 and simple)) and len(e.text) <= SHORT
                if node in self.names.fixed or (uses[node] > 1 and not free):
                    self._assign(node, e)
                else:
                    self.values[node] = e
                    (self._repeated if free else self._pending).add(node)

    def _expression(self, node: Node) -> Expression:
        """The node's expression, short enough: parts of it become variables."""
        while True:
            e = expression(node, [self.value(i) for i in node.inputs], self.functions)
            if len(e.text) <= LONG - len(self._indent) and e.weight <= HEAVY:
                return e
            if not self._name_a_part(node):
                return e

    def _assign(self, node: Node, e: Expression) -> None:
        """A variable for the node; where that exists already it is the same."""
        known = self.names.fixed.get(node)
        same = [i for i in node.inputs if i in self._pending and self.values[i] is e]
        if same and known is None:  # an array that is only broadcast: the variable is that array
            self._assign(same[0], self.values[same[0]])
            e = self._expression(node)
        if e.level == NAME and (known is None or node in self.names.backward):
            self.values[node] = e
            return
        text = self.names.give(node)
        width = WIDTH - len(self._indent)
        while len(f"{text} = {e.text}{self._shape(e)}") > width and self._name_a_part(node):
            e = expression(node, [self.value(i) for i in node.inputs], self.functions)
        self._pending.discard(node)
        if known is None and e.level == NAME:
            self.values[node] = e
            return
        self._define(text, e)
        self.values[node] = name(text, e.shape, e.weak)

    def _name_a_part(self, node: Node) -> bool:
        """Whether an input of the node was an expression; the largest becomes a variable."""
        parts = [i for i in node.inputs if i in self._pending]
        if not parts:
            return False
        largest = max(parts, key=lambda i: (self.values[i].weight, len(self.values[i].text)))
        self._pending.discard(largest)
        self._assign(largest, self.values[largest])
        return True

    def dict(self, target: str, nodes: Mapping[str, Node]) -> None:
        """An assignment of a dict of values."""
        texts = {key: self.whole(node).text for key, node in nodes.items()}
        self.line(f"{target} = {{" if texts else f"{target} = {{}}")
        for key, text in texts.items():
            self.line(f"    {text_literal(key)}: {text},")
        if texts:
            self.line("}")

    def _shape(self, e: Expression) -> str:
        """The shape as a comment, unless the text ends with it."""
        return f"  # {e.shape}" if self._shapes and e.shape and not e.sized else ""

    def _define(self, target: str, e: Expression) -> None:
        self._statement(target, e.text, self._shape(e))

    def _statement(self, target: str, text: str, comment: str = "") -> None:
        for line in assignment(target, text, comment, WIDTH - len(self._indent)):
            self.line(line)

    def _several(self, node: Node, e: Expression, items: Mapping[int, Node]) -> None:
        """The results of an operation with several."""
        used = sorted(items)
        texts = ["_"] * len(node.shape)
        for k in used:
            texts[k] = self.names.give(items[k])
            self.values[items[k]] = name(texts[k], node.shape[k])
        if len(used) == 1:
            (k,) = used
            self._define(texts[k], Expression(f"{e.text}[{k}]", ATOM, node.shape[k]))
        else:
            shapes = ", ".join(str(node.shape[k]) for k in used)
            self._statement(", ".join(texts), e.text, f"  # {shapes}")

    # ── loops ────────────────────────────────────────────────────────────────────────────────────

    def _scan(self, node: Node, items: Mapping[int, Node]) -> None:
        """`for`: variables that carry state, and arrays that the steps fill."""
        p = node.params
        graph: Graph = p["graph"]
        length, consts, first = p["length"], p["consts"], p["consts"] + p["carries"]
        body = tidied(Graph(graph.inputs, graph.outputs))
        stacked = [k for k in sorted(items) if k >= p["carries"]]

        values = dict(
            zip(graph.inputs[:consts], map(self.variable, node.inputs[:consts]), strict=True)
        )
        carries: list[str] = self.names.carries.setdefault(node, [])
        for k, start in enumerate(node.inputs[consts:first]):
            e, item = self.whole(start), items.get(k)
            text = self.names.carry(node, k) if item is None else self.names.give(item)
            self._define(text, e)
            carries.append(text)
            values[graph.inputs[consts + k]] = name(text, start.shape)
            if item is not None:
                self.values[item] = name(text, start.shape)
        for k in stacked:
            shape, dtype = node.shape[k], node.dtype[k]
            for which, nodes in (("after", body.outputs), ("before", body.inputs[consts:])):
                for text, end in zip(carries, nodes, strict=False):
                    if body.outputs[k] is end:
                        self.names.hints.setdefault(items[k], f"{text}_{which}")
            text = self.names.give(items[k])
            kind = "" if dtype == np.float64 else f", {dtype_text(dtype)}"
            self._statement(text, f"np.empty({shape}{kind})")
            self.values[items[k]] = name(text, shape)

        t = self.names.step(len(self._indent) // 4)
        for row, x in zip(graph.inputs[first:], node.inputs[first:], strict=True):
            values[row] = Expression(f"{self.variable(x).text}[{t}]", ATOM, row.shape)

        steps = f"reversed(range({length}))" if p["reverse"] else f"range({length})"
        self.line(f"for {t} in {steps}:")
        inner = self.inner(values)
        leaves = {*graph.inputs}
        again = rewritten([n for n in body.nodes if n.op is not None and n not in leaves], leaves)
        ends = [again.of(o) for o in body.outputs]
        wanted = [*ends[: p["carries"]], *(ends[k] for k in stacked)]
        for text, end in zip(carries, ends, strict=False):
            self.names.hints.setdefault(end, f"new_{text}")
        inner.write(again.order(wanted, leaves), wanted)
        for k in stacked:
            inner.line(f"{self.values[items[k]].text}[{t}] = {inner.value(ends[k]).text}")
        inner.move([*zip(carries, ends, strict=False)])
        if not inner.lines:
            inner.line("pass")
        self.lines += inner.lines

    def move(self, pairs: Sequence[tuple[str, Node]]) -> None:
        """Assign all of the nodes to variables that some of them may still need."""
        moves = {a: self.whole(end).text for a, end in pairs}
        read = {a: self._read(end) for a, end in pairs if a != moves[a]}
        while read:
            free = next((a for a in read if not any(a in read[o] for o in read if o != a)), None)
            if free is None:
                self.line(f"{', '.join(read)} = {', '.join(moves[a] for a in read)}")
                return
            self._statement(free, moves[free])
            del read[free]

    def _read(self, node: Node) -> set[str]:
        """The variables in the expression that stands for a node."""
        out, stack = set(), [node]
        while stack:
            node = stack.pop()
            e = self.value(node)
            if e.level == NAME:
                out.add(e.text)
            elif node in self._pending or node in self._repeated:
                stack += node.inputs
        return out
