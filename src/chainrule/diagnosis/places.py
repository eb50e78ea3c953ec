"""Where each node of a recording comes from: module, the user's line, forward or backward."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .. import ops
from ..errors import type_of_source
from ..graph import Node
from ..trace import Watcher

FORWARD, BACKWARD, AFTER = "forward", "backward", "after"


class Place(NamedTuple):
    """Where a node was computed.

    phase     forward, backward, or after the backward pass: clipping, the optimizer's step
    module    the innermost module that was called then; of a backward node, its forward node's
    source    the user's line, likewise
    forward   of a backward node: the node whose rule made it, in the same graph
    """

    phase: str
    module: Any
    source: type_of_source | None
    forward: Node | None = None


class Places:
    """A `trace.Watcher` that remembers the place of each node, those inside of loops too."""

    def __init__(self) -> None:
        self.of: dict[Node, Place] = {}
        self._modules: list[Any] = []
        self._sweeps: list[Node | None] = []  # the node at which each sweep is

    def computed(self, node: Node) -> None:
        """As `Watcher.computed`."""
        module = self._modules[-1] if self._modules else None
        forward = self._sweeps[-1] if self._sweeps else None
        if forward is not None:
            place = self.of.get(forward)
            module, source = (place.module, place.source) if place else (module, node.source)
            self.of[node] = Place(BACKWARD, module, source, forward)
            return
        before = (self.of.get(i) for i in node.inputs)
        after = any(place is not None and place.phase != FORWARD for place in before)
        self.of[node] = Place(AFTER if after else FORWARD, module, node.source)

    def entered(self, module: Any) -> None:
        """As `Watcher.entered`."""
        self._modules.append(module)

    def left(self, module: Any) -> None:
        """As `Watcher.left`."""
        self._modules.pop()

    def instead(self, module: Any) -> Callable[..., Any] | None:
        """As `Watcher.instead`."""

    def sweep_began(self, outputs: Iterable[Node]) -> None:
        """As `Watcher.sweep_began`."""
        self._sweeps.append(max(outputs, key=lambda node: node.serial, default=None))

    def sweep_ended(self) -> None:
        """As `Watcher.sweep_ended`."""
        self._sweeps.pop()

    def reached(self, node: Node, g: Any) -> None:
        """As `Watcher.reached`."""
        if node.op is not None:
            self._sweeps[-1] = node.inputs[0] if node.op is ops.item else node

    def pulled(self, node: Node, shares: Sequence[Any]) -> None:
        """As `Watcher.pulled`. Sums of shares that follow are counted as this node's."""

    def repeated(self, node: Node, again: Node) -> None:
        """As `Watcher.repeated`: a body that a loop's derivative runs again."""
        again = again.inputs[0] if again.op is ops.item and node.op is not ops.item else again
        if node in self.of:
            self.of[again] = self.of[node]

    def inside(self) -> Watcher:
        """As `Watcher.inside`."""
        return self
