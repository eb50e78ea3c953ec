"""Modules that consist of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, overload

from ..errors import ArgumentError, ShapeError, user_line
from ..functions.shaping import flatten
from ..graph import spec_text
from .module import Module


class Sequential(Module):
    """One module after another: each gets the output of the one before. Named 0, 1, …"""

    def __init__(self, *layers: Module) -> None:
        self._layers: tuple[Module, ...] = ()
        for layer in layers:
            self.append(layer)

    def append(self, layer: Module) -> Self:
        """Add a layer at the end."""
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
            "expected modules, one per argument",
            f"make one of it: nn.{layer.__name__}()",
            user_line(),
        )
    if not callable(layer):
        raise ArgumentError(
            "Sequential",
            f"got a {type(layer).__name__}",
            "expected modules, one per argument",
            "unpack a list: nn.Sequential(*layers)",
            user_line(),
        )


def _expect_one(x: tuple[Any, ...], k: int, layers: tuple[Module, ...]) -> None:
    """Raise if layer k, which takes one tensor (it is this library's), gets several."""
    if type(layers[k]).__module__.startswith(__package__) and not isinstance(layers[k], Lambda):
        before = type(layers[k - 1]).__name__
        what = "(outputs, state)" if before in ("RNN", "LSTM", "GRU") else f"{len(x)} values"
        raise ArgumentError(
            "Sequential",
            f"got {what} from layer {k - 1} ({before})",
            f"expected one tensor for layer {k} ({type(layers[k]).__name__})",
            "put nn.Lambda(lambda out: out[0]) between them, or out[0][:, -1] for the last step",
        )


class Residual(Module):
    """x + inner(x), or shortcut(x) + inner(x) where the shape changes."""

    def __init__(self, inner: Module, shortcut: Module | None = None) -> None:
        self.inner = inner
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        direct, inner = x if self.shortcut is None else self.shortcut(x), self.inner(x)
        if direct.shape != inner.shape:
            raise ShapeError(
                "Residual",
                f"got {spec_text(direct)} and {spec_text(inner)} from the inner module",
                "expected equal shapes",
                "give a shortcut that changes the shape as well",
                user_line(),
            )
        return direct + inner


class Lambda(Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


class Flatten(Module):
    """All axes except the first joined into one."""

    _channels_last = True

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return flatten(x, self.start_dim, self.end_dim)
