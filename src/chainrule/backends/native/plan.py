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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import ops
from ...graph import Operation
from ..program import Kernel, Program
from . import blocking
from .blocking import up
from .elementwise import ELEMENTWISE

VIEWS = {ops.reshape, ops.permute_dims, ops.broadcast_to, ops.slice, ops.flip, ops.alias}
REDUCTIONS = {ops.sum, ops.max, ops.min}
LOOPS = {
    ops.take: "take", ops.checked_index: "take", ops.scatter_add: "scatter", ops.concat: "concat",
    ops.random_bits: "random",
}  # fmt: skip
KINDS = "fiub"
BLOCK = 1024  # elements of a loop that are one unit of work for a thread
ROWS = 64  # rows that are one, where they are short
WORTH = 3000.0  # nanoseconds that a group should take to be shared out
DEEP = 24  # operations in one expression: then it is stored, so that code stays short


@dataclass(frozen=True)
class Value:
    """A buffer: its shape, dtype, and the kernel that makes it (None: an input or a constant).

    kind   how that is done: view, elementwise, take, or the kind of its group
    """

    shape: tuple[int, ...]
    dtype: Any
    kernel: Kernel | None
    kind: str = ""

    @property
    def op(self) -> Operation | None:
        return None if self.kernel is None else self.kernel.op


@dataclass
class Group:
    """Loops that are one function: elementwise buffers of one shape, or one of something else."""

    kind: str  # elementwise, reduction, matmul, scatter, concat, random or numpy
    writes: list[int] = field(default_factory=list)
    fails: bool = False  # it may: it runs in NumPy, or looks up an index
    units: int = 1  # how many parts threads may do
    unit: int = 1  # elements of the axis that is cut, in each part
    work: float = 0.0  # nanoseconds, about, where it is shared out


@dataclass
class Plan:
    """Values by buffer, which of them are stored, and the groups in the order they run.

    status    a buffer besides: not 0 when an index was outside its axis
    safe      from this group on nothing can fail: only there an input is written over
    in_place  buffers that are written over the input that they replace
    commits   (buffer, input): copied when all else is done, for those that replace one otherwise
    staged    a place besides for inputs that replace each other, by input
    """

    values: dict[int, Value]
    stored: set[int]
    groups: list[Group]
    status: int
    safe: int
    in_place: dict[int, int]
    commits: list[tuple[int, int]]
    staged: dict[int, int]

    def home(self, b: int) -> int:
        """The buffer whose memory holds it."""
        return self.in_place.get(b, b)


def plan(program: Program, target: blocking.Target) -> Plan:
    """Decide what is stored, which loops are one, and which are shared out among threads."""
    values = _values(program)
    users: dict[int, list[Kernel]] = {}
    for kernel in program.kernels:
        for r in dict.fromkeys(kernel.reads):
            users.setdefault(r, []).append(kernel)
    stored = _stored(program, values, users)
    groups = _delayed(_groups(program, values, stored), program, values, stored)
    for group in groups:
        group.fails = _may_fail(group, values, stored)
        if not group.fails:
            _share_out(group, values, stored, target)
    safe = 1 + max((k for k, g in enumerate(groups) if g.fails), default=-1)
    in_place = _in_place(program, groups, values, stored, safe)
    commits = [(new, old) for new, old in program.updates if in_place.get(new) != old]
    goals = {old for _, old in commits}
    staged: dict[int, int] = {}
    for new, _ in commits:
        if new in goals and new not in staged:
            staged[new] = program.buffers + 1 + len(staged)
            values[staged[new]] = values[new]
    values[program.buffers] = Value((), np.dtype(np.int64), None)
    return Plan(values, stored, groups, program.buffers, safe, in_place, commits, staged)


def _values(program: Program) -> dict[int, Value]:
    values: dict[int, Value] = {}
    for k, array in enumerate(program.constants, program.inputs):
        values[k] = Value(array.shape, array.dtype, None)
    for k, node in enumerate(program.arguments):
        values[k] = Value(node.shape, node.dtype, None)
    for kernel in program.kernels:
        values[kernel.writes] = Value(
            kernel.node.shape, kernel.node.dtype, kernel, _kind(kernel, values)
        )
    return values


