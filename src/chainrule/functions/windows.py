"""Windows that slide over the input, and pooling: each window reduced to one number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..dtypes import is_integer
from ..errors import ArgumentError, ShapeError, user_line
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from .contractions import each
from .padding import pad
from .reductions import in_float32
from .reductions import max as _max
from .reductions import sum as _sum


def unfold(x: Any, /, window: Any, *, stride: Any = None, dilation: Any = 1) -> Tensor:
    """Every window of x: (N, *size, C) becomes (N, *out, *window, C). stride None: the window."""
    x = as_tensor(x)
    n = x.ndim - 2
    if not 1 <= n <= 3:
        raise ShapeError(
            "unfold",
            f"got {spec_text(x)}",
            "expected (N, *size, C) with 1 to 3 sizes",
            "add a batch axis",
            user_line(),
        )
    window = each("unfold", window, n, 1)
    stride = window if stride is None else each("unfold", stride, n, 1)
    return ops.unfold(x, window=window, stride=stride, dilation=each("unfold", dilation, n, 1))


def _padded(
    name: str, x: Tensor, window: Any, padding: Any, value: float, dilation: Any = 1
) -> Tensor:
    """x with the padding; an error if a window could consist of padding alone."""
    n = x.ndim - 2
    if not 1 <= n <= 3:
        raise ShapeError(
            name,
            f"got {spec_text(x)}",
            "expected (N, *size, C) with 1 to 3 sizes",
            "add a batch axis, x[None]",
            user_line(),
        )
    sizes = each(name, padding, n, 0)
    kernel, gaps = each(name, window, n, 1), each(name, dilation, n, 1)
    if any(2 * p > k for p, k in zip(sizes, kernel, strict=True)):
        raise ArgumentError(
            name,
            f"got padding {padding!r} and the window {window!r}",
            "expected a padding of half the window at most",
            f"padding={min(kernel) // 2}: a window of padding alone has no value",
            user_line(),
        )
    for size, p, k, d in zip(x.shape[1:-1], sizes, kernel, gaps, strict=True):
        starts = range(-p, size + p - d * (k - 1)) if p and d > size else ()
        if any(all(not 0 <= i + d * j < size for j in range(k)) for i in starts):
            raise ShapeError(
                name,
                f"got {spec_text(x)} with padding {padding!r} and dilation {dilation!r}",
                "expected an element in each window",
                "use a dilation of the size at most",
                user_line(),
            )
    return pad(x, [(0, 0), *((p, p) for p in sizes), (0, 0)], value=value) if any(sizes) else x


def max_pool(
    x: Any, /, window: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1
) -> Tensor:
    """The largest in each window of x (N, *size, C); padding counts as -inf.

    Elements of a window that tie share its gradient equally. A NaN makes the result of its windows
    NaN, and the gradients of all elements in them.
    The padding is half of the window at most, so that each window has an element.
    """
    x = as_tensor(x)
    n = x.ndim - 2
    lowest = np.iinfo(x.dtype).min if is_integer(x.dtype) else -math.inf
    padded = _padded("max_pool", x, window, padding, lowest, dilation)
    views = unfold(padded, window, stride=stride, dilation=dilation)
    return _max(views, axis=tuple(range(n + 1, 2 * n + 1)))


def sum_pool(x: Any, /, window: Any, *, stride: Any = None, padding: Any = 0) -> Tensor:
    """The sum over each window of x (N, *size, C); whole numbers are summed in 64 bits."""
    x = as_tensor(x)
    n = x.ndim - 2
    views = unfold(_padded("sum_pool", x, window, padding, 0), window, stride=stride)
    return _sum(views, axis=tuple(range(n + 1, 2 * n + 1)))


@in_float32
def avg_pool(x: Tensor, /, window: Any, *, stride: Any = None, padding: Any = 0) -> Tensor:
    """The mean over each window of x (N, *size, C); padding counts as 0."""
    views = _padded("avg_pool", x, window, padding, 0)
    size = math.prod(each("avg_pool", window, x.ndim - 2, 1))
    return sum_pool(views, window, stride=stride) / size
