"""How the elements of a node are written: a rule reads those of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ...graph import Node
from .expression import Expr, Place

Places = tuple[Place, ...]


class Reader(Protocol):
    """Reads elements of nodes.

    views    the nodes that have a name
    rows     (node, axis) where the axis counts samples
    value    of a node on the sample, or None
    wanted   nodes that need a name before the rest can be written
    """

    rows: set[tuple[Node, int]]
    value: Callable[[Node], Any]
    wanted: dict[Node, None]

    @property
    def views(self) -> Mapping[Node, Any]: ...

    def at(self, node: Node, at: Places) -> Expr:
        """The node's element at these places."""


Rule = Callable[[Reader, Node, Places], Expr | None]  # None: not by elements
