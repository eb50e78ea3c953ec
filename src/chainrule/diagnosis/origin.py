"""From a value that is not finite back to the operation that made it, through loops and back in
time: values that never reach it, because `where` or a comparison hides them, are not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..graph import Array, Graph, Node
from .replay import BODIES, Frame, Path
from .sources import SOME, Index, nonfinite, sources

MOST = 16  # elements that are followed back at a time


@dataclass(frozen=True, eq=False)
class Element:
    """One element of one value.

    item   which result, of a node with several
    """

    frame: Frame
    node: Node
    index: Index
    item: int = 0

    @property
    def path(self) -> Path:
        """The loops in which it is."""
        return self.frame.path

    @property
    def array(self) -> Array:
        """The value that it is an element of."""
        value = self.frame.value(self.node)
        out: Array = value[self.item] if isinstance(value, tuple) else value
        return out

    @property
    def value(self) -> float:
        """The element as a number."""
        return float(self.array[self.index])


def origins(ends: Iterable[Element]) -> list[Element]:
    """The elements from which `ends` have become NaN or infinite, earliest first.

    Each is an input, or what an operation computes from finite operands, or a NaN that it computes
    from infinities that are constants. Of many elements that are summed, some are followed.
    """
    waiting: list[tuple[Element, Element | None]] = [(end, None) for end in ends]
    seen: set[tuple[Path, Node, Index, int]] = set()
    out: list[Element] = []
    while waiting:
        at, birth = waiting.pop()
        before = _before(at)
        if not before:
            constant = at.node.op is None and at.node.value is not None
            out.append(birth if constant and birth is not None else at)
        new = [b for b in before if (b.path, b.node, b.index, b.item) not in seen]
        for element in new[: max(1, MOST - len(waiting))]:
            seen.add((element.path, element.node, element.index, element.item))
            if np.isnan(element.value):
                waiting.append((element, None))
            else:
                waiting.append((element, at if np.isnan(at.value) else birth))
    return sorted(out, key=lambda e: (_when(e), e.index))


def _when(element: Element) -> tuple[int, ...]:
    """Larger for what is computed later."""
    turns = [n for node, step in element.path for n in (node.serial, _turn(node, step))]
    return (*turns, element.node.serial)


def _turn(node: Node, step: int | None) -> int:
    if step is None:
        return 0
    turn: int = node.params["length"] - 1 - step if node.params["reverse"] else step
    return turn


def _before(at: Element) -> list[Element]:
    """The elements that have made this one NaN or infinite, earliest first."""
    frame, node = at.frame, at.node
    if node.op is None:
        return _outside(at)
    if node.op is ops.item:
        return [Element(frame, node.inputs[0], at.index, node.params["index"])]
    if node.op in BODIES:
        return [_inside(at)]
    xs = [frame.value(i) for i in node.inputs]
    is_nan = bool(np.isnan(at.value))
    candidates = [
        Element(frame, node.inputs[k], index)
        for k, index in sources(node, xs, at.index, at.item, is_nan)
    ]
    if is_nan:
        candidates = [c for c in candidates if np.isnan(c.value)] or candidates
    return sorted(candidates, key=lambda c: c.node.serial)


def _inside(at: Element) -> Element:
    """The same element as a result of the graph that the node runs."""
    graph: Graph = at.node.params["graph"]
    out = graph.outputs[at.item]
    if at.node.op is not ops.scan:
        return Element(at.frame.inside(at.node, None), out, at.index)
    params = at.node.params
    if at.item >= params["carries"]:  # stacked
        step, *rest = at.index
        return Element(at.frame.inside(at.node, step), out, tuple(rest))
    if not params["length"]:  # the first carry
        return Element(at.frame, at.node.inputs[params["consts"] + at.item], at.index)
    last = 0 if params["reverse"] else params["length"] - 1
    return Element(at.frame.inside(at.node, last), out, at.index)


def _outside(at: Element) -> list[Element]:
    """Of an input of the graph of a loop: the carry of the step before, or what is passed in."""
    outer, node = at.frame.outer, at.node
    if outer is None or node.value is not None:
        return []
    around, step = at.path[-1]
    graph: Graph = around.params["graph"]
    k = graph.inputs.index(node)
    passed = around.inputs[k]
    if step is None:
        return [Element(outer, passed, at.index)]
    consts, carries = around.params["consts"], around.params["carries"]
    if k < consts:
        return [Element(outer, passed, at.index)]
    if k >= consts + carries:
        return [Element(outer, passed, (step, *at.index))]
    reverse, length = around.params["reverse"], around.params["length"]
    before = step + 1 if reverse else step - 1
    if not 0 <= before < length:
        return [Element(outer, passed, at.index)]
    return [Element(outer.inside(around, before), graph.outputs[k - consts], at.index)]


def bad_elements(frame: Frame, node: Node) -> Iterator[Element]:
    """Some elements of a value that are not finite, the first among them."""
    value = frame.value(node)
    for k, part in enumerate(value if isinstance(value, tuple) else (value,)):
        bad = np.flatnonzero(nonfinite(part))
        for flat in bad[:: max(1, bad.size // SOME)]:
            index = np.unravel_index(int(flat), part.shape)
            yield Element(frame, node, tuple(int(i) for i in index), k)
