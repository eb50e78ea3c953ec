"""The network for tables, and the layers that networks of runs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn, random
from ...functions import creation, indexing, shaping
from ...functions.padding import pad
from ...tensor import Tensor, as_tensor


class Standardise(nn.Module):
    """(x - mean) / std per channel: bytes or floats -> float32."""

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean = Tensor(np.asarray(mean, np.float32))
        self.std = Tensor(np.asarray(std, np.float32))

    def forward(self, x: Any) -> Tensor:
        return (as_tensor(x).astype("float32") - self.mean) / self.std


class RandomShift(nn.Module):
    """In training, each image (N, H, W, C) is shifted by up to `pixels` in each direction.

    Pixels of the border are repeated where the image is shifted away from it.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def forward(self, x: Any) -> Tensor:
        x, p = as_tensor(x), self.pixels
        if not self.training or not p:
            return x
        n, h, w, c = x.shape
        wide = pad(x, [(0, 0), (p, p), (p, p), (0, 0)], mode="edge")
        down, right = (random.integers(0, 2 * p + 1, (n, 1, 1, 1)) for _ in range(2))
        rows = down + shaping.reshape(creation.arange(h), (1, h, 1, 1))
        columns = right + shaping.reshape(creation.arange(w), (1, 1, w, 1))
        rows = shaping.broadcast_to(rows, (n, h, w + 2 * p, c))
        columns = shaping.broadcast_to(columns, (n, h, w, c))
        moved = indexing.take_along_axis(wide, rows, axis=1)
        return indexing.take_along_axis(moved, columns, axis=2)

    def extra_repr(self) -> str:
        return str(self.pixels)


class TableNetwork(nn.Module):
    """Numbers and embedded categories, concatenated, then hidden layers: -> (N, outputs).

    forward((numbers (N, F), codes (N, K)))
    """

    def __init__(
        self,
        numbers: int,
        cardinalities: Sequence[int],
        embedding: int,
        hidden: Sequence[int],
        outputs: int,
        dropout: float,
    ) -> None:
        self.embeddings = [nn.Embedding(c, min(embedding, (c + 1) // 2)) for c in cardinalities]
        size = numbers + sum(e.embedding_dim for e in self.embeddings)
        self.layers = nn.Sequential(
            *dense(size, hidden, dropout), nn.Linear(hidden[-1] if hidden else size, outputs)
        )

    def forward(self, x: Any) -> Tensor:
        numbers, codes = x
        parts = [as_tensor(numbers)]
        parts += [table(codes[:, k]) for k, table in enumerate(self.embeddings)]
        out: Tensor = self.layers(shaping.concat(parts, axis=-1))
        return out


def dense(size: int, hidden: Sequence[int], dropout: float) -> list[nn.Module]:
    """Linear, ReLU and dropout for each of the sizes."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(size, width), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if dropout else []
        size = width
    return layers
