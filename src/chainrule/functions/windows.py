"""Windows that slide over the input, and pooling: each window reduced to one number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import cast, expand
from ..derivative_rows import Row, install
from ..dtypes import float32, is_half
from ..errors import ArgumentError, ShapeError, user_line
from ..graph import Shape, spec_text
from ..tensor import Tensor, as_tensor
from .contractions import each
from .elementwise import abs as _abs
from .elementwise import where
from .logic import equal
from .padding import pad
from .reductions import in_float32
from .reductions import sum as _sum

LARGE_WINDOW = 64  # elements: larger ones are pooled along one axis after another
Pairs = tuple[tuple[int, int], ...]


def unfold(x: Any, /, window: Any, *, stride: Any = None, dilation: Any = 1) -> Tensor:
    """Every window of x: (N, *size, C) becomes (N, *out, *window, C). stride None: the window."""
    x = as_tensor(x)
    n = _sizes("unfold", x)
    window = each("unfold", window, n, 1)
    stride = window if stride is None else each("unfold", stride, n, 1)
    return ops.unfold(x, window=window, stride=stride, dilation=each("unfold", dilation, n, 1))


def fold(x: Any, /, size: Any, *, stride: Any = None, dilation: Any = 1) -> Tensor:
    """The adjoint of `unfold`: windows (N, *out, *window, C) added where they were taken from.

    size     of the result (N, *size, C)
    stride   None: the window
    """
    x = as_tensor(x)
    n = len(size) if isinstance(size, (tuple, list)) else max((x.ndim - 2) // 2, 1)
    size, window = each("fold", size, n, 1), x.shape[n + 1 : -1]
    steps = window if stride is None else each("fold", stride, n, 1)
    gaps = each("fold", dilation, n, 1)
    sizes = [*zip(size, window, steps, gaps, strict=False)]
    out = tuple((m - d * (k - 1) - 1) // s + 1 for m, k, s, d in sizes)
    if x.ndim != 2 * n + 2 or out != x.shape[1 : n + 1]:
        raise ShapeError(
            "fold",
            f"got {spec_text(x)} for the size {size}",
            f"expected (N, *out, *window, C), the windows that unfold takes of {size}",
            "use the window, stride and dilation of unfold",
            user_line(),
        )
    return ops.fold(x, size=size, stride=steps, dilation=gaps)


def _sizes(name: str, x: Tensor) -> int:
    """How many sizes (N, *size, C) has, 1 to 3."""
    n = x.ndim - 2
    if not 1 <= n <= 3:
        raise ShapeError(
            name,
            f"got {spec_text(x)}",
            "expected (N, *size, C) with 1 to 3 sizes",
            "add a batch axis, x[None]",
            user_line(),
        )
    return n


class _Windows:
    """The windows of a pooling, checked.

    pads   (below, above) along each size; above a `ceil_mode` adds what the last window needs
    """

    def __init__(
        self,
        name: str,
        x: Tensor,
        window: Any,
        stride: Any,
        padding: Any,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        n = _sizes(name, x)
        self.size = x.shape[1:-1]
        self.padding = each(name, padding, n, 0)
        self.window, self.dilation = each(name, window, n, 1), each(name, dilation, n, 1)
        self.stride = self.window if stride is None else each(name, stride, n, 1)
        if any(2 * p > k for p, k in zip(self.padding, self.window, strict=True)):
            raise ArgumentError(
                name,
                f"got padding {padding!r} and the window {window!r}",
                "expected a padding of half the window at most",
                f"padding={min(self.window) // 2}: a window of padding alone has no value",
                user_line(),
            )
        self.pads = tuple((p, self._above(k, p, ceil_mode)) for k, p in enumerate(self.padding))
        for size, (low, high), k, d in zip(
            self.size, self.pads, self.window, self.dilation, strict=True
        ):
            starts = range(-low, size + high - d * (k - 1)) if low and d > size else ()
            if any(all(not 0 <= i + d * j < size for j in range(k)) for i in starts):
                raise ShapeError(
                    name,
                    f"got {spec_text(x)} with padding {padding!r} and dilation {dilation!r}",
                    "expected an element in each window",
                    "use a dilation of the size at most",
                    user_line(),
                )
            if size + low + high < d * (k - 1) + 1:
                raise ShapeError(
                    name,
                    f"got {spec_text(x)} and a window of {self.window}",
                    "expected a window no larger than the padded input",
                    "use a smaller window, or more padding",
                    user_line(),
                )

    def _above(self, axis: int, low: int, ceil_mode: bool) -> int:
        """With `ceil_mode` a last window that begins inside, or in the padding below, is whole."""
        size, step = self.size[axis], self.stride[axis]
        reach = self.dilation[axis] * (self.window[axis] - 1) + 1
        if not ceil_mode:
            return low
        last = -(-max(size + 2 * low - reach, 0) // step)
        if last * step >= size + low:
            last -= 1
        return max(low, last * step + reach - size - low)

    @property
    def tiles(self) -> bool:
        """Whether each element is in one window."""
        plain = self.stride == self.window and not any(map(any, self.pads))
        alone = all(d == 1 or k == 1 for d, k in zip(self.dilation, self.window, strict=True))
        whole = all(m % k == 0 for m, k in zip(self.size, self.window, strict=True))
        return plain and alone and whole

    def of(self, x: Tensor, value: float = 0) -> Tensor:
        """All windows of x: (N, *out, *window, C), the padding filled with a value."""
        n = len(self.size)
        if self.tiles:
            pairs = zip(self.size, self.window, strict=True)
            split = [m for size, k in pairs for m in (size // k, k)]
            parts = ops.reshape(x, shape=(x.shape[0], *split, x.shape[-1]))
            axes = (0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)
            out: Tensor = ops.permute_dims(parts, axes=axes)
            return out
        if any(map(any, self.pads)):
            x = pad(x, [(0, 0), *self.pads, (0, 0)], value=value)
        return ops.unfold(x, window=self.window, stride=self.stride, dilation=self.dilation)

    def sum(self, x: Tensor) -> Tensor:
        """The sum over each window."""
        n = len(self.size)
        return _sum(self.of(x), axis=tuple(range(n + 1, 2 * n + 1)))


def max_pool(
    x: Any,
    /,
    window: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest in each window of x (N, *size, C); padding counts as -inf.

    Of equal elements the first in the window gets the gradient; so does a NaN, whose windows are
    NaN. What is kept for the backward pass is its number in each window. The padding is half of
    the window at most, so that each window has an element.

    ceil_mode   a last window that is not full counts too
    """
    x = as_tensor(x)
    at = _Windows("max_pool", x, window, stride, padding, dilation, ceil_mode)
    if math.prod(at.window) > LARGE_WINDOW:
        return _by_axes(x, at)
    wide = cast(x, float32) if is_half(x.dtype) else x
    params = {"window": at.window, "stride": at.stride, "dilation": at.dilation}
    out, _ = ops.max_pool(wide, padding=at.pads, **params)
    return cast(out, x.dtype)


