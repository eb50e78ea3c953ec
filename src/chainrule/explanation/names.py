"""Names of values: those of the user's code, and as they may be printed."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections import Counter
from dataclasses import replace
from types import CodeType
from typing import Any

import numpy as np

from ..errors import printable
from ..graph import Node
from ..guards.functions import in_library
from .derivation import Derivation
from .owners import distinct
from .steps import Step


def names_of(derivation: Derivation) -> dict[Node, str]:
    """A name for each input and each output of a step: all distinct.

    An input has its path or variable. The output of one of this library's layers has the layer's
    path, unless the user assigns it to a variable that nothing else is assigned to; other values
    have their variable, or the name of the function or operation. The loss is `loss`.
    """
    names = {node: i.name for node, i in derivation.inputs.items()}
    used = {*names.values()}
    assigned = _assigned(derivation)
    count = Counter(assigned.values())
    for step in derivation.steps:
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


def shown(derivation: Derivation) -> Derivation:
    """The derivation with each name and title on one line, without commands to the terminal."""
    d, used = derivation, set[str]()
    every = [*(i.name for i in d.inputs.values()), *d.gradients, *d.updated, *d.names.values()]
    of = {name: distinct(printable(name), used) for name in dict.fromkeys(every)}
    texts = [text for step in d.steps for text in (step.title, step.path)]
    if all(old == new for old, new in of.items()) and all(t == printable(t) for t in texts):
        return d
    return replace(
        d,
        inputs={node: replace(i, name=of[i.name]) for node, i in d.inputs.items()},
        gradients={of[name]: node for name, node in d.gradients.items()},
        updated={of[name]: node for name, node in d.updated.items()},
        names={node: of[name] for node, name in d.names.items()},
        steps=[replace(s, title=printable(s.title), path=printable(s.path)) for s in d.steps],
    )


def _is_layer(step: Step) -> bool:
    """Whether the step is a layer of this library."""
    return step.module is not None and in_library(type(step.module).__module__)


def _assigned(derivation: Derivation) -> dict[Node, str]:
    """The variables that the user's lines assign the outputs of steps to.

    A line `return …` passes its value on to the line that calls its function.
    """
    out: dict[Node, str] = {}
    outputs = [node for step in derivation.steps for node in step.outputs]
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
