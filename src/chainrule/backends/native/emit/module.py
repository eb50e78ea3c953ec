"""The LLVM modules of a plan: a function for each task, drivers that call them in order.

Tasks that do the same on other buffers share a function: thirty equal layers are compiled once.
Functions whose loops are written as vectors are a module of their own, which needs few passes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ..ir_types import I64, POINTER, VOID
from ..math.elementary import module_for
from ..plan.kinds import NUMPY, Kind
from ..plan.segments import Native
from ..plan.stages import Plan
from ..plan.threads import Task
from . import builder, driver
from .loops import Loops


def emit_module(plan: Plan) -> str:
    """LLVM IR of all native segments, in one module."""
    module = module_for("program", plan.target)
    module.vectors = module.program = module
    _emit_drivers(module, plan)
    return str(module)


def emit_modules(plan: Plan) -> tuple[str, str]:
    """The same in two: what LLVM is to vectorise; what is written as vectors, "" if nothing is."""
    program, vectors = (module_for(name, plan.target) for name in ("program", "vectors"))
    program.vectors, vectors.program = vectors, program
    _emit_drivers(program, plan)
    return str(program), str(vectors) if vectors.functions else ""


def emit_body(module: ir.Module, plan: Plan, loop: str) -> ir.Function:
    """The driver of a loop's body, which is one native segment.

    loop   the name of the loop's function, with which the names of the body's begin
    """
    (run,) = _emit_drivers(module, plan, f"{loop}.")
    run.linkage = "internal"
    return run


def _emit_drivers(module: ir.Module, plan: Plan, prefix: str = "") -> list[ir.Function]:
    """The functions of all tasks, and the driver of each segment."""
    known: dict[Any, ir.Function] = {}
    calls: dict[int, ir.Function] = {}
    for k, task in enumerate(plan.tasks):
        if task.kind is not NUMPY:
            key = _signature(plan, task)
            if key not in known:
                function = _define(module, plan, task, f"{prefix}g{k}")
                known[key] = driver.adapter(module, function, len(plan.memory(task)))
            calls[k] = known[key]
    return [
        driver.emit_driver(module, plan, segment, calls, prefix + segment.name)
        for segment in plan.segments
        if isinstance(segment, Native)
    ]


def emitter(kind: Kind) -> Callable[[Loops], None]:
    """The function that writes a kind's loops: `emit` of the file that its row names."""
    return importlib.import_module(f".{kind.emit}", __package__).emit


def _signature(plan: Plan, task: Task) -> Any:
    """Equal for tasks whose functions are equal: the same operations on buffers of one shape."""
    place = {b: k for k, b in enumerate(plan.memory(task))}
    numbers: dict[int, int] = {}
    claims = tuple(place[b] for b in plan.claims(task))
    lines: list[Any] = [task.kind, task.cut, claims]
    buffers, stored, home = plan.storage.buffers, plan.storage.stored, plan.updates.home

    def visit(b: int, written: bool) -> int:
        key = -1 - b if written else b
        if key in numbers:
            return numbers[key]
        if b in stored and not written:
            line: Any = ("buffer", place[home(b)])
        else:
            kernel = plan.storage.kernel(b)
            operands = tuple(visit(r, False) for r in kernel.reads)
            line = (kernel.op.name, operands, kernel.parameters_key())
        numbers[key] = len(lines)
        lines.append((line, buffers[b].shape, buffers[b].dtype.str))
        return numbers[key]

    for b in task.writes:
        lines.append(("write", place[home(b)], visit(b, True)))
    return tuple(lines)


def _define(module: ir.Module, plan: Plan, task: Task, name: str) -> ir.Function:
    """(buffers…, scratch, begin, end): the units begin..end of a task."""
    memory, home = plan.memory(task), plan.updates.home
    kind = ir.FunctionType(VOID, [POINTER] * (len(memory) + 1) + [I64] * 2)
    function = ir.Function(module.vectors if task.kind.vectors else module, kind, name)
    if function.module is module:
        function.linkage = "internal"
        function.attributes.add("noinline")  # or it would be compiled once for each call
    *pointers, scratch, begin, end = function.args
    for argument in (*pointers, scratch):
        argument.add_attribute("noalias")
    at = dict(zip(memory, pointers, strict=True))
    at |= {b: at[home(b)] for b in plan.updates.over if home(b) in at}
    loops = Loops(plan, task, function, at, scratch, (begin, end) if task.shared else None)
    emitter(task.kind)(loops)
    loops.end()
    return builder.known_in(module, function)
