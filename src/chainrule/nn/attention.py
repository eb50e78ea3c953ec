"""Attention, batch first: (N, T, C), and the keys and values that decoding keeps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import is_boolean
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import creation, reductions, shaping
from ..functions.attention import attention
from ..functions.contractions import matmul
from ..graph import Shape, spec_text
from ..tensor import Tensor, as_tensor
from . import functional, init
from .arguments import expect_batch_first, expect_fraction, expect_integers
from .linear import Linear
from .module import Module, Parameter
from .positions import RotaryPositionalEmbedding


class KeyValueCache(NamedTuple):
    """The keys and values of the last `size` positions, so that a decoder need not repeat them.

    keys, values   (N, heads, size, channels of a head), the newest last; 0 before the first
    filled         (N,) int64: how many positions there have been, also forgotten ones

    Its shapes never change, so a compiled step of decoding is compiled once.
    """

    keys: Tensor
    values: Tensor
    filled: Tensor

    def extended(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Any]:
        """All keys, all values, what each new position attends to, and the cache after them.

        keys, values   (N, heads, T, channels) of T new positions

        A position attends to itself and to the size - 1 before it.
        """
        size, steps = self.keys.shape[2], keys.shape[2]
        all_keys = shaping.concat([self.keys, keys], axis=2)
        all_values = shaping.concat([self.values, values], axis=2)
        t, place = np.arange(steps)[:, None], np.arange(size + steps)[None, :]
        near = Tensor((place <= size + t) & (place > t))  # (T, size + T)
        written = creation.arange(size + steps) >= size - self.filled[:, None]
        allowed = near[None, None] & written[:, None, None, :]
        after = KeyValueCache(all_keys[:, :, steps:], all_values[:, :, steps:], self.filled + steps)
        return all_keys, all_values, allowed, after


class MultiheadAttention(Module):
    """Several attentions side by side on parts of the channels (Vaswani et al., 2017).

    heads h: softmax(q_h k_hᵀ / √d) v_h with d = embed_dim / num_heads, joined by out_proj.

    in_proj_weight (3 E, E) makes queries, keys and values; where keys have kdim or values vdim
    channels, q_proj_weight (E, E), k_proj_weight (E, kdim) and v_proj_weight (E, vdim) do.
    in_proj_bias (3 E,). Xavier-uniform at first, biases 0.

    rotary   queries and keys are rotated by their positions (`RotaryPositionalEmbedding`)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = True,
        rotary: bool = False,
    ) -> None:
        expect_batch_first("MultiheadAttention", batch_first)
        expect_integers("MultiheadAttention", 1, embed_dim=embed_dim, num_heads=num_heads)
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        expect_integers("MultiheadAttention", 1, kdim=self.kdim, vdim=self.vdim)
        expect_fraction("MultiheadAttention", "dropout", dropout)
        if embed_dim % num_heads:
            raise ArgumentError(
                "MultiheadAttention",
                f"got {embed_dim} channels, {num_heads} heads",
                "expected a number of heads that divides the channels",
                f"num_heads={math.gcd(embed_dim, num_heads)} does",
                user_line(),
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = _projection(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = _projection(embed_dim, embed_dim)
            self.k_proj_weight = _projection(embed_dim, self.kdim)
            self.v_proj_weight = _projection(embed_dim, self.vdim)
        self.in_proj_bias = Parameter(creation.zeros(3 * embed_dim)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            init.zeros_(self.out_proj.bias)  # type: ignore[arg-type]
        self.rotary = RotaryPositionalEmbedding(embed_dim // num_heads) if rotary else None

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Any]:
        """(N, T, E), and with need_weights the mean of the weights over the heads, (N, T, S).

        query                  (N, T, E); or (T, E), then nothing has an N
        key, value             (N, S, kdim), (N, S, vdim); by default the query (self-attention),
                               and the key
        key_padding_mask       (N, S), True where a key does not count, or floats that are added
        attn_mask              (T, S) or (N · heads, T, S): True where attending is forbidden, or
                               floats that are added
        average_attn_weights   False: the weights of each head, (N, heads, T, S)
        is_causal              a query does not attend to later positions
        cache                  of `empty_cache`, or of the call before: the query is what follows it
                               and attends to what came before; the result is (N, T, E) and the
                               next cache

        If every key is masked, the weights are 0 and the output is out_proj's bias, with
        gradients of 0. Masks of integers are an error.
        """
        query = as_tensor(query)
        key = query if key is None else as_tensor(key)
        value = key if value is None else as_tensor(value)
        self._expect_fitting(query, key, value)
        if query.ndim == 2:
            padding = None if key_padding_mask is None else as_tensor(key_padding_mask)[None]
            if cache is not None:
                raise _needless("one sequence (T, E)", "x[None] is a batch of one")
            settings = need_weights, attn_mask, average_attn_weights, is_causal
            out, weights = self.forward(query[None], key[None], value[None], padding, *settings)
            return out[0], None if weights is None else weights[0]
        q, k, v = self._projected(query, key, value)
        if cache is not None:
            if key is not query or attn_mask is not None or key_padding_mask is not None:
                raise _needless("a key or a mask", "leave it out: decoding attends to what was")
            return self._continued(q, k, v, cache)
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        masks = self._masks(attn_mask, key_padding_mask, (*q.shape[:3], k.shape[2]))
        rate = self.dropout if self.training else 0.0
        if not need_weights and not rate:
            return self._out(attention(q, k, v, masks, is_causal)), None
        weights = functional.attention_weights(q, k, masks, rate, is_causal, None)
        out = self._out(matmul(weights, v))
        if not need_weights:
            return out, None
        return out, reductions.mean(weights, axis=1) if average_attn_weights else weights

    def extra_repr(self) -> str:
        rotary = "" if self.rotary is None else ", rotary=True"
        return f"{self.embed_dim}, {self.num_heads}{rotary}"

    def empty_cache(self, batch_size: int, size: int) -> KeyValueCache:
        """A cache of the last `size` positions, before the first one."""
        expect_integers("empty_cache", 1, batch_size=batch_size, size=size)
        shape = batch_size, self.num_heads, size, self.embed_dim // self.num_heads
        zeros = creation.zeros(shape, dtype=self.out_proj.weight.dtype)
        return KeyValueCache(zeros, zeros, creation.zeros(batch_size, dtype="int64"))

    def _continued(
        self, q: Tensor, k: Tensor, v: Tensor, cache: KeyValueCache
    ) -> tuple[Tensor, KeyValueCache]:
        """The output at new positions, and the cache after them."""
        shape = (*k.shape[:2], cache.keys.shape[2], k.shape[3])
        if cache.keys.shape != shape:
            raise ShapeError(
                "MultiheadAttention",
                f"got a cache of {spec_text(cache.keys)} for a query of {q.shape[0]} sequences",
                f"expected {shape}",
                f"begin with empty_cache({q.shape[0]}, size)",
                user_line(),
            )
        if self.rotary is not None:
            q, k = self.rotary(q, cache.filled), self.rotary(k, cache.filled)
        keys, values, allowed, after = cache.extended(k, v)
        return self._out(attention(q, keys, values, [allowed], causal=False)), after

    def _expect_fitting(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        e, s = self.embed_dim, key.shape[-2:-1]
        n = query.shape[:-2]
        fits = query.ndim in (2, 3) and query.shape[-1] == e
        if not fits or key.shape != (*n, *s, self.kdim) or value.shape != (*n, *s, self.vdim):
            got = ", ".join(map(spec_text, (query, key, value)))
            same = self.kdim == self.vdim == e
            needed = (
                f"a key and a value (N, S, {e})"
                if same
                else f"a key (N, S, {self.kdim}) and a value (N, S, {self.vdim})"
            )
            raise ShapeError(
                "MultiheadAttention",
                f"got {got}",
                f"expected a query (N, T, {e}), {needed}",
                "set embed_dim, kdim and vdim to the sizes of the last axes",
                user_line(),
            )

    def _projected(self, *inputs: Tensor) -> list[Tensor]:
        """Queries, keys and values by head, (N, heads, T, channels of a head)."""
        e = self.embed_dim
        parts = []
        for k, (x, name) in enumerate(zip(inputs, "qkv", strict=True)):
            rows = slice(k * e, (k + 1) * e)
            same = self.kdim == self.vdim == e
            weight = self.in_proj_weight[rows] if same else getattr(self, f"{name}_proj_weight")
            bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
            n, t, _ = x.shape
            y = functional.linear(x, weight, bias)
            split = shaping.reshape(y, (n, t, self.num_heads, e // self.num_heads))
            parts.append(shaping.permute_dims(split, (0, 2, 1, 3)))
        return parts

    def _out(self, heads: Tensor) -> Tensor:
        """The heads (N, heads, T, channels of a head) joined: (N, T, E)."""
        n, _, t, _ = heads.shape
        joined = shaping.reshape(shaping.permute_dims(heads, (0, 2, 1, 3)), (n, t, self.embed_dim))
        out: Tensor = self.out_proj(joined)
        return out

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


def _projection(rows: int, columns: int) -> Tensor:
    return Parameter(init.xavier_uniform_(creation.zeros((rows, columns))))


def _needless(arrived: str, advice: str) -> ArgumentError:
    return ArgumentError(
        "MultiheadAttention",
        f"got {arrived} with a cache",
        "expected the next positions (N, T, E) alone",
        advice,
        user_line(),
    )
