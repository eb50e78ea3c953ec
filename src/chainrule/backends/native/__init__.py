"""The native backend: a program's groups as machine code, what it cannot do yet as NumPy.

`build(program)` plans what is stored and where, emits a function for each kind of group, compiles
them (or finds the object code of an earlier process) and returns a `Runner`.

compilation  all stages from a program to object code
plan         decisions: what is stored, loops, threads, memory
emit         LLVM IR, a file per kind of loop
math         elementary functions
formulas     elementwise operations: what each is in LLVM IR
ir_types     LLVM's types for dtypes
object_code  LLVM IR to object code, and object code to functions
code_cache   object code on disk
processor    which instructions may be used
alignment    bytes of a cache line, of a page
run          calls, memory, threads
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ... import ops
from .. import verification
from ..program import Kernel, Program
from .code_cache import cached
from .object_code import load
from .plan.rewrites import rewritten
from .processor import host
from .run.runner import Runner
from .run.schedule import unpacked, verify_schedule

if TYPE_CHECKING:
    from .compilation import Compilation

_noticed: set[str] = set()  # names of operations


def build(program: Program) -> Runner:
    """What runs the program on this processor."""
    target = host()
    before = {id(k.node) for k in program.kernels}
    program = rewritten(program)
    new = [k for k in program.kernels if id(k.node) not in before]

    @functools.cache
    def planned() -> Compilation:
        from .compilation import Compilation  # which loads all that writes code

        return Compilation(program, target, new)

    schedule, code = unpacked(cached(program.key(), lambda: planned().packed(), target))
    if verification.is_on():
        verify_schedule(schedule, program)
    _notice(program.kernels[call.kernel] for call in schedule.calls if not call.name)
    library = load(code, schedule.names) if schedule.names else None
    return Runner(program, schedule, library, planned)


def _notice(in_numpy: Iterable[Kernel]) -> None:
    """Name each operation that runs in NumPy, once per process."""
    for kernel in in_numpy:
        name = kernel.op.name
        if name in _noticed or kernel.op is ops.item:  # it takes apart what another one gave
            continue
        import logging  # slow to import

        _noticed.add(name)
        nodes = kernel.node.inputs or (kernel.node,)
        dtypes = ", ".join(dict.fromkeys(str(n.dtype) for n in nodes))
        if kernel.op is ops.astype:
            dtypes += f" to {kernel.node.dtype}"
        logging.getLogger("chainrule").info(
            "%s of %s runs in NumPy within a compiled step: "
            "the native backend has no code for it yet",
            name,
            dtypes,
        )
