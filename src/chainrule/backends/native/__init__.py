"""The native backend: a program's groups as machine code, what it cannot do yet as NumPy.

`build(program)` plans what is stored, emits a function for each group of loops, and compiles them
(or finds the object code of an earlier process). Groups that follow each other are one call. An
operation without code of its own runs by its meaning in NumPy, in its place.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from ...graph import Array
from ...numerics import failure
from .. import reference
from ..program import Kernel, Program
from . import blocking, contraction
from .elementwise import I64
from .loops import POINTER, Loops
from .plan import Group, Plan, operand, plan, reads_of
from .target import Target, cached, host, load

ALIGNED = 64  # bytes: a cache line, and the widest vector


def build(program: Program) -> Callable[[Sequence[Array]], list[Array]]:
    """A function from the program's inputs to its outputs."""
    made = plan(program)
    target = host()
    text, segments = emit(made, target)
    names = names_of(segments)
    library = load(cached(text, target), names) if names else None
    return Runner(program, made, segments, library)


@dataclass
class Native:
    """Groups that are one native call, and the buffers whose pointers it needs."""

    name: str
    groups: list[int]


def names_of(segments: list[Native | Kernel]) -> list[str]:
    """The functions that are called from here."""
    return [s.name for s in segments if isinstance(s, Native)]


def emit(made: Plan, target: Target) -> tuple[str, list[Native | Kernel]]:
    """LLVM IR of all groups, and the program as native calls and NumPy kernels in turn."""
    module = ir.Module("program")
    module.triple = target.triple
    segments: list[Native | Kernel] = []
    for k, group in enumerate(made.groups):
        if group.kind == "numpy":
            kernel = made.values[group.writes[0]].kernel
            assert kernel is not None
            segments.append(kernel)
            continue
        _function(module, made, group, k, target)
        if not segments or not isinstance(segments[-1], Native):
            segments.append(Native(f"run{k}", []))
        last = segments[-1]
        assert isinstance(last, Native)
        last.groups.append(k)
    for segment in segments:
        if isinstance(segment, Native):
            _driver(module, made, segment)
    return str(module), segments


def _buffers(made: Plan, group: Group) -> list[int]:
    """The buffers that a group writes, those that it reads, and the status."""
    found = dict.fromkeys(group.writes)
    for b in group.writes:
        found.update(dict.fromkeys(reads_of(b, made.values, made.stored)))
    return [*found, made.status]


def _function(module: ir.Module, made: Plan, group: Group, k: int, target: Target) -> None:
    buffers = _buffers(made, group)
    scratch = group.kind == "matmul"
    kind = ir.FunctionType(ir.VoidType(), [POINTER] * (len(buffers) + scratch))
    function = ir.Function(module, kind, f"g{k}")
    function.linkage = "internal"
    for argument in function.args:
        argument.add_attribute("noalias")
    pointers = dict(zip(buffers, function.args, strict=False))
    loops = Loops(made, function, pointers, set(group.writes), target)
    b = group.writes[0]
    if group.kind == "elementwise":
        loops.elementwise(group)
    elif group.kind in ("reduction", "scatter", "concat", "random"):
        getattr(loops, group.kind)(b)
    else:
        cut = product(made, b, target)
        kernel = made.values[b].kernel
        assert kernel is not None
        operands = []
        for r in kernel.reads:
            found = operand(r, kernel, made.values, made.stored)
            assert found is not None
            source, offset, _ = found
            operands.append(loops.element(source, offset))
        left, right = operands
        contraction.emit(
            loops.builder, cut, left, right, pointers[b], function.args[-1], I64(0), I64(cut.tiles)
        )
    loops.builder.ret_void()


def product(made: Plan, b: int, target: Target) -> blocking.Plan:
    """How the matrix product that makes a buffer is cut."""
    value = made.values[b]
    kernel = value.kernel
    assert kernel is not None
    left, right = (operand(r, kernel, made.values, made.stored) for r in kernel.reads)
    assert left is not None
    assert right is not None
    m, n, k = value.shape[-2], value.shape[-1], made.values[kernel.reads[0]].shape[-1]
    batches = math.prod(value.shape[:-2])
    spec = blocking.Contraction(m, n, k, batches, value.dtype.name, left[2], right[2])
    return blocking.plan(spec, target)


