"""The nodes of a graph as expressions: an element of each, by the elements that it reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import ops
from ...dtypes import is_boolean, is_floating
from ...graph import Graph, Node, Shape
from .algebra import add, compare, mul, opposite, substitute, substituted, total
from .expression import (
    At,
    Expr,
    Index,
    Number,
    Numbered,
    Part,
    Place,
    Plain,
    Symbol,
)
from .fractions import ONE, ZERO, number
from .opening import Opened
from .operations import RULES, are_matched, matched
from .places import at_index, part, place
from .reader import Places

_NAMED = (ops.norm, ops.cumulative_prod)  # what is read has a name
_LARGEST = 80  # parts of an expression without a name


@dataclass(frozen=True)
class View:
    """A node's value as a part of a tensor with a name: what it reads for the node's element.

    first     places on axes in front of the node's own, such as the time in a loop
    offsets   added to the places on the node's axes
    digits    of each of the node's axes the sizes of the axes that it is in the tensor
    """

    symbol: Symbol
    first: Places = ()
    offsets: tuple[int, ...] = ()
    digits: tuple[Shape, ...] = ()

    def at(self, at: Places) -> At:
        """The element."""
        if self.digits:
            at = tuple(
                part(p, math.prod(sizes[k + 1 :]), n)
                for p, sizes in zip(at, self.digits, strict=True)
                for k, n in enumerate(sizes)
            )
        offsets = self.offsets or (0,) * len(at)
        moved = (place([(p, 1)], k) for p, k in zip(at, offsets, strict=True))
        return At(self.symbol, (*self.first, *moved))


class Elements:
    """Writes elements of nodes.

    views     the nodes that have a name
    rows      (node, axis) where the axis counts samples
    known     the nodes that depend on integers, truth values and constants alone
    fixed     the nodes that depend on constants alone
    of_data   the nodes that depend on data and constants alone
    value     a node's value on the sample
    assumed   conditions that the sample decides, and whether they are true
    wanted    nodes that need a name before the rest can be written
    """

    def __init__(
        self,
        views: dict[Node, View],
        rows: set[tuple[Node, int]],
        known: set[Node],
        fixed: set[Node],
        of_data: set[Node],
        value: Callable[[Node], Any],
        opened: Opened,
    ) -> None:
        self.views, self.rows, self.known, self.fixed = views, rows, known, fixed
        self.of_data, self.value = of_data, value
        self.opened = opened
        self.constants: dict[Node, Expr] = {}
        self.assumed: dict[Expr, bool] = {}
        self.wanted: dict[Node, None] = {}
        self._templates: dict[Node, tuple[tuple[Index, ...], Expr]] = {}

    def forget(self) -> None:
        """Write again what reads nodes, after one has got a name."""
        self._templates.clear()

    def indices(self, node: Node) -> tuple[Index, ...]:
        """New indices for the node's axes."""
        return tuple(Index(n, (node, k) in self.rows) for k, n in enumerate(node.shape))

    def defining(self, node: Node, view: View) -> tuple[tuple[Index, ...], At, Expr]:
        """Indices, the element at them of the tensor that has the node's value, its expression."""
        indices = self.indices(node)
        places = tuple(map(at_index, indices))
        digits = view.digits
        if digits:
            groups = [
                tuple(Index(n, (node, k) in self.rows and not m) for m, n in enumerate(sizes))
                for k, sizes in enumerate(digits)
            ]
            indices = tuple(i for group in groups for i in group)
            places = tuple(
                place([(i, math.prod(j.size for j in group[k + 1 :])) for k, i in enumerate(group)])
                for group in groups
            )
        is_own = self.views.get(node) == view
        right = self.written(node, places) if is_own else self.at(node, places)
        time = self.opened.time.get(node)
        return ((time,) if time else ()) + indices, view.at(places), right

    def at(self, node: Node, at: Places) -> Expr:
        """The node's element at these places."""
        view = self.views.get(node)
        if view is not None:
            return view.at(at)
        if node not in self._templates:
            indices = self.indices(node)
            self._templates[node] = indices, self._inline(node, tuple(map(at_index, indices)))
        indices, out = self._templates[node]
        return substituted(out, dict(zip(indices, at, strict=True)))

    def written(self, node: Node, at: Places) -> Expr:
        """The node's element by its operation, even if the node has a name."""
        looped = self._looped(node, at)
        if looped is not None:
            return looped
        if node.op is None or node in self.constants:
            return self._constant(node, at)
        if node in self.fixed and node.op not in (ops.broadcast_to, ops.reshape):
            constant = self._constant(node, at)
            if not isinstance(constant, Plain):
                return constant
        value = self.value(node) if node in self.of_data and is_boolean(node.dtype) else None
        if value is not None and np.size(value):
            if (value == value.flat[0]).all():
                return self._decided(node, at, bool(value.flat[0]))
        elif _kink(node):
            value = self.value(node)
            if value is not None and np.size(value) and (value == np.ravel(value)[0]).all():
                return self._decided(node, at, bool(np.ravel(value)[0]))
        rule = None if self._divides_by_zero(node) else RULES.get(node.op)
        out = None if rule is None else rule(self, node, at)
        if node.op is ops.reshape and node in self.views and out is not None and has_parts(out):
            # heads side by side, tiles: the places say more than `reshape`
            out = out if node.inputs[0].op is ops.permute_dims else None
        return self._plain(node) if out is None else out

    def _divides_by_zero(self, node: Node) -> bool:
        """Whether the node is a quotient that is not finite, in which x / x must not become 1."""
        if node.op is not ops.divide:
            return False
        by = node.inputs[1]
        is_constant = by in self.fixed or (by.op is None and by not in self.views)
        value = None if is_constant else self.value(node)
        return value is not None and not np.isfinite(value).all()

    def _looped(self, node: Node, at: Places) -> Expr | None:
        """A node that belongs to a loop: the element at a time."""
        opened = self.opened
        if node in opened.rows:
            tensor, time = opened.rows[node]
            return self.at(tensor, (at_index(time), *at))
        if node in opened.stacked:
            inner, time = opened.stacked[node]
            return substitute(self.at(inner, at[1:]), time, at[0])
        if node in opened.carries:
            carry = opened.carries[node]
            before = place([(carry.time, 1)], -carry.step)
            start = self.at(carry.start, at)
            is_first = compare("=", Numbered(at_index(carry.time)), number(carry.first))
            previous = substitute(self.at(carry.out, at), carry.time, before)
            if substitute(previous, carry.time, Place((), carry.first)) != ZERO:
                previous = mul(opposite(is_first), previous)
            return add(previous, mul(is_first, start))
        if node in opened.finals:
            carry = opened.finals[node]
            if not carry.time.size:
                return self.at(carry.start, at)
            if carry.grows is not None:
                time = Index(carry.time.size, time=True)
                each = substitute(self.at(carry.grows, at), carry.time, at_index(time))
                return add(self.at(carry.start, at), total(time, each))
            return substitute(self.at(carry.out, at), carry.time, Place((), carry.last))
        return None

    def want_unsplit(self, node: Node, view: View) -> None:
        """Ask for a name for the reshaped tensor whose axes this node reads by parts."""
        best, least = None, _count_parts(self.defining(node, view)[2])
        for candidate in self._reshapes(node):
            self.views[candidate] = merged_view(candidate, "")
            self.forget()
            count = _count_parts(self.defining(node, view)[2])
            if count < least:
                best, least = candidate, count
            del self.views[candidate]
        self.forget()
        if best is not None:
            self.wanted[best] = None

    def _reshapes(self, node: Node) -> list[Node]:
        """The reshapes without names that a node reads."""
        out: list[Node] = []
        seen, waiting = {node}, [*node.inputs]
        while waiting:
            n = waiting.pop(0)
            if n in seen or n in self.views or n.op is None or n in self.known:
                continue
            seen.add(n)
            waiting += n.inputs
            if n.op is ops.reshape and _merges(n):
                out.append(n)
        return out

    def _inline(self, node: Node, at: Places) -> Expr:
        out = self.written(node, at)
        is_long = out.size > _LARGEST and node not in self.known
        if is_long or node.op in _NAMED or isinstance(out, Plain):
            self.wanted[node] = None
            return ZERO
        return out

    def _decided(self, node: Node, at: Places, value: bool) -> Expr:
        assert node.op is not None
        condition = RULES[node.op](self, node, at)
        if condition is not None and any(isinstance(x, At) for x in condition.walk()):
            self.assumed[condition] = value
        return ONE if value else ZERO

    def _plain(self, node: Node) -> Plain:
        """The node as an operation on whole tensors, which need names."""
        whole, result = node, None
        if node.op is ops.item:
            (whole,), result = node.inputs, node.params["index"]
        arguments: list[Expr] = []
        for i in whole.inputs:
            places = tuple(map(at_index, self.indices(i)))
            inner, _ = self.opened.stacked.get(i, (i, None))
            if inner in self.views:
                arguments.append(self.at(i, places))
                continue
            number = self.at(i, places) if i in self.constants or i.op is None else None
            if isinstance(number, Number):
                arguments.append(number)
            else:
                self.wanted[i] = None
        if whole.op is None:  # an array
            return Plain("constant", ())
        shown = () if whole.op is ops.reshape else whole.params.items()
        settings = tuple((k, _setting(v)) for k, v in shown if not _hidden(k, v))
        return Plain(whole.op.name, tuple(arguments), settings, result, whole)

    def _constant(self, node: Node, at: Places) -> Expr:
        if node in self.constants:
            return self.constants[node]
        value = np.asarray(self.value(node))
        if not value.size:
            return ZERO  # it has no element
        digits = 2e-7 if value.dtype == np.float32 else 1e-15
        if value.size and np.array_equal(value, np.full_like(value, value.flat[0]), equal_nan=True):
            return _number(value.flat[0], digits)
        step = _progression(value)
        if step is not None:
            first, steps = step
            return Numbered(place([(p, k) for p, k in zip(at, steps, strict=True)], first))
        ones = [0 if n == 1 else None for n in value.shape]
        triangle = [k for k, n in enumerate(ones) if n is None]
        if value.dtype == bool and len(triangle) == 2:
            i, j = triangle
            if (value.squeeze() == np.tri(value.shape[i], value.shape[j], dtype=bool)).all():
                return compare("≤", Numbered(at[j]), Numbered(at[i]))
        return self._plain(node)


