"""The LLVM module of a plan: a function for each group, drivers that call them in order.

Groups that do the same on other buffers share a function: thirty equal layers are compiled once. A
driver is what all threads run: a group that is cut into units is done by all of them, anything else
by the first, and they meet where one group needs what another has written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from ..program import Kernel
from . import contraction, team
from .arrays import size_of
from .elementwise import I64
from .epilogue import Epilogue
from .loops import POINTER
from .mathematics import module_for
from .notation import I32
from .plan import Plan
from .reductions import Reductions
from .sharing import Group, product, runs
from .target import Target


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
    functions: dict[int, ir.Function] = {}
    for k, group in enumerate(made.groups):
        if group.kind != "numpy":
            key = _signature(made, group)
            if key not in known:
                known[key] = _function(module, made, group, f"g{k}", target)
            functions[k] = known[key]
    for segment in segments:
        if isinstance(segment, Native):
            _Driver(module, made, segment, target).emit(functions)
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
        contraction.emit(loops.builder, cut, left, right, held[b], scratch, *tiles, finish)
    else:
        getattr(loops, group.kind)(b)
    loops.end()
    return function


class _Barrier(ir.Function):  # type: ignore[misc]
    """Where threads meet. llvmlite's builder has no atomic store through an opaque pointer."""

    def __init__(self, module: ir.Module, target: Target) -> None:
        super().__init__(module, ir.FunctionType(ir.VoidType(), [POINTER, I64]), "barrier")
        self._text = team.barrier_text(target)

    def __str__(self) -> str:
        return self._text


class _Modes:
    """What the processor does with denormals: all that IEEE asks for, but nothing in products.

    An x86 processor may take some hundred cycles for a denormal, and a network that has learned its
    batch makes matrices of them. So in a product they are zero, and results too small for a normal
    number too. Everywhere else they are numbers, whatever mode the caller's thread is in.
    """

    IEEE = 0x1F80  # MXCSR: no exception stops, to the nearest
    ZERO = IEEE | 1 << 15 | 1 << 6  # results too small are zero, denormals are read as zero

    def __init__(self, builder: ir.IRBuilder, target: Target) -> None:
        self._builder, self._now = builder, 0
        self._places: dict[int, ir.Value] = {}  # by mode; at 0 the caller's
        if target.x86:
            self._places = {mode: builder.alloca(I32) for mode in (0, self.IEEE, self.ZERO)}
            self._call("stmxcsr", self._places[0])
            for mode in (self.IEEE, self.ZERO):
                builder.store(I32(mode), self._places[mode])

    def enter(self, mode: int) -> None:
        """From here on, if it is not so already."""
        if self._places and mode != self._now:
            self._call("ldmxcsr", self._places[mode])
            self._now = mode

    def leave(self) -> None:
        """Before a return: as the caller had it."""
        if self._places:
            self._call("ldmxcsr", self._places[0])

    def _call(self, name: str, place: ir.Value) -> None:
        kind = ir.FunctionType(ir.VoidType(), [POINTER])
        name = f"llvm.x86.sse.{name}"
        self._builder.call(self._builder.module.declare_intrinsic(name, (), kind), [place])


class _Driver:
    """One segment's driver, (table, scratch, thread, threads, barrier): what each thread does."""

    def __init__(self, module: ir.Module, made: Plan, segment: Native, target: Target) -> None:
        self.module, self.made, self.segment, self.target = module, made, segment, target
        kind = ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, I64, POINTER])
        function = ir.Function(module, kind, segment.name)
        # It only calls; what LLVM could make of hundreds of calls takes it a third of its time.
        function.attributes.update(("optnone", "noinline"))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.table, self.scratch, self.thread, self.threads, self.barrier = function.args
        self.shared = any(made.groups[k].units > 1 for k in segment.groups)
        self._modes = _Modes(self.builder, target)
        self._loaded: dict[int, ir.Value] = {}
        self._cuts: dict[int, list[ir.Value]] = {}

    def emit(self, functions: dict[int, ir.Function]) -> None:
        """All groups in order, then the commits."""
        made, builder = self.made, self.builder
        unsure = False  # a group may have failed, and this thread has not looked
        for k in self.segment.groups:
            group = made.groups[k]
            if group.meets:
                self.meet()
            if unsure and k >= made.safe and (group.meets or not self.shared):
                self._leave_if_failed()
                unsure = False
            unsure = unsure or group.fails
            self._modes.enter(_Modes.ZERO if group.kind == "matmul" else _Modes.IEEE)
            arguments = [*map(self.load, made.buffers(group)), self.scratch]
            if group.units > 1:
                builder.call(functions[k], [*arguments, *self.part(group.units)])
            else:
                with self.alone():
                    builder.call(functions[k], [*arguments, I64(0), I64(1)])
        if self.segment.commits:
            self.meet()
            if unsure:
                self._leave_if_failed()
            with self.alone():
                self._commit()
        self._return()

    def load(self, b: int) -> ir.Value:
        """Where a buffer is."""
        if b not in self._loaded:
            place = self.builder.gep(self.table, [I64(b)], source_etype=POINTER)
            self._loaded[b] = self.builder.load(place, typ=POINTER)
        return self._loaded[b]

    def part(self, units: int) -> list[ir.Value]:
        """Where this thread's part of so many units begins and ends."""
        b = self.builder
        if units not in self._cuts:
            ends = (self.thread, b.add(self.thread, I64(1)))
            self._cuts[units] = [b.udiv(b.mul(I64(units), t), self.threads) for t in ends]
        return self._cuts[units]

    def meet(self) -> None:
        """All threads wait here for the last one."""
        if self.shared:
            meet = self.module.globals.get("barrier") or _Barrier(self.module, self.target)
            self.builder.call(meet, [self.barrier, self.threads])

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """What only the first thread does."""
        if not self.shared:
            yield
            return
        with self.builder.if_then(self.builder.icmp_unsigned("==", self.thread, I64(0))):
            yield

    def _leave_if_failed(self) -> None:
        status = self.builder.load(self.load(self.made.status), typ=I64)
        with self.builder.if_then(self.builder.icmp_unsigned("!=", status, I64(0))):
            self._return()

    def _return(self) -> None:
        self._modes.leave()
        self.builder.ret_void()

    def _commit(self) -> None:
        """Copy what could not be written in place; through a place of its own what may clash."""
        made, b = self.made, self.builder
        copy = self.module.declare_intrinsic(
            "llvm.memcpy", [POINTER, POINTER, I64],
            ir.FunctionType(ir.VoidType(), [POINTER, POINTER, I64, ir.IntType(1)]),
        )  # fmt: skip
        for move in moves(made):
            size = I64(size_of(made.values[move[0]]))
            b.call(copy, [self.load(move[1]), self.load(move[0]), size, ir.IntType(1)(0)])


def moves(made: Plan) -> list[tuple[int, int]]:
    """(from, to): the copies that commit the updates; inputs that are swapped go by `staged`."""
    goals = {old for _, old in made.commits}
    first = [(new, made.staged[new]) for new, _ in made.commits if new in goals]
    return first + [(made.staged[new] if new in goals else made.home(new), old)
                    for new, old in made.commits]  # fmt: skip
