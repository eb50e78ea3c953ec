"""Layers that multiply by a matrix, and tables of vectors."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ArgumentError, ShapeError, user_line
from ..functions import creation, indexing, reductions
from ..functions.contractions import einsum
from ..functions.control import stop_gradient
from ..functions.elementwise import where
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from . import functional, init
from .arguments import expect_integers, expect_rows
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


def _check_table(name: str, rows: int, columns: int, padding_idx: int | None) -> None:
    expect_integers(name, 0, num_embeddings=rows, embedding_dim=columns)
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise ArgumentError(
            name,
            f"got padding_idx={padding_idx!r}",
            f"expected one of the {rows} rows of the table",
            f"padding_idx=0, or num_embeddings={abs(padding_idx) + 1}",
            user_line(),
        )


class Embedding(Module):
    """A table of vectors, one per number: indices (...) -> (..., embedding_dim).

    Indices are from 0 to num_embeddings - 1: below 0, where an axis would be counted from its end,
    they are an error, as code -1 of a missing category would otherwise be the last one's.

    weight (num_embeddings, embedding_dim), N(0, 1) at first; its gradient is row-sparse. The row
    `padding_idx` is 0 at first, and gets no gradient.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        _check_table("Embedding", num_embeddings, embedding_dim, padding_idx)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx
        table = init.normal_(creation.zeros((num_embeddings, embedding_dim)))
        if padding_idx is not None:
            table[padding_idx] = 0.0
        self.weight = Parameter(table)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        rows = indexing.take(self.weight, expect_rows("Embedding", x, self.weight.shape[0]), axis=0)
        if self.padding_idx is None:
            return rows
        k = self.padding_idx % self.num_embeddings
        return where((x == k)[..., None], stop_gradient(rows), rows)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"


class EmbeddingBag(Module):
    """The mean, sum or largest of the vectors of each bag: indices (N, L) -> (N, embedding_dim).

    Numbers equal to padding_idx do not count; a bag in which none counts gives 0. Indices are from
    0 to num_embeddings - 1.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        mode: str = "mean",
        padding_idx: int | None = None,
    ) -> None:
        if mode not in ("mean", "sum", "max"):
            raise ArgumentError(
                "EmbeddingBag",
                f"got mode {mode!r}",
                "expected mean, sum or max",
                'mode="mean" is the default',
            )
        _check_table("EmbeddingBag", num_embeddings, embedding_dim, padding_idx)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.mode, self.padding_idx = mode, padding_idx
        self.weight = Parameter(init.normal_(creation.zeros((num_embeddings, embedding_dim))))

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if not x.ndim:
            raise ShapeError(
                "EmbeddingBag",
                f"got {spec_text(x)}",
                "expected (N, L), bags of L numbers",
                "add the axes, x[None, None]",
                user_line(),
            )
        rows = indexing.take(
            self.weight, expect_rows("EmbeddingBag", x, self.weight.shape[0]), axis=0
        )
        gone = creation.zeros(x.shape, dtype="bool")
        if self.padding_idx is not None:
            gone = x == self.padding_idx % self.num_embeddings
        if self.mode == "max" and x.shape[-1]:
            filled = functional.masked_fill(rows, gone[..., None], -math.inf)
            empty = reductions.all(gone, axis=-1, keepdims=True)
            return functional.masked_fill(reductions.max(filled, axis=-2), empty, 0.0)
        total = reductions.sum(functional.masked_fill(rows, gone[..., None], 0.0), axis=-2)
        if self.mode == "sum":
            return total
        count = reductions.sum(~gone, axis=-1, keepdims=True)
        return total / functional.at_least(count.astype(total.dtype), 1.0)
