"""Transformers, batch first: (N, T, C) (Vaswani et al., 2017)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ArgumentError, user_line
from ..tensor import Tensor, as_tensor
from . import functional, init
from .arguments import expect_batch_first, expect_integers
from .attention import KeyValueCache, MultiheadAttention
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

_ACTIVATIONS = {"relu": functional.relu, "gelu": functional.gelu}


class _Layer(Module):
    """Base of the layers: residuals with a normalization each, and a network of two layers."""

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
        bias: bool = True,
        *,
        rotary: bool = False,
    ) -> None:
        name = type(self).__name__
        expect_batch_first(name, batch_first)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, rotary=rotary)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout = Dropout(dropout)
        if isinstance(activation, str) and activation not in _ACTIVATIONS:
            raise ArgumentError(
                name,
                f"got activation {activation!r}",
                "expected relu, gelu or a function",
                "activation=nn.functional.silu is one",
                user_line(),
            )
        self.activation = _ACTIVATIONS[activation] if isinstance(activation, str) else activation
        self.norm_first = norm_first

    def empty_cache(self, batch_size: int, size: int) -> KeyValueCache:
        """As of `MultiheadAttention`, of the self-attention."""
        return self.self_attn.empty_cache(batch_size, size)

    def extra_repr(self) -> str:
        return "norm_first=True" if self.norm_first else ""

    def _residual(
        self, x: Tensor, norm: Callable[[Tensor], Tensor], part: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """norm(x + part(x)), or x + part(norm(x)) with norm_first."""
        return x + part(norm(x)) if self.norm_first else norm(x + part(x))

    def _attended(
        self, x: Tensor, mask: Any, padding: Any, is_causal: bool, cache: KeyValueCache | None
    ) -> tuple[Tensor, KeyValueCache | None]:
        """After the self-attention's residual, and the next cache (None without one)."""
        after: KeyValueCache | None = None

        def attend(y: Tensor) -> Tensor:
            nonlocal after
            out, after = self.self_attn(
                y,
                key_padding_mask=padding,
                need_weights=False,
                attn_mask=mask,
                is_causal=is_causal,
                cache=cache,
            )
            dropped: Tensor = self.dropout(out)
            return dropped

        return self._residual(x, self.norm1, attend), after

    def _feed(self, x: Tensor) -> Tensor:
        inner = self.dropout(self.activation(self.linear1(x)))
        out: Tensor = self.dropout(self.linear2(inner))
        return out


class TransformerEncoderLayer(_Layer):
    """Self-attention and a network of two layers, each with a residual and a normalization.

    x = norm1(x + attention(x)), x = norm2(x + linear2(activation(linear1(x)))), with dropout after
    each part and inside the second: (N, T, d_model) -> (N, T, d_model), also without N. With
    is_causal or a cache it is a layer of a decoder without memory, as in GPT.

    norm_first   normalise before each part instead of after it: x + attention(norm1(x)) …
    activation   relu, gelu or a function
    rotary       queries and keys are rotated by their positions (`RotaryPositionalEmbedding`)
    """

    def forward(
        self,
        x: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
        *,
        cache: KeyValueCache | None = None,
    ) -> Any:
        """The output; with a cache the output and the next cache.

        src_mask, src_key_padding_mask, is_causal, cache   as for `MultiheadAttention`
        """
        x, after = self._attended(as_tensor(x), src_mask, src_key_padding_mask, is_causal, cache)
        x = self._residual(x, self.norm2, self._feed)
        return x if cache is None else (x, after)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to a memory, and a network of two layers.

    Each has a residual and a normalization, as in `TransformerEncoderLayer`:
    (N, T, d_model), memory (N, S, d_model) -> (N, T, d_model), also without N.
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
        bias: bool = True,
        *,
        rotary: bool = False,
    ) -> None:
        super().__init__(
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
            rotary=rotary,
        )
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        *,
        cache: KeyValueCache | None = None,
    ) -> Any:
        """The output; with a cache (of the self-attention) the output and the next cache.

        The arguments tgt_… are for the self-attention, those memory_… for the attention to the
        memory; masks as for `MultiheadAttention`.
        """
        memory, own = as_tensor(memory), (tgt_mask, tgt_key_padding_mask, tgt_is_causal)

        def read(y: Tensor) -> Tensor:
            out, _ = self.multihead_attn(
                y,
                memory,
                memory,
                memory_key_padding_mask,
                need_weights=False,
                attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )
            dropped: Tensor = self.dropout(out)
            return dropped

        x, after = self._attended(as_tensor(tgt), *own, cache)
        x = self._residual(x, self.norm2, read)
        x = self._residual(x, self.norm3, self._feed)
        return x if cache is None else (x, after)


