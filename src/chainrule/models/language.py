"""The next token of a text."""

from __future__ import annotations

import math
from types import EllipsisType
from typing import Any, overload

from ..errors import ArgumentError, user_line
from ..nn import (
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Module,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from ..nn.arguments import expect_integers
from ..tensor import Tensor
from .recurrent import recurrent_layer


class LanguageModel(Module):
    """Scores of each next token: whole numbers (N, T) -> (N, T, vocabulary).

    forward(x) -> scores, from the beginning of a text
    forward(x, state) -> (scores, state), to go on after an earlier call; state None at the
    beginning. So `nn.decoding.generate(model, prompt, steps)` continues a text, and
    `fit(…, tbptt=k)` carries the state of an lstm or gru from window to window.

    vocabulary   number of tokens
    kind         lstm, gru, or transformer: a causal one with rotary positions, normalised first,
                 whose feed-forward layers have 4 · hidden units (as GPT, otherwise)
    hidden       size of the state of each layer; of a transformer, of the vectors in it
    embedding    of an lstm or gru: size of the vector of a token
    heads        of a transformer: they divide hidden
    context      of a transformer: how many tokens back it sees when it continues a text
    dropout      of what each layer gives, in training; of a transformer, inside its layers too
    """

    def __init__(
        self,
        vocabulary: int,
        kind: str = "lstm",
        *,
        hidden: int = 256,
        layers: int = 1,
        embedding: int = 64,
        heads: int = 4,
        context: int = 128,
        dropout: float = 0.0,
    ) -> None:
        expect_integers(
            "LanguageModel", 1, vocabulary=vocabulary, hidden=hidden, layers=layers, heads=heads
        )
        if kind == "transformer" and hidden % heads:
            raise ArgumentError(
                "LanguageModel",
                f"got hidden={hidden} and heads={heads}",
                "expected heads that divide hidden",
                f"heads={math.gcd(hidden, heads)}",
                user_line(),
            )
        self.kind, self.context = kind, context
        self.embedding = Embedding(vocabulary, hidden if kind == "transformer" else embedding)
        if kind == "transformer":
            settings = {"norm_first": True, "rotary": True}
            parts = [
                TransformerEncoderLayer(hidden, heads, 4 * hidden, dropout, "gelu", **settings)
                for _ in range(layers)
            ]
            self.encoder = TransformerEncoder(parts[0], 1, LayerNorm(hidden))
            self.encoder.layers = parts  # each with its own weights from the start
        else:
            self.recurrent = recurrent_layer(
                "LanguageModel",
                kind,
                embedding,
                hidden,
                "transformer",
                num_layers=layers,
                dropout=dropout * (layers > 1),
            )
            self.dropout = Dropout(dropout)
        self.head = Linear(hidden, vocabulary)

    @overload
    def forward(self, x: Any) -> Tensor: ...
    @overload
    def forward(self, x: Any, state: Any) -> tuple[Tensor, Any]: ...
    def forward(self, x: Any, state: Any | EllipsisType = ...) -> Tensor | tuple[Tensor, Any]:
        vectors: Tensor = self.embedding(x)
        if self.kind != "transformer":
            out, state_after = self.recurrent(vectors, None if state is ... else state)
            out = self.dropout(out)
        elif state is ...:
            out, state_after = self.encoder(vectors, is_causal=True), None
        else:
            out, state_after = self._continued(vectors, state)
        scores: Tensor = self.head(out)
        return scores if state is ... else (scores, state_after)

    def _continued(self, vectors: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The output and the caches of a transformer after these vectors."""
        if self.training:
            raise ArgumentError(
                "LanguageModel",
                "got a state in training, for a transformer",
                "expected windows that are independent of each other",
                "leave out tbptt, and pass fit the windows: cr.data.windows(codes, 128)",
                user_line(),
            )
        if state is None:
            state = self.encoder.empty_cache(vectors.shape[0], self.context)
        return self.encoder(vectors, cache=state)
