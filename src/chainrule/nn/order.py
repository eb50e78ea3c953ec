"""Whether code outside of this library rearranges elements: an image's have another order here."""

from __future__ import annotations

import operator
import types
from collections.abc import Iterable, Iterator
from typing import Any

from ..guards.variables import functions_of, is_ours, module_of, names_of

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
        for f in functions_of(value):
            if _names_it(f) or any(_names_it(called) for called in _called(f)):
                return True
    return False


def _names_it(function: types.FunctionType) -> bool:
    if is_ours(module_of(function)):
        return function.__name__ in _REARRANGE
    return not _REARRANGE.isdisjoint(names_of(function.__code__, texts=True))


def _called(function: types.FunctionType) -> Iterator[types.FunctionType]:
    if is_ours(module_of(function)):
        return
    space = function.__globals__
    near: list[Any] = [space.get(name) for name in names_of(function.__code__)]
    for cell in function.__closure__ or ():
        try:
            near.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    for value in near:
        for called in functions_of(value):
            if called.__globals__ is space or is_ours(module_of(called)):
                yield called
