"""Whether code outside of this library rearranges elements: images have another order here."""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from ..errors import ArgumentError, user_line
from ..guards.functions import called_functions, in_library, module_of, names_in

INTEROP = "cr.interop.torch.load_state_dict(model, state)"  # advice for PyTorch's values
_REARRANGE = frozenset(
    {
        "reshape",
        "reshape_as",
        "view",
        "view_as",
        "flatten",
        "unflatten",
        "ravel",
        "flat",
        "permute",
        "permute_dims",
        "transpose",
        "matrix_transpose",
        "swapaxes",
        "swapdims",
        "moveaxis",
        "movedim",
        "rearrange",
        "Flatten",
    }
)


class Ordered(Protocol):
    """A module, as `expect_own_order` uses it."""

    _channels_last: bool

    def _rearranges(self) -> bool: ...


def rearranges(callables: Iterable[Any]) -> bool:
    """Whether the code of one of them, or of one that it calls, names such an operation.

    Of what they call, functions of the same module and closed-over ones are looked into, one level
    deep; of this library's functions the name alone counts.
    """
    for value in callables:
        if isinstance(value, operator.methodcaller) and value.__reduce__()[1][0] in _REARRANGE:
            return True
        for f in called_functions(value):
            if _names_it(f) or any(_names_it(called) for called in _called(f)):
                return True
    return False


def _names_it(function: types.FunctionType) -> bool:
    if in_library(module_of(function)):
        return function.__name__ in _REARRANGE
    return not _REARRANGE.isdisjoint(names_in(function.__code__, strings=True))


def _called(function: types.FunctionType) -> Iterator[types.FunctionType]:
    if in_library(module_of(function)):
        return
    space = function.__globals__
    near: list[Any] = [space.get(name) for name in names_in(function.__code__)]
    for cell in function.__closure__ or ():
        try:
            near.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    for value in near:
        for called in called_functions(value):
            if called.__globals__ is space or in_library(module_of(called)):
                yield called


def expect_own_order(modules: Iterable[tuple[str, Ordered]], values: Mapping[str, Any]) -> None:
    """Raise if the values are PyTorch's and a module has some of them in another order."""
    tensors = [name for name, value in values.items() if is_torch_tensor(value)]
    views = [
        name
        for name, value in values.items()
        if isinstance(value, np.ndarray) and value.ndim > 1 and is_torch_tensor(value.base)
    ]
    if not tensors and not views:
        return
    for path, m in modules:
        rearranging = m._rearranges()
        if not m._channels_last and not rearranging:
            continue
        weight = f"{path}.weight" if path else "weight"
        every = rearranging or "weight" not in vars(m)
        concerned = [*tensors, *(name for name in views if every or name == weight)]
        if concerned:
            raise ArgumentError(
                "load_state_dict",
                f"got a tensor of PyTorch for {concerned[0]}",
                f"expected arrays in the order of this model, which has a {type(m).__name__}"
                + (" that rearranges elements" if rearranging else ""),
                f"use {INTEROP}, which puts them in order",
                user_line(),
            )


def is_torch_tensor(value: Any) -> bool:
    """Whether it is a tensor of PyTorch, which is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)
