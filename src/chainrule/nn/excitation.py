"""Squeeze and excitation: channels weighted by what the whole image shows."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError, user_line
from ..functions import reductions
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from . import functional
from .arguments import expect_integers
from .linear import Linear
from .module import Module


class SqueezeExcitation(Module):
    """x times a factor from 0 to 1 for each channel of a sample (Hu et al., 2018).

    The factors are sigmoid(W₂ relu(W₁ m + b₁) + b₂), where m is the mean of x over its sizes:
    (N, *size, C) -> (N, *size, C).

    squeeze_channels   how many numbers are between the two layers, often C / 16 to C / 4
    """

    def __init__(self, input_channels: int, squeeze_channels: int) -> None:
        expect_integers(
            "SqueezeExcitation", 1, input_channels=input_channels, squeeze_channels=squeeze_channels
        )
        self.fc1 = Linear(input_channels, squeeze_channels)
        self.fc2 = Linear(squeeze_channels, input_channels)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim < 3 or x.shape[-1] != self.fc1.in_features:
            raise ShapeError(
                "SqueezeExcitation",
                f"got {spec_text(x)}",
                f"expected (N, *size, {self.fc1.in_features})",
                "move the channels to the last axis, or set input_channels",
                user_line(),
            )
        mean = reductions.mean(x, axis=tuple(range(1, x.ndim - 1)), keepdims=True)
        return x * functional.sigmoid(self.fc2(functional.relu(self.fc1(mean))))
