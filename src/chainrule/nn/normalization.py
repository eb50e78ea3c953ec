"""Normalization: mean 0 and variance 1 over some axes, then a learned scale and shift."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from ..broadcasting import cast
from ..convert import promote
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import axes, creation, elementwise, reductions, shaping
from ..graph import spec_text
from ..tensor import Tensor, as_tensor, no_grad
from . import functional
from .arguments import expect_fraction, expect_integers, expect_number
from .module import Module, Parameter


def _expect_channels(layer: _BatchNorm | GroupNorm, x: Tensor, channels: int) -> None:
    """Raise unless the last axis is the channels and the number of sizes is in `layer.sizes`."""
    least, most = layer.sizes
    if not least <= x.ndim - 2 <= most or x.shape[-1] != channels:
        shapes = [
            f"(N, {', '.join([*'HWD'[:n], str(channels)])})" for n in range(least, min(most, 3) + 1)
        ]
        raise ShapeError(
            type(layer).__name__,
            f"got {spec_text(x)}",
            f"expected {' or '.join(shapes)}",
            "move the channels to the last axis, or set their number",
            user_line(),
        )


class _BatchNorm(Module):
    """Each channel over the batch and all sizes: (N, *size, C) (Ioffe and Szegedy, 2015).

    Training uses the statistics of the batch, and updates running ones (the mean, and the variance
    divided by n - 1); evaluation uses the running ones.
    """

    sizes = 0, 3  # the least and the largest number of sizes
    _first = 0  # the first axis of those that the statistics are over

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        expect_integers(type(self).__name__, 0, num_features=num_features)
        expect_number(type(self).__name__, "eps", eps, 1e-5, above=0)
        if momentum is not None:
            expect_fraction(type(self).__name__, "momentum", momentum)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(creation.ones(num_features)) if affine else None
        self.bias = Parameter(creation.zeros(num_features)) if affine else None
        self.running_mean = creation.zeros(num_features) if track_running_stats else None
        self.running_var = creation.ones(num_features) if track_running_stats else None
        self.num_batches_tracked = (
            creation.zeros((), dtype="int64") if track_running_stats else None
        )

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        _expect_channels(self, x, self.num_features)
        if not self.training and self.running_mean is not None:
            assert self.running_var is not None
            variance = cast(self.running_var, promote(x.dtype, self.running_var.dtype))
            y = (x - self.running_mean) * elementwise.rsqrt(variance + self.eps)
            return self._scaled(y)
        over = range(self._first, x.ndim - 1)
        n = math.prod(x.shape[a] for a in over)
        if n < 2:
            self._refuse(x)
        scale = None
        if self.weight is not None and self._first == 0:  # one for each mean, as they share them
            scale = shaping.reshape(self.weight, (1,) * (x.ndim - 1) + (-1,))
        y, mean, variance = functional.normalised(x, over, self.eps, scale)
        if self.running_mean is not None:
            self._follow(mean, variance, n)
        if scale is None:
            return self._scaled(y)
        return y if self.bias is None else y + self.bias

    def _refuse(self, x: Tensor) -> NoReturn:
        raise ShapeError(
            type(self).__name__,
            f"got {spec_text(x)} while training",
            "expected more than one value per channel",
            "use a larger batch, drop_last, or eval()",
            user_line(),
        )

    def _scaled(self, y: Tensor) -> Tensor:
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias

    def _follow(self, mean: Tensor, variance: Tensor, n: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with no_grad():
            rate: Any = self.momentum
            if self._first == 0:  # PyTorch does not count those of instance normalization
                self.num_batches_tracked += 1
            if rate is None:
                rate = 1 / self.num_batches_tracked.astype(mean.dtype)
            for running, new in (
                (self.running_mean, mean),
                (self.running_var, variance * (n / (n - 1))),
            ):
                if self._first == 1:
                    new = reductions.mean(new, axis=0)
                new = shaping.reshape(new, running.shape).astype(running.dtype)
                running += rate * (new - running)

    def extra_repr(self) -> str:
        return str(self.num_features)


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, L, C)."""

    sizes = 0, 1


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (N, H, W, C)."""

    sizes = 2, 2


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (N, D, H, W, C)."""

    sizes = 3, 3


class LayerNorm(Module):
    """Over the last axes of each sample (Ba et al., 2016)."""

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        expect_number("LayerNorm", "eps", eps, 1e-5, least=0)
        shape = axes.counts("LayerNorm", normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = Parameter(creation.ones(shape)) if elementwise_affine else None
        self.bias = Parameter(creation.zeros(shape)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Tensor:
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return str(self.normalized_shape)


class RMSNorm(Module):
    """x over its root mean square on the last axes (Zhang and Sennrich, 2019)."""

    def __init__(self, normalized_shape: Any, eps: float | None = None) -> None:
        if eps is not None:
            expect_number("RMSNorm", "eps", eps, 1e-6, least=0)
        shape = axes.counts("RMSNorm", normalized_shape)
        self.normalized_shape, self.eps = shape, eps
        self.weight = Parameter(creation.ones(shape))

    def forward(self, x: Any) -> Tensor:
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """Groups of channels over all sizes of each sample: (N, *size, C) (Wu and He, 2018)."""

    sizes = 0, 62  # the least and the largest number of sizes

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        expect_number(type(self).__name__, "eps", eps, 1e-5, least=0)
        expect_integers(type(self).__name__, 0, num_channels=num_channels)
        expect_integers(type(self).__name__, 1, num_groups=num_groups)
        if num_channels % num_groups:
            raise ArgumentError(
                "GroupNorm",
                f"got {num_channels} channels in {num_groups} groups",
                "expected a number of groups that divides the channels",
                f"num_groups={math.gcd(num_channels, num_groups)} does",
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter(creation.ones(num_channels)) if affine else None
        self.bias = Parameter(creation.zeros(num_channels)) if affine else None

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        _expect_channels(self, x, self.num_channels)
        groups = (*x.shape[:-1], self.num_groups, self.num_channels // self.num_groups)
        over = (*range(1, x.ndim - 1), x.ndim)
        if math.prod(groups[a] for a in over) == 1:
            raise ShapeError(
                type(self).__name__,
                f"got {spec_text(x)}",
                f"expected more than one value in each of {self.num_groups} groups",
                "of one value the mean is itself and the result 0: use fewer groups, or LayerNorm",
                user_line(),
            )
        y, _, _ = functional.normalised(shaping.reshape(x, groups), over, self.eps)
        y = shaping.reshape(y, x.shape)
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias


class _InstanceNorm(_BatchNorm):
    """Each channel of each sample over its sizes: (N, *size, C) (Ulyanov et al., 2016).

    With track_running_stats, training updates running statistics by the means of those of the
    samples, and evaluation uses them; else both use those of each sample.
    """

    _first = 1

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def _refuse(self, x: Tensor) -> NoReturn:
        raise ShapeError(
            type(self).__name__,
            f"got {spec_text(x)}",
            "expected more than one value in each channel of a sample",
            "of one value the mean is itself and the result 0: use BatchNorm or LayerNorm",
            user_line(),
        )


class InstanceNorm1d(_InstanceNorm):
    """Instance normalization of (N, L, C)."""

    sizes = 1, 1


class InstanceNorm2d(_InstanceNorm):
    """Instance normalization of (N, H, W, C)."""

    sizes = 2, 2


class InstanceNorm3d(_InstanceNorm):
    """Instance normalization of (N, D, H, W, C)."""

    sizes = 3, 3
