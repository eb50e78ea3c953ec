"""The reference backend: each kernel by its meaning in NumPy, one after another. Runs anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Array
from ..numerics import failure
from .program import Program


def build(program: Program) -> Callable[[Sequence[Array]], list[Array]]:
    """A function from the program's inputs to its outputs."""
    first = program.inputs
    steps = [(k.op.evaluate, k.reads, k.writes, k.params, k.frees, k) for k in program.kernels]

    def run(arrays: Sequence[Array]) -> list[Array]:
        buffers: list[Any] = [None] * program.buffers
        buffers[:first] = arrays
        buffers[first : first + len(program.constants)] = program.constants
        with np.errstate(all="ignore"):
            for evaluate, reads, writes, params, frees, kernel in steps:
                try:
                    buffers[writes] = evaluate(*[buffers[r] for r in reads], **params)
                except Exception as error:
                    raise failure(kernel.node, error) from None
                for f in frees:
                    buffers[f] = None
        return [np.asarray(buffers[o]) for o in program.outputs]

    return run
