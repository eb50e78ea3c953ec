"""From a program to loops: what is stored in memory, and what is computed where it is used.

A buffer is *stored* when something needs it as an array: it is an output, an operand of a matrix
product, a reduction, read by an operation that runs in NumPy, or used more than once. Everything
else is computed inside the loops that use it. Views (reshape, transpose, broadcast, slice, flip)
are never stored for their own sake: they are ways to compute an index.

Stored elementwise buffers of one shape whose loops can be one loop become one *group*: Adam's two
means and the new parameter, say, read each array once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import ops
from ...graph import Operation
from ..program import Kernel, Program
from .elementwise import ELEMENTWISE

VIEWS = {ops.reshape, ops.permute_dims, ops.broadcast_to, ops.slice, ops.flip, ops.alias}
REDUCTIONS = {ops.sum, ops.max, ops.min}
LOOPS = {
    ops.take: "take", ops.checked_index: "take", ops.scatter_add: "scatter", ops.concat: "concat",
    ops.random_bits: "random",
}  # fmt: skip
KINDS = "fiub"
DEEP = 24  # operations in one expression: then it is stored, so that code stays short


@dataclass(frozen=True)
class Value:
    """A buffer: its shape, dtype, and the kernel that makes it (None: an input or a constant)."""

    shape: tuple[int, ...]
    dtype: Any
    kernel: Kernel | None

    @property
    def op(self) -> Operation | None:
        return None if self.kernel is None else self.kernel.op


@dataclass
class Group:
    """Loops that are one function: elementwise buffers of one shape, or one of something else."""

    kind: str  # elementwise, reduction, matmul, scatter, concat, random or numpy
    writes: list[int] = field(default_factory=list)


@dataclass
class Plan:
    """Values by buffer, which of them are stored, and the groups in the order they run.

    status   a buffer besides: not 0 when an index was outside its axis
    """

    values: dict[int, Value]
    stored: set[int]
    groups: list[Group]
    status: int


def plan(program: Program) -> Plan:
    """Decide what is stored and which loops are one."""
    values = _values(program)
    users: dict[int, list[Kernel]] = {}
    for kernel in program.kernels:
        for r in dict.fromkeys(kernel.reads):
            users.setdefault(r, []).append(kernel)
    stored = _stored(program, values, users)
    groups = _groups(program, values, stored)
    values[program.buffers] = Value((), np.dtype(np.int64), None)
    return Plan(values, stored, groups, program.buffers)


def _values(program: Program) -> dict[int, Value]:
    values: dict[int, Value] = {}
    for k, array in enumerate(program.constants, program.inputs):
        values[k] = Value(array.shape, array.dtype, None)
    for kernel in program.kernels:
        for r, node in zip(kernel.reads, kernel.node.inputs, strict=True):
            values.setdefault(r, Value(node.shape, node.dtype, None))
        values[kernel.writes] = Value(kernel.node.shape, kernel.node.dtype, kernel)
    return values


def kind_of(kernel: Kernel, values: dict[int, Value]) -> str:
    """How a kernel is done: view, elementwise, take, or the kind of its group."""
    node = kernel.node
    if isinstance(node.dtype, tuple) or any(
        isinstance(values[b].dtype, tuple) or values[b].dtype.kind not in KINDS
        or values[b].dtype == np.float16
        for b in (*kernel.reads, kernel.writes)
    ):  # fmt: skip
        return "numpy"
    if kernel.op in VIEWS:
        return "view"
    if kernel.op in REDUCTIONS:
        floats = values[kernel.writes].dtype.kind == "f"
        return "reduction" if floats or kernel.op is ops.sum else "numpy"
    if kernel.op in LOOPS:
        return LOOPS[kernel.op]
    if kernel.op is ops.matmul:
        return "matmul" if node.dtype.kind == "f" else "numpy"
    fits = ELEMENTWISE.get(kernel.op)
    if fits is not None and all(values[r].dtype.kind in fits[0] for r in kernel.reads):
        if kernel.op is ops.astype and node.dtype.kind in "iu":
            return "elementwise" if values[kernel.reads[0]].dtype.kind != "f" else "numpy"
        return "elementwise"
    return "numpy"


def _stored(program: Program, values: dict[int, Value], users: dict[int, list[Kernel]]) -> set[int]:
    stored = set(range(program.inputs + len(program.constants))) | set(program.outputs)
    depth: dict[int, int] = {}
    for kernel in program.kernels:
        b, kind = kernel.writes, kind_of(kernel, values)
        if kind not in ("view", "elementwise"):
            stored.add(b)
            needed = kernel.reads if kind in ("numpy", "matmul", "random") else ()
            for r in needed:
                if kind != "matmul" or operand(r, kernel, values, stored) is None:
                    stored.add(r)
        depth[b] = 0 if b in stored else 1 + sum(depth.get(r, 0) for r in kernel.reads)
        if kind == "elementwise" and b not in stored:
            uses = users.get(b, [])
            size = math.prod(values[b].shape)
            spread = any(_spreads(u, values) for u in uses)
            if depth[b] > DEEP or ((len(uses) > 1 or spread) and (size > 1 or depth[b] > 1)):
                stored.add(b)
                depth[b] = 0
    _add_sources(program, values, stored)
    return stored


def _add_sources(program: Program, values: dict[int, Value], stored: set[int]) -> None:
    """What NumPy and matrix products read is stored by now; sort out views that must be."""
    for kernel in program.kernels:
        if kind_of(kernel, values) == "matmul":
            for r in kernel.reads:
                if operand(r, kernel, values, stored) is None:
                    stored.add(r)


def _spreads(kernel: Kernel, values: dict[int, Value]) -> bool:
    """Whether a kernel reads each element more than once."""
    sizes = [math.prod(values[r].shape) for r in kernel.reads]
    return kernel.op is ops.broadcast_to and math.prod(kernel.node.shape) > max(sizes, default=0)


def strided(
    b: int, values: dict[int, Value], stored: set[int]
) -> tuple[int, tuple[int, ...], int] | None:
    """A buffer as (stored buffer, strides in elements, offset), if views alone lead to one."""
    value = values[b]
    if b in stored:
        return b, contiguous(value.shape), 0
    if value.kernel is None or value.op not in VIEWS:
        return None
    base = strided(value.kernel.reads[0], values, stored)
    if base is None:
        return None
    source, strides, offset = base
    params, shape = value.kernel.params, values[value.kernel.reads[0]].shape
    if value.op is ops.permute_dims:
        return source, tuple(strides[a] for a in params["axes"]), offset
    if value.op is ops.broadcast_to:
        pairs = zip(shape, value.shape, strides, strict=True)
        return source, tuple(0 if n != m else s for n, m, s in pairs), offset
    if value.op is ops.reshape:
        kept = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
        wanted = [n for n in value.shape if n != 1]
        if [n for n, _ in kept] == wanted:  # sizes of 1 come and go
            rest = iter(kept)
            return source, tuple(0 if n == 1 else next(rest)[1] for n in value.shape), offset
        if strides == contiguous(shape):
            return source, contiguous(value.shape), offset
        return None
    if value.op is ops.slice:
        start, step = params["start"], params["step"]
        offset += sum(a * s for a, s in zip(start, strides, strict=True))
        return source, tuple(s * k for s, k in zip(strides, step, strict=True)), offset
    return (source, strides, offset) if value.op is ops.alias else None


def operand(
    b: int, kernel: Kernel, values: dict[int, Value], stored: set[int]
) -> tuple[int, int, tuple[int, int, int]] | None:
    """A matrix product's operand as (stored buffer, offset, strides of batch, row and column).

    None if its batches do not lie evenly, or no axis of its matrices is contiguous.
    """
    found = strided(b, values, stored)
    if found is None:
        return None
    source, strides, offset = found
    shape = kernel.node.shape[:-2]
    axes = [(n, s) for n, s in zip(shape, strides[:-2], strict=True) if n != 1]
    even = all(s == n * t for (_, s), (n, t) in itertools.pairwise(axes))
    row, column = strides[-2:]
    rows, columns = values[b].shape[-2:]
    if not even or not (row == 1 or column == 1 or min(rows, columns) == 1):
        return None
    return source, offset, (axes[-1][1] if axes else 0, row, column)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a row-major array, in elements."""
    return tuple(math.prod(shape[a + 1 :]) for a in range(len(shape)))