def _count_parts(e: Expr) -> int:
    """How often it reads an axis that is several in one by their places in it."""
    return sum(isinstance(a, Part) for x in e.walk() for p in x.places for a, _ in p.terms)


def has_parts(e: Expr) -> bool:
    """Whether it reads an axis that is several in one by their places in it."""
    return _count_parts(e) > 0


def _merges(node: Node) -> list[tuple[int, Shape]]:
    """(axis, the sizes of the axes that it was) of a reshape."""
    (x,) = node.inputs
    if not are_matched(x.shape, node.shape):
        return []
    return [
        (outside[0], tuple(x.shape[k] for k in inside))
        for inside, outside in matched(x.shape, node.shape)
        if len(outside) == 1 and sum(x.shape[k] > 1 for k in inside) > 1
    ]


def merged_view(node: Node, text: str) -> View:
    """A reshaped tensor with a name, whose first axis is several again, if a later one is too."""
    merges = _merges(node)
    if len(merges) < 2 or merges[0][0] != 0:
        return View(Symbol(text, node.shape))
    digits = (merges[0][1], *((n,) for n in node.shape[1:]))  # samples and positions, and others
    return View(Symbol(text, tuple(n for sizes in digits for n in sizes)), digits=digits)


def _setting(value: Any) -> str:
    return str(value).replace(" ", "")


