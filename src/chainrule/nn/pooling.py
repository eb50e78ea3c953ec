"""Pooling and resizing, channels last: (N, *size, C)."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ..errors import ArgumentError, ShapeError, user_line
from ..functions import indexing, reductions, shaping, windows
from ..functions.contractions import each
from ..functions.padding import repeat
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

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride or self.kernel_size}"


class MaxPool(_Pool):
    """The largest of each window; elements that tie share the gradient."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = dilation

    def forward(self, x: Any) -> Tensor:
        return windows.max_pool(
            self._checked(x),
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )


class AvgPool(_Pool):
    """The mean of each window; padding counts as 0."""

    def forward(self, x: Any) -> Tensor:
        x = self._checked(x)
        return windows.avg_pool(x, self.kernel_size, stride=self.stride, padding=self.padding)


class _Adaptive(_Sized):
    """Windows from ⌊i n / m⌋ to ⌈(i + 1) n / m⌉, so that the result has size m."""

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def _reduce(self, x: Tensor, axis: int) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Any) -> Tensor:
        x = self._checked(x)
        sizes = each(type(self).__name__, self.output_size, x.ndim - 2, 1)
        for axis, m in enumerate(sizes, 1):
            size = x.shape[axis]
            if not size:
                raise ShapeError(
                    type(self).__name__,
                    f"got {spec_text(x)}",
                    "expected sizes above 0",
                    "leave out inputs that are empty",
                    user_line(),
                )
            if size % m == 0:
                split = (*x.shape[:axis], m, size // m, *x.shape[axis + 1 :])
                x = self._reduce(shaping.reshape(x, split), axis + 1)
                continue
            cut = [(i * size // m, -(-(i + 1) * size // m)) for i in range(m)]
            before = (slice(None),) * axis
            parts = [self._reduce(x[(*before, slice(a, b))], axis) for a, b in cut]
            x = shaping.stack(parts, axis=axis)
        return x

    def extra_repr(self) -> str:
        return str(self.output_size)


class AdaptiveAvgPool(_Adaptive):
    """Means over windows; the result has the output size."""

    def _reduce(self, x: Tensor, axis: int) -> Tensor:
        return reductions.mean(x, axis=axis)


class AdaptiveMaxPool(_Adaptive):
    """The largest over windows; the result has the output size."""

    def _reduce(self, x: Tensor, axis: int) -> Tensor:
        return reductions.max(x, axis=axis)


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
AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = _by_sizes(AdaptiveAvgPool)
AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = _by_sizes(AdaptiveMaxPool)


class Upsample(_Sized):
    """Every size times `scale_factor`: "nearest" repeats, "linear" interpolates between centres.

    "linear" takes 1 to 3 sizes, "bilinear" 2, "trilinear" 3; integers become float32.
    """

    def __init__(self, *, scale_factor: int = 2, mode: str = "nearest") -> None:
        modes = ("nearest", "linear", "bilinear", "trilinear")
        if mode not in modes or not isinstance(scale_factor, int) or scale_factor < 1:
            raise ArgumentError(
                "Upsample",
                f"got scale_factor {scale_factor!r}, mode {mode!r}",
                f"expected a whole number from 1 and one of {', '.join(modes)}",
                'scale_factor=2, mode="nearest" are the defaults',
            )
        self.scale_factor, self.mode = scale_factor, mode
        self.dimensions = {"bilinear": 2, "trilinear": 3}.get(mode)

    def forward(self, x: Any) -> Tensor:
        x = self._checked(x)
        if self.mode != "nearest":
            return _interpolated(x, self.scale_factor)
        for axis in range(1, x.ndim - 1):
            x = repeat(x, self.scale_factor, axis=axis)
        return x


@reductions.in_float32
def _interpolated(x: Tensor, /, scale_factor: int) -> Tensor:
    """Every size times the factor, linearly between the centres of the elements."""
    for axis in range(1, x.ndim - 1):
        n = x.shape[axis]
        at = (np.arange(n * scale_factor) + 0.5) / scale_factor - 0.5
        at = np.clip(at, 0, n - 1)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, n - 1)
        share = (at - low).reshape([-1 if k == axis else 1 for k in range(x.ndim)])
        part = Tensor(share, dtype=x.dtype)
        a, b = (indexing.take(x, Tensor(i), axis=axis) for i in (low, high))
        x = a * (1 - part) + b * part
    return x
