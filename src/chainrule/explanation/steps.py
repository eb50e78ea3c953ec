"""The forward pass in steps explained as one: calls of modules, lines of the user's code."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import type_of_source
from ..graph import Node
from .recorder import Call, Pull


@dataclass(eq=False)
class Step:
    """A part of the forward pass, and of the backward pass that belongs to it.

    title    what the user calls it: `layers.0 (Linear)`, or the line `h = cr.tanh(x @ w)`
    path     of the module, "" for a line
    kind     the module's class, or the line's outermost function: the one that made the last node
    nodes    in order
    inputs   what it reads: inputs of the pass, and outputs of other steps
    outputs  what other steps read, or the loss
    pulls    the uses of the chain rule at its nodes, from the loss back
    """

    title: str
    path: str
    kind: str
    module: Any
    nodes: list[Node]
    inputs: list[Node] = field(default_factory=list)
    outputs: list[Node] = field(default_factory=list)
    pulls: list[Pull] = field(default_factory=list)


def steps_of(
    forward: Sequence[Node],
    inputs: Container[Node],
    loss: Node,
    pulls: Sequence[Pull],
    calls: Mapping[Node, Call],
    path_of: Callable[[Any], str],
) -> list[Step]:
    """The steps of a forward pass, in order; the arguments are as in `Derivation`.

    path_of   the path of a module
    """
    steps: list[Step] = []
    parents = {c.parent for c in calls.values()}
    last: Any = None
    for node in forward:
        call = calls.get(node)
        if not steps or call is not last:
            steps.append(_begun(node, call, call in parents, path_of))
        steps[-1].nodes.append(node)
        last = call
    place = {node: step for step in steps for node in step.nodes}
    read: set[Node] = {loss}
    for step in steps:
        outside = (
            i
            for node in step.nodes
            for i in node.inputs
            if i in inputs or (i in place and place[i] is not step)
        )
        step.inputs = list(dict.fromkeys(outside))
        read.update(step.inputs)
    for step in steps:
        step.outputs = [n for n in step.nodes if n in read]
    for pull in pulls:
        if pull.node in place:
            place[pull.node].pulls.append(pull)
    return steps


def _begun(node: Node, call: Call | None, has_inner: bool, path_of: Callable[[Any], str]) -> Step:
    """A step without nodes; of a module that calls others it is what that does around them."""
    if call is not None and call.module is not None:
        path = path_of(call.module)
        title = f"{path} ({call.name})" if path else call.name
        return Step(title, path, "" if has_inner else call.name, call.module, [])
    kind = "" if call is None or call.name.startswith("__") else call.name
    return Step(_line(node.source) or kind or str(node.op), "", kind, None, [])


def _line(source: type_of_source | None) -> str:
    """The text of the user's line."""
    if source is None:
        return ""
    return linecache.getline(source[0].co_filename, source[1]).strip()
