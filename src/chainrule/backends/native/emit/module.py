"""The LLVM module of a plan: a function for each group, drivers that call them in order.

Groups that do the same on other buffers share a function: thirty equal layers are compiled once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from ...program import Kernel
from ..elementwise import I64
from ..math.functions import module_for
from ..plan.groups import Plan
from ..plan.threads import Group, product, runs
from ..processor import Target
from . import driver, matmul
from .epilogue import Epilogue
from .loops import POINTER
from .reductions import Reductions


@dataclass
class Native:
    """Groups that are one native call."""

    name: str
    groups: list[int]
    commits: bool = False


Segment = Native | Kernel


def segments_of(made: Plan) -> list[Segment]:
    """The program as native calls and NumPy kernels in turn; the last one commits the updates."""
    found: list[Segment] = []
    k = 0
    for part in runs(made.groups):
        kernel = made.values[part[0].writes[0]].kernel
        assert kernel is not None
        numpy = part[0].kind == "numpy"
        found.append(kernel if numpy else Native(f"run{k}", [*range(k, k + len(part))]))
        k += len(part)
    if made.commits:
        if not found or not isinstance(found[-1], Native):
            found.append(Native("commit", []))
        last = found[-1]
        assert isinstance(last, Native)
        last.commits = True
    return found


def emit(made: Plan, segments: list[Segment], target: Target) -> str:
    """LLVM IR of all native segments."""
    module = module_for("program", target.triple, target.fma)
    known: dict[Any, ir.Function] = {}
    calls: dict[int, ir.Function] = {}
    for k, group in enumerate(made.groups):
        if group.kind != "numpy":
            key = _signature(made, group)
            if key not in known:
                function = _function(module, made, group, f"g{k}", target)
                known[key] = driver.call(module, function, len(made.buffers(group)))
            calls[k] = known[key]
    for s in segments:
        if isinstance(s, Native):
            driver.emit(module, s.name, made, s.groups, calls, s.commits, target)
    return str(module)


def _signature(made: Plan, group: Group) -> Any:
    """Equal for groups whose functions are equal: the same operations on buffers of one shape."""
    place = {b: k for k, b in enumerate(made.buffers(group))}
    numbers: dict[int, int] = {}
    claims = tuple(place[b] for b in group.claims)
    lines: list[Any] = [group.kind, group.axis, group.units, group.unit, group.rows, claims]

    def visit(b: int, top: bool) -> int:
        key = -1 - b if top else b
        if key in numbers:
            return numbers[key]
        value = made.values[b]
        if b in made.stored and not top:
            line: Any = ("buffer", place[made.home(b)])
        else:
            kernel = value.kernel
            assert kernel is not None
            inputs = tuple(visit(r, False) for r in kernel.reads)
            line = (kernel.op.name, inputs, repr(sorted(kernel.params.items())))
        numbers[key] = len(lines)
        lines.append((line, value.shape, value.dtype.str))
        return numbers[key]

    for b in group.writes:
        lines.append(("write", place[made.home(b)], visit(b, True)))
    return tuple(lines)


def _function(
    module: ir.Module, made: Plan, group: Group, name: str, target: Target
) -> ir.Function:
    """(buffers…, scratch, begin, end): the units begin..end of a group."""
    buffers = made.buffers(group)
    kind = ir.FunctionType(ir.VoidType(), [POINTER] * (len(buffers) + 1) + [I64] * 2)
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    function.attributes.add("noinline")  # or it would be compiled once for each call
    *pointers, scratch, begin, end = function.args
    for argument in (*pointers, scratch):
        argument.add_attribute("noalias")
    held = dict(zip(buffers, pointers, strict=True))
    held |= {b: held[made.home(b)] for b in made.in_place if made.home(b) in held}
    part = (begin, end) if group.units > 1 else None
    loops = Reductions(made, function, held, group, part)
    b = group.writes[0]
    if group.kind == "elementwise":
        loops.elementwise(group)
    elif group.kind == "matmul":
        cut = product(made, group, target)
        kernel = made.values[group.product].kernel
        assert kernel is not None
        operands = []
        for r in kernel.reads:
            found = made.operand(r, kernel)
            assert found is not None
            operands.append(loops.element(*found[:2]))
        left, right = operands
        tiles = part or (I64(0), I64(cut.tiles))
        finish = None
        if group.writes != [group.product]:
            finish = Epilogue(made, group, held, loops.builder, cut.lanes)
        matmul.emit(loops.builder, cut, left, right, held[b], scratch, *tiles, finish)
    else:
        getattr(loops, group.kind)(b)
    loops.end()
    return function
