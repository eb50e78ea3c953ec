"""scatter_add: zeros, and each update added at its index, in order."""

from __future__ import annotations

from ....dtypes import is_floating
from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """One after another: two updates may have the same index."""
    b = loops.task.group.main
    kernel = loops.storage.kernel(b)
    updates, indices = kernel.reads
    axis, wide = kernel.params["axis"], len(loops.buffers[indices].shape)
    zero, builder = loops.zero(b), loops.builder
    loops.nest(loops.buffers[b].shape, lambda index: loops.store_raw(b, index, zero))
    add = builder.fadd if is_floating(loops.buffers[b].dtype) else builder.add

    def one(index: Index) -> None:
        row = loops.checked(indices, index[axis : axis + wide], kernel.params["size"])
        place = (*index[:axis], row, *index[axis + wide :])
        before, new = loops.load_raw(b, place), loops.value(updates, index)
        loops.store_raw(b, place, add(before, new))

    loops.nest(loops.buffers[updates].shape, one)