def _kind(kernel: Kernel, values: dict[int, Value]) -> str:
    node = kernel.node
    kinds = [node.dtype, *(values[r].dtype for r in kernel.reads)]
    if any(isinstance(d, tuple) or d.kind not in KINDS or d == np.float16 for d in kinds):
        return "numpy"
    if kernel.op in VIEWS:
        return "view"
    if kernel.op in REDUCTIONS:
        floats = node.dtype.kind == "f"
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
        b, kind = kernel.writes, values[kernel.writes].kind
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
        if values[kernel.writes].kind == "matmul":
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
        kind = values[kernel.writes].kind
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
    same = values[kernel.writes].kind == "elementwise"
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
    same = same and values[kernel.writes].kind == "elementwise"
    for r in kernel.reads:
        yield from _sources(r, same, values, stored)


def _delayed(
    groups: list[Group], program: Program, values: dict[int, Value], stored: set[int]
) -> list[Group]:
    """The groups that write what replaces an input, and those that need them, after all others."""
    new = {b for b, _ in program.updates}
    late: list[Group] = []
    after: set[int] = set()
    for group in groups:
        reads = {r for b in group.writes for r in reads_of(b, values, stored)}
        if new & set(group.writes) or after & reads:
            late.append(group)
            after.update(group.writes)
    return [g for g in groups if g not in late] + late


def _may_fail(group: Group, values: dict[int, Value], stored: set[int]) -> bool:
    """Whether it runs in NumPy, or looks an index up that may be outside its axis."""

    def looks_up(b: int, top: bool) -> bool:
        kernel = values[b].kernel
        if kernel is None or (b in stored and not top):
            return False
        indexed = kernel.op in (ops.take, ops.checked_index, ops.scatter_add)
        return indexed or any(looks_up(r, False) for r in kernel.reads)

    return group.kind == "numpy" or any(looks_up(b, True) for b in group.writes)


def _in_place(
    program: Program, groups: list[Group], values: dict[int, Value], stored: set[int], safe: int
) -> dict[int, int]:
    """Which updates may be written over their input: nothing else needs the old value then."""
    home = {b: k for k, group in enumerate(groups) for b in group.writes}
    last: dict[int, int] = {}  # the last group that reads a buffer otherwise than at its own index
    for k, group in enumerate(groups):
        for b in group.writes:
            for r, same in _reads(b, values, stored):
                own = same and group.kind == "elementwise" and values[r].shape == values[b].shape
                last[r] = max(last.get(r, -1), k - own)
    copied = {new for new, _ in program.updates if new not in home}
    found: dict[int, int] = {}
    for new, old in program.updates:
        k = home.get(new, -1)
        alike = values[new].shape == values[old].shape and values[new].dtype == values[old].dtype
        free = last.get(old, -1) < k and old not in copied and old not in program.outputs
        if k >= safe and groups[k].kind == "elementwise" and alike and free and new not in found:
            found[new] = old
    return found


# ── loops, and how they are shared out ───────────────────────────────────────────────────────────


def flat(plan: Plan, b: int, shape: Sequence[int], top: bool) -> bool:
    """Whether a buffer of the shape can be computed in one loop over all its elements.

    top   it is written here, so its own kernel counts
    """
    return _flat(b, tuple(shape), plan.values, plan.stored, top)


def _flat(
    b: int, shape: tuple[int, ...], values: dict[int, Value], stored: set[int], top: bool
) -> bool:
    value = values[b]
    if b in stored and not top:
        return value.shape == shape
    kernel = value.kernel
    if kernel is None or value.shape != shape:
        return False
    if kernel.op is ops.broadcast_to:
        return math.prod(values[kernel.reads[0]].shape) == 1
    elementwise = values[kernel.writes].kind == "elementwise"
    return elementwise and all(_flat(r, shape, values, stored, False) for r in kernel.reads)


def loop_shape(plan: Plan, group: Group) -> tuple[int, ...]:
    """The shape that the loops of an elementwise group run over: flat where that is the same."""
    return _loop_shape(group, plan.values, plan.stored)


