"""A class, or the next values, of a sequence."""

from __future__ import annotations

from typing import Any

from ..dtypes import is_integer
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import elementwise, reductions, shaping
from ..graph import spec_text
from ..nn import Dropout, Embedding, Linear, Module
from ..nn.arguments import expect_integers
from ..tensor import Tensor, as_tensor
from .recurrent import recurrent_layer


class SequenceClassifier(Module):
    """The class of a sequence of any length: scores (N, classes).

    forward(x) or forward((x, lengths)), as the batches of `cr.data.BucketLoader` are

    x            (N, T, channels), or with a vocabulary whole numbers (N, T)
    lengths      (N,) the steps of each sequence; what follows them has no influence
    channels     values per step; or
    vocabulary   number of tokens, each with a vector of `embedding` numbers
    kind         gru or lstm, in both directions; their last states are classified
    dropout      of what each layer gives, in training
    """

    def __init__(
        self,
        classes: int,
        *,
        channels: int | None = None,
        vocabulary: int | None = None,
        embedding: int = 64,
        kind: str = "gru",
        hidden: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        if (channels is None) == (vocabulary is None):
            raise ArgumentError(
                "SequenceClassifier",
                f"got channels={channels} and vocabulary={vocabulary}",
                "expected one of them",
                "channels=12 for 12 values per step, vocabulary=1000 for tokens",
                user_line(),
            )
        self.embedding = None if vocabulary is None else Embedding(vocabulary, embedding)
        size = embedding if channels is None else channels
        self.recurrent = recurrent_layer(
            "SequenceClassifier",
            kind,
            size,
            hidden,
            num_layers=layers,
            dropout=dropout * (layers > 1),
            bidirectional=True,
        )
        self.dropout = Dropout(dropout)
        self.head = Linear(2 * hidden, classes)

    def forward(self, x: Any) -> Tensor:
        x, lengths = x if isinstance(x, (tuple, list)) else (x, None)
        x = as_tensor(x)
        if self.embedding is not None:
            x = self.embedding(x)
        _, state = self.recurrent(x, lengths=lengths)
        last = state[0] if isinstance(state, tuple) else state  # (2 · layers, N, hidden)
        out: Tensor = self.head(self.dropout(shaping.concat([last[-2], last[-1]], axis=-1)))
        return out


class Forecaster(Module):
    """The next `horizon` values of a series: (N, horizon), or (N, horizon, channels).

    Each window is standardised by its own mean and deviation, and the forecast scaled back, so that
    the level and unit of the series do not matter. The network learns the difference from the
    values one season earlier; without a season, from the last value.

    x        (N, T), or (N, T, channels); T is at least the season
    season   steps, such as 24 for hourly values with a daily course
    kind     gru or lstm
    dropout  of what each layer gives, in training
    """

    def __init__(
        self,
        horizon: int,
        *,
        channels: int = 1,
        season: int | None = None,
        kind: str = "gru",
        hidden: int = 64,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        expect_integers("Forecaster", 1, horizon=horizon, channels=channels)
        if season is not None:
            expect_integers("Forecaster", 1, season=season)
        self.horizon, self.channels, self.season = horizon, channels, season
        self.recurrent = recurrent_layer(
            "Forecaster", kind, channels, hidden, num_layers=layers, dropout=dropout * (layers > 1)
        )
        self.dropout = Dropout(dropout)
        self.head = Linear(hidden, horizon * channels)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        one = x.ndim == 2
        season = self.season or 1
        wanted = "(N, T)" if self.channels == 1 else f"(N, T, {self.channels})"
        fits = (one and self.channels == 1) or (x.ndim == 3 and x.shape[-1] == self.channels)
        if not fits or x.shape[1] < season or is_integer(x.dtype):
            raise ShapeError(
                "Forecaster",
                f"got {spec_text(x)}",
                f"expected {wanted} of real numbers, with {season} steps or more",
                f"channels={x.shape[-1]} for {x.shape[-1]} values per step"
                if x.ndim == 3 and x.shape[-1] != self.channels
                else "x, y = cr.data.windows(series, length, horizon=…) makes such windows",
                user_line(),
            )
        x = x[..., None] if one else x
        mean = reductions.mean(x, axis=1, keepdims=True)
        scale = elementwise.sqrt(reductions.var(x, axis=1, keepdims=True) + 1e-6)
        z = (x - mean) / scale
        out, _ = self.recurrent(z)
        change = self.head(self.dropout(out[:, -1]))
        change = shaping.reshape(change, (-1, self.horizon, self.channels))
        turns = -(-self.horizon // season)
        before = shaping.concat([z[:, -season:]] * turns, axis=1)[:, : self.horizon]
        ahead = (before + change) * scale + mean
        return ahead[..., 0] if one else ahead
