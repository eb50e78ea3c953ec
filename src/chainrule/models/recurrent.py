"""The recurrent layers of models, by name."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, user_line
from ..nn import GRU, LSTM

KINDS: dict[str, type[LSTM] | type[GRU]] = {"lstm": LSTM, "gru": GRU}


def recurrent_layer(
    name: str, kind: str, inputs: int, hidden: int, *others: str, **settings: Any
) -> LSTM | GRU:
    """A recurrent layer; raises for an unknown kind.

    name     of the model, for the error
    others   further kinds that it has
    """
    if kind not in KINDS:
        raise ArgumentError(
            name,
            f"got kind {kind!r}",
            f"expected one of {', '.join([*KINDS, *others])}",
            'kind="gru"',
            user_line(),
        )
    return KINDS[kind](inputs, hidden, **settings)
