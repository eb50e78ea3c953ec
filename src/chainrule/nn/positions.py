"""Positions in a sequence, for attention, which does not know the order.

Learned positions are a table: `x + positions(arange(T))` with `positions = nn.Embedding(T, C)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..broadcasting import cast
from ..dtypes import float64, is_integer
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import creation, elementwise, shaping
from ..graph import Shape, spec_text
from ..tensor import Tensor, as_tensor
from .arguments import as_floating, expect_integers, expect_number
from .module import Module


class SinusoidalPositionalEncoding(Module):
    """x + P with P[t, 2i] = sin(t / 10000^(2i/C)), P[t, 2i+1] = cos(t / 10000^(2i/C)).

    (..., T, C) -> (..., T, C) (Vaswani et al., 2017, section 3.5).

    forward(x, offset=0)

    offset   the position of the first step: a number, or whole numbers (N,), one per sequence
    """

    def __init__(self, d_model: int) -> None:
        expect_integers("SinusoidalPositionalEncoding", 1, d_model=d_model)
        self.d_model = d_model

    def forward(self, x: Any, offset: Any = 0) -> Tensor:
        name, d = "SinusoidalPositionalEncoding", self.d_model
        x = _expect_steps(name, x, d)
        rates = 10000.0 ** (-np.arange(0, d, 2) / d)
        cos, sin = _waves(name, x, rates, offset)
        waves = shaping.reshape(
            shaping.stack([sin, cos], axis=-1), (*sin.shape[:-1], 2 * len(rates))
        )
        return x + waves[..., :d]

    def extra_repr(self) -> str:
        return str(self.d_model)


class RotaryPositionalEmbedding(Module):
    """Rotates pairs of channels by angles that grow with the position (Su et al., 2021).

    (..., T, dim) -> (..., T, dim): at position t, channels i and i + dim/2 are rotated by
    t · base^(-2i/dim). So a product of a query and a key depends on their distance alone.
    The pairs are those of GPT-NeoX and Llama; in the paper they are channels 2i and 2i + 1.

    forward(x, offset=0)

    x        queries or keys, one head on the last axis
    offset   the position of the first step: a number, or whole numbers (N,), one per sequence
    """

    def __init__(self, dim: int, base: float = 10000.0) -> None:
        name = "RotaryPositionalEmbedding"
        expect_integers(name, 2, dim=dim)
        expect_number(name, "base", base, 10000.0, above=0)
        if dim % 2:
            raise ArgumentError(
                name,
                f"got dim={dim}",
                "expected an even number of channels: they are rotated in pairs",
                f"dim={dim + 1}",
                user_line(),
            )
        self.dim, self.base = dim, base

    def forward(self, x: Any, offset: Any = 0) -> Tensor:
        name, half = "RotaryPositionalEmbedding", self.dim // 2
        x = _expect_steps(name, x, self.dim)
        cos, sin = _waves(name, x, self.base ** (-np.arange(half) / half), offset)
        a, b = x[..., :half], x[..., half:]
        return shaping.concat([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def extra_repr(self) -> str:
        return f"{self.dim}, base={self.base:g}"


def _expect_steps(name: str, x: Any, channels: int) -> Tensor:
    x = as_floating(x)
    if x.ndim < 2 or x.shape[-1] != channels:
        raise ShapeError(
            name,
            f"got {spec_text(x)}",
            f"expected (..., T, {channels})",
            "set the channels to the size of the last axis, and move the steps to the one before",
            user_line(),
        )
    return x


def _waves(name: str, x: Tensor, rates: Any, offset: Any) -> tuple[Tensor, Tensor]:
    """cos and sin of position · rate, in the dtype of x and as many axes; computed in float64.

    At position 1000 an angle in float32 would be wrong by 3e-5.
    """
    steps = x.shape[-2]
    if isinstance(offset, (int, np.integer)) and not isinstance(offset, bool):
        fixed = (offset + np.arange(steps))[:, None] * rates
        return Tensor(np.cos(fixed), dtype=x.dtype), Tensor(np.sin(fixed), dtype=x.dtype)
    first = as_tensor(offset)
    per_sequence = x.ndim > 2 and first.shape == x.shape[:1]
    if not is_integer(first.dtype) or not (per_sequence or first.shape == ()):
        raise ArgumentError(
            name,
            f"got the offset {spec_text(first)} for {spec_text(x)}",
            "expected a whole number, or one per sequence (N,)",
            "offset=0 is the beginning",
            user_line(),
        )
    places: Shape = (*first.shape, *(1,) * (x.ndim - 2 - first.ndim), 1)
    positions = shaping.reshape(first, places) + creation.arange(steps)
    angles = cast(positions, float64)[..., None] * Tensor(rates)
    return cast(elementwise.cos(angles), x.dtype), cast(elementwise.sin(angles), x.dtype)
