"""The parts that image networks share."""

from __future__ import annotations

from ...nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    Module,
    ReLU,
    init,
)


def convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> Conv2d:
    """A convolution without bias; sizes stay, or are divided by the stride and rounded up.

    Its weights are N(0, 2 / fan_out) (He et al., 2015).
    """
    layer = Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def normalised(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: type[Module] | None = ReLU,
) -> list[Module]:
    """A convolution, its batch normalization, and an activation if there is one."""
    layers = [convolution(inputs, outputs, kernel, stride, groups), BatchNorm2d(outputs)]
    return layers if activation is None else [*layers, activation()]


def small_head(inputs: int, classes: int) -> Linear:
    """A linear layer that starts as N(0, 0.01²), its bias as 0."""
    layer = Linear(inputs, classes)
    init.normal_(layer.weight, std=0.01)
    assert layer.bias is not None
    init.zeros_(layer.bias)
    return layer


def pooled(dropout: float) -> list[Module]:
    """The mean over all positions, (N, H, W, C) -> (N, C), with dropout."""
    return [AdaptiveAvgPool2d(1), Flatten(), Dropout(dropout)]
