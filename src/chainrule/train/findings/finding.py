"""The form of a finding, and what findings read of a history."""

from __future__ import annotations

from typing import Any, Protocol

Finding = dict[str, str]

RISEN = 0.2  # of what a loss fell by, how much it rose again


def finding(level: str, title: str, cause: str, remedy: str) -> Finding:
    return {"level": level, "title": title, "cause": cause, "remedy": remedy}


class GradientNorms(Protocol):
    """Norms of the gradient: a list per step, one per layer; NaN where the layer was frozen."""

    layers: list[str]
    steps: list[int]
    norms: list[list[float]]


class TrainingHistory(Protocol):
    """What findings read of a `History`, which is defined above them."""

    @property
    def epochs(self) -> list[dict[str, Any]]: ...
    @property
    def best_epoch(self) -> int | None: ...
    @property
    def stopped(self) -> str: ...
    @property
    def gradients(self) -> GradientNorms: ...
    @property
    def refused(self) -> list[dict[str, Any]]: ...
    @property
    def guess(self) -> tuple[float, float] | None: ...
