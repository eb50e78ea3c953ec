"""Modules that hold others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import ArgumentError
from ..functions.shaping import flatten
from .module import Module


class Sequential(Module):
    """One module after another: each gets what the one before gives. They are named 0, 1, …"""

    def __init__(self, *layers: Module) -> None:
        for k, layer in enumerate(layers):
            if not callable(layer):
                raise ArgumentError(
                    "Sequential", f"got a {type(layer).__name__}", "modules, one an argument",
                    "unpack a list: nn.Sequential(*layers)",
                )  # fmt: skip
            setattr(self, str(k), layer)
        self._layers = layers

    def forward(self, x: Any) -> Any:
        for layer in self._layers:
            x = layer(x)
        return x

    def __getitem__(self, k: int) -> Module:
        return self._layers[k]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers)


class Residual(Module):
    """x + inner(x), or shortcut(x) + inner(x) where the shape changes."""

    def __init__(self, inner: Module, shortcut: Module | None = None) -> None:
        self.inner = inner
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        return (x if self.shortcut is None else self.shortcut(x)) + self.inner(x)


class Lambda(Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


class Flatten(Module):
    """All axes but the first made into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return flatten(x, self.start_dim, self.end_dim)
