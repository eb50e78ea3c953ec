"""Drivers: what each thread runs. A driver goes through a table of calls, one row per group.

The table is data, so a driver is compiled in the same time however many groups a network has. A
group that is cut into units is done by all threads, anything else by one, and they meet where one
group needs what another has written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from ..alignment import size_of
from ..ir_types import I32, I64, POINTER, VOID
from ..plan.segments import Native
from ..plan.stages import Plan
from ..processor import Target
from .builder import turns
from .team import barrier_text

# What the table calls: (table of pointers, operands, scratch, begin, end) does these units.
CALL = ir.FunctionType(VOID, [POINTER, POINTER, POINTER, I64, I64])
_DRIVER = ir.FunctionType(VOID, [POINTER, POINTER, I64, I64, POINTER])

EVERY_THREAD = 0

# What a row says in its flags.
MEET = 1  # all threads wait here for the last one
LOOK = 2  # and leave, if an earlier group has failed
ZERO = 4  # from here on denormals are zero (see `_Modes`)
IEEE = 8  # from here on they are numbers

# x86's register of modes: no exception stops, to the nearest; bits 15 and 6 have results that are
# too small, and operands, be zero.
_MXCSR = {IEEE: 0x1F80, ZERO: 0x1F80 | 1 << 15 | 1 << 6}


@dataclass(frozen=True)
class Row:
    """One call of the table.

    call      what is called, of the type CALL
    operands  what it finds at its second argument: places in the table of pointers, for a group
    units     how many the threads share; 1: one thread does it; EVERY_THREAD: each does it, with
              its number and the number of threads for begin and end
    owner     of one unit: the thread that does it, modulo the number of threads
    """

    call: ir.Function
    operands: tuple[int, ...]
    units: int
    flags: int
    owner: int = 0


def emit_driver(
    module: ir.Module, plan: Plan, segment: Native, calls: Mapping[int, ir.Function], name: str
) -> ir.Function:
    """The driver of a segment, (table, scratch, thread, threads, barrier): its tasks, the commits.

    calls   by position of a task: what its row calls
    """
    tasks = [plan.tasks[k] for k in segment.tasks]
    shared = any(task.shared for task in tasks)
    rows = list(_rows(plan, segment, calls, shared))
    if segment.commits:
        unsure = any(task.group.fails for task in tasks)
        flags = (MEET if shared else 0) | (LOOK if unsure else 0)
        rows.append(Row(_commit(module, plan), (), 1, flags))
    return _driver(module, name, rows, plan.status, plan.target)


def adapter(module: ir.Module, function: ir.Function, buffers: int) -> ir.Function:
    """The function of a group, with its buffers by their places in the table of pointers."""
    outer = ir.Function(module, CALL, f"call.{function.name}")
    outer.linkage = "internal"
    table, operands, scratch, begin, end = outer.args
    b = ir.IRBuilder(outer.append_basic_block("entry"))
    pointers = []
    for k in range(buffers):
        place = b.load(b.gep(operands, [I64(k)], source_etype=I64), typ=I64)
        pointers.append(b.load(b.gep(table, [place], source_etype=POINTER), typ=POINTER))
    b.call(function, [*pointers, scratch, begin, end])
    b.ret_void()
    return outer


def _rows(
    plan: Plan, segment: Native, calls: Mapping[int, ir.Function], shared: bool
) -> Iterator[Row]:
    unsure, mode = False, 0  # unsure: a task may have failed, and this thread has not looked
    for k in segment.tasks:
        task = plan.tasks[k]
        meets = task in plan.meetings.before and shared
        flags = MEET if meets else 0
        if unsure and k >= plan.safe and (meets or not shared):
            flags |= LOOK
            unsure = False
        unsure = unsure or task.group.fails
        wanted = (ZERO if task.kind.flushes else IEEE) if plan.target.x86 else 0
        flags |= wanted if wanted != mode else 0
        mode = wanted
        units = EVERY_THREAD if task.cut.every else task.cut.units
        yield Row(calls[k], tuple(plan.memory(task)), units, flags, task.owner)


def _driver(
    module: ir.Module, name: str, rows: Sequence[Row], status: int, target: Target
) -> ir.Function:
    driver = ir.Function(module, _DRIVER, name)
    table, scratch, thread, threads, barrier = driver.args
    b = ir.IRBuilder(driver.append_basic_block("entry"))
    modes = _Modes(b, target)
    shares = list(dict.fromkeys([(1, 0), *((row.units, row.owner) for row in rows)]))
    cuts = _cuts(b, shares, thread, threads)
    calls, operands = _tables(module, name, rows, shares)
    with turns(b, I64(0), I64(len(rows))) as k:
        # llvmlite calls a pointer only if it knows its function's type.
        function, first, cut, flags = (
            b.load(b.gep(calls, [I64(0), k, I32(j)], source_etype=calls.value_type), typ=kind)
            for j, kind in enumerate((CALL.as_pointer(), I64, I64, I64))
        )
        if any(row.flags & MEET for row in rows):
            with b.if_then(_has(b, flags, MEET)):
                b.call(barrier_of(module, target), [barrier, threads])
        if any(row.flags & LOOK for row in rows):
            with b.if_then(_has(b, flags, LOOK)):
                place = b.load(b.gep(table, [I64(status)], source_etype=POINTER), typ=POINTER)
                with b.if_then(b.icmp_unsigned("!=", b.load(place, typ=I64), I64(0))):
                    modes.leave()
                    b.ret_void()
        for flag in (ZERO, IEEE):
            if any(row.flags & flag for row in rows):
                with b.if_then(_has(b, flags, flag)):
                    modes.enter(flag)
        begin, end = (
            b.load(b.gep(cuts, [b.add(b.shl(cut, I64(1)), I64(j))], source_etype=I64), typ=I64)
            for j in range(2)
        )
        with b.if_then(b.icmp_unsigned("<", begin, end)):
            own = b.gep(operands, [I64(0), first], source_etype=operands.value_type)
            b.call(function, [table, own, scratch, begin, end])
    modes.leave()
    b.ret_void()
    return driver


def _has(b: ir.IRBuilder, flags: ir.Value, flag: int) -> ir.Value:
    return b.icmp_unsigned("!=", b.and_(flags, I64(flag)), I64(0))


def _cuts(
    b: ir.IRBuilder, shares: Sequence[tuple[int, int]], thread: ir.Value, threads: ir.Value
) -> ir.Value:
    """For each count of units, of 1 with its owner, where this thread's part begins and ends."""
    cuts = b.alloca(I64, len(shares) * 2)
    for k, (count, owner) in enumerate(shares):
        for j in range(2):
            if count == EVERY_THREAD:
                edge = threads if j else thread
            elif count == 1:
                its_thread = b.urem(I64(owner), threads) if owner else I64(0)
                own = b.zext(b.icmp_unsigned("==", thread, its_thread), I64)
                edge = own if j else I64(0)
            else:
                edge = b.udiv(b.mul(I64(count), b.add(thread, I64(j))), threads)
            b.store(edge, b.gep(cuts, [I64(2 * k + j)], source_etype=I64))
    return cuts


