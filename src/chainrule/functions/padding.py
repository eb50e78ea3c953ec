"""Tensors made larger: repeating and padding."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import cast, expand
from ..convert import to_array
from ..dtypes import bool_, is_boolean, is_exact, is_floating, is_integer
from ..errors import ArgumentError, DtypeError, ShapeError, user_line
from ..graph import spec_text
from ..hints import explain_arguments
from ..tensor import Tensor, as_tensor, constant
from . import axes as _axes
from .elementwise import own, where
from .shaping import reshape


def tile(x: Any, repetitions: Any, /) -> Tensor:
    """The whole tensor repeated along each axis."""
    x = as_tensor(x)
    times = _axes.counts("tile", repetitions)
    n = max(len(times), x.ndim)
    times, sizes = (1,) * (n - len(times)) + times, (1,) * (n - x.ndim) + x.shape
    apart = tuple(m for pair in zip((1,) * n, sizes, strict=True) for m in pair)
    wide = tuple(m for pair in zip(times, sizes, strict=True) for m in pair)
    whole = tuple(a * b for a, b in zip(times, sizes, strict=True))
    return reshape(expand(reshape(x, apart), wide), whole)


@explain_arguments
def repeat(x: Any, repeats: Any, /, axis: int | None = None) -> Tensor:
    """Each element repeated along an axis, `repeats` times (one number, or one per element)."""
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = _axes.one("repeat", axis, x.ndim)
    counts = to_array(repeats)
    if not is_integer(counts.dtype) or counts.min(initial=0) < 0:
        raise ArgumentError(
            "repeat",
            f"got {repeats}",
            "expected whole numbers from 0",
            "pass one number, or one per element of the axis",
        )
    if counts.ndim > 1 or counts.size not in (1, x.shape[axis]):
        raise ShapeError(
            "repeat",
            f"got {counts.shape} repeats",
            f"expected one number, or {x.shape[axis]}",
            "pass axis= if another axis is meant",
        )
    n = x.shape[axis]
    rows = np.repeat(np.arange(n), np.broadcast_to(counts.astype(np.int64), n))
    out: Tensor = ops.take(x, Tensor(rows), axis=axis)
    return out


def pad(x: Any, widths: Any, mode: str = "constant", value: Any = 0) -> Tensor:
    """Each axis extended at both ends.

    widths  (before, after) for each axis, one pair for all, or one number
    mode    "constant" (the value), "edge" (the last element), "reflect" (mirrored about it) or
            "wrap" (the other end follows)
    """
    x = as_tensor(x)
    try:
        each = np.broadcast_to(np.asarray(widths), (x.ndim, 2))
        pairs = [tuple(map(operator.index, p)) for p in each]
    except (ValueError, TypeError):
        raise ShapeError(
            "pad",
            f"got widths {widths}",
            f"expected a pair (before, after) for each of {x.ndim} axes",
            "for example ((1, 1), (0, 2))",
        ) from None
    if any(n < 0 for p in pairs for n in p):
        raise ArgumentError(
            "pad", f"got widths {widths}", "expected no width below 0", "slice to make smaller"
        )
    if mode == "constant":
        ends = {"low": tuple(p[0] for p in pairs), "high": tuple(p[1] for p in pairs)}
        sizes = {**ends, "interior": (0,) * x.ndim}
        out: Tensor = ops.pad(x, **sizes)
        if isinstance(value, (int, float)) and value == 0:
            return out
        if np.ndim(value):
            raise ShapeError(
                "pad",
                f"got value {value}",
                "expected one number",
                "use concat to join other values",
            )
        inside = ops.pad(constant(x.shape, True, bool_), **sizes)
        return where(inside, out, _filling(x, value))
    if mode not in ("edge", "reflect", "wrap"):
        raise ArgumentError(
            "pad",
            f"got mode {mode!r}",
            "expected constant, edge, reflect or wrap",
            'mode="constant" fills with value=',
        )
    out = x
    for axis, (low, high) in enumerate(pairs):
        n = x.shape[axis]
        if (low or high) and (n == 0 or (mode == "reflect" and max(low, high) >= n)):
            raise ShapeError(
                "pad",
                f"got {(low, high)} for a size of {n}",
                f"expected smaller widths for mode {mode}",
                'mode="constant" has no such limit',
            )
        if low or high:
            at = np.arange(-low, n + high)
            if mode == "edge":
                at = np.clip(at, 0, n - 1)
            else:
                at = at % n if mode == "wrap" else n - 1 - np.abs(n - 1 - np.abs(at))
            out = ops.take(out, Tensor(at), axis=axis)
    return own(out, x)


def _filling(x: Tensor, value: Any) -> Any:
    """The value as x's dtype holds it; whole numbers are filled with whole numbers."""
    is_tensor = isinstance(value, Tensor)
    number = value if isinstance(value, (Tensor, int, float)) else to_array(value).item()
    whole = not is_floating(value.dtype) if is_tensor else float(number).is_integer()
    if is_exact(x.dtype) and not whole:
        raise DtypeError(
            "pad",
            f"got value {value} for {spec_text(x)}",
            "expected a whole number",
            "round it, or convert x with astype(x, float32)",
            user_line(),
        )
    if is_tensor:
        return cast(value, x.dtype)
    if is_boolean(x.dtype):
        return bool(number)
    return int(number) if is_integer(x.dtype) else float(number)
