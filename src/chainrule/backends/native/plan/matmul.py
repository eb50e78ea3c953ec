"""Matrix products: how their operands lie in memory, and so how they are cut."""

from __future__ import annotations

import math
from dataclasses import replace

from ...program import Kernel
from ..processor import Target
from .blocking import Blocking, Contraction, choose
from .buffers import Storage
from .packing import PACKED_MATMUL
from .views import contiguous, joint_stride

Strides = tuple[int, int, int]  # of batch, row and column, in elements


def operand(storage: Storage, b: int, kernel: Kernel) -> tuple[int, int, Strides] | None:
    """An operand of a product: (stored buffer, offset, strides).

    None if its batches do not lie evenly, or no axis of its matrices is contiguous.
    """
    source = storage.strided(b)
    if source is None:
        return None
    stored, strides, offset = source
    batch = joint_stride(kernel.node.shape[:-2], strides[:-2])
    row, column = strides[-2:]
    rows, columns = storage.buffers[b].shape[-2:]
    if batch is None or not (row == 1 or column == 1 or min(rows, columns) == 1):
        return None
    return stored, offset, (batch, row, column)


def operands(storage: Storage, b: int) -> list[tuple[int, int, Strides]]:
    """Both operands of a product that is planned.

    The strides of a packed one are those from row to row of a panel, and from column to column of
    panels.
    """
    kernel = storage.kernel(b)
    lie = [operand(storage, r, kernel) for r in _matrices(kernel)]
    if kernel.op is PACKED_MATMUL:
        _, inner, width = storage.buffers[kernel.reads[1]].shape
        lie.append((kernel.reads[1], 0, (0, width, inner)))
    return [o for o in lie if o is not None]


def _matrices(kernel: Kernel) -> tuple[int, ...]:
    """The operands of a product that are matrices, not packed."""
    return kernel.reads[:1] if kernel.op is PACKED_MATMUL else kernel.reads


def scattered_operands(kernel: Kernel, storage: Storage) -> list[int]:
    """What a product needs as an array where it cannot read its operands as they are."""
    scattered = [r for r in _matrices(kernel) if operand(storage, r, kernel) is None]
    packed = kernel.reads[1:] if kernel.op is PACKED_MATMUL else ()
    return [*packed, *(_to_store(r, kernel, storage) for r in scattered)]


def _to_store(b: int, kernel: Kernel, storage: Storage) -> int:
    """An operand; what it is a view of, if that has the same order or is a cast from 16 bits.

    Other loops, and other products, read that too.
    """
    base = b
    while storage.buffers[base].map is not None and base not in storage.stored:
        base = storage.buffers[base].reads[0]
    there = replace(storage, stored=storage.stored | {base})
    alike = there.strided(b) == (base, contiguous(storage.buffers[b].shape), 0)
    if not (alike or storage.buffers[base].from_half):
        return b
    return b if operand(there, b, kernel) is None else base


def blocking_of(
    b: int, storage: Storage, target: Target, *, unit: int = 0, plain: bool = False
) -> Blocking:
    """How a product is cut.

    unit    rows of a tile, over all columns; 0: as it is fastest
    plain   it is finished in registers (see `blocking.Contraction`)
    """
    left, right = operands(storage, b)
    kernel, buffer = storage.kernel(b), storage.buffers[b]
    inner = storage.buffers[kernel.reads[0]].shape[-1]
    panel = storage.buffers[kernel.reads[1]].shape[-1] if kernel.op is PACKED_MATMUL else 0
    *batch, m, n = buffer.shape
    spec = Contraction(
        m,
        n,
        inner,
        math.prod(batch),
        buffer.dtype.name,
        left[2],
        right[2],
        unit=unit,
        plain=plain,
        panel=panel,
    )
    return choose(spec, target)