def _tables(
    module: ir.Module, name: str, rows: Sequence[Row], shares: Sequence[tuple[int, int]]
) -> tuple[ir.GlobalVariable, ir.GlobalVariable]:
    """The rows and their operands as constants."""
    kind = ir.LiteralStructType([POINTER, I64, I64, I64])
    cut = {share: k for k, share in enumerate(shares)}
    places: dict[tuple[int, ...], int] = {}  # groups may share their operands
    operands: list[int] = []
    lines = []
    for row in rows:
        if row.operands not in places:
            places[row.operands] = len(operands)
            operands += row.operands
        numbers = (places[row.operands], cut[row.units, row.owner], row.flags)
        lines.append(ir.Constant(kind, [row.call, *map(I64, numbers)]))
    return (
        global_constant(module, f"{name}.calls", ir.ArrayType(kind, len(lines)), lines),
        global_constant(module, f"{name}.operands", ir.ArrayType(I64, len(operands)), operands),
    )


def global_constant(module: ir.Module, name: str, kind: ir.Type, value: Any) -> ir.GlobalVariable:
    """A constant that the code holds."""
    constant = ir.GlobalVariable(module, kind, name)
    constant.linkage, constant.global_constant = "internal", True
    constant.initializer = ir.Constant(kind, value)
    return constant


