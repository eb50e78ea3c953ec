"""Axes as users write them, made into axes counted from 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import AxisError, ShapeError, user_line
from ..graph import Shape


def one(name: str, axis: Any, ndim: int) -> int:
    """One axis; below 0 it counts from the end."""
    axis = axis.__index__()
    if not -ndim <= axis < ndim:
        raise AxisError(
            name,
            f"got axis {axis} for {ndim} axes",
            f"{-ndim} to {ndim - 1} is needed" if ndim else "a tensor with axes is needed",
            "count axes from 0, or from -1 at the end",
            user_line(),
        )
    return int(axis + ndim if axis < 0 else axis)


def several(name: str, axis: Any, ndim: int) -> Shape:
    """Axes in increasing order; None is all."""
    if axis is None:
        return tuple(range(ndim))
    axes = [one(name, a, ndim) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    return distinct(name, axes)


def distinct(name: str, axes: Sequence[int]) -> Shape:
    """The axes in increasing order, each once."""
    if len(set(axes)) != len(axes):
        raise ShapeError(
            name, f"got axes {tuple(axes)}", "each axis once", "remove the repeated one",
            user_line(),
        )  # fmt: skip
    return tuple(sorted(axes))
