"""Follows a recording: which call made a node, and which rule made a part of the backward pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

from ..errors import PACKAGE
from ..graph import Node
from ..sparse import RowSparse

Line = tuple[CodeType, int]  # a function's code, and the line in it
_RECORDING = str(Path(__file__).with_name("derive.py"))  # it calls what is explained
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


@dataclass(frozen=True)
class Exchange:
    """Modules that run in place of one of the user's, in a recording alone.

    module   the user's, which stays as it is
    others   what runs, one after another: its name, and the module. The name is that of `module`
             if it is empty, else one beside it in the same container
    """

    module: Any
    others: Sequence[tuple[str, Any]]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The first is called with the arguments, each other one with the output before it."""
        (_, first), *others = self.others
        out = first(*args, **kwargs)
        for _, module in others:
            out = module(out)
        return out


class NotCalledError(Exception):
    """The function does not call a module that is to be exchanged: a network like it is none."""


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

    calls    the call that each node belongs to
    lines    the user's lines in which it was computed, innermost first
    sweeps   the outputs of each outermost sweep, and its pulls in order
    unused   the exchanges whose module has not been called
    """

    def __init__(self, exchanges: Sequence[Exchange] = ()) -> None:
        self._exchanges = {id(e.module): e for e in exchanges}
        self.unused = {**self._exchanges}
        self.calls: dict[Node, Call] = {}
        self.lines: dict[Node, tuple[Line, ...]] = {}
        self.sweeps: list[tuple[list[Node], list[Pull]]] = []
        self._modules: list[Call] = []
        self._function: Call | None = None
        self._depth = 0
        self._pull: Pull | None = None

    # ── what a trace tells ───────────────────────────────────────────────────────────────────────

    def computed(self, node: Node) -> None:
        """As `Watcher.computed`."""
        if self._pull is not None:
            self._pull.nodes.append(node)
        name, self.lines[node] = _stack()
        if self._modules:
            self.calls[node] = self._modules[-1]
        elif self.lines[node]:
            self.calls[node] = self._of_function(name, self.lines[node][0])

    def entered(self, module: Any) -> None:
        """As `Watcher.entered`."""
        parent = self._modules[-1] if self._modules else None
        self._modules.append(Call(type(module).__name__, module, parent))
        self._function = None

    def left(self, module: Any) -> None:
        """As `Watcher.left`."""
        self._modules.pop()

    def instead(self, module: Any) -> Callable[..., Any] | None:
        """As `Watcher.instead`."""
        exchange = self._exchanges.get(id(module))
        if exchange is None:
            return None
        self.unused.pop(id(module), None)
        return exchange

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

    def repeated(self, node: Node, again: Node) -> None:
        """As `Watcher.repeated`."""

    def inside(self) -> None:
        """As `Watcher.inside`: a loop is one node of an explanation."""

    def _of_function(self, name: str, line: Line) -> Call:
        """The present call, or a new one where another line calls a function.

        Of several functions in a line it has the name of the last one, which is the outermost.
        """
        place = line[0].co_filename, line[1]
        if self._function is None or self._function.place != place:
            self._function = Call(name, place=place)
        if name and not name.startswith("__"):  # no operator
            self._function.name = name
        return self._function


def _stack() -> tuple[str, tuple[Line, ...]]:
    """The outermost function of this library that the innermost of the user's lines calls, and all
    of the user's lines, innermost first, up to the function that is explained."""
    frame: Any = sys._getframe(2)
    inside: list[str] = []
    lines: list[Line] = []
    while frame is not None and frame.f_code.co_filename != _RECORDING:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            lines.append((code, frame.f_lineno))
        elif not lines and code.co_name not in _WRAPPERS:
            inside.append(code.co_name)
        frame = frame.f_back
    return (inside[-1] if inside else ""), tuple(lines)


def _node_of(share: Any) -> Node | None:
    node: Node | None = (share.values if isinstance(share, RowSparse) else share)._node
    return node
