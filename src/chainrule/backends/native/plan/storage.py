"""What of a program is stored in memory, and what is computed where it is used.

A buffer is *stored* when something needs it as an array: it is an output, an operand of a matrix
product, the result of a loop of its own, read by an operation that runs in NumPy, or used more than
once and not quickly done again. Everything else is computed inside the loops that use it. Views
(reshape, transpose, broadcast, slice, flip) are never stored for their own sake: they are ways to
compute an index.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .... import ops
from ....dtypes import is_half, uint8
from ....graph import Spec
from ...program import Kernel, Program
from ..formulas import FORMULAS
from .buffers import Buffer, Storage
from .kinds import ELEMENTWISE, NUMPY, VIEW, kinds_of
from .views import index_map

if TYPE_CHECKING:
    from .stages import Plan

DEEP = 24  # operations in one expression: then it is stored, so that code stays short
QUICK = 6  # operations on one array that are done again wherever the result is used
WORTH_EXPONENTIALS = (
    1 << 20
)  # elements of an array that takes longer to write and read than exponentials do
SHARED = 8  # elements that share one of a smaller array beside it: a number per row, say


def storage_of(
    program: Program, planned: Callable[[Program], Plan], in_loop: bool = False
) -> Storage:
    """Decide what of a program is stored.

    planned   gives the plan of a loop's body
    in_loop   the program is such a body
    """
    buffers = _buffers(program, planned)
    stored = set(range(program.inputs + len(program.constants)))
    stored.update(program.outputs)
    storage = Storage(buffers, stored, in_loop)  # of what is stored so far
    users: dict[int, list[Kernel]] = {}
    for kernel in program.kernels:
        for r in dict.fromkeys(kernel.reads):
            users.setdefault(r, []).append(kernel)
    depth: dict[int, int] = {}
    quick = _Quick(program, storage)
    for kernel in program.kernels:
        b = kernel.writes
        kind = storage.kind(b)
        if not kind.inline:
            stored.add(b)
            stored.update(kind.stored(kernel, storage))
        counts = not (_rounds(kernel) or buffers[b].from_half)
        depth[b] = 0 if b in stored else counts + sum(depth.get(r, 0) for r in kernel.reads)
        if kind is ELEMENTWISE and b not in stored:
            uses = users.get(b, [])
            size = math.prod(buffers[b].shape)
            spread = any(_spreads(use) for use in uses)
            deep = depth[b] > DEEP and not any(map(_rounds, uses))
            again = len(uses) > 1 and not quick.has(b)
            if deep or ((again or spread) and (size > 1 or depth[b] > 1)):
                short = kernel.reads[0] if buffers[b].from_half else b  # half the bytes
                stored.add(short)
                depth[short] = 0
                depth[b] = 0
    for kernel in program.kernels:  # views of what was stored since may have to be as well
        stored.update(storage.kind(kernel.writes).stored(kernel, storage))
    return Storage(buffers, frozenset(stored), in_loop)


@dataclass(frozen=True)
class _Expression:
    """What makes a result of stored arrays.

    computed   the buffers of its operations
    arrays     the stored buffers of its size
    latest     of the smaller arrays that are repeated beside them, the one that is made last
    """

    computed: frozenset[int] = frozenset()
    arrays: frozenset[int] = frozenset()
    latest: int = -1

    def __or__(self, other: _Expression) -> _Expression:
        return _Expression(
            self.computed | other.computed,
            self.arrays | other.arrays,
            max(self.latest, other.latest),
        )


class _Quick:
    """Which results are a few vector instructions on one array: they are computed at each use.

    Memory is slower than these instructions, and an array less is written and read: than an
    exponential too, if the array is large, as the scores of all words of a vocabulary. Not of an
    array that is wider than the result, such as a bool; of an input that is replaced, which would
    be needed longer. Of a product only what needs something that is made later, such as the mean of
    the product: the rest can be computed in its registers.
    """

    def __init__(self, program: Program, storage: Storage) -> None:
        self._storage = storage
        self._replaced = {old for _, old in program.updates}
        self._known: dict[int, _Expression | None] = {}

    def has(self, b: int) -> bool:
        """Of a buffer that is not stored; the buffers before it are decided."""
        parts = self._expression(b)
        if parts is None or len(parts.computed) > QUICK or len(parts.arrays) != 1:
            return False
        (array,) = parts.arrays
        buffers = self._storage.buffers
        kind = buffers[array].kind
        if kind is not None and kind.finishes:
            return parts.latest > array
        return bool(buffers[b].dtype.itemsize >= buffers[array].dtype.itemsize)

    def _expression(self, b: int) -> _Expression | None:
        """How it is made; None if it is not that simple."""
        buffer = self._storage.buffers[b]
        if b in self._storage.stored:
            kind = buffer.kind
            simple = kind is None or kind is ELEMENTWISE or kind.finishes
            return (
                _Expression(arrays=frozenset([b])) if simple and b not in self._replaced else None
            )
        if b not in self._known:
            self._known[b] = self._computed(b)
        return self._known[b]

    def _computed(self, b: int) -> _Expression | None:
        buffer = self._storage.buffers[b]
        if buffer.map is not None:
            source = buffer.reads[0]
            if buffer.map.stretches:
                few = SHARED * math.prod(buffer.map.source) <= math.prod(buffer.map.view)
                base = self._storage.base(source)
                there = base in self._storage.stored
                return _Expression(latest=base) if few and there else None
            return self._expression(source) if buffer.map.changes_nothing else None
        row = FORMULAS.get(buffer.op) if buffer.op is not None else None
        large = math.prod(buffer.shape) >= WORTH_EXPONENTIALS and buffer.op is ops.exp
        if row is None or not (row.vectors or large) or buffer.op is ops.divide:
            return None
        parts = _Expression(frozenset([b]))
        for r in buffer.reads:
            part = self._expression(r)
            if part is None:
                return None
            parts |= part
        return parts


def _buffers(program: Program, planned: Callable[[Program], Plan]) -> dict[int, Buffer]:
    specs: list[Spec] = [*program.arguments, *program.constants]
    buffers = {b: Buffer(spec.shape, spec.dtype) for b, spec in enumerate(specs)}
    kinds = kinds_of(program)
    for kernel in program.kernels:
        kind, node = kinds[kernel.writes], kernel.node
        shape, dtype, body = node.shape, node.dtype, None
        if isinstance(dtype, tuple) and kind is not NUMPY:
            body = planned(kernel.body) if kernel.body is not None else None
            shape, dtype = (kind.memory(kernel, body),), uint8
        lies = index_map(kernel) if kind is VIEW else None
        buffers[kernel.writes] = Buffer(shape, dtype, kernel, kind, lies, body)
    return buffers


def _rounds(kernel: Kernel) -> bool:
    """Whether it casts to 16 bits: what it casts is then stored as that, if it is stored."""
    return kernel.op is ops.astype and is_half(kernel.node.dtype)


def _spreads(kernel: Kernel) -> bool:
    """Whether a kernel reads each element more than once."""
    sizes = [math.prod(node.shape) for node in kernel.node.inputs]
    repeats = kernel.op in (ops.broadcast_to, ops.unfold)
    return repeats and math.prod(kernel.node.shape) > max(sizes, default=0)
