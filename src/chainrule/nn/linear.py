"""Layers that multiply by a matrix."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ShapeError, user_line
from ..functions import creation
from ..functions.contractions import einsum
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from . import functional, init
from .arguments import expect_integers
from .module import Module, Parameter


def uniform_parameter(shape: tuple[int, ...], fan_in: int) -> Tensor:
    """PyTorch's default initialization: U(-1/√fan_in, 1/√fan_in)."""
    bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
    return Parameter(init.uniform_(creation.zeros(shape), -bound, bound))


class Linear(Module):
    """y = x Wᵀ + b: (..., in_features) -> (..., out_features).

    weight (out_features, in_features), bias (out_features,); U(-1/√in, 1/√in) at first.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        expect_integers("Linear", 0, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = uniform_parameter((out_features, in_features), in_features)
        self.bias = uniform_parameter((out_features,), in_features) if bias else None

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if not x.shape or x.shape[-1] != self.in_features:
            raise ShapeError(
                "Linear",
                f"got {spec_text(x)}",
                f"expected (..., {self.in_features})",
                f"set in_features to {x.shape[-1] if x.shape else 1}, or change the last axis",
                user_line(),
            )
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        return f"{self.in_features}, {self.out_features}{bias}"


class Bilinear(Module):
    """yₖ = x₁ᵀ Wₖ x₂ + bₖ."""

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True
    ) -> None:
        expect_integers(
            "Bilinear",
            1,
            in1_features=in1_features,
            in2_features=in2_features,
            out_features=out_features,
        )
        shape = out_features, in1_features, in2_features
        self.weight = uniform_parameter(shape, in1_features)
        self.bias = uniform_parameter((out_features,), in1_features) if bias else None

    def forward(self, x1: Any, x2: Any) -> Tensor:
        x1, x2 = as_tensor(x1), as_tensor(x2)
        _, i, j = self.weight.shape
        if x1.shape[-1:] != (i,) or x2.shape != (*x1.shape[:-1], j):
            raise ShapeError(
                "Bilinear",
                f"got {spec_text(x1)} and {spec_text(x2)}",
                f"expected (..., {i}) and (..., {j}) with equal leading sizes",
                "set in1_features and in2_features, or broadcast one of them",
                user_line(),
            )
        y = einsum("...i,kij,...j->...k", x1, self.weight, x2)
        return y if self.bias is None else y + self.bias