def _commit(module: ir.Module, plan: Plan) -> ir.Function:
    """Copy what could not be written in place; through a place of its own what may clash."""
    function = ir.Function(module, CALL, "commit.copies")
    function.linkage = "internal"
    table = function.args[0]
    b = ir.IRBuilder(function.append_basic_block("entry"))
    copy = module.declare_intrinsic(
        "llvm.memcpy",
        [POINTER, POINTER, I64],
        ir.FunctionType(VOID, [POINTER, POINTER, I64, ir.IntType(1)]),
    )
    copies = plan.updates.copies()
    numbers = [n for old, new in copies for n in (old, new, size_of(plan.storage.buffers[old]))]
    listed = global_constant(module, "commit.moves", ir.ArrayType(I64, len(numbers)), numbers)
    with turns(b, I64(0), I64(len(copies))) as k:
        first = b.mul(k, I64(3))
        source, goal, size = (
            b.load(
                b.gep(listed, [I64(0), b.add(first, I64(j))], source_etype=listed.value_type),
                typ=I64,
            )
            for j in range(3)
        )
        source, goal = (
            b.load(b.gep(table, [place], source_etype=POINTER), typ=POINTER)
            for place in (source, goal)
        )
        b.call(copy, [goal, source, size, ir.IntType(1)(0)])
    b.ret_void()
    return function


class _Barrier(ir.Function):  # type: ignore[misc]
    """Where threads meet. llvmlite's builder has no atomic store through an opaque pointer."""

    def __init__(self, module: ir.Module, target: Target) -> None:
        super().__init__(module, ir.FunctionType(VOID, [POINTER, I64]), "barrier")
        self._text = barrier_text(target)

    def __str__(self) -> str:
        return self._text


def barrier_of(module: ir.Module, target: Target) -> ir.Function:
    """(barrier, threads): waits for all of them."""
    return module.globals.get("barrier") or _Barrier(module, target)


class _Modes:
    """What the processor does with denormals: all that IEEE asks for, but nothing in products.

    An x86 processor may take some hundred cycles for a denormal, and a network that has learned its
    batch makes matrices of them. So in a product they are zero, and results too small for a normal
    number too. Everywhere else they are numbers, whatever mode the caller's thread is in.
    """

    def __init__(self, builder: ir.IRBuilder, target: Target) -> None:
        self._builder = builder
        self._before: ir.Value | None = None
        if target.x86:
            self._before = builder.alloca(I32)
            self._call("stmxcsr", self._before)
            self._places = {flag: builder.alloca(I32) for flag in _MXCSR}
            for flag, place in self._places.items():
                builder.store(I32(_MXCSR[flag]), place)

    def enter(self, flag: int) -> None:
        """From here on."""
        self._call("ldmxcsr", self._places[flag])

    def leave(self) -> None:
        """Before a return: as the caller had it."""
        if self._before is not None:
            self._call("ldmxcsr", self._before)

    def _call(self, name: str, place: ir.Value) -> None:
        kind = ir.FunctionType(VOID, [POINTER])
        name = f"llvm.x86.sse.{name}"
        self._builder.call(self._builder.module.declare_intrinsic(name, (), kind), [place])
