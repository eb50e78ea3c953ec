"""last_position: -1, and at each index the position of the last element that names it."""

from __future__ import annotations

from ..ir_types import I64
from ..plan.views import contiguous
from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """One after another: the last one stays."""
    b = loops.task.group.main
    kernel = loops.storage.kernel(b)
    (indices,), size = kernel.reads, kernel.params["size"]
    shape = loops.buffers[indices].shape
    loops.nest((size,), lambda index: loops.store_raw(b, index, I64(-1)))

    def one(index: Index) -> None:
        position = loops.weighted(*zip(index, contiguous(shape), strict=True))
        position = I64(position) if isinstance(position, int) else position
        loops.store_raw(b, (loops.checked(indices, index, size),), position)

    loops.nest(shape, one)
