"""The forward pass in steps that are explained as one: calls of modules, lines of the user's code.

Each value between steps gets the name that the user's code has for it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np

from ..errors import type_of_source
from ..graph import Node
from ..guards.functions import in_library
from .derivation import Derivation
from .owners import distinct
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


def steps_of(derivation: Derivation) -> list[Step]:
    """The steps of the forward pass, in order."""
    steps: list[Step] = []
    last: Any = None
    for node in derivation.forward:
        call = derivation.calls.get(node)
        if not steps or call is not last:
            steps.append(_begun(derivation, call, node))
        steps[-1].nodes.append(node)
        last = call
    place = {node: step for step in steps for node in step.nodes}
    read: set[Node] = {derivation.loss}
    for step in steps:
        for node in step.nodes:
            for i in node.inputs:
                outside = i in derivation.inputs or (i in place and place[i] is not step)
                if outside and i not in step.inputs:
                    step.inputs.append(i)
        read.update(step.inputs)
    for step in steps:
        step.outputs = [n for n in step.nodes if n in read]
        step.pulls = [p for p in derivation.pulls if place.get(p.node) is step]
    return steps


def _begun(derivation: Derivation, call: Call | None, node: Node) -> Step:
    """A step without nodes."""
    if call is not None and call.module is not None:
        path = derivation.owners.path(call.module)
        title = f"{path} ({call.name})" if path else call.name
        inner = any(c.parent is call for c in derivation.calls.values())  # what it does around it
        return Step(title, path, "" if inner else call.name, call.module, [])
    kind = "" if call is None or call.name.startswith("__") else call.name
    return Step(_line(node.source) or kind or str(node.op), "", kind, None, [])


def _line(source: type_of_source | None) -> str:
    """The text of the user's line."""
    if source is None:
        return ""
    return linecache.getline(source[0].co_filename, source[1]).strip()


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def names_of(derivation: Derivation, steps: list[Step]) -> dict[Node, str]:
    """A name for each input and each output of a step: all distinct.

    An input has its path or variable. The output of one of this library's layers has the layer's
    path, unless the user assigns it to a variable that nothing else is assigned to; other values
    have their variable, or the name of the function or operation. The loss is `loss`.
    """
    names = {node: i.name for node, i in derivation.inputs.items()}
    used = {*names.values()}
    assigned = _assigned(derivation, steps)
    count = Counter(assigned.values())
    for step in steps:
        for node in sorted(step.outputs, key=lambda n: n.dtype == np.bool_):  # masks come last
            variable = assigned.get(node)
            if node is derivation.loss:
                name = "loss"
            elif variable and (not _is_layer(step) or count[variable] == 1):
                name = variable
            elif step.path and _is_layer(step):
                name = step.path
            else:
                name = ".".join(filter(None, [step.path, step.kind.lower() or str(node.op)]))
            names[node] = distinct(name, used)
    return names


def _is_layer(step: Step) -> bool:
    """Whether the step is a layer of this library."""
    return step.module is not None and in_library(type(step.module).__module__)


def _assigned(derivation: Derivation, steps: list[Step]) -> dict[Node, str]:
    """The variables that the user's lines assign the outputs of steps to.

    A line `return …` passes its value on to the line that calls its function.
    """
    out: dict[Node, str] = {}
    outputs = [node for step in steps for node in step.outputs]
    lines = [derivation.lines.get(node, ()) for node in outputs]
    for k, node in enumerate(outputs):
        for depth, (code, line) in enumerate(lines[k]):
            outer = lines[k][depth:]
            if k + 1 < len(outputs) and lines[k + 1][-len(outer) :] == outer:
                break  # another step computes the value of this line
            if code.co_name.startswith("<") and code.co_name != "<module>":
                continue  # a lambda
            statement = _statement(code, line)
            match statement:
                case ast.Return():
                    continue
                case ast.Assign(targets=[ast.Name(id=name)]):
                    out[node] = name
                case ast.AnnAssign(target=ast.Name(id=name)):
                    out[node] = name
            break
    return out


@functools.lru_cache(4096)
def _statement(code: CodeType, line: int) -> ast.stmt | None:
    """The innermost statement of the function in this line."""
    best: Any = None
    for statement in _statements(code):
        last = statement.end_lineno or statement.lineno
        if statement.lineno <= line <= last and (best is None or statement.lineno >= best.lineno):
            best = statement
    return best


@functools.lru_cache(256)
def _statements(code: CodeType) -> list[ast.stmt]:
    """The statements of the function, or of the file if it is one's code, with the file's lines."""
    try:
        lines, first = inspect.getsourcelines(code)
        parsed = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return []
    ast.increment_lineno(parsed, max(first, 1) - 1)
    return [n for n in ast.walk(parsed) if isinstance(n, ast.stmt) and not hasattr(n, "body")]
