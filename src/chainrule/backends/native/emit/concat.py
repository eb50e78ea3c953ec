"""concat: each part is copied to its place."""

from __future__ import annotations

from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """Part by part along the axis."""
    b = loops.task.group.main
    kernel = loops.storage.kernel(b)
    axis, at = kernel.params["axis"], 0
    cut = loops.task.cut.axis if loops.part is not None else None
    for r in kernel.reads:
        shape = loops.buffers[r].shape

        def one(index: Index, r: int = r, at: int = at) -> None:
            place = list(index)
            place[axis] = loops.weighted((index[axis], 1), (at, 1))
            loops.store(b, tuple(place), loops.value(r, index))

        loops.nest(shape, one, cut)
        at += shape[axis]
