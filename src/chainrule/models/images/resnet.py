"""Residual networks: their convolutions learn what is added to the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ArgumentError, user_line
from ...functions.padding import pad
from ...nn import Linear, MaxPool2d, Module, ReLU, Residual, Sequential
from ...nn.arguments import expect_integers
from ...tensor import Tensor
from .parts import normalised, pooled


class ResNet(Sequential):
    """A residual network (He et al., 2015): (N, H, W, channels) -> (N, classes).

    A stem, stages of blocks, the mean over positions, a linear layer. A block is
    relu(shortcut(x) + inner(x)); from the second stage on, the first block of a stage halves the
    sizes and doubles the channels. The shortcut is x itself, and where the shape changes:

    form="cifar"      for images of about 32 × 32. The stem is a 3 × 3 convolution; the shortcut has
                      no parameters: every second pixel, and zeros as new channels (their option A)
    form="imagenet"   for larger ones. The stem is a 7 × 7 convolution and a max pooling, with a
                      stride of 2 each; the shortcut is a 1 × 1 convolution with batch
                      normalization (option B)

    Convolutions start as N(0, 2 / fan_out), batch normalizations as the identity, the head as
    PyTorch's linear layers do.

    blocks       how many blocks each stage has
    bottleneck   a block is 1 × 1, 3 × 3 and 1 × 1 convolutions, the last one with 4 times the
                 channels (the stride is that of the 3 × 3); else two 3 × 3 convolutions
    width        channels of the first stage
    dropout      of the vector that the head reads
    """

    def __init__(
        self,
        classes: int,
        blocks: Sequence[int],
        form: str = "cifar",
        *,
        bottleneck: bool = False,
        channels: int = 3,
        width: int = 16,
        dropout: float = 0.0,
    ) -> None:
        expect_integers("ResNet", 1, classes=classes, channels=channels, width=width)
        if form not in ("cifar", "imagenet"):
            raise ArgumentError(
                "ResNet",
                f"got form {form!r}",
                "expected cifar or imagenet",
                'form="cifar" is for images of about 32 × 32',
                user_line(),
            )
        small = form == "cifar"
        stem = normalised(channels, width, *((3, 1) if small else (7, 2)))
        stem += [] if small else [MaxPool2d(3, 2, 1)]
        shortcut = zeros_shortcut if small else projection
        block = bottleneck_block if bottleneck else basic_block
        inputs, stages = width, dict[str, Module]()
        for stage, count in enumerate(blocks):
            hidden = width * 2**stage
            outputs = 4 * hidden if bottleneck else hidden
            layers = []
            for k in range(count):
                stride = 2 if stage and not k else 1
                inner = block(inputs, hidden, outputs, stride)
                around = shortcut(inputs, outputs, stride)
                layers.append(Sequential(Residual(inner, around), ReLU()))
                inputs = outputs
            stages[f"stage{stage + 1}"] = Sequential(*layers)
        super().__init__(
            features=Sequential(
                stem=Sequential(*stem), **stages, pooled=Sequential(*pooled(dropout))
            ),
            head=Linear(inputs, classes),
        )


def basic_block(inputs: int, hidden: int, outputs: int, stride: int) -> Sequential:
    """Two 3 × 3 convolutions."""
    return Sequential(
        *normalised(inputs, hidden, 3, stride),
        *normalised(hidden, outputs, 3, activation=None),
    )


def bottleneck_block(inputs: int, hidden: int, outputs: int, stride: int) -> Sequential:
    """A 3 × 3 convolution of fewer channels than there are before and after."""
    return Sequential(
        *normalised(inputs, hidden, 1),
        *normalised(hidden, hidden, 3, stride),
        *normalised(hidden, outputs, 1, activation=None),
    )


def projection(inputs: int, outputs: int, stride: int) -> Module | None:
    """A 1 × 1 convolution where the shape changes."""
    if stride == 1 and inputs == outputs:
        return None
    return Sequential(*normalised(inputs, outputs, 1, stride, activation=None))


def zeros_shortcut(inputs: int, outputs: int, stride: int) -> Module | None:
    """Pixels left out and channels of 0 where the shape changes."""
    return None if stride == 1 and inputs == outputs else ZeroChannels(stride, outputs - inputs)


class ZeroChannels(Module):
    """Every stride-th pixel, with `added` channels of 0 after the others."""

    def __init__(self, stride: int, added: int) -> None:
        self.stride, self.added = stride, added

    def forward(self, x: Any) -> Tensor:
        pixels = x[:, :: self.stride, :: self.stride]
        return pad(pixels, [(0, 0), (0, 0), (0, 0), (0, self.added)])

    def extra_repr(self) -> str:
        return f"stride={self.stride}, added={self.added}"


def resnet20(classes: int = 10, **settings: Any) -> ResNet:
    """20 layers for images of about 32 × 32; 0.27 million parameters. Settings as of `ResNet`."""
    return ResNet(classes, [3] * 3, **settings)


def resnet32(classes: int = 10, **settings: Any) -> ResNet:
    """32 layers for images of about 32 × 32; 0.46 million parameters. Settings as of `ResNet`."""
    return ResNet(classes, [5] * 3, **settings)


def resnet44(classes: int = 10, **settings: Any) -> ResNet:
    """44 layers for images of about 32 × 32; 0.66 million parameters. Settings as of `ResNet`."""
    return ResNet(classes, [7] * 3, **settings)


def resnet56(classes: int = 10, **settings: Any) -> ResNet:
    """56 layers for images of about 32 × 32; 0.85 million parameters. Settings as of `ResNet`."""
    return ResNet(classes, [9] * 3, **settings)


def resnet18(classes: int = 1000, **settings: Any) -> ResNet:
    """18 layers for images of about 224 × 224; 12 million parameters. Settings as of `ResNet`."""
    return ResNet(classes, [2] * 4, "imagenet", **{"width": 64, **settings})


def resnet34(classes: int = 1000, **settings: Any) -> ResNet:
    """34 layers for images of about 224 × 224; 22 million parameters. Settings as of `ResNet`."""
    return ResNet(classes, [3, 4, 6, 3], "imagenet", **{"width": 64, **settings})


def resnet50(classes: int = 1000, **settings: Any) -> ResNet:
    """50 layers for images of about 224 × 224; 26 million parameters. Settings as of `ResNet`."""
    wide = {"width": 64, "bottleneck": True, **settings}
    return ResNet(classes, [3, 4, 6, 3], "imagenet", **wide)
