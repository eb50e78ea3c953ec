"""Pooling, channels last: (N, *size, C)."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from ..errors import ShapeError, user_line
from ..functions import shaping, windows
from ..functions.contractions import each
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from .module import Module


class _Sized(Module):
    """Base of all: checks the number of sizes of an input; None accepts 1 to 3."""

    dimensions: int | None = None

    def _checked(self, x: Any) -> Tensor:
        x, n = as_tensor(x), self.dimensions
        if not 3 <= x.ndim <= 5 or n not in (None, x.ndim - 2):
            sizes = "*size" if n is None else ", ".join("HWD"[:n])
            raise ShapeError(
                type(self).__name__,
                f"got {spec_text(x)}",
                f"expected (N, {sizes}, C)",
                "add a batch axis, x[None]",
                user_line(),
            )
        return x


class _Pool(_Sized):
    """Base of poolings whose window slides over every size."""

    def __init__(self, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        self.kernel_size, self.stride, self.ceil_mode = kernel_size, stride, ceil_mode

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride or self.kernel_size}"


class MaxPool(_Pool):
    """The largest of each window; of equal elements the first gets the gradient."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, ceil_mode)
        self.padding, self.dilation = padding, dilation

    def forward(self, x: Any) -> Tensor:
        return windows.max_pool(
            self._checked(x),
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )


class AvgPool(_Pool):
    """The mean of each window; padding counts as 0, or not with count_include_pad=False."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, ceil_mode)
        self.padding, self.count_include_pad = padding, count_include_pad

    def forward(self, x: Any) -> Tensor:
        return windows.avg_pool(
            self._checked(x),
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
        )


class LPPool(_Pool):
    """(∑ |x|ᵖ)^(1/p) over each window."""

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, ceil_mode)
        self.norm_type = norm_type

    def forward(self, x: Any) -> Tensor:
        x = self._checked(x)
        return windows.lp_pool(
            x, self.norm_type, self.kernel_size, stride=self.stride, ceil_mode=self.ceil_mode
        )


class _Adaptive(_Sized):
    """Windows from ⌊i n / m⌋ to ⌈(i + 1) n / m⌉, so that the result has size m.

    None as a size: that of the input.
    """

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def _pool(self, x: Tensor, window: tuple[int, ...]) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Any) -> Tensor:
        x = self._checked(x)
        name, n = type(self).__name__, x.ndim - 2
        wanted = self.output_size
        wishes = tuple(wanted) if isinstance(wanted, (tuple, list)) else (wanted,) * n
        own = x.shape[1:-1] if len(wishes) == n else wishes
        sizes = each(name, [m if k is None else k for k, m in zip(wishes, own, strict=True)], n, 1)
        if not math.prod(x.shape[1:-1]):
            raise ShapeError(
                name,
                f"got {spec_text(x)}",
                "expected sizes above 0",
                "leave out inputs that are empty",
                user_line(),
            )
        if all(size % m == 0 for size, m in zip(own, sizes, strict=True)):
            return self._pool(x, tuple(size // m for size, m in zip(own, sizes, strict=True)))
        for axis in range(n, 0, -1):  # of equal elements the first in the order of the input
            size, m = x.shape[axis], sizes[axis - 1]
            if size == m:
                continue
            before, others = (slice(None),) * axis, [1] * n
            parts = []
            for i in range(m):
                first, last = i * size // m, -(-(i + 1) * size // m)
                others[axis - 1] = last - first
                parts.append(self._pool(x[(*before, slice(first, last))], tuple(others)))
            x = shaping.concat(parts, axis=axis)
        return x

    def extra_repr(self) -> str:
        return str(self.output_size)


class AdaptiveAvgPool(_Adaptive):
    """Means over windows; the result has the output size."""

    def _pool(self, x: Tensor, window: tuple[int, ...]) -> Tensor:
        return windows.avg_pool(x, window)


class AdaptiveMaxPool(_Adaptive):
    """The largest over windows; the result has the output size."""

    def _pool(self, x: Tensor, window: tuple[int, ...]) -> Tensor:
        return windows.max_pool(x, window)


P = TypeVar("P", bound=_Sized)


def _by_sizes(kind: type[P]) -> tuple[type[P], type[P], type[P]]:
    """The poolings of one, two and three sizes."""
    return tuple(  # type: ignore[return-value] # three of them
        type(
            f"{kind.__name__}{n}d",
            (kind,),
            {
                "dimensions": n,
                "__doc__": kind.__doc__,
                "__module__": __name__,
            },
        )
        for n in (1, 2, 3)
    )


MaxPool1d, MaxPool2d, MaxPool3d = _by_sizes(MaxPool)
AvgPool1d, AvgPool2d, AvgPool3d = _by_sizes(AvgPool)
LPPool1d, LPPool2d, LPPool3d = _by_sizes(LPPool)
AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = _by_sizes(AdaptiveAvgPool)
AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = _by_sizes(AdaptiveMaxPool)
