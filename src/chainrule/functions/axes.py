"""Arguments for axes and sizes, checked and counted from 0."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, AxisError, DtypeError, ShapeError, user_line
from ..graph import Shape


def one(name: str, axis: Any, ndim: int) -> int:
    """One axis; below 0 it counts from the end."""
    try:
        axis = _index(axis)
    except TypeError:
        raise DtypeError(
            name,
            f"got axis {axis!r}",
            "expected a whole number",
            "count axes from 0, or from -1 at the end",
            user_line(),
        ) from None
    if not -ndim <= axis < ndim:
        raise AxisError(
            name,
            f"got axis {axis} for {ndim} axes",
            f"expected {-ndim} to {ndim - 1}" if ndim else "expected a tensor with axes",
            "count axes from 0, or from -1 at the end",
            user_line(),
        )
    return axis + ndim if axis < 0 else axis


def _index(value: Any) -> int:
    """The whole number that it is; a bool or a vector is an argument in the wrong place."""
    if isinstance(value, bool) or getattr(value, "shape", ()) != ():
        raise TypeError
    return operator.index(value)


def flag(name: str, setting: str, value: Any) -> bool:
    """True or False, and no other value that Python treats as one of them."""
    if not isinstance(value, (bool, np.bool_)):
        raise DtypeError(
            name,
            f"got {setting} {value!r}",
            "expected True or False",
            "give the other arguments by name",
            user_line(),
        )
    return bool(value)


def several(name: str, axis: Any, ndim: int) -> Shape:
    """Axes in increasing order; None is all."""
    if axis is None:
        return tuple(range(ndim))
    return distinct(name, [one(name, a, ndim) for a in listed(axis)])


def listed(axis: Any) -> Sequence[Any]:
    """One axis or several, as a sequence."""
    return axis if isinstance(axis, (tuple, list)) else (axis,)


def distinct(name: str, axes: Sequence[int]) -> Shape:
    """The axes in increasing order, each once."""
    if len(set(axes)) != len(axes):
        raise ShapeError(
            name,
            f"got axes {tuple(axes)}",
            "expected each axis once",
            "remove the repeated one",
            user_line(),
        )
    return tuple(sorted(axes))


def count(name: str, value: Any, least: int | None = 0) -> int:
    """A whole number, `least` or more (None: any)."""
    return counts(name, (value,), least)[0]


def counts(name: str, values: Any, least: int | None = 0) -> Shape:
    """Whole numbers, `least` or more (None: any): one, or a sequence of them."""
    numbers: Shape | None
    try:
        if not isinstance(values, (tuple, list)):
            values = tuple(values) if getattr(values, "shape", ()) else (values,)
        numbers = tuple(_index(v) for v in values)
    except TypeError:
        numbers = None
    if numbers is None or (least is not None and any(n < least for n in numbers)):
        got = repr(values[0] if len(values) == 1 else values)
        bound = "" if least is None else f" from {least}"
        raise ArgumentError(
            name,
            f"got {got}",
            f"expected whole numbers{bound}",
            "convert it with int()",
            user_line(),
        )
    return numbers
