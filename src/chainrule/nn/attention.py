"""Attention and transformer blocks, batch first: (N, T, C)."""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import is_boolean
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import creation, reductions, shaping
from ..functions.contractions import matmul
from ..graph import Shape, spec_text
from ..tensor import Tensor, as_tensor
from . import functional, init
from .arguments import expect_fraction, expect_integers
from .dropout import Dropout
from .linear import Linear
from .module import Module, Parameter
from .normalization import LayerNorm


def expect_batch_first(name: str, batch_first: bool) -> None:
    """Raise if sequences should have another first axis."""
    if not batch_first:
        raise ArgumentError(
            name,
            "got batch_first=False",
            "expected sequences that are batch first",
            "leave it out, and move the axes with cr.moveaxis(x, 0, 1)",
            user_line(),
        )


class MultiheadAttention(Module):
    """Several attentions side by side on parts of the channels (Vaswani et al., 2017).

    in_proj_weight (3 E, E) makes queries, keys and values; out_proj joins the heads again.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        batch_first: bool = True,
    ) -> None:
        expect_batch_first("MultiheadAttention", batch_first)
        expect_integers("MultiheadAttention", 1, embed_dim=embed_dim, num_heads=num_heads)
        expect_fraction("MultiheadAttention", "dropout", dropout)
        if embed_dim % num_heads:
            raise ArgumentError(
                "MultiheadAttention",
                f"got {embed_dim} channels, {num_heads} heads",
                "expected a number of heads that divides the channels",
                f"num_heads={math.gcd(embed_dim, num_heads)} does",
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        weight = init.xavier_uniform_(creation.zeros((3 * embed_dim, embed_dim)))
        self.in_proj_weight = Parameter(weight)
        self.in_proj_bias = Parameter(creation.zeros(3 * embed_dim)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            init.zeros_(self.out_proj.bias)  # type: ignore[arg-type]

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        *,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(N, T, E), and with need_weights the mean of the weights over the heads, (N, T, S).

        key, value         (N, S, E); the query by default (self-attention)
        key_padding_mask   (N, S), True where a key does not count, or floats that are added
        attn_mask          (T, S) or (N · heads, T, S): True where attending is forbidden, or floats
                           that are added

        If every key is masked, the weights are 0 and the output is out_proj's bias, with
        gradients of 0. Masks of integers are an error.
        """
        query = as_tensor(query)
        key = query if key is None else as_tensor(key)
        value = key if value is None else as_tensor(value)
        e = self.embed_dim
        n, s = query.shape[:1], key.shape[1:2]
        if query.ndim != 3 or query.shape[-1] != e or not (key.shape == value.shape == (*n, *s, e)):
            got = ", ".join(map(spec_text, (query, key, value)))
            raise ShapeError(
                "MultiheadAttention",
                f"got {got}",
                f"expected a query (N, T, {e}), a key and a value (N, S, {e})",
                "add a batch axis, x[None], or set embed_dim",
                user_line(),
            )
        parts = []
        for k, x in enumerate((query, key, value)):
            rows = slice(k * e, (k + 1) * e)
            bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
            parts.append(self._heads(functional.linear(x, self.in_proj_weight[rows], bias)))
        q, k_, v = parts
        masks = self._masks(attn_mask, key_padding_mask, (*q.shape[:3], k_.shape[2]))
        rate = self.dropout if self.training else 0.0
        weights = functional.attention_weights(q, k_, masks, rate, is_causal, None)
        out = shaping.permute_dims(matmul(weights, v), (0, 2, 1, 3))
        joined = self.out_proj(shaping.reshape(out, (*out.shape[:2], e)))
        return joined, reductions.mean(weights, axis=1) if need_weights else None

    def _heads(self, x: Tensor) -> Tensor:
        n, t, e = x.shape
        split = shaping.reshape(x, (n, t, self.num_heads, e // self.num_heads))
        return shaping.permute_dims(split, (0, 2, 1, 3))

    def _masks(self, attn_mask: Any, padding: Any, scores: Shape) -> list[Tensor]:
        """The masks with the scores' axes (N, heads, T, S): True where they allow, or added."""
        n, heads, t, size = scores
        arguments: list[tuple[str, Any, dict[Shape, Shape]]] = [
            ("attn_mask", attn_mask, {(t, size): (1, 1, t, size), (n * heads, t, size): scores}),
            ("key_padding_mask", padding, {(n, size): (n, 1, 1, size)}),
        ]
        masks = []
        for name, mask, fitting in arguments:
            if mask is None:
                continue
            mask = functional.mask_of(f"MultiheadAttention, {name}", mask, "forbidden")
            if mask.shape not in fitting:
                raise ShapeError(
                    "MultiheadAttention",
                    f"got the {name} {spec_text(mask)}",
                    f"expected {' or '.join(map(str, fitting))}",
                    "attn_mask is for pairs of positions, key_padding_mask for keys",
                    user_line(),
                )
            mask = shaping.reshape(mask, fitting[mask.shape])
            masks.append(~mask if is_boolean(mask.dtype) else mask)
        return masks


class TransformerEncoderLayer(Module):
    """Self-attention and a network of two layers, each with a residual and a normalization.

    norm_first   normalise before each part instead of after it
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
    ) -> None:
        expect_batch_first("TransformerEncoderLayer", batch_first)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout)
        self.linear1 = Linear(d_model, dim_feedforward)
        self.linear2 = Linear(dim_feedforward, d_model)
        self.norm1 = LayerNorm(d_model, layer_norm_eps)
        self.norm2 = LayerNorm(d_model, layer_norm_eps)
        self.dropout = Dropout(dropout)
        by_name = {"relu": functional.relu, "gelu": functional.gelu}
        if isinstance(activation, str) and activation not in by_name:
            raise ArgumentError(
                "TransformerEncoderLayer",
                f"got activation {activation!r}",
                "expected relu, gelu or a function",
                "activation=nn.functional.silu is one",
                user_line(),
            )
        self.activation = by_name[activation] if isinstance(activation, str) else activation
        self.norm_first = norm_first

    def forward(
        self,
        x: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
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
