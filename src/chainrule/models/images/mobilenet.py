"""Few multiplications: depthwise convolutions between 1 × 1 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from ...nn import Module, ReLU6, Residual, Sequential
from ...nn.arguments import expect_integers, expect_number
from .parts import normalised, pooled, small_head

# Expansion, channels, number of blocks and first stride of each stage (Sandler et al., table 2).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(Sequential):
    """A network of inverted residuals (Sandler et al., 2018): (N, H, W, channels) -> (N, classes).

    A stem, stages of blocks, a 1 × 1 convolution to `last` channels, the mean over positions, a
    linear layer. A block widens its input by a 1 × 1 convolution, filters each channel by itself (a
    depthwise 3 × 3 convolution), narrows it without an activation, and is added to its input where
    the shape stays.

    Convolutions start as N(0, 2 / fan_out), the head as N(0, 0.01²).

    width     factor of all channels, which are rounded to multiples of 8
    stages    (expansion, channels, number of blocks, stride of the first block) of each stage
    stride    of the stem: 2, or 1 for images of about 32 × 32
    dropout   of the vector that the head reads
    """

    def __init__(
        self,
        classes: int = 1000,
        *,
        channels: int = 3,
        width: float = 1.0,
        stages: Sequence[tuple[int, int, int, int]] = STAGES,
        stride: int = 2,
        last: int = 1280,
        dropout: float = 0.2,
    ) -> None:
        expect_integers("MobileNetV2", 1, classes=classes, channels=channels, last=last)
        expect_number("MobileNetV2", "width", width, 1.0, above=0)
        inputs = multiple_of_8(32 * width)
        layers = normalised(channels, inputs, 3, stride, activation=ReLU6)
        for expansion, wide, count, first in stages:
            outputs = multiple_of_8(wide * width)
            for k in range(count):
                layers.append(inverted_residual(inputs, outputs, 1 if k else first, expansion))
                inputs = outputs
        vector = multiple_of_8(last * max(1.0, width))
        layers += normalised(inputs, vector, 1, activation=ReLU6)
        super().__init__(
            features=Sequential(*layers, *pooled(dropout)), head=small_head(vector, classes)
        )


def inverted_residual(inputs: int, outputs: int, stride: int, expansion: int) -> Module:
    """Wide inside and narrow at both ends; the narrow ends are added if they have one shape."""
    hidden = expansion * inputs
    inner = Sequential(
        *(normalised(inputs, hidden, 1, activation=ReLU6) if expansion > 1 else []),
        *normalised(hidden, hidden, 3, stride, groups=hidden, activation=ReLU6),
        *normalised(hidden, outputs, 1, activation=None),
    )
    return Residual(inner) if stride == 1 and inputs == outputs else inner


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, from 8 on, that is not below 90 % of the number."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
