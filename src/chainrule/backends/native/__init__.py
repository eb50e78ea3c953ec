"""The native backend: a program's groups as machine code, what it cannot do yet as NumPy.

`build(program)` plans what is stored and where, emits a function for each kind of group, compiles
them (or finds the object code of an earlier process) and returns a `Runner`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from ...graph import Graph
from ..program import Program
from .memory import arena
from .module import Native, emit, segments_of
from .plan import plan
from .rewrites import rewritten
from .runner import Runner
from .target import cached, host, load


def build(program: Program) -> Runner:
    """What runs the program on this processor."""
    target = host()
    program = rewritten(program)
    made = plan(program, target)
    segments = segments_of(made)
    places = arena(made, set(program.outputs))
    names = [s.name for s in segments if isinstance(s, Native)]
    library = None
    if names:

        def text() -> str:
            return emit(made, segments, places, target)

        if "llvm" in os.environ.get("CHAINRULE_SHOW", "").split(","):
            print(text(), file=sys.stderr)
        library = load(cached(_described(program), text, target), names)
    return Runner(program, made, segments, places, library, target)


def _described(program: Program) -> str:
    """All that the machine code depends on: operations, shapes and dtypes, not values."""
    given: list[Any] = [*program.arguments, *program.constants]
    lines = [f"{a.shape} {a.dtype}" for a in given]
    for k in program.kernels:
        params = [(n, v) for n, v in sorted(k.params.items()) if not isinstance(v, Graph)]
        lines.append(f"{k.writes} {k.op} {k.reads} {params} {k.node.shape} {k.node.dtype}")
    return "\n".join([*lines, f"{program.outputs} {program.updates}"])
