"""Pooling: what a small window sees, reduced to one number at each place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..errors import ShapeError, user_line
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from .contractions import each
from .reductions import in_float32
from .reductions import max as _max
from .reductions import sum as _sum
from .shaping import pad


def unfold(x: Any, /, window: Any, *, stride: Any = None, dilation: Any = 1) -> Tensor:
    """Every window of x: (N, *size, C) becomes (N, *out, *window, C). stride None: the window."""
    x = as_tensor(x)
    n = x.ndim - 2
    if not 1 <= n <= 3:
        raise ShapeError(
            "unfold", f"got {spec_text(x)}", "(N, *size, C) with 1 to 3 sizes", "add a batch axis",
            user_line(),
        )  # fmt: skip
    window = each("unfold", window, n, 1)
    stride = window if stride is None else each("unfold", stride, n, 1)
    return ops.unfold(x, window=window, stride=stride, dilation=each("unfold", dilation, n, 1))


def _padded(x: Tensor, padding: Any, value: float) -> Tensor:
    n = x.ndim - 2
    sizes = each("pool", padding, n, 0)
    return pad(x, [(0, 0), *((p, p) for p in sizes), (0, 0)], value=value) if any(sizes) else x


def max_pool(
    x: Any, /, window: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1
) -> Tensor:
    """The largest in each window of x (N, *size, C); padding counts as -inf.

    Elements of a window that tie share its gradient equally. A NaN makes the result of its windows
    NaN, and the gradients of all elements in them.
    """
    x = as_tensor(x)
    n = x.ndim - 2
    lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -math.inf
    views = unfold(_padded(x, padding, lowest), window, stride=stride, dilation=dilation)
    return _max(views, axis=tuple(range(n + 1, 2 * n + 1)))


def sum_pool(x: Any, /, window: Any, *, stride: Any = None, padding: Any = 0) -> Tensor:
    """The sum over each window of x (N, *size, C)."""
    x = as_tensor(x)
    n = x.ndim - 2
    views = unfold(_padded(x, padding, 0), window, stride=stride)
    return _sum(views, axis=tuple(range(n + 1, 2 * n + 1)), dtype=x.dtype)


@in_float32
def avg_pool(x: Tensor, /, window: Any, *, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean over each window of x (N, *size, C); padding counts as 0."""
    size = math.prod(each("avg_pool", window, x.ndim - 2, 1))
    return sum_pool(x, window, stride=stride, padding=padding) / size