def _driver(module: ir.Module, made: Plan, segment: Native) -> None:
    """One function that takes the table of pointers and calls the groups in order."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER] * 2), segment.name)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    table, scratch = function.args
    loaded: dict[int, Any] = {}
    for k in segment.groups:
        group = made.groups[k]
        arguments = []
        for b in _buffers(made, group):
            if b not in loaded:
                place = builder.gep(table, [I64(b)], source_etype=POINTER)
                loaded[b] = builder.load(place, typ=POINTER)
            arguments.append(loaded[b])
        if group.kind == "matmul":
            arguments.append(scratch)
        builder.call(module.get_global(f"g{k}"), arguments)
    builder.ret_void()


class Runner:
    """A program that runs: the table of pointers, the memory in between, the calls."""

    def __init__(
        self, program: Program, made: Plan, segments: list[Native | Kernel], library: Any
    ) -> None:
        self._program, self._library = program, library
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
        self._segments: list[Any] = [
            kind(library.address(s.name)) if isinstance(s, Native) else s for s in segments
        ]
        self._status = np.zeros((), np.int64)
        self._table = np.zeros(program.buffers + 1, np.uint64)
        self._table[made.status] = self._status.ctypes.data
        self._address = self._table.ctypes.data
        scratch = max(
            (product(made, g.writes[0], host()).scratch_bytes for g in made.groups
             if g.kind == "matmul"), default=0)  # fmt: skip
        self._scratch = _aligned(scratch)
        self._scratch_address = self._scratch.ctypes.data
        first = program.inputs
        self._constants = [np.asarray(c, order="C") for c in program.constants]
        for b, array in enumerate(self._constants, first):
            self._table[b] = array.ctypes.data
        self._fresh = [
            (b, made.values[b].shape, made.values[b].dtype) for b in dict.fromkeys(program.outputs)
            if b in made.values and made.values[b].kernel is not None
            and b not in self._by_numpy(segments)
        ]  # fmt: skip
        outputs = {b for b, _, _ in self._fresh}
        inner = [
            g for group in made.groups if group.kind != "numpy" for g in group.writes
            if g not in outputs
        ]  # fmt: skip
        sizes = [_up(_bytes(made.values[b])) for b in inner]
        self._arena = _aligned(sum(sizes))
        self._mixed = len(self._segments) > len(names_of(segments))
        self._held: dict[int, Array] = dict(enumerate(self._constants, first))
        at = 0
        for b, size in zip(inner, sizes, strict=True):
            value = made.values[b]
            part = self._arena[at : at + _bytes(value)]
            self._held[b] = part.view(value.dtype).reshape(value.shape)
            self._table[b] = part.ctypes.data if part.size else self._arena.ctypes.data
            at += size

    @staticmethod
    def _by_numpy(segments: list[Native | Kernel]) -> set[int]:
        return {s.writes for s in segments if isinstance(s, Kernel)}

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        table, address = self._table, self._scratch_address
        held = dict(self._held) if self._mixed else {}
        for b, array in enumerate(arrays):
            whole = array if array.flags.c_contiguous else np.ascontiguousarray(array)
            held[b] = whole
            table[b] = whole.__array_interface__["data"][0]
        for b, shape, dtype in self._fresh:
            held[b] = whole = np.empty(shape, dtype)
            table[b] = whole.__array_interface__["data"][0]
        for step in self._segments:
            if isinstance(step, Kernel):
                self._in_numpy(step, held)
            else:
                step(self._address, address)
        if self._status:  # an index was outside: NumPy's meaning says which, and where
            self._status[...] = 0
            reference.build(self._program)(arrays)
        return [np.asarray(held[b] if b in held else self._held[b]) for b in self._program.outputs]

    def _in_numpy(self, kernel: Kernel, held: dict[int, Any]) -> None:
        try:
            with np.errstate(all="ignore"):
                found = kernel.op.evaluate(*[held[r] for r in kernel.reads], **kernel.params)
        except Exception as error:
            raise failure(kernel.node, error) from None
        if not isinstance(found, tuple):
            found = np.ascontiguousarray(found).reshape(np.shape(found))
            self._table[kernel.writes] = found.__array_interface__["data"][0]
        held[kernel.writes] = found


def _bytes(value: Any) -> int:
    size: int = value.dtype.itemsize
    for n in value.shape:
        size *= n
    return size


def _up(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _aligned(size: int) -> Array:
    raw = np.zeros(size + ALIGNED, np.uint8)
    start = -raw.ctypes.data % ALIGNED
    return raw[start : start + max(size, 1)]
