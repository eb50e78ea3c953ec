"""The reference backend: each kernel by its meaning in NumPy, one after another. Runs anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Array
from ..graph_evaluation import failure
from .program import Program


class Interpreter:
    """A program whose kernels NumPy runs in turn, each call in arrays of its own."""

    memory = None  # nothing stays between calls

    def __init__(self, program: Program) -> None:
        self._program = program
        self._steps = [
            (k.op.evaluate, k.reads, k.writes, k.params, k.frees, k.node) for k in program.kernels
        ]

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """As `Executable.__call__`."""
        program, first = self._program, self._program.inputs
        # Any: an operation with several results leaves a tuple of arrays.
        buffers: list[Any] = [None] * program.buffers
        buffers[:first] = arrays
        buffers[first : first + len(program.constants)] = program.constants
        with np.errstate(all="ignore"):
            for evaluate, reads, writes, params, frees, node in self._steps:
                try:
                    buffers[writes] = evaluate(*[buffers[r] for r in reads], **params)
                except Exception as error:
                    raise failure(node, error) from None
                for f in frees:
                    buffers[f] = None
        return [np.asarray(buffers[o]) for o in program.outputs]

    def text(self, stage: str) -> str:
        """Of no stage: it runs the program as it is."""
        raise KeyError(stage)


build = Interpreter