class _Stack(Module):
    """Base of the stacks: copies of a layer, with equal weights at first, and a normalization."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None) -> None:
        name = type(self).__name__
        expect_integers(name, 1, num_layers=num_layers)
        if not isinstance(layer, _Layer):
            raise ArgumentError(
                name,
                f"got {layer.__name__ if isinstance(layer, type) else type(layer).__name__}",
                f"expected a layer, of which it makes {num_layers}",
                f"nn.{name}(nn.{name}Layer(64, 4), {num_layers})",
                user_line(),
            )
        self.layers: list[Any] = [copy.deepcopy(layer) for _ in range(num_layers)]
        self.norm = norm

    def empty_cache(self, batch_size: int, size: int) -> tuple[KeyValueCache, ...]:
        """An empty cache of the last `size` positions for each layer."""
        return tuple(layer.empty_cache(batch_size, size) for layer in self.layers)

    def _through(
        self, x: Any, cache: Sequence[KeyValueCache] | None, call: Callable[..., Any]
    ) -> Any:
        """The output of all layers; with a cache, and the next caches."""
        x = as_tensor(x)
        after = []
        for k, layer in enumerate(self.layers):
            if cache is None:
                x = call(layer, x, None)
            else:
                x, new = call(layer, x, cache[k])
                after.append(new)
        x = x if self.norm is None else self.norm(x)
        return x if cache is None else (x, tuple(after))


class TransformerEncoder(_Stack):
    """A stack of encoder layers: (N, T, d_model) -> (N, T, d_model), also without N.

    encoder_layer   copied num_layers times; the copies have equal weights at first, as in PyTorch
                    (assign other layers to `layers`)
    norm            a layer for the output, such as nn.LayerNorm(d_model)
    """

    def __init__(
        self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        super().__init__(encoder_layer, num_layers, norm)

    def forward(
        self,
        src: Any,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool | None = None,
        *,
        cache: Sequence[KeyValueCache] | None = None,
    ) -> Any:
        """The output; with a cache (of `empty_cache`) the output and the next one.

        mask, src_key_padding_mask, is_causal   as for `MultiheadAttention`
        """

        def call(layer: Any, x: Tensor, before: KeyValueCache | None) -> Any:
            return layer(x, mask, src_key_padding_mask, bool(is_causal), cache=before)

        return self._through(src, cache, call)


class TransformerDecoder(_Stack):
    """A stack of decoder layers: (N, T, d_model), memory (N, S, d_model) -> (N, T, d_model).

    decoder_layer   copied num_layers times; the copies have equal weights at first, as in PyTorch
                    (assign other layers to `layers`)
    norm            a layer for the output, such as nn.LayerNorm(d_model)
    """

    def __init__(
        self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None
    ) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
        *,
        cache: Sequence[KeyValueCache] | None = None,
    ) -> Any:
        """The output; with a cache (of `empty_cache`) the output and the next one.

        The masks are as for `TransformerDecoderLayer`.
        """
        masks = tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask
        causal = bool(tgt_is_causal), memory_is_causal

        def call(layer: Any, x: Tensor, before: KeyValueCache | None) -> Any:
            return layer(x, memory, *masks, *causal, cache=before)

        return self._through(tgt, cache, call)


class Transformer(Module):
    """An encoder, and a decoder that reads what it gives, each with a final LayerNorm.

    src (N, S, d_model), tgt (N, T, d_model) -> (N, T, d_model). Embeddings, positions and the last
    layer are not in it. Weights are Xavier-uniform at first.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = "relu",
        *,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        expect_batch_first("Transformer", batch_first)
        sizes = d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps
        settings = {"norm_first": norm_first, "bias": bias}
        self.encoder = TransformerEncoder(
            TransformerEncoderLayer(*sizes, **settings),
            num_encoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias),
        )
        self.decoder = TransformerDecoder(
            TransformerDecoderLayer(*sizes, **settings),
            num_decoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias),
        )
        for weight in self.parameters():
            if weight.ndim > 1:
                init.xavier_uniform_(weight)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The decoder's output; masks as for `TransformerEncoder` and `TransformerDecoder`."""
        out: Tensor = self.decoder(
            tgt,
            self.encoder(src, src_mask, src_key_padding_mask, src_is_causal),
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )
        return out
