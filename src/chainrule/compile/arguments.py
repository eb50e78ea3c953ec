"""The arguments of a compiled function: its tensors, and the key of the steps that fit them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..errors import ArgumentError, TraceError
from ..graph import spec_text
from ..guards.snapshots import same
from ..tensor import Tensor, as_tensor
from ..trace import state

Key = tuple[Hashable, tuple[Hashable, ...], bool]


class Arguments:
    """The arguments of one call, flattened.

    leaves      all values in them, in order
    structure   the tuples, lists and dicts around the leaves
    tensors     the leaves that vary from call to call: tensors, and arrays as tensors
    """

    __slots__ = ("leaves", "structure", "tensors")

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.leaves, self.structure = tree.flatten((args, kwargs))
        self.tensors = [as_tensor(leaf) for leaf in self.leaves if varies(leaf)]

    @property
    def static(self) -> list[Any]:
        """The leaves that are constants of the step."""
        return [leaf for leaf in self.leaves if not varies(leaf)]

    def with_tensors(self, tensors: Sequence[Tensor]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """args and kwargs with other tensors in the places of these."""
        rest = iter(tensors)
        leaves = [next(rest) if varies(leaf) else leaf for leaf in self.leaves]
        args, kwargs = tree.unflatten(self.structure, leaves)
        return args, kwargs

    def key(self) -> Key:
        """Equal for calls that one step can serve, as far as arguments decide it."""
        tensors = iter(self.tensors)
        leaves = [
            _tensor_key(next(tensors)) if varies(leaf) else StaticArgument(leaf)
            for leaf in self.leaves
        ]
        return self.structure, tuple(leaves), state.grad


def varies(leaf: Any) -> bool:
    """Whether a value in the arguments is an input of the program, and not a constant of it."""
    return isinstance(leaf, (Tensor, np.ndarray))


def _tensor_key(t: Tensor) -> Hashable:
    if t._value is None:
        raise TraceError(
            "compile",
            f"got a traced {spec_text(t)} after its trace had ended",
            "expected a tensor that has a value",
            "return it from the function in which it was computed",
        )
    return t.shape, t.dtype, t.requires_grad


class StaticArgument:
    """An argument that is no tensor: part of the key, by identity or, if it is plain, by value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            raise ArgumentError(
                "compile",
                f"got an argument of type {type(value).__name__}",
                "expected tensors, arrays, hashable values and lists, tuples, dicts of them",
                "pass tensors, or close over the object",
            ) from None
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StaticArgument) and same(self.value, other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value)) if isinstance(self.value, float) else hash(self.value)
