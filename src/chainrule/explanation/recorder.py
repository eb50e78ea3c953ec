"""Follows a recording: which call made a node, and which rule made a part of the backward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import PACKAGE
from ..graph import Node
from ..sparse import RowSparse

_WRAPPERS = {"call", "checked", "computed", "__call__"}  # names of functions around others


@dataclass(eq=False)
class Call:
    """A call of a module, or of a function of this library that is in no module's call.

    name     the module's class, or the function's name
    module   the module, or None
    parent   the call of a module in which this one is, or None
    place    the file and the line that call the function; None for a module
    """

    name: str
    module: Any = None
    parent: Call | None = None
    place: tuple[str, int] | None = None


@dataclass(eq=False)
class Pull:
    """One use of the chain rule: a node's rule, from the gradient that reaches the node.

    node      the forward node
    upstream  ∂loss/∂node, complete: for each result of the node, None where nothing reaches it
    shares    for each input of the node its share of ∂loss/∂input, or None where there is none;
              of a row-sparse share the values
    nodes     the nodes of the backward pass that the rule has made
    """

    node: Node
    upstream: list[Node | None]
    shares: list[Node | None] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)


class Recorder:
    """A `trace.Watcher` that remembers calls, and the pulls of each sweep.

    calls    the call that each node belongs to; nodes without one were made by operators
    sweeps   the outputs of each outermost sweep, and its pulls in order
    """

    def __init__(self) -> None:
        self.calls: dict[Node, Call] = {}
        self.sweeps: list[tuple[list[Node], list[Pull]]] = []
        self._modules: list[Call] = []
        self._function: Call | None = None
        self._depth = 0
        self._pull: Pull | None = None

    # ── what a trace tells ───────────────────────────────────────────────────────────────────────

    def computed(self, node: Node) -> None:
        """As `Watcher.computed`."""
        if self._depth:
            if self._pull is not None:
                self._pull.nodes.append(node)
            return
        call = self._modules[-1] if self._modules else self._of_function()
        if call is not None:
            self.calls[node] = call

    def entered(self, module: Any) -> None:
        """As `Watcher.entered`."""
        parent = self._modules[-1] if self._modules else None
        self._modules.append(Call(type(module).__name__, module, parent))

    def left(self, module: Any) -> None:
        """As `Watcher.left`."""
        self._modules.pop()

    def sweep_began(self, outputs: Iterable[Node]) -> None:
        """As `Watcher.sweep_began`."""
        self._depth += 1
        if self._depth == 1:
            self.sweeps.append((list(outputs), []))

    def sweep_ended(self) -> None:
        """As `Watcher.sweep_ended`."""
        self._depth -= 1
        if not self._depth:
            self._pull = None

    def reached(self, node: Node, g: Any) -> None:
        """As `Watcher.reached`."""
        if self._depth == 1 and node.op is not None:
            parts = g if isinstance(g, list) else [g]
            self._pull = Pull(node, [None if p is None else _node_of(p) for p in parts])

    def pulled(self, node: Node, shares: Sequence[Any]) -> None:
        """As `Watcher.pulled`."""
        if self._depth != 1 or self._pull is None:
            return
        self._pull.shares = [None if s is None else _node_of(s) for s in shares]
        self.sweeps[-1][1].append(self._pull)
        self._pull = None

    # ── functions ────────────────────────────────────────────────────────────────────────────────

    def _of_function(self) -> Call | None:
        """The outermost call of a function of this library on the stack, by the line it is in."""
        frame: Any = sys._getframe(2)
        inside = []
        while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
            inside.append(frame.f_code.co_name)
            frame = frame.f_back
        if frame is None or not inside:
            return None
        place = frame.f_code.co_filename, frame.f_lineno
        call = self._function
        if call is None or call.place != place:
            name = next((n for n in reversed(inside) if n not in _WRAPPERS), "")
            call = self._function = Call(name, place=place)
        return call


def _node_of(share: Any) -> Node | None:
    node: Node | None = (share.values if isinstance(share, RowSparse) else share)._node
    return node