def _by_axes(x: Tensor, at: _Windows) -> Tensor:
    """The largest in each large window: along one axis after another, in parts if they are long.

    From the last axis to the first, so that of equal elements the first still gets the gradient.
    """
    n = len(at.window)
    for k in reversed(range(n)):
        size, (low, high), window = at.size[k], at.pads[k], at.window[k]
        step, gap = at.stride[k], at.dilation[k]
        part = math.isqrt(window)
        whole = window == size and low == high == 0 and window > LARGE_WINDOW
        if whole:  # in parts, the last of which may be shorter; then the largest of these
            x = _pooled(x, k, part, part, 1, (0, -size % part))
            window = -(-size // part)
            step, gap, low, high = window, 1, 0, 0
        if window > 1 or step > 1 or low or high:
            x = _pooled(x, k, window, step, gap, (low, high))
    return x


def _pooled(
    x: Tensor, axis: int, window: int, stride: int, dilation: int, padding: tuple[int, int]
) -> Tensor:
    """The largest in windows along one of the sizes."""
    ones = [1] * (x.ndim - 2)
    own = {"window": window, "stride": stride, "dilation": dilation}
    params: dict[str, Any] = {
        name: (*ones[:axis], value, *ones[axis + 1 :]) for name, value in own.items()
    }
    sides = [(0, 0)] * len(ones)
    sides[axis] = padding
    out, _ = ops.max_pool(x, padding=tuple(sides), **params)
    return out


def max_pool_rule(
    g: list[Any],
    x_shape: Shape,
    y: tuple[Tensor, Tensor],
    window: Shape,
    stride: Shape,
    dilation: Shape,
    padding: Pairs,
) -> list[Any]:
    """∂loss/∂x = the sum over the windows of which x is the largest of their ∂loss/∂y."""
    if g[0] is None:
        return [None]
    n, index = len(window), y[1]
    shape = (*index.shape[: n + 1], *window, index.shape[-1])
    own = (*index.shape[: n + 1], *(1,) * n, index.shape[-1])
    number = np.arange(math.prod(window), dtype=index.dtype).reshape((*window, 1))
    there = equal(expand(ops.reshape(index, shape=own), shape), expand(Tensor(number), shape))
    spread = where(there, expand(ops.reshape(g[0], shape=own), shape), 0.0)
    size = x_shape[1:-1]
    if (
        stride == window
        and not any(map(any, padding))
        and all(m == o * k for m, o, k in zip(size, index.shape[1:-1], window, strict=True))
    ):
        axes = [a for k in range(n) for a in (1 + k, 1 + n + k)]
        tiled = ops.permute_dims(spread, axes=(0, *axes, 2 * n + 1))
        return [ops.reshape(tiled, shape=x_shape)]
    padded = tuple(m + low + high for m, (low, high) in zip(size, padding, strict=True))
    whole = ops.fold(spread, size=padded, stride=stride, dilation=dilation)
    start = (0, *(low for low, _ in padding), 0)
    stop = tuple(first + m for first, m in zip(start, x_shape, strict=True))
    return [ops.slice(whole, start=start, stop=stop, step=(1,) * len(start))]


install(Row(ops.max_pool, joint=max_pool_rule))


def sum_pool(
    x: Any, /, window: Any, *, stride: Any = None, padding: Any = 0, ceil_mode: bool = False
) -> Tensor:
    """The sum over each window of x (N, *size, C); whole numbers are summed in 64 bits.

    ceil_mode   a last window that is not full counts too
    """
    x = as_tensor(x)
    return _Windows("sum_pool", x, window, stride, padding, 1, ceil_mode).sum(x)


@in_float32
def avg_pool(
    x: Tensor,
    /,
    window: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean over each window of x (N, *size, C); padding counts as 0.

    ceil_mode           a last window that is not full counts too
    count_include_pad   padding counts as elements; what lies beyond it never does
    """
    at = _Windows("avg_pool", x, window, stride, padding, 1, ceil_mode)
    counts: Any = np.ones((), np.int64)
    for size, low, (_, high), k, s in zip(
        at.size, at.padding, at.pads, at.window, at.stride, strict=True
    ):
        inside = np.zeros(size + low + high, np.int64)
        first, last = (0, size + 2 * low) if count_include_pad else (low, size + low)
        inside[first:last] = 1
        sums = np.lib.stride_tricks.sliding_window_view(inside, k)[::s].sum(-1)
        counts = counts[..., None] * sums
    if counts.size and (counts == counts.flat[0]).all():
        return at.sum(x) / int(counts.flat[0])
    return at.sum(x) / cast(Tensor(counts[..., None]), x.dtype)


@in_float32
def lp_pool(
    x: Tensor, /, p: float, window: Any, *, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(∑ |x|ᵖ)^(1/p) over each window of x (N, *size, C). Where it is 0 the gradient is 0."""
    if not (isinstance(p, (int, float)) and 0 < p < math.inf):
        raise ArgumentError(
            "lp_pool", f"got p {p!r}", "expected a number above 0", "p=2", user_line()
        )
    total = _Windows("lp_pool", x, window, stride, 0, 1, ceil_mode).sum(_abs(x) ** p)
    empty = total == 0
    return where(empty, 0.0, where(empty, 1.0, total) ** (1 / p))
