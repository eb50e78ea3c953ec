"""Modules that consist of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self, overload

from ..errors import ArgumentError, ShapeError, user_line
from ..functions.shaping import flatten
from ..graph import spec_text
from .module import Module


class Sequential(Module):
    """One module after another: each gets the output of the one before.

    They are named 0, 1, …, or as keywords say, Sequential(features=…, head=…): so model.head is the
    last one, and model.head = nn.Linear(64, 3) replaces it.
    """

    def __init__(self, *layers: Module, **named: Module) -> None:
        self._names: tuple[str, ...] = ()
        for layer in layers:
            self.append(layer)
        for name, layer in named.items():
            self._add(name, layer)

    def append(self, layer: Module) -> Self:
        """Add a layer at the end."""
        self._add(str(len(self._names)), layer)
        return self

    def _add(self, name: str, layer: Module) -> None:
        _expect_layer(layer)
        if hasattr(type(self), name) or name in self._names:
            raise ArgumentError(
                "Sequential",
                f"got a layer named {name}",
                "expected names that it does not have yet, as a layer or a method",
                f"{name}_ is free",
                user_line(),
            )
        setattr(self, name, layer)
        self._names = (*self._names, name)

    @property
    def _layers(self) -> tuple[Module, ...]:
        return tuple(vars(self)[name] for name in self._names)

    def forward(self, x: Any) -> Any:
        layers = self._layers
        for k, layer in enumerate(layers):
            if k and isinstance(x, tuple):
                _expect_one(x, k, layers)
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
        setattr(self, self._names[k], layer)

    def __len__(self) -> int:
        return len(self._names)

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
