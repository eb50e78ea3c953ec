"""Exponential moving average of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..errors import ArgumentError
from ..tensor import Tensor, no_grad
from .parameters import as_list


class EMA:
    """average ← decay · average + (1 - decay) · w after each `update()` (Polyak, 1992)."""

    def __init__(self, parameters: Iterable[Tensor], decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ArgumentError(
                "EMA", f"got decay {decay}", "expected 0 to below 1", "decay=0.999 is usual"
            )
        self.parameters: list[Tensor] = as_list("EMA", parameters)
        self.decay = decay
        self.averages = [p.detach().clone() for p in self.parameters]

    def update(self) -> None:
        """Follow the parameters by one step."""
        with no_grad():
            for average, p in zip(self.averages, self.parameters, strict=True):
                average += (1 - self.decay) * (p - average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the parameters are their averages."""
        before = [p.detach() for p in self.parameters]
        try:
            self._set(self.averages)
            yield
        finally:
            self._set(before)

    def _set(self, values: list[Tensor]) -> None:
        with no_grad():
            for p, value in zip(self.parameters, values, strict=True):
                p._assign(value.detach())
