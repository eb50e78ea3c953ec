"""The forward and the backward pass as equations, one for each tensor that is worth a name.

Longer than other files: what has a name decides what else is worth one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...graph import Node
from ..derivation import Derivation
from ..recorder import Pull
from ..steps import Step
from .elements import Elements, View, has_parts, merged_view
from .equation import Equation, Mathematics
from .expression import At, Expr, Index, Place, Symbol
from .facts import known, mark, of_data, row_axes, upstream
from .naming import blocks, boundaries, crowded, is_moved_leaf, padded
from .opening import Carry, Opened, users_of
from .parts import Parts, kind_of
from .places import at_index
from .sharing import Repeated, inlined, pattern, shared
from .symbols import CELLS, GATES, PARTS, STATES, Letters, part_letter


def equations(derivation: Derivation, across_steps: bool = True) -> Mathematics:
    """The equations of the derivation, simplified as a textbook has them.

    across_steps   whether a gradient that one other is a multiple of has no equation even if that
                   one is of another step; else each step has those of all that it hands back
    """
    return _Equations(derivation).mathematics(across_steps)


class _Equations:
    """Gives names to nodes until all can be written, and those that appear twice have one."""

    def __init__(self, derivation: Derivation) -> None:
        self.derivation = derivation
        self.opened = Opened(derivation)
        self.nodes = [n for n in self.opened.order if not isinstance(n.dtype, tuple)]
        forward = {*derivation.forward}
        self.forward = {n for n, owner in self.opened.order.items() if owner in forward}
        self.users = users_of(self.nodes)
        self.upstream = upstream(derivation, self.opened)
        self.parts = Parts(derivation, self.opened)
        self.fixed = {self.opened.of(n) for n in derivation.fixed}
        calls: dict[Any, list[Step]] = {}
        for step in derivation.steps:
            if kind_of(step) in CELLS:
                calls.setdefault(step.module, []).append(step)
        self._numbers = {  # of the calls of one cell
            step: str(k) for c in calls.values() if len(c) > 1 for k, step in enumerate(c, 1)
        }
        self.views: dict[Node, View] = {}
        self._leaves: dict[Symbol, Node] = {}  # the inputs of symbols
        self._values: dict[Node, Any] = {}
        self.named: list[tuple[Node, View]] = []  # what gets an equation, and where it is
        self._unsplit: list[tuple[Node, View]] = []  # of these, those that may be in blocks
        self._whole: dict[View, Node] = {}  # of blocks
        self.axes: dict[tuple[Symbol, int], str] = {}  # what axes of symbols count: rows, time
        self.letters = Letters(
            [
                (i.name, len(node.shape))
                for node, i in derivation.inputs.items()
                if i.kind in ("parameter", "buffer", "drawn")
            ],
            [
                step.path
                for step in derivation.steps
                for node in step.outputs
                if step.path and derivation.names[node] == step.path
            ],
        )
        self.elements = Elements(
            self.views,
            row_axes(derivation, self.opened),
            known(derivation, self.opened),
            self.fixed,
            of_data(derivation, self.opened),
            self._value,
            self.opened,
        )
        self.elements.constants = {
            node: counted.written(lambda x, k: (self.opened.of(x), k) in self.elements.rows)
            for node, counted in self.opened.counted.items()
        }

    def mathematics(self, across_steps: bool) -> Mathematics:
        inputs = self._name_inputs()
        self._name_outputs()
        self._name_far()
        while True:
            written = self._written()
            wanted = [n for n in self.elements.wanted if n not in self.views]
            texts = dict.fromkeys(wanted, "a") or self._worth_a_name(written)
            if not texts:
                break
            for node, letter in texts.items():
                if node.op is None and node not in self.opened.time:
                    inputs.append(self._name_constant(node))
                elif node in wanted:
                    self._named(node, self.letters.new(letter))
                else:
                    self._name(node, self._new(letter, self.parts.step(node)))
            self._name_blocks()
        for e in written:
            mark(e, self.axes)
        written = inlined(shared(written, self._new_symbol, _before), across_steps)
        read = {x.symbol for e in written for x in e.right.walk() if isinstance(x, At)}
        used = [s for s in inputs if s in read]
        return Mathematics(_by_step(written), self.elements.assumed, used)

    def _value(self, node: Node) -> Any:
        """A node's value on the sample; None in a loop."""
        old = self.opened.old.get(node)
        if old is not None and self.derivation.value(old) is not None:
            return self.derivation.value(old)
        if node.op is None or node in self.opened.time:
            return node.value
        if node not in self._values:
            inputs = [self._value(i) for i in node.inputs]
            self._values[node] = (
                None if any(i is None for i in inputs) else node.op.evaluate(*inputs, **node.params)
            )
        return self._values[node]

    # ── names ────────────────────────────────────────────────────────────────────────────────────

    def _name_inputs(self) -> list[Symbol]:
        out = []
        for node, i in self.derivation.inputs.items():
            is_stored = i.kind in ("parameter", "buffer", "drawn")
            text = self.letters.parameter(i.name) if is_stored else self.letters.variable(i.name)
            symbol = Symbol(text, node.shape, i.name, value=np.asarray(i.value))
            self.views[node], self._leaves[symbol] = View(symbol), node
            if (node, 0) in self.elements.rows:
                self.axes[symbol, 0] = "rows"
            out.append(symbol)
        return out

    def _name_far(self) -> None:
        """Name nodes so that none in a long row is made of many without names: loops in code."""

        def is_known(node: Node) -> bool:
            return node in self.views or node in self.fixed

        for node in crowded(self.nodes, self.users, is_known):
            self._name(node, self.letters.new("a"))

    def _name_constant(self, node: Node) -> Symbol:
        """A symbol for an array in the user's code."""
        symbol = Symbol(self.letters.new("k"), node.shape, "constant", value=np.asarray(node.value))
        self.views[node] = View(symbol)
        self.elements.forget()
        return symbol

    def _name_outputs(self) -> None:
        users = self.users
        members: dict[Step | None, list[Node]] = {}
        for node, owner in self.opened.order.items():
            members.setdefault(self.parts.step_of.get(owner), []).append(node)
        for step in self.derivation.steps:
            inside = members.get(step, [])
            states = [c.out for c in self.opened.carries.values() if c.out in inside]
            letters = STATES.get(kind_of(step), "s")
            for k, node in enumerate(states):
                self._name(node, self.letters.new(letters[k % len(letters)]))
            outputs = [self.opened.of(n) for n in step.outputs]
            ends, affine = boundaries(inside, outputs, users, self.fixed)
            for node in inside:
                if node in self.opened.texts:
                    self._name(node, self.letters.new(self.opened.texts[node]))
            parts = PARTS.get(kind_of(step), ())
            has_gates = kind_of(step) in GATES
            ends = [
                n
                for n in ends
                if _sliced(n, users)
                or (n in self.upstream if n in self.opened.time else not has_gates)
            ]
            for k, node in enumerate(ends):
                self._name(node, self._new(parts[k] if k < len(parts) else "z", step))
            cells = CELLS.get(kind_of(step), "")
            if cells == "ch" and outputs:  # h = o ⊙ tanh(c), where nothing else may read c
                for node in outputs[-1].inputs:
                    if node.op is ops.tanh and node.inputs[0] not in outputs:
                        self._name(node.inputs[0], self._new("c", step))
            for k, (old, node) in enumerate(zip(step.outputs, outputs, strict=True)):
                name = self.derivation.names[old]
                plain = re.sub(r"_\d+$", "", name)
                kinds = (step.path, step.kind.lower())
                own = name != step.path and (plain in ops.TABLE or plain in kinds)
                if own and is_moved_leaf(node):
                    continue  # it is read as a part of the leaf
                letter = cells[k - len(outputs) :][:1] or ("z" if node in affine else "h")
                text = (
                    self._new(letter, step)
                    if own or (step in self._numbers and plain == letter)
                    else self.letters.output(name, step.path, letter)
                )
                self._name(node, text, name)
        if self.derivation.loss in self.derivation.inputs:
            self._add(self.derivation.loss, View(Symbol(self.letters.new("L"), ())))
        symbols = {i.name: self.views[n].symbol for n, i in self.derivation.inputs.items()}
        for name, old in self.derivation.gradients.items():
            node, of = self.opened.of(old), symbols[name]
            if not self._name_gradient(node, of):  # it has a name, such as that of another one
                end = Symbol(f"∂L/∂{of.text}", of.shape, f"∂loss/∂{name}", of)
                end.value = np.asarray(self.derivation.value(old))
                self._add(node, View(end))
        stacked = {n for n, _ in self.opened.stacked.values()}
        for node in self.nodes:
            if node in self.opened.texts and node not in self.views:
                self._name(node, self.letters.new(self.opened.texts[node]))
            elif node not in self.forward and (
                self._carried(node) or padded(node) or node in stacked
            ):
                source = self._differentiated(node)
                if source is None or not self._name_gradient(node, source):
                    self._named(node, self.letters.new("δ"))
        self._name_blocks()

    def _new(self, letter: str, step: Step | None) -> str:
        """The letter, with the number of the step among the calls of one cell."""
        return self.letters.new(letter, self._numbers.get(step, "") if step else "")

    def _carried(self, node: Node) -> list[Carry]:
        """What a loop of the backward pass hands to the next step and becomes the node.

        That is the sum of it and of what else reaches the step, or it alone. Sums of all steps,
        which only grow, are none.
        """
        return [
            c
            for leaf, c in self.opened.carries.items()
            if c.out not in self.forward and c.grows is None and self._complete(leaf) is node
        ]

    def _complete(self, leaf: Node) -> Node:
        """The only node that reads a leaf, if it adds to it; the leaf if there are others."""
        users = self.users.get(leaf, ())
        return users[0] if len(users) == 1 and users[0].op is ops.add else leaf

    def _differentiated(self, node: Node) -> Symbol | None:
        """What a node in a loop is the gradient of: a state, or a tensor in the same step."""
        for carry in self._carried(node):
            loop, k = carry.loop
            for pull in self.derivation.pulls:
                if loop in pull.nodes:
                    for other in self.opened.carries.values():
                        if other.loop == (pull.node, k) and other.out in self.views:
                            return self.views[other.out].symbol
        time, step = self.opened.time.get(node), self.parts.step(node)
        alike = [
            (n, v)
            for n, v in self.named
            if n.shape == node.shape
            and self.opened.time.get(n) is time
            and self.parts.step(n) is step
        ]
        states = {c.out for c in self.opened.carries.values()}
        tensors = [v.symbol for n, v in alike if n in self.forward and n not in states]
        others = [
            n for n in self.nodes if n not in self.forward and n.shape == node.shape and padded(n)
        ]
        return tensors[0] if time and len(tensors) == len(others) == 1 else None

    def _name(self, node: Node, text: str, name: str = "") -> None:
        """Give a node a name, and the gradient that reaches it."""
        symbol = self._named(node, text, name)
        if symbol is not None and node in self.forward and node in self.upstream:
            self._name_gradient(self.upstream[node], symbol)
        self._name_blocks()

    def _named(
        self, node: Node, text: str, name: str = "", of: Symbol | None = None
    ) -> Symbol | None:
        """A symbol for the node, unless it has one."""
        whole = node
        if node in self.opened.stacked:
            node = self.opened.stacked[node][0]
        if node in self.views:
            return None
        time = self.opened.time.get(node)
        view = View(Symbol(text, node.shape))
        if node.op is ops.reshape and not time:
            view = merged_view(node, text)
            for other, _ in self.named:
                if other.op is not ops.reshape or other.inputs != node.inputs:
                    continue
                symbol = self.views[other].symbol
                front = len(symbol.shape) - len(view.symbol.shape)  # axes of size 1
                if symbol.shape == (1,) * front + view.symbol.shape:
                    self.views[node] = View(symbol, (Place(),) * front, digits=view.digits)
                    return None
        shape = (time.size, *node.shape) if time else view.symbol.shape
        old = self.opened.old.get(whole)
        value = None if time and (whole is node or old is None) else self._value(whole)
        symbol = Symbol(text, shape, name, of)
        symbol.value = None if value is None else np.asarray(value).reshape(shape)
        self.views[node] = View(symbol, (at_index(time),) if time else (), (), view.digits)
        self._add(node, self.views[node])
        self.elements.forget()
        return symbol

    def _add(self, node: Node, view: View) -> None:
        self.named.append((node, view))
        self._unsplit.append((node, view))

    def _name_gradient(self, node: Node, of: Symbol) -> bool:
        """Name ∂L/∂ of a symbol, unless the node has a name or is known."""
        node = self.opened.stacked.get(node, (node,))[0]
        constant = node in self.fixed or (node.op is None and node not in self.opened.time)
        if constant or node in self.views or node in self.forward:
            return False
        if of.name and of.name in {i.name for i in self.derivation.inputs.values()}:
            text = f"∂L/∂{of.text}"
        elif of.text[0] == "z":
            text = self.letters.new("δ" + of.text[1:])
        else:
            text = self.letters.new("δ", of.text.replace("_", ""))
        return self._named(node, text, of.name and f"∂loss/∂{of.name}", of) is not None

    def _name_blocks(self) -> None:
        """The padded parts that a tensor is the sum of are blocks of its name."""
        new, self._unsplit = self._unsplit, []
        for node, view in new:
            parts = [] if view.offsets else blocks(node)
            if not parts:
                continue
            self.named.remove((node, view))
            for inner, offsets in parts:
                block = View(view.symbol, view.first, offsets)
                if inner.op is not None and inner not in self.fixed:
                    self.views.setdefault(inner, block)
                if self.views.get(inner) != block:
                    self._whole[block] = node
                self.named.append((inner, block))
            self.elements.forget()

    def _new_symbol(self, e: Expr, indices: Sequence[Index]) -> Symbol:
        """For an expression that several equations have."""
        return Symbol(self.letters.new(part_letter(e, "")), tuple(i.size for i in indices))

    # ── equations ────────────────────────────────────────────────────────────────────────────────

    def _written(self) -> list[Equation]:
        """The equations of all nodes with names, forward then backward."""
        self.elements.wanted.clear()
        self.elements.assumed.clear()
        out = []
        for node, view in sorted(self.named, key=self._order):
            indices, left, right = self.elements.defining(node, view)
            if has_parts(right):
                self.elements.want_unsplit(node, view)
            shape = tuple(i.size for i in indices)
            at = self._whole.get(view, node)
            pull, step, backward = (
                self.parts.pull(at),
                self.parts.step(at),
                self._is_backward(at, view),
            )
            if (end := self._end(node, view)) is not None:
                pull, _ = end
                step = self.parts.step_of.get(pull.node) if pull else None
            out.append(
                Equation(left, indices, right, shape, step, pull if backward else None, backward)
            )
        return out

    def _is_backward(self, node: Node, view: View) -> bool:
        """Whether an equation is of the backward pass."""
        known = node in self.forward or node in self.derivation.inputs
        return not known or view.symbol.of is not None

    def _order(self, named: tuple[Node, View]) -> tuple[bool, int]:
        """Forward first; the gradient of an input where the chain rule reaches it."""
        node, view = named
        node = self._whole.get(view, node)
        at = self.parts.place.get(node, -1)
        if (end := self._end(node, view)) is not None:
            _, reached = end
            at = reached if node in self.forward else max(at, reached)
            own = self.views.get(node, view)
            if own != view:  # it is read
                at = max(at, self._order((node, own))[1])
        return self._is_backward(node, view), at

    def _end(self, node: Node, view: View) -> tuple[Pull, int] | None:
        """Where the chain rule reaches the input that an unread symbol is the gradient of."""
        is_read = self.views.get(node) == view and self.users.get(node)
        of = None if is_read or view.offsets else view.symbol.of
        return None if of is None else self.parts.reached.get(self._leaves.get(of))

    def _worth_a_name(self, written: Sequence[Equation]) -> dict[Node, str]:
        """The nodes inside steps that are a function which appears several times, with letters."""
        again = Repeated([e.right for e in written])
        defined = {pattern(e.right).key for e in written if not e.backward}
        out = {}
        for node in self.nodes:
            if node in self.views or node.op is None or node not in self.forward:
                continue
            expression = self.elements.at(node, tuple(map(at_index, self.elements.indices(node))))
            if expression in again:
                key = pattern(expression).key
                if key not in defined:
                    step = self.parts.step(node)
                    out[node] = part_letter(expression, kind_of(step))
                    defined.add(key)
        return out


def _sliced(node: Node, users: Mapping[Node, Sequence[Node]]) -> bool:
    return any(user.op is ops.slice for user in users.get(node, ()))


def _before(left: At, indices: tuple[Index, ...], right: Expr, e: Equation) -> Equation:
    return Equation(left, indices, right, left.symbol.shape, e.step, e.pull, e.backward)


def _by_step(written: Iterable[Equation]) -> list[tuple[Step | None, list[Equation]]]:
    out: list[tuple[Step | None, list[Equation]]] = []
    for e in written:
        if not out or out[-1][0] is not e.step or out[-1][1][0].backward != e.backward:
            out.append((e.step, []))
        out[-1][1].append(e)
    return out
