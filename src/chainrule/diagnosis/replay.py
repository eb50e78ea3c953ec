"""A recorded graph computed again in NumPy, node by node, into loops and out of them.

Frame(values)               the values of a graph, computed as they are asked for
frame.inside(scan node, t)  those of the body at step t of a loop
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import ops
from ..graph import Array, Graph, Node
from ..graph_evaluation import failure, run

BODIES = (ops.scan, ops.call, ops.custom)  # operations that run a graph
MOST_FRAMES = 32  # of the steps of loops, whose values are stored
Path = tuple[tuple[Node, int | None], ...]  # such nodes, outermost first, with the step of a loop


@dataclass(eq=False)
class Frame:
    """The values of a graph; of a node with several results, a tuple.

    path    the nodes in whose graphs it is
    outer   the frame around it
    """

    values: dict[Node, Any]
    path: Path = ()
    outer: Frame | None = None
    _carries: dict[Node, list[list[Array]]] = field(default_factory=dict)
    _inside: dict[tuple[Node, int | None], Frame] = field(default_factory=dict)

    def value(self, node: Node) -> Any:
        """The value of a node."""
        if node not in self.values:
            self._compute(node)
        return self.values[node]

    def _compute(self, end: Node) -> None:
        missing, stack = set[Node](), [end]
        while stack:
            node = stack.pop()
            if node not in missing and node not in self.values:
                missing.add(node)
                stack += node.inputs
        with np.errstate(all="ignore"):
            for node in sorted(missing, key=lambda n: n.serial):
                if node.op is None:
                    self.values[node] = node.value
                    continue
                inputs = [self.values[i] for i in node.inputs]
                try:
                    out = node.op.evaluate(*inputs, **node.params)
                except Exception as error:
                    raise failure(node, error) from None
                self.values[node] = out if isinstance(out, tuple) else np.asarray(out)

    def inside(self, node: Node, step: int | None) -> Frame:
        """The values of the graph that a node runs, at one step if it is a loop."""
        if (node, step) in self._inside:
            return self._inside[node, step]
        graph: Graph = node.params["graph"]
        inputs = [self.value(i) for i in node.inputs]
        if step is not None:
            consts, first = node.params["consts"], node.params["consts"] + node.params["carries"]
            carry = self._carry(node, step)
            inputs = [*inputs[:consts], *carry, *(x[step] for x in inputs[first:])]
        values = dict(zip(graph.inputs, inputs, strict=True))
        if len(self._inside) == MOST_FRAMES:  # the oldest goes first
            del self._inside[next(iter(self._inside))]
        frame = self._inside[node, step] = Frame(values, (*self.path, (node, step)), self)
        return frame

    def _carry(self, node: Node, step: int) -> list[Array]:
        """What a loop carries into a step."""
        length, reverse = node.params["length"], node.params["reverse"]
        nth = length - 1 - step if reverse else step
        consts = node.params["consts"]
        first = consts + node.params["carries"]
        xs = [self.value(i) for i in node.inputs]
        carries = self._carries.setdefault(node, [xs[consts:first]])
        body: Graph = node.params["graph"]
        with np.errstate(all="ignore"):
            while len(carries) <= nth:
                t = length - len(carries) if reverse else len(carries) - 1
                out = run(body, [*xs[:consts], *carries[-1], *(x[t] for x in xs[first:])])
                carries.append(out[: first - consts])
        return carries[nth]

    def at(self, path: Path) -> Frame:
        """The frame inside of these nodes."""
        frame = self
        for node, step in path:
            frame = frame.inside(node, step)
        return frame


def replayed(values: Mapping[Node, Array]) -> Frame:
    """The outermost frame, with these inputs."""
    return Frame(dict(values))
