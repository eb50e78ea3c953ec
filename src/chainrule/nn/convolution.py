"""Convolutions, channels last: (N, *size, C)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError, ShapeError, user_line
from ..functions import contractions
from ..functions.contractions import each, expect_padding
from ..functions.padding import pad
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from .arguments import expect_integers
from .linear import uniform_parameter
from .module import Module

PADDINGS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class _Conv(Module):
    """Base of the convolutions. weight (*kernel, C / groups, O), bias (O,)."""

    dimensions: int
    _channels_last = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        name, n = type(self).__name__, self.dimensions
        expect_integers(name, 0, in_channels=in_channels, out_channels=out_channels)
        expect_integers(name, 1, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                name,
                f"got {in_channels} -> {out_channels} channels in {groups} groups",
                "expected groups that divide both numbers of channels",
                f"groups={math.gcd(in_channels, out_channels, groups)} does",
            )
        if padding_mode not in PADDINGS:
            raise ArgumentError(
                name,
                f"got padding_mode {padding_mode!r}",
                f"expected one of {', '.join(PADDINGS)}",
                'padding_mode="zeros" is the default',
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = each(name, kernel_size, n, 1)
        self.stride, self.dilation = each(name, stride, n, 1), each(name, dilation, n, 1)
        self.padding: Any = padding if isinstance(padding, str) else each(name, padding, n, 0)
        expect_padding(name, self.padding, self.stride)
        self.padding_mode = padding_mode
        fan_in = in_channels // groups * math.prod(self.kernel_size)
        shape = (*self.kernel_size, in_channels // groups, out_channels)
        self.weight = uniform_parameter(shape, fan_in)
        self.bias = uniform_parameter((out_channels,), fan_in) if bias else None

    def _checked(self, x: Any) -> Tensor:
        x, n = as_tensor(x), self.dimensions
        if x.ndim != n + 2 or x.shape[-1] != self.in_channels:
            raise ShapeError(
                type(self).__name__,
                f"got {spec_text(x)}",
                f"expected (N, {', '.join('HWD'[:n])}, {self.in_channels}), channels last",
                "move the channels with permute_dims, or set in_channels",
                user_line(),
            )
        return x

    def forward(self, x: Any) -> Tensor:
        x, padding = self._checked(x), self.padding
        if self.padding_mode != "zeros" and padding != "valid":
            if padding == "same":
                reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
                widths = [(r // 2, r - r // 2) for r in reach]
            else:
                widths = [(p, p) for p in padding]
            x = pad(x, [(0, 0), *widths, (0, 0)], mode=PADDINGS[self.padding_mode])
            padding = "valid"
        y = contractions.convolution(
            x,
            self.weight,
            stride=self.stride,
            padding=padding,
            kernel_dilation=self.dilation,
            groups=self.groups,
        )
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"


class Conv1d(_Conv):
    """y[n, i, o] = b[o] + ∑ x[n, i·stride + k·dilation, c] w[k, c, o]: (N, L, C) -> (N, L′, O)."""

    dimensions = 1


class Conv2d(_Conv):
    """Conv1d over two sizes: (N, H, W, C) -> (N, H′, W′, O)."""

    dimensions = 2


class Conv3d(_Conv):
    """Conv1d over three sizes: (N, D, H, W, C) -> (N, D′, H′, W′, O)."""

    dimensions = 3


class _ConvTranspose(_Conv):
    """The adjoint of a convolution from O to C channels. weight (*kernel, O / groups, C)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.output_padding = each(type(self).__name__, output_padding, self.dimensions, 0)
        shape = (*self.kernel_size, out_channels // groups, in_channels)
        fan_in = out_channels // groups * math.prod(self.kernel_size)
        self.weight = uniform_parameter(shape, fan_in)
        self.bias = uniform_parameter((out_channels,), fan_in) if bias else None

    def forward(self, x: Any, output_size: Any = None) -> Tensor:
        """output_size   the sizes of the result, instead of those that output_padding gives"""
        x = self._checked(x)
        y = contractions.convolution_transpose(
            x,
            self.weight,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding
            if output_size is None
            else self._output_padding(x.shape[1:-1], output_size),
            kernel_dilation=self.dilation,
            groups=self.groups,
        )
        return y if self.bias is None else y + self.bias

    def _output_padding(self, sizes: Sequence[int], output_size: Any) -> list[int]:
        """The output padding with which these sizes become the output size."""
        wanted = each(type(self).__name__, output_size, self.dimensions, 0)
        settings = zip(
            sizes, self.stride, self.padding, self.dilation, self.kernel_size, strict=True
        )
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in settings]
        more = [w - low for w, low in zip(wanted, least, strict=True)]
        if not all(0 <= m < s for m, s in zip(more, self.stride, strict=True)):
            most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
            raise ShapeError(
                type(self).__name__,
                f"got output_size={wanted} for sizes {tuple(sizes)}",
                f"expected {tuple(least)} to {tuple(most)}",
                f"output_size={tuple(most)} is the largest with these settings",
                user_line(),
            )
        return more


class ConvTranspose1d(_ConvTranspose):
    """(N, L, C) -> (N, L′, O) with L′ = (L - 1) stride - 2 padding + dilation (kernel - 1)
    + output_padding + 1."""

    dimensions = 1


class ConvTranspose2d(_ConvTranspose):
    """ConvTranspose1d over two sizes."""

    dimensions = 2


class ConvTranspose3d(_ConvTranspose):
    """ConvTranspose1d over three sizes."""

    dimensions = 3
