"""What of a program is stored in memory, and what is computed where it is used.

A buffer is *stored* when something needs it as an array: it is an output, an operand of a matrix
product, a reduction, read by an operation that runs in NumPy, or used more than once. Everything
else is computed inside the loops that use it. Views (reshape, transpose, broadcast, slice, flip)
are never stored for their own sake: they are ways to compute an index.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .... import ops
from ....graph import Operation
from ...program import Kernel, Program
from ..elementwise import ELEMENTWISE
from .rewrites import NORM_OF_SUMS

VIEWS = {ops.reshape, ops.permute_dims, ops.broadcast_to, ops.slice, ops.flip, ops.alias}
# Reductions, and the kinds of dtype that they take.
REDUCTIONS = {
    ops.sum: "fiub",
    ops.prod: "fiu",
    ops.max: "fiu",
    ops.min: "fiu",
    ops.any: "b",
    ops.norm: "f",
    NORM_OF_SUMS: "f",
}
LOOPS = {
    ops.take: "take",
    ops.checked_index: "take",
    ops.scatter_add: "scatter",
    ops.concat: "concat",
    ops.random_bits: "random",
    ops.pad: "pad",
}
KINDS = "fiub"
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

    @property
    def reads(self) -> tuple[int, ...]:
        return () if self.kernel is None else self.kernel.reads


@dataclass
class Storage:
    """Values by buffer, and which of them are stored."""

    values: dict[int, Value]
    stored: set[int]

    def reads(self, b: int) -> dict[int, bool]:
        """The stored buffers that computing b reads, and whether at its own index alone."""

        def inputs(b: int, same: Any) -> list[tuple[int, Any]]:
            own = same and self.values[b].kind == "elementwise"
            return [(r, own) for r in self.values[b].reads]

        found: dict[int, bool] = {}
        for r, same in self.reached(b, True, inputs):
            found[r] = same and found.get(r, True)
        return found

    def reached(
        self, b: int, what: Any, inputs: Callable[[int, Any], list[tuple[int, Any]]]
    ) -> Iterator[tuple[int, Any]]:
        """The stored buffers that computing b reads, each with what is known of it.

        inputs   from a buffer and what is known of it to those that it is computed from
        """
        todo = inputs(b, what)
        seen: set[tuple[int, Any]] = set()
        for at in todo:  # which grows
            if at in seen:
                continue
            seen.add(at)
            if at[0] in self.stored:
                yield at
            else:
                todo += inputs(*at)

    def strided(self, b: int) -> tuple[int, tuple[int, ...], int] | None:
        """A buffer as (stored buffer, strides in elements, offset), if views alone lead to one."""
        value = self.values[b]
        if b in self.stored:
            return b, contiguous(value.shape), 0
        if value.kernel is None or value.op not in VIEWS:
            return None
        base = self.strided(value.kernel.reads[0])
        if base is None:
            return None
        source, strides, offset = base
        params, shape = value.kernel.params, self.values[value.kernel.reads[0]].shape
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

    def operand(self, b: int, kernel: Kernel) -> tuple[int, int, tuple[int, int, int]] | None:
        """A matrix product's operand as (stored buffer, offset, strides of batch, row and column).

        None if its batches do not lie evenly, or no axis of its matrices is contiguous.
        """
        found = self.strided(b)
        if found is None:
            return None
        source, strides, offset = found
        shape = kernel.node.shape[:-2]
        axes = [(n, s) for n, s in zip(shape, strides[:-2], strict=True) if n != 1]
        even = all(s == n * t for (_, s), (n, t) in itertools.pairwise(axes))
        row, column = strides[-2:]
        rows, columns = self.values[b].shape[-2:]
        if not even or not (row == 1 or column == 1 or min(rows, columns) == 1):
            return None
        return source, offset, (axes[-1][1] if axes else 0, row, column)


def storage(program: Program) -> Storage:
    """Decide what of a program is stored."""
    values = _values(program)
    store = Storage(values, set(range(program.inputs + len(program.constants))))
    store.stored.update(program.outputs)
    users: dict[int, list[Kernel]] = {}
    for kernel in program.kernels:
        for r in dict.fromkeys(kernel.reads):
            users.setdefault(r, []).append(kernel)
    depth: dict[int, int] = {}
    for kernel in program.kernels:
        b, kind = kernel.writes, values[kernel.writes].kind
        if kind not in ("view", "elementwise"):
            store.stored.add(b)
            if kind in ("numpy", "random"):
                store.stored.update(kernel.reads)
            if kind == "matmul":
                _store_operands(kernel, store)
        depth[b] = 0 if b in store.stored else 1 + sum(depth.get(r, 0) for r in kernel.reads)
        if kind == "elementwise" and b not in store.stored:
            uses = users.get(b, [])
            size = math.prod(values[b].shape)
            spread = any(_spreads(u, values) for u in uses)
            if depth[b] > DEEP or ((len(uses) > 1 or spread) and (size > 1 or depth[b] > 1)):
                store.stored.add(b)
                depth[b] = 0
    for kernel in program.kernels:  # views of what was stored since may have to be as well
        if values[kernel.writes].kind == "matmul":
            _store_operands(kernel, store)
    return store


def _store_operands(kernel: Kernel, store: Storage) -> None:
    store.stored.update(r for r in kernel.reads if store.operand(r, kernel) is None)


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
        return "reduction" if kinds[1].kind in REDUCTIONS[kernel.op] else "numpy"
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


def _spreads(kernel: Kernel, values: dict[int, Value]) -> bool:
    """Whether a kernel reads each element more than once."""
    sizes = [math.prod(values[r].shape) for r in kernel.reads]
    return kernel.op is ops.broadcast_to and math.prod(kernel.node.shape) > max(sizes, default=0)


def divides(value: Value) -> bool:
    """Whether it is the quotient or remainder of whole numbers, which fails where one is 0."""
    return value.op in (ops.floor_divide, ops.remainder) and value.dtype.kind in "iu"


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a row-major array, in elements."""
    return tuple(math.prod(shape[a + 1 :]) for a in range(len(shape)))
