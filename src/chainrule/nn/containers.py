"""Modules that hold others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, overload

from ..errors import ArgumentError, ShapeError, user_line
from ..functions.shaping import flatten
from ..graph import spec_text
from .module import Module


class Sequential(Module):
    """One module after another: each gets what the one before gives. They are named 0, 1, …"""

    def __init__(self, *layers: Module) -> None:
        self._layers: tuple[Module, ...] = ()
        for layer in layers:
            self.append(layer)

    def append(self, layer: Module) -> Self:
        """One more layer, at the end."""
        _expect_layer(layer)
        setattr(self, str(len(self._layers)), layer)
        self._layers = (*self._layers, layer)
        return self

    def forward(self, x: Any) -> Any:
        for k, layer in enumerate(self._layers):
            if k and isinstance(x, tuple):
                _expect_one(x, k, self._layers)
            x = layer(x)
        return x

    @overload
    def __getitem__(self, k: int) -> Module: ...
    @overload
    def __getitem__(self, k: slice) -> Sequential: ...
    def __getitem__(self, k: int | slice) -> Module:
        return Sequential(*self._layers[k]) if isinstance(k, slice) else self._layers[k]

    def __setitem__(self, k: int, layer: Module) -> None:
        _expect_layer(layer)
        k = range(len(self._layers))[k]
        setattr(self, str(k), layer)
        self._layers = (*self._layers[:k], layer, *self._layers[k + 1 :])

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers)


def _expect_layer(layer: Any) -> None:
    if isinstance(layer, type) and issubclass(layer, Module):
        raise ArgumentError(
            "Sequential",
            f"got the class {layer.__name__}",
            "modules, one an argument",
            f"make one of it: nn.{layer.__name__}()",
            user_line(),
        )
    if not callable(layer):
        raise ArgumentError(
            "Sequential",
            f"got a {type(layer).__name__}",
            "modules, one an argument",
            "unpack a list: nn.Sequential(*layers)",
            user_line(),
        )


def _expect_one(x: tuple[Any, ...], k: int, layers: tuple[Module, ...]) -> None:
    """Raise if the layer k, one of ours that takes one tensor, is given several."""
    if type(layers[k]).__module__.startswith(__package__) and not isinstance(layers[k], Lambda):
        before = type(layers[k - 1]).__name__
        what = "(outputs, state)" if before in ("RNN", "LSTM", "GRU") else f"{len(x)} values"
        raise ArgumentError(
            "Sequential",
            f"got {what} from layer {k - 1} ({before})",
            f"one tensor is needed for layer {k} ({type(layers[k]).__name__})",
            "put nn.Lambda(lambda out: out[0]) between them, or out[0][:, -1] for the last step",
        )


class Residual(Module):
    """x + inner(x), or shortcut(x) + inner(x) where the shape changes."""

    def __init__(self, inner: Module, shortcut: Module | None = None) -> None:
        self.inner = inner
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        kept, found = x if self.shortcut is None else self.shortcut(x), self.inner(x)
        if kept.shape != found.shape:
            raise ShapeError(
                "Residual",
                f"got {spec_text(kept)} and {spec_text(found)} from the inner module",
                "expected equal shapes",
                "give a shortcut that changes the shape as well",
                user_line(),
            )
        return kept + found


class Lambda(Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


class Flatten(Module):
    """All axes but the first made into one."""

    _channels_last = True

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return flatten(x, self.start_dim, self.end_dim)
