"""pad: zeros, and the source at its place, with gaps between its elements if there are."""

from __future__ import annotations

from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """Zeros first, then the source."""
    b = loops.task.group.main
    kernel = loops.storage.kernel(b)
    low, interior = kernel.params["low"], kernel.params["interior"]
    zero = loops.zero(b)
    loops.nest(loops.buffers[b].shape, lambda index: loops.store_raw(b, index, zero))

    def one(index: Index) -> None:
        place = tuple(
            loops.weighted((i, gap + 1), (first, 1))
            for i, gap, first in zip(index, interior, low, strict=True)
        )
        loops.store(b, place, loops.value(kernel.reads[0], index))

    loops.nest(loops.buffers[kernel.reads[0]].shape, one)
