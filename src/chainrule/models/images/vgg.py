"""Small convolutions one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from ...nn import MaxPool2d, Module, Sequential
from ...nn.arguments import expect_integers
from .parts import normalised, pooled, small_head


class VGG(Sequential):
    """3 × 3 convolutions, then half the sizes and twice the channels (Simonyan, Zisserman, 2014).

    (N, H, W, channels) -> (N, classes). The default has the 8 convolutions of their network A, for
    images of 32 × 32 and more. Each has a batch normalization, and one linear layer reads the mean
    over positions, where the paper has three that read the image: 9 instead of 133 million
    parameters. Weights start as N(0, 2 / fan_out), those of the head as N(0, 0.01²).

    width     channels of the first stage; they double up to 8 · width
    blocks    how many convolutions each stage has; each stage halves the sizes
    dropout   of the vector that the head reads
    """

    def __init__(
        self,
        classes: int = 10,
        *,
        channels: int = 3,
        width: int = 64,
        blocks: Sequence[int] = (1, 1, 2, 2, 2),
        dropout: float = 0.5,
    ) -> None:
        expect_integers("VGG", 1, classes=classes, channels=channels, width=width)
        inputs, layers = channels, list[Module]()
        for stage, count in enumerate(blocks):
            outputs = width * min(2**stage, 8)
            for _ in range(count):
                layers += normalised(inputs, outputs)
                inputs = outputs
            layers.append(MaxPool2d(2))
        super().__init__(
            features=Sequential(*layers, *pooled(dropout)), head=small_head(inputs, classes)
        )
