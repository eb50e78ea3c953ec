"""The first convolutional network that was in wide use: it read the digits on cheques."""

from __future__ import annotations

from ...errors import ArgumentError, user_line
from ...nn import AvgPool2d, Conv2d, Dropout, Flatten, Linear, Sequential, Tanh
from ...nn.arguments import expect_integers


class LeNet5(Sequential):
    """LeNet-5 (LeCun et al., 1998): (N, size, size, channels) -> (N, classes).

    As usual today the second convolution reads all channels, means are pooled without weights, and
    the scores are those of a linear layer. Weights start as PyTorch's do.

    size      height and width of the images: 12 or more
    dropout   of the 84 numbers that the head reads
    """

    def __init__(
        self, classes: int = 10, *, channels: int = 1, size: int = 28, dropout: float = 0.0
    ) -> None:
        expect_integers("LeNet5", 1, classes=classes, channels=channels, size=size)
        side = (size // 2 - 4) // 2  # after the last pooling
        if side < 1:
            raise ArgumentError(
                "LeNet5",
                f"got size={size}",
                "expected 12 or more, of which two convolutions and poolings leave something",
                "size=12, with nn.Upsample(12) or padding before it",
                user_line(),
            )
        super().__init__(
            features=Sequential(
                *(Conv2d(channels, 6, 5, padding=2), Tanh(), AvgPool2d(2)),
                *(Conv2d(6, 16, 5), Tanh(), AvgPool2d(2)),
                Flatten(),
                *(Linear(16 * side * side, 120), Tanh()),
                *(Linear(120, 84), Tanh()),
                Dropout(dropout),
            ),
            head=Linear(84, classes),
        )
