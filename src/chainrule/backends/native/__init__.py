"""The native backend: a program's groups as machine code, what it cannot do yet as NumPy.

`build(program)` plans what is stored and where, emits a function for each kind of group, compiles
them (or finds the object code of an earlier process) and returns a `Runner`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

from ... import ops
from ...graph import Graph
from .. import shown
from ..program import Kernel, Program
from .memory import arena
from .module import Native, emit, segments_of
from .plan import plan
from .rewrites import rewritten
from .runner import Runner
from .target import cached, host, load

_log = logging.getLogger("chainrule")
_noticed: set[str] = set()  # names of operations


def build(program: Program) -> Runner:
    """What runs the program on this processor."""
    target = host()
    given = set(map(id, program.kernels))
    program = rewritten(program)
    new = [kernel for kernel in program.kernels if id(kernel) not in given]
    made = plan(program, target)
    segments = segments_of(made)
    places = arena(made, set(program.outputs))
    names = [s.name for s in segments if isinstance(s, Native)]
    _notice(s for s in segments if isinstance(s, Kernel))

    def text() -> str:
        return emit(made, segments, target)

    library = None
    if names:
        if "llvm" in shown():
            print(text(), file=sys.stderr)
        library = load(cached(_described(program), text, target), names)
    return Runner(program, made, segments, places, library, target, new, text)


def _notice(in_numpy: Iterable[Kernel]) -> None:
    """Say of each operation that runs in NumPy, once a process, that it does."""
    for kernel in in_numpy:
        name = kernel.op.name
        if name in _noticed or kernel.op is ops.item:  # it takes apart what another one gave
            continue
        _noticed.add(name)
        nodes = kernel.node.inputs or (kernel.node,)
        dtypes = ", ".join(dict.fromkeys(str(n.dtype) for n in nodes))
        _log.info(
            "%s of %s runs in NumPy within a compiled step: "
            "the native backend has no code for it yet", name, dtypes,
        )  # fmt: skip


def _described(program: Program) -> str:
    """All that the machine code depends on: operations, shapes and dtypes, not values."""
    given: list[Any] = [*program.arguments, *program.constants]
    lines = [f"{a.shape} {a.dtype}" for a in given]
    for k in program.kernels:
        params = [(n, v) for n, v in sorted(k.params.items()) if not isinstance(v, Graph)]
        lines.append(f"{k.writes} {k.op} {k.reads} {params} {k.node.shape} {k.node.dtype}")
    return "\n".join([*lines, f"{program.outputs} {program.updates}"])
