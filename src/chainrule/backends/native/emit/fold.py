"""fold: zeros, and each window added where it was taken from."""

from __future__ import annotations

from ....dtypes import is_floating
from .loops import Index, Loops


def emit(loops: Loops) -> None:
    """This thread's images."""
    b, builder = loops.task.group.main, loops.builder
    kernel = loops.storage.kernel(b)
    windows = kernel.node.inputs[0].shape
    n = len(kernel.params["size"])
    steps = [*zip(kernel.params["stride"], kernel.params["dilation"], strict=True)]
    zero, real = loops.zero(b), is_floating(loops.buffers[b].dtype)
    cut = loops.task.cut.axis if loops.part else None
    loops.nest(loops.buffers[b].shape, lambda index: loops.store_raw(b, index, zero), cut)

    def add(index: Index) -> None:
        places = (
            loops.weighted((i, stride), (k, gap))
            for i, k, (stride, gap) in zip(index[1 : n + 1], index[n + 1 : -1], steps, strict=True)
        )
        to = (index[0], *places, index[-1])
        before, value = loops.load_raw(b, to), loops.value(kernel.reads[0], index)
        loops.store_raw(b, to, (builder.fadd if real else builder.add)(before, value))

    loops.nest(windows, add, cut)