def _loop_shape(group: Group, values: dict[int, Value], stored: set[int]) -> tuple[int, ...]:
    shape = values[group.writes[0]].shape
    if len(shape) > 1 and all(_flat(b, shape, values, stored, True) for b in group.writes):
        return (*(1,) * (len(shape) - 1), math.prod(shape))
    return shape


def widest(shape: Sequence[int]) -> int:
    """The axis whose loop is cut: the outermost that is long."""
    long = [a for a, n in enumerate(shape) if n >= ROWS]
    return long[0] if long else max(range(len(shape)), key=shape.__getitem__, default=0)


def last_wide(shape: Sequence[int]) -> int:
    """The last axis that is not of size 1."""
    return max((a for a, n in enumerate(shape) if n != 1), default=0)


def reduced_axes(plan: Plan, b: int) -> tuple[list[int], list[int]]:
    """The axes that a reduction takes away, and those that stay; none of size 1."""
    return _reduced_axes(b, plan.values)


def _reduced_axes(b: int, values: dict[int, Value]) -> tuple[list[int], list[int]]:
    kernel = values[b].kernel
    assert kernel is not None
    shape = values[kernel.reads[0]].shape
    axes = [a for a in kernel.params["axis"] if shape[a] != 1]
    return axes, [a for a in range(len(shape)) if a not in axes and shape[a] != 1]


def by_rows(axes: list[int], kept: list[int]) -> bool:
    """Whether a reduction keeps a running value in a register: it takes the last axes away."""
    return not kept or min(axes, default=0) > max(kept)


def product(
    values: dict[int, Value], stored: set[int], b: int, target: blocking.Target
) -> blocking.Plan:
    """How the matrix product that makes a buffer is cut."""
    value = values[b]
    kernel = value.kernel
    assert kernel is not None
    left, right = (operand(r, kernel, values, stored) for r in kernel.reads)
    assert left is not None
    assert right is not None
    m, n, k = value.shape[-2], value.shape[-1], values[kernel.reads[0]].shape[-1]
    batches = math.prod(value.shape[:-2])
    spec = blocking.Contraction(m, n, k, batches, value.dtype.name, left[2], right[2])
    return blocking.plan(spec, target)


def _share_out(
    group: Group, values: dict[int, Value], stored: set[int], target: blocking.Target
) -> None:
    """Units for threads, by shapes alone, so that results do not depend on who does what.

    A unit begins where a vectorised loop over everything would begin a vector.
    """
    b = group.writes[0]
    shape = values[b].shape
    if group.kind == "matmul":
        k = values[values[b].kernel.reads[0]].shape[-1]  # type: ignore[union-attr]
        group.work = math.prod(shape) * k / 60
        if group.work >= WORTH:
            group.units = product(values, stored, b, target).tiles
        return
    if group.kind == "random":
        group.work = math.prod(shape) * 0.6
        if group.work >= WORTH:
            group.unit = BLOCK // 4
            group.units = up(up(math.prod(shape), 4), group.unit)
        return
    axis = -1
    if group.kind == "elementwise":
        shape = _loop_shape(group, values, stored)
        group.work = math.prod(shape) * 0.15 * len(group.writes)
        axis = widest(shape)
    elif group.kind == "reduction":
        axes, kept = _reduced_axes(b, values)
        source = values[values[b].kernel.reads[0]].shape  # type: ignore[union-attr]
        group.work = math.prod(source) * 0.15
        if kept:
            shape = tuple(n if a in kept else 1 for a, n in enumerate(source))
            axis = widest(shape) if by_rows(axes, kept) else last_wide(shape)
    if axis < 0 or not shape or group.work < WORTH:
        return
    inner = math.prod(shape[axis + 1 :])
    columns = group.kind == "reduction" and not by_rows(axes, kept)
    row = math.prod(source) // max(1, math.prod(shape)) if group.kind == "reduction" else 1
    group.unit = ROWS if columns else BLOCK if inner * row == 1 else (
        ROWS if inner * row < 4 * ROWS else 1)  # fmt: skip
    group.units = max(1, up(shape[axis], group.unit))
