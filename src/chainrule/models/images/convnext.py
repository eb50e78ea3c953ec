"""A convolutional network with the habits of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...functions import creation
from ...nn import (
    GELU,
    AdaptiveAvgPool2d,
    Conv2d,
    Flatten,
    LayerNorm,
    Linear,
    Module,
    Parameter,
    Residual,
    Sequential,
    StochasticDepth,
    init,
)
from ...nn.arguments import expect_fraction, expect_integers
from ...tensor import Tensor

EPS = 1e-6  # of the layer normalizations


class ConvNeXt(Sequential):
    """A ConvNeXt (Liu et al., 2022): (N, H, W, channels) -> (N, classes).

    The image is cut into patches of patch × patch pixels, each a vector. Stages of blocks follow,
    each stage with half the sizes and twice the channels, then the mean over positions, a layer
    normalization, a linear layer. A block adds to its input: a depthwise 7 × 7 convolution (each
    channel by itself), layer normalization, and two linear layers on each pixel with a GELU between
    them, times a learned factor for each channel that starts small. The defaults are those of
    ConvNeXt-T.

    Weights start as N(0, 0.02²) and biases as 0.

    width              channels of the first stage
    blocks             how many blocks each stage has
    patch              4, or 1 or 2 for images of about 32 × 32
    stochastic_depth   with which probability a sample skips the last block in training; for the
                       earlier blocks it grows from 0 in equal steps
    layer_scale        what the factors start as
    """

    def __init__(
        self,
        classes: int = 1000,
        *,
        channels: int = 3,
        width: int = 96,
        blocks: Sequence[int] = (3, 3, 9, 3),
        patch: int = 4,
        stochastic_depth: float = 0.1,
        layer_scale: float = 1e-6,
    ) -> None:
        expect_integers("ConvNeXt", 1, classes=classes, channels=channels, width=width, patch=patch)
        expect_fraction("ConvNeXt", "stochastic_depth", stochastic_depth)
        stages: dict[str, Module] = {
            "stem": Sequential(Conv2d(channels, width, patch, patch), LayerNorm(width, EPS))
        }
        done, last = 0, max(1, sum(blocks) - 1)
        for stage, count in enumerate(blocks):
            wide = width * 2**stage
            layers: list[Module] = []
            if stage:
                layers = [LayerNorm(wide // 2, EPS), Conv2d(wide // 2, wide, 2, 2)]
            for _ in range(count):
                layers.append(block(wide, stochastic_depth * done / last, layer_scale))
                done += 1
            stages[f"stage{stage + 1}"] = Sequential(*layers)
        vector = width * 2 ** (len(blocks) - 1)
        super().__init__(
            features=Sequential(
                **stages, pooled=Sequential(AdaptiveAvgPool2d(1), Flatten(), LayerNorm(vector, EPS))
            ),
            head=Linear(vector, classes),
        )
        for m in self.modules():
            if isinstance(m, (Conv2d, Linear)):
                init.trunc_normal_(m.weight, std=0.02)
                assert m.bias is not None
                init.zeros_(m.bias)


def block(channels: int, stochastic_depth: float, layer_scale: float) -> Residual:
    """x, plus a depthwise 7 × 7 convolution and two layers on each pixel."""
    return Residual(
        Sequential(
            Conv2d(channels, channels, 7, padding=3, groups=channels),
            LayerNorm(channels, EPS),
            Linear(channels, 4 * channels),
            GELU(),
            Linear(4 * channels, channels),
            LayerScale(channels, layer_scale),
            StochasticDepth(stochastic_depth),
        )
    )


class LayerScale(Module):
    """x times a learned factor for each channel (Touvron et al., 2021)."""

    def __init__(self, channels: int, initial: float) -> None:
        self.weight = Parameter(creation.full((channels,), initial))

    def forward(self, x: Any) -> Tensor:
        return x * self.weight
