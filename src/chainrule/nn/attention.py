"""Attention and transformer blocks, batch first: (N, T, C)."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ArgumentError, user_line
from ..functions import creation, reductions, shaping
from ..functions.contractions import matmul
from ..functions.elementwise import where
from ..tensor import Tensor, as_tensor
from . import functional, init
from .dropout import Dropout
from .linear import Linear
from .module import Module, Parameter
from .normalization import LayerNorm


def expect_batch_first(name: str, batch_first: bool) -> None:
    """Raise if sequences are to have another axis first."""
    if not batch_first:
        raise ArgumentError(
            name, "got batch_first=False", "sequences are batch first",
            "leave it out, and move the axes with cr.moveaxis(x, 0, 1)", user_line(),
        )  # fmt: skip


class MultiheadAttention(Module):
    """Several attentions side by side on parts of the channels (Vaswani et al., 2017).

    in_proj_weight (3 E, E) makes queries, keys and values; out_proj joins the heads again.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        *, batch_first: bool = True,
    ) -> None:  # fmt: skip
        expect_batch_first("MultiheadAttention", batch_first)
        if num_heads < 1 or embed_dim % num_heads:
            raise ArgumentError(
                "MultiheadAttention", f"got {embed_dim} channels, {num_heads} heads",
                "a divisor of the channels", "choose another number of heads",
            )  # fmt: skip
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        weight = init.xavier_uniform_(creation.zeros((3 * embed_dim, embed_dim)))
        self.in_proj_weight = Parameter(weight)
        self.in_proj_bias = Parameter(creation.zeros(3 * embed_dim)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            init.zeros_(self.out_proj.bias)  # type: ignore[arg-type]

    def forward(
        self, query: Any, key: Any = None, value: Any = None, key_padding_mask: Any = None,
        need_weights: bool = True, attn_mask: Any = None, *, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """(N, T, E), and the weights (N, T, S), the mean over the heads, if they are wanted.

        key, value         (N, S, E); left out, they are the query (self-attention)
        key_padding_mask   (N, S), True where a key does not count
        attn_mask          (T, S) or (N · heads, T, S): True where attending is forbidden, or added
        """
        query = as_tensor(query)
        key = query if key is None else as_tensor(key)
        value = key if value is None else as_tensor(value)
        e = self.embed_dim
        parts = []
        for k, x in enumerate((query, key, value)):
            rows = slice(k * e, (k + 1) * e)
            bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
            parts.append(self._heads(functional.linear(x, self.in_proj_weight[rows], bias)))
        q, k_, v = parts
        mask = self._mask(attn_mask, key_padding_mask, q, k_)
        rate = self.dropout if self.training else 0.0
        weights = functional.attention_weights(q, k_, mask, rate, is_causal, None)
        out = shaping.permute_dims(matmul(weights, v), (0, 2, 1, 3))
        joined = self.out_proj(shaping.reshape(out, (*out.shape[:2], e)))
        return joined, reductions.mean(weights, axis=1) if need_weights else None

    def _heads(self, x: Tensor) -> Tensor:
        n, t, e = x.shape
        split = shaping.reshape(x, (n, t, self.num_heads, e // self.num_heads))
        return shaping.permute_dims(split, (0, 2, 1, 3))

    def _mask(self, attn_mask: Any, padding: Any, q: Tensor, k: Tensor) -> Tensor | None:
        """What is added to the scores: -inf where attending is forbidden."""
        total: Tensor | None = None
        if attn_mask is not None:
            mask = as_tensor(attn_mask)
            total = where(mask, q._full((), -math.inf), 0.0) if mask.dtype.kind == "b" else mask
            if total.ndim == 3:
                total = shaping.reshape(total, (*q.shape[:2], *total.shape[1:]))
        if padding is not None:
            gone = where(as_tensor(padding), q._full((), -math.inf), 0.0)[:, None, None, :]
            total = gone if total is None else total + gone
        return total


class TransformerEncoderLayer(Module):
    """Self-attention and a network of two layers, each with a residual and a normalisation.

    norm_first   normalise before each part instead of after it
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Any = "relu", layer_norm_eps: float = 1e-5,
        batch_first: bool = True, norm_first: bool = False,
    ) -> None:  # fmt: skip
        expect_batch_first("TransformerEncoderLayer", batch_first)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout)
        self.linear1 = Linear(d_model, dim_feedforward)
        self.linear2 = Linear(dim_feedforward, d_model)
        self.norm1 = LayerNorm(d_model, layer_norm_eps)
        self.norm2 = LayerNorm(d_model, layer_norm_eps)
        self.dropout = Dropout(dropout)
        named = {"relu": functional.relu, "gelu": functional.gelu}
        if isinstance(activation, str) and activation not in named:
            raise ArgumentError(
                "TransformerEncoderLayer", f"got activation {activation!r}",
                "relu, gelu or a function", 'try "relu"', user_line(),
            )  # fmt: skip
        self.activation = named[activation] if isinstance(activation, str) else activation
        self.norm_first = norm_first

    def forward(
        self, x: Any, src_mask: Any = None, src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        x = as_tensor(x)
        if self.norm_first:
            x = x + self._attend(self.norm1(x), src_mask, src_key_padding_mask, is_causal)
            return x + self._feed(self.norm2(x))
        x = self.norm1(x + self._attend(x, src_mask, src_key_padding_mask, is_causal))
        out: Tensor = self.norm2(x + self._feed(x))
        return out

    def _attend(self, x: Tensor, mask: Any, padding: Any, is_causal: bool) -> Tensor:
        out, _ = self.self_attn(
            x, key_padding_mask=padding, need_weights=False, attn_mask=mask, is_causal=is_causal
        )
        dropped: Tensor = self.dropout(out)
        return dropped

    def _feed(self, x: Tensor) -> Tensor:
        inner = self.dropout(self.activation(self.linear1(x)))
        out: Tensor = self.dropout(self.linear2(inner))
        return out
