"""Whether code outside of this library rearranges elements: an image's have another order here."""

from __future__ import annotations

import operator
import types
from collections.abc import Iterable, Iterator
from typing import Any

from ..guards.functions import called_functions, in_library, module_of, names_in

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