def _groups(program: Program, values: dict[int, Value], stored: set[int]) -> list[Group]:
    """Stored buffers in order; elementwise ones join the earliest loop that they can."""
    groups: list[Group] = []
    home: dict[int, int] = {}  # which group writes a buffer
    for kernel in program.kernels:
        b = kernel.writes
        if b not in stored:
            continue
        kind = kind_of(kernel, values)
        if kind in ("view", "take"):
            kind = "elementwise"  # a loop that copies
        first = 0
        for dep, same in _reads(b, values, stored):
            if dep in home:
                joins = same and groups[home[dep]].kind == "elementwise" == kind
                first = max(first, home[dep] + (not joins))
        place = None
        if kind == "elementwise":
            shape = values[b].shape
            place = next(
                (g for g in range(first, len(groups)) if groups[g].kind == "elementwise"
                 and values[groups[g].writes[0]].shape == shape and len(groups[g].writes) < 8),
                None,
            )  # fmt: skip
        if place is None:
            groups.append(Group(kind))
            place = len(groups) - 1
        groups[place].writes.append(b)
        home[b] = place
    return groups


def _reads(b: int, values: dict[int, Value], stored: set[int]) -> Iterator[tuple[int, bool]]:
    """The stored buffers that computing b reads, and whether at its own index alone."""
    kernel = values[b].kernel
    assert kernel is not None
    same = kind_of(kernel, values) == "elementwise"
    for r in kernel.reads:
        yield from _sources(r, same, values, stored)


def reads_of(b: int, values: dict[int, Value], stored: set[int]) -> list[int]:
    """The stored buffers that computing b reads."""
    return list(dict.fromkeys(r for r, _ in _reads(b, values, stored)))


def _sources(
    b: int, same: bool, values: dict[int, Value], stored: set[int]
) -> Iterator[tuple[int, bool]]:
    if b in stored:
        yield b, same
        return
    kernel = values[b].kernel
    assert kernel is not None
    same = same and kind_of(kernel, values) == "elementwise"
    for r in kernel.reads:
        yield from _sources(r, same, values, stored)
