"""A class for each pixel."""

from __future__ import annotations

from typing import Any

from ...errors import ShapeError, user_line
from ...functions.shaping import concat
from ...graph import spec_text
from ...nn import Conv2d, ConvTranspose2d, Dropout, MaxPool2d, Module, Sequential, init
from ...nn.arguments import expect_integers
from ...tensor import Tensor, as_tensor
from .parts import normalised


class UNet(Sequential):
    """A U-Net (Ronneberger et al., 2015): (N, H, W, channels) -> scores (N, H, W, classes).

    `depth` times two 3 × 3 convolutions and half the sizes; then the way back, which at each size
    also reads what was there on the way down. A 1 × 1 convolution is the head.

    H and W are multiples of 2^depth. As usual today, and other than in the paper, convolutions pad
    their input, so that each pixel has scores, and have batch normalizations.
    Weights of convolutions start as N(0, 2 / fan_in).

    width     channels at the full size; they double with each halving
    dropout   of what the smallest size gives
    """

    def __init__(
        self,
        classes: int = 2,
        *,
        channels: int = 3,
        width: int = 64,
        depth: int = 4,
        dropout: float = 0.0,
    ) -> None:
        expect_integers("UNet", 1, classes=classes, channels=channels, width=width, depth=depth)
        self.depth = depth
        super().__init__(
            features=Level(channels, width, depth, dropout), head=Conv2d(width, classes, 1)
        )
        for m in self.modules():
            if isinstance(m, Conv2d):
                init.kaiming_normal_(m.weight, nonlinearity="relu")

    def forward(self, x: Any) -> Any:
        x, unit = as_tensor(x), 2**self.depth
        if x.ndim == 4 and any(n % unit for n in x.shape[1:3]):
            sizes = tuple(-(-n // unit) * unit for n in x.shape[1:3])
            raise ShapeError(
                "UNet",
                f"got {spec_text(x)}",
                f"expected (N, H, W, C) with H and W multiples of {unit}, 2 to the power of depth",
                f"resize or pad the images to {sizes}, or a depth below {self.depth}",
                user_line(),
            )
        return super().forward(x)


class Level(Module):
    """One size of a U-Net, and inside it all smaller ones: (N, H, W, inputs) -> (N, H, W, width).

    before   two convolutions
    below    the same at half the size, with twice the channels, made large again
    after    two convolutions of what both have found
    """

    def __init__(self, inputs: int, width: int, depth: int, dropout: float) -> None:
        self.before = Sequential(*normalised(inputs, width), *normalised(width, width))
        if depth > 1:
            inner: Module = Level(width, 2 * width, depth - 1, dropout)
        else:
            inner = Sequential(
                *normalised(width, 2 * width),
                *normalised(2 * width, 2 * width),
                Dropout(dropout),
            )
        self.below = Sequential(MaxPool2d(2), inner, ConvTranspose2d(2 * width, width, 2, 2))
        self.after = Sequential(*normalised(2 * width, width), *normalised(width, width))

    def forward(self, x: Any) -> Tensor:
        before = self.before(x)
        out: Tensor = self.after(concat([before, self.below(before)], axis=-1))
        return out
