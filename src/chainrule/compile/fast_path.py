"""The fast path: the same step again, on arguments of the same kind, in a few microseconds.

A call takes it where nothing has changed but the values of arguments, and otherwise goes through
all that `Compiled.__call__` does, which ends with a fast path for the next call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import tree
from ..graph import Array
from ..guards.counting import changes
from ..tensor import Tensor, make
from ..trace import state
from .arguments import varies
from .resident import ResidentTensors
from .step import Step


class FastPaths:
    """The fast paths of a compiled function: of its last call, and by the identity of the step."""

    def __init__(self) -> None:
        self.last: FastPath | None = None
        self.of_steps: dict[int, FastPath] = {}


class FastPath:
    """A step whose tensors stay with it, and the kinds of the arguments that it was called with."""

    def __init__(self, step: Step, resident: ResidentTensors, args: tuple[Any, ...]) -> None:
        self._step, self._resident, self._grad = step, resident, state.grad
        self._one = step.structure is tree.LEAF and not step.graded
        leaves, self._structure = tree.flatten(args)
        self._flat = all(map(varies, args))
        self._plain = all(_is_plain(t) for t in leaves)
        arrays = [t._value if isinstance(t, Tensor) else t for t in leaves if self._plain]
        self._specs = [(a.shape, a.dtype) for a in arrays]
        self.can_repeat = self._plain and resident.can_repeat()

    def call(self, args: tuple[Any, ...]) -> tuple[Any] | None:
        """The result in a tuple; None where the call has to see what has changed."""
        step, resident = self._step, self._resident
        leaves: Sequence[Any] = args
        if not self._flat:
            leaves, structure = tree.flatten(args)
            if structure != self._structure:
                return None
        specs, placed = self._specs, resident.placed
        if not self._plain or len(leaves) != len(specs) or state.grad is not self._grad:
            return None
        values, moved = [], False
        for k, t in enumerate(leaves):
            if type(t) is Tensor:
                value, node = t._value, t._node
                if node is not None and node.requires_grad:
                    return None
                known = value is placed[k]
            elif _is_plain(t):
                value, known = t, False  # its shape may have been set since
            else:
                return None
            values.append(value)
            if not known:
                moved = True
                if value is None or (value.shape, value.dtype) != specs[k]:
                    return None
        with resident.lock:
            if not (
                len(resident.present) == resident.count
                and step.unchanged_at == changes.count
                and step.surroundings.unchanged()
            ):
                return None
            if step.unread:
                step.warn_of_unread_gradients()
                step.mark_gradients_unread()
            if moved or placed is not resident.placed:
                resident.place_arguments(values)
            results = resident.run_in_place()
        if self._one:
            return (make(results[0]),)
        return (step.structured([make(v) for v in results]),)

    def repeat(
        self, count: int, arguments: Sequence[Array], varying: Sequence[tuple[Tensor, Array]]
    ) -> list[Array] | None:
        """As `Compiled.repeat`, for this step."""
        specs = zip(arguments, self._specs, strict=False)
        alike = (
            self.can_repeat
            and state.grad is self._grad
            and len(arguments) == len(self._specs)
            and all(
                shape
                and a.dtype == dtype
                and a.shape == (count * shape[0], *shape[1:])
                and a.flags.c_contiguous
                for a, (shape, dtype) in specs
            )
            and self._step.is_current()
        )
        return self._resident.repeat(count, arguments, varying) if alike else None


def _is_plain(t: Any) -> bool:
    """Whether it is a tensor that nothing is differentiated by, or an array as it is."""
    if type(t) is np.ndarray:
        return bool(t.flags.c_contiguous and t.flags.aligned)
    return type(t) is Tensor and (t._node is None or not t._node.requires_grad)
