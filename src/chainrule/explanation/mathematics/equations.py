"""The forward and the backward pass as equations, one for each tensor that is worth a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import ops
from ...dtypes import is_exact
from ...graph import Node, Shape
from ..derivation import Derivation
from ..recorder import Pull
from ..steps import Step
from .algebra import at_index, number, place
from .elements import Elements, View, has_parts
from .expression import At, Expr, Index, Number, Place, Plain, Softmax, Symbol
from .sharing import Repeated, inlined, pattern, shared
from .symbols import Letters


@dataclass
class Equation:
    """symbol[indices] = expression.

    left        the element that is defined: of a block where there are offsets
    indices     of the left side
    right       the expression
    shape       of what is defined
    step        that it belongs to
    backward    whether it is of the backward pass
    """

    left: At
    indices: tuple[Index, ...]
    right: Expr
    shape: Shape
    step: Step | None
    backward: bool


@dataclass
class Mathematics:
    """The equations of a backward pass, by step, and what they assume.

    parts      (step, its equations) in order: forward, then backward from the loss
    assumed    conditions that the sample decides, and whether they are true
    inputs     the symbols that no equation defines
    """

    parts: list[tuple[Step | None, list[Equation]]]
    assumed: dict[Expr, bool]
    inputs: list[Symbol]


def equations(derivation: Derivation, steps: Sequence[Step], names: dict[Node, str]) -> Mathematics:
    """The equations of the derivation."""
    return _Writer(derivation, steps, names).write()


class _Writer:
    def __init__(
        self, derivation: Derivation, steps: Sequence[Step], names: dict[Node, str]
    ) -> None:
        self.derivation, self.steps, self.names = derivation, steps, names
        self.step_of = {n: s for s in steps for n in s.nodes}
        self.upstream = _upstream(derivation)
        self.views: dict[Node, View] = {}
        self.named: list[Node] = []  # that get an equation
        self.products: set[Node] = set()
        self.row_axes: set[tuple[Symbol, int]] = set()
        paths = [n.rpartition(".")[0] for n in names.values() if "." in n]
        paths += [s.path for s in steps if s.module is not None and names.get(_last(s)) == s.path]
        self.letters = Letters(dict.fromkeys(paths))
        self.elements = Elements(
            self.views, _rows(derivation), _known(derivation), derivation.value, {}
        )
        self.elements.constants = _constants(derivation, self.elements)

    # ── names ────────────────────────────────────────────────────────────────────────────────────

    def name_inputs(self) -> list[Symbol]:
        out = []
        for node, i in self.derivation.inputs.items():
            text = (
                self.letters.parameter(i.name, len(node.shape))
                if i.kind in ("parameter", "buffer")
                else self.letters.output(i.name, "", False)
            )
            out.append(Symbol(text, node.shape, i.name, value=np.asarray(i.value)))
            if (node, 0) in self.elements.rows:
                self.row_axes.add((out[-1], 0))
            self.views[node] = View(out[-1])
        return out

    def name(self, node: Node, text: str, name: str = "") -> None:
        """Give a forward node a name, and the gradient that reaches it."""
        if node in self.views:
            return
        symbol = Symbol(text, node.shape, name, value=_array(self.derivation.value(node)))
        self.views[node] = View(symbol)
        self.named.append(node)
        self.elements.forget()
        above = self.upstream.get(node)
        if above is not None:
            self.name_gradient(above, symbol)

    def name_gradient(self, node: Node, of: Symbol) -> None:
        known = node in self.views or node in self.derivation.fixed or node.op is None
        if known or node in self.derivation.forward:
            return
        if any(v.symbol is of for n, v in self.views.items() if n in self.derivation.inputs):
            text = f"∂L/∂{of.text}"
        elif of.text[0] == "z":
            text = self.letters.new("δ" + of.text[1:])
        else:
            text = self.letters.new("δ", of.text.replace("_", ""))
        symbol = Symbol(text, of.shape, of.name and f"∂loss/∂{of.name}", of)
        symbol.value = _array(self.derivation.value(node))
        self.views[node] = View(symbol)
        self.named.append(node)
        self.elements.forget()

    def name_outputs(self) -> None:
        for step in self.steps:
            for node in self.boundaries(step):
                self.name(node, self.letters.new("z"))
            for node in step.outputs:
                name = self.names[node]
                own = name in ops.TABLE or name == step.kind.lower()
                text = (
                    self.letters.new("z" if node in self.products else "h")
                    if own and name != step.path
                    else self.letters.output(name, step.path, node in self.products)
                )
                self.name(node, text, name)
        for name, node in self.derivation.gradients.items():
            of = next(
                v.symbol
                for n, v in self.views.items()
                if n in self.derivation.inputs and v.symbol.name == name
            )
            if node not in self.views:
                self.name_gradient(node, of)

    def boundaries(self, step: Step) -> list[Node]:
        """Products with sums, to which something is applied that is not linear."""
        products: set[Node] = set()
        inside = {*step.nodes}
        users: dict[Node, list[Node]] = {}
        for node in step.nodes:
            linear = node.op in _LINEAR and all(
                i in products or i not in inside or i in self.derivation.fixed or _moved(i)
                for i in node.inputs
            )
            if node.op in (ops.matmul, ops.convolution) or (
                linear and any(i in products for i in node.inputs)
            ):
                products.add(node)
            for i in node.inputs:
                users.setdefault(i, []).append(node)
        self.products |= products
        return [
            node
            for node in step.nodes
            if node in products
            and node not in step.outputs
            and node.op not in (*_MOVING, ops.multiply)
            and any(
                u not in products or u.op in (ops.slice, ops.matmul)
                for u in _effective_users(node, users, self.derivation)
            )
        ]

    # ── equations ────────────────────────────────────────────────────────────────────────────────

    def write(self) -> Mathematics:
        inputs = self.name_inputs()
        self.name_outputs()
        self.name_blocks()
        while True:
            found = self.build()
            wanted = [n for n in self.elements.wanted if n not in self.views]
            if not wanted:
                wanted = self.worth_a_name(found)
            if not wanted:
                break
            for node in wanted:
                self.name(node, self.letters.new("a"))
            self.name_blocks()
            self.elements.forget()
        for e in found:
            _mark_rows(e, self.row_axes)
        found = inlined(shared(found, self.new_symbol, _before))
        return Mathematics(self.parts(found), self.elements.assumed, inputs)

    def new_symbol(self, e: Expr, indices: Sequence[Index]) -> Symbol:
        """For an expression that several equations have."""
        letter = "p" if isinstance(e, Softmax) else "a"
        return Symbol(self.letters.new(letter), tuple(i.size for i in indices))

    def name_blocks(self) -> None:
        """The parts of a sum of padded tensors that lie side by side are blocks of its name."""
        for node in [*self.named]:
            blocks = _blocks(node)
            symbol = self.views[node].symbol
            for inner, offsets in blocks:
                if inner not in self.views and inner.op is not None:
                    self.views[inner] = View(symbol, (), offsets)
                    self.named.append(inner)
            if blocks and all(self.views[n].symbol is symbol for n, _ in blocks if n in self.views):
                self.named.remove(node)
        self.elements.forget()

    def build(self) -> list[Equation]:
        self.elements.wanted.clear()
        position = self.derivation.position
        forward = {*self.derivation.forward}
        out = []
        for node in sorted(self.named, key=lambda n: (n not in forward, position[n])):
            indices = self.elements.indices(node)
            places = tuple(map(at_index, indices))
            left = self.views[node].at(places)
            right = self.elements.written(node, places)
            if has_parts(right):
                self.elements.wanted.update(dict.fromkeys(self.elements.splits(node)))
            backward = node not in forward
            step = self.step_of.get(node) or self.step_at(position[node])
            out.append(Equation(left, indices, right, node.shape, step, backward))
        return out

    def step_at(self, position: int) -> Step | None:
        """The step whose rules were in use at this place of the recording."""
        best, found = -1, None
        for pull in self.derivation.pulls:
            at = min((self.derivation.position[n] for n in pull.nodes if n.op), default=-1)
            if best < at <= position:
                best, found = at, self.step_of.get(pull.node)
        return found

    def worth_a_name(self, found: Sequence[Equation]) -> list[Node]:
        """The forward nodes inside steps whose expression appears several times."""
        again = Repeated(e.right for e in found)
        out = []
        for node in self.derivation.forward:
            if node not in self.views and node.op is not None and node.shape is not None:
                if isinstance(node.dtype, tuple) or node not in self.upstream:
                    continue
                indices = self.elements.indices(node)
                expr = self.elements.at(node, tuple(map(at_index, indices)))
                if expr in again and not any(pattern(expr).key == pattern(e.right).key for e in found):
                    out.append(node)
                    again.keys.discard(pattern(expr).key)
        return out

    def parts(self, found: Sequence[Equation]) -> list[tuple[Step | None, list[Equation]]]:
        out: list[tuple[Step | None, list[Equation]]] = []
        for e in found:
            if not out or out[-1][0] is not e.step or out[-1][1][0].backward != e.backward:
                out.append((e.step, []))
            out[-1][1].append(e)
        return out


def _before(left: At, indices: tuple[Index, ...], right: Expr, e: Equation) -> Equation:
    return Equation(left, indices, right, left.symbol.shape, e.step, e.backward)


def _mark_rows(equation: Equation, axes: set[tuple[Symbol, int]]) -> None:
    """Mark the indices that count samples, as they are read from tensors of samples."""
    reads = [e for e in equation.right.walk() if isinstance(e, At)]
    for e in reads:
        for k, p in enumerate(e.at):
            if (e.symbol, k) in axes and isinstance(p.atom, Index):
                p.atom.rows = True
    for k, p in enumerate(equation.left.at):
        if isinstance(p.atom, Index) and p.atom.rows:
            axes.add((equation.left.symbol, k))
            

_MOVING = (ops.reshape, ops.permute_dims, ops.broadcast_to, ops.astype, ops.slice)
_LINEAR = (*_MOVING, ops.add, ops.subtract, ops.negative, ops.multiply)


def _moved(node: Node) -> bool:
    """Whether it is an input, moved."""
    while node.op in _MOVING:
        node = node.inputs[0]
    return node.op is None


def _effective_users(
    node: Node, users: dict[Node, list[Node]], derivation: Derivation
) -> list[Node]:
    """The nodes that use it, or use it moved or times a number."""
    out: list[Node] = []
    waiting = [node]
    while waiting:
        for user in users.get(waiting.pop(), []):
            times = user.op is ops.multiply and any(i in derivation.fixed for i in user.inputs)
            moves = user.op in _MOVING and user.op is not ops.slice
            (waiting if times or moves else out).append(user)
    return out


def _last(step: Step) -> Node:
    return step.outputs[-1] if step.outputs else step.nodes[-1]


def _array(value: Any) -> Any:
    return value if isinstance(value, tuple) else np.asarray(value)


def _upstream(derivation: Derivation) -> dict[Node, Node]:
    """∂loss/∂node for forward nodes; for each result of an operation that has several."""
    out: dict[Node, Node] = {}
    parts: dict[tuple[Node, int], Node] = {}
    for pull in derivation.pulls:
        for k, above in enumerate(pull.upstream):
            if above is not None:
                parts[pull.node, k] = above
                if not isinstance(pull.node.dtype, tuple):
                    out[pull.node] = above
    for node in derivation.forward:
        if node.op is ops.item:
            found = parts.get((node.inputs[0], node.params["index"]))
            if found is not None:
                out[node] = found
    return out


def _blocks(node: Node) -> list[tuple[Node, tuple[int, ...]]]:
    """(part, its first place on each axis) of a sum of padded parts that fill the whole."""
    parts, waiting = [], [node]
    while waiting:
        n = waiting.pop()
        if n.op is ops.add:
            waiting += reversed(n.inputs)
        elif n.op is ops.pad and not any(n.params["interior"]):
            parts.append((n.inputs[0], tuple(n.params["low"])))
        else:
            return []
    axes = {k for part, _ in parts for k, n in enumerate(part.shape) if n != node.shape[k]}
    if len(axes) != 1 or len({n for n, _ in parts}) != len(parts):
        return []
    (axis,) = axes
    parts.sort(key=lambda p: p[1][axis])
    end = 0
    for part, first in parts:
        if first[axis] != end:
            return []
        end += part.shape[axis]
    return parts if end == node.shape[axis] else []


def _known(derivation: Derivation) -> set[Node]:
    """The nodes that depend on constants and on data that are no floating numbers."""
    out = {
        n
        for n, i in derivation.inputs.items()
        if i.kind in ("data", "buffer") and is_exact(n.dtype)
    }
    start = {*out}
    for node in derivation.order:
        if all(i in out or i in derivation.fixed or i.op is None and i not in derivation.inputs for i in node.inputs):
            out.add(node)
    return (out | derivation.fixed) - start


def _rows(derivation: Derivation) -> set[tuple[Node, int]]:
    """The axes that count samples: the first of the data, and what comes of it."""
    data = [n for n, i in derivation.inputs.items() if i.kind == "data" and n.shape]
    if not data:
        return set()
    size = data[0].shape[0]
    out = {(n, 0) for n in data if n.shape[0] == size and size > 1}
    for node in derivation.order:
        out |= {(node, k) for k in _row_axes(node, out)}
    return out


def _row_axes(node: Node, rows: set[tuple[Node, int]]) -> list[int]:
    """The axes of a node that count samples, from those of its inputs."""
    if isinstance(node.dtype, tuple):
        return []
    axes: list[int] = []
    for i in node.inputs:
        of_input = [k for n, k in rows if n is i]
        if not of_input or isinstance(i.dtype, tuple):
            continue
        if node.op is ops.permute_dims:
            axes += [node.params["axes"].index(k) for k in of_input]
        elif node.op is ops.matmul:
            last = len(i.shape) - 1
            contracted = last if i is node.inputs[0] else last - 1
            axes += [k for k in of_input if k != contracted]
        elif node.op is ops.convolution_weight:
            continue
        elif node.op in (ops.reshape, ops.convolution, ops.take, ops.item):
            axes += [0 for k in of_input if k == 0 and node.shape[:1] == i.shape[:1]]
        elif len(i.shape) == len(node.shape):
            axes += [k for k in of_input if i.shape[k] == node.shape[k]]
    return sorted({*axes})


def _constants(derivation: Derivation, elements: Elements) -> dict[Node, Expr]:
    """Numbers of the backward pass that come from the number of samples: 1/N, not 0.2."""
    return {}
