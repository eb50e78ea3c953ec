"""The next token of a text."""

from __future__ import annotations

from types import EllipsisType
from typing import Any, overload

from ..nn import Embedding, Linear, Module
from ..tensor import Tensor
from .recurrent import recurrent_layer


class LanguageModel(Module):
    """Scores of each next token: whole numbers (N, T) -> (N, T, vocabulary).

    forward(x) -> scores, from the beginning of a text
    forward(x, state) -> (scores, state), to go on after an earlier call; state None at the
    beginning. So `fit(…, tbptt=k)` carries the state from window to window, and
    `nn.decoding.generate` from token to token.

    vocabulary   number of tokens
    kind         lstm or gru
    embedding    size of the vector of a token
    hidden       size of the state of each layer
    dropout      between layers, in training
    """

    def __init__(
        self,
        vocabulary: int,
        kind: str = "lstm",
        *,
        embedding: int = 64,
        hidden: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        self.embedding = Embedding(vocabulary, embedding)
        self.recurrent = recurrent_layer(
            "LanguageModel", kind, embedding, hidden, num_layers=layers, dropout=dropout
        )
        self.head = Linear(hidden, vocabulary)

    @overload
    def forward(self, x: Any) -> Tensor: ...
    @overload
    def forward(self, x: Any, state: Any) -> tuple[Tensor, Any]: ...
    def forward(self, x: Any, state: Any | EllipsisType = ...) -> Tensor | tuple[Tensor, Any]:
        out, last = self.recurrent(self.embedding(x), None if state is ... else state)
        scores: Tensor = self.head(out)
        return scores if state is ... else (scores, last)
