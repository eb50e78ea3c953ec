"""Which part of the pass a node belongs to: its step, its use of the chain rule, its place."""

from __future__ import annotations

import bisect
from functools import cached_property

from ...graph import Node
from ..derivation import Derivation
from ..recorder import Pull
from ..steps import Step
from .opening import Opened


class Parts:
    """The parts of a derivation.

    step_of   the step of each node of its forward pass
    """

    def __init__(self, derivation: Derivation, opened: Opened) -> None:
        self.derivation, self.opened, self.step_of = derivation, opened, derivation.step_of
        position = derivation.position
        begins = [[position[n] for n in p.nodes if n.op] for p in derivation.pulls]
        self._pulled = sorted((min(b), k) for k, b in enumerate(begins) if b)

    @cached_property
    def place(self) -> dict[Node, int]:
        return {n: k for k, n in enumerate(self.opened.order)}

    @cached_property
    def reached(self) -> dict[Node | None, tuple[Pull, int]]:
        """By input: the last use of the chain rule that gives it a share, the place behind it."""
        out: dict[Node | None, tuple[Pull, int]] = {}
        place = -1
        for pull in self.derivation.pulls:
            place = max([place, *(self.place.get(self.opened.of(n), -1) for n in pull.nodes)])
            for node, share in zip(pull.node.inputs, pull.shares, strict=False):
                if share is not None and node in self.derivation.inputs:
                    out[node] = pull, place
        return out

    def pull(self, node: Node) -> Pull | None:
        """The use of the chain rule that was going on when a node was recorded."""
        if node not in self.opened.order:
            return None  # an input
        at = self.derivation.position[self.opened.order[node]]
        k = bisect.bisect(self._pulled, (at, len(self._pulled)))
        return self.derivation.pulls[self._pulled[k - 1][1]] if k else None

    def step(self, node: Node) -> Step | None:
        """The step of a node, or of the node whose rule has made it."""
        owner = self.opened.order.get(node, node)
        if owner in self.step_of:
            return self.step_of[owner]
        pull = self.pull(node)
        return self.step_of.get(pull.node) if pull else None


def kind_of(step: Step | None) -> str:
    """The class of the step's module, or the function that its line calls."""
    if step is None:
        return ""
    return step.kind or (type(step.module).__name__ if step.module is not None else "")