def _hidden(name: str, value: Any) -> bool:
    """Whether a parameter is not for readers: a graph, a function, padding by nothing."""
    usual = {"padding": 0, "dilation": 1, "input_dilation": 1, "kernel_dilation": 1, "groups": 1}
    plain = name in usual and bool((np.asarray(value) == usual[name]).all())
    return plain or isinstance(value, Graph) or callable(value)


def _kink(node: Node) -> bool:
    """Whether it asks for a tie, a zero or an infinity, which a sample rarely has."""
    if node.op is ops.bitwise_and:
        return any(_kink(i) for i in node.inputs)
    if node.op is ops.equal:
        return all(is_floating(i.dtype) for i in node.inputs)
    if node.op is ops.less:
        bound = node.inputs[1]
        while bound.op is ops.broadcast_to:
            (bound,) = bound.inputs
        return bound.value is not None and bool(np.isinf(bound.value).all())
    return False


def _number(value: Any, digits: float) -> Expr:
    if isinstance(value, np.floating):
        return number(float(value), digits)
    return number(int(value))


def _progression(value: Any) -> tuple[int, list[int]] | None:
    """The first element, and the steps along each axis, of whole numbers that grow evenly."""
    if value.dtype.kind not in "iuf" or not value.size or (value != np.floor(value)).any():
        return None
    first = int(value.flat[0])
    steps = []
    for k, n in enumerate(value.shape):
        at = tuple(int(k == a) for a in range(value.ndim))
        steps.append(int(value[at]) - first if n > 1 else 0)
    grid = np.indices(value.shape)
    progression = first + sum(s * g for s, g in zip(steps, grid, strict=True))
    return (first, steps) if (progression == value).all() else None
