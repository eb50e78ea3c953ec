"""Using a model on many rows: predictions, and the loss and metrics of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import tree
from ..compile import compile
from ..data import DataLoader
from ..errors import ArgumentError
from ..graph import Array
from ..nn import Module
from ..tensor import as_tensor, no_grad
from .metrics import Metric, named
from .objective import Objective

BATCH = 256


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Inside, dropout passes through and running statistics are used; then as it was."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


class Forward:
    """A model's forward pass, compiled once and used for many batches."""

    def __init__(self, model: Module, compiled: bool = True) -> None:
        self.model = model
        self._run: Callable[[Any], Any] = model.__call__
        if compiled:
            self._run = compile(lambda x: model(x))

    def predictions(self, batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """(prediction, target) of each batch (x, y)."""
        with evaluating(self.model):
            for batch in batches:
                x, y = pair(batch)
                yield self._run(x), y

    def evaluate(
        self, batches: Iterable[Any], objective: Objective | None, metrics: dict[str, Metric]
    ) -> dict[str, float]:
        """The loss over all batches and the metrics of all predictions."""
        total = weight = 0.0
        found: list[tuple[Array, Array]] = []
        for prediction, target in self.predictions(batches):
            if objective is not None:
                with no_grad():
                    part, by = objective.parts(prediction, target)
                total, weight = total + float(part), weight + float(by)
            if metrics:
                found.append((as_tensor(prediction).numpy(), as_tensor(target).numpy()))
        out = {} if objective is None else {"loss": total / weight if weight else float("nan")}
        if metrics and found:
            predictions, targets = (np.concatenate(part) for part in zip(*found, strict=True))
            out.update({name: float(m(predictions, targets)) for name, m in metrics.items()})
        return out


def pair(batch: Any) -> tuple[Any, Any]:
    """A batch as (x, y)."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        what = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise ArgumentError(
            "fit", f"got a batch of {what}", "pairs (x, y) of inputs and targets",
            "put several inputs into one tuple: ((a, b), y)",
        )  # fmt: skip
    return batch[0], batch[1]


def loader_of(data: Any, batch_size: int) -> Any:
    """Batches of (x, y): what was given, if it makes batches itself, or slices of arrays."""
    if isinstance(data, (tuple, list)):
        return DataLoader(data, batch_size)
    return data


def evaluate(
    model: Module, data: Any, loss: Any = None, metrics: Any = (), batch_size: int = BATCH
) -> dict[str, float]:
    """The loss and metrics of a model on (x, y), a DataLoader or batches, in evaluation mode."""
    objective = None if loss is None else Objective(loss)
    return Forward(model).evaluate(loader_of(data, batch_size), objective, named(metrics))


def predict(model: Module, x: Any, batch_size: int = BATCH) -> Array:
    """The model's output for rows x (an array, or a tree of arrays), in evaluation mode."""
    forward = Forward(model)
    rows = tree.flatten(x)[0]
    marks = np.zeros(len(rows[0]) if rows else 0, np.int8)
    parts = [
        as_tensor(p).numpy() for p, _ in forward.predictions(DataLoader((x, marks), batch_size))
    ]
    return np.concatenate(parts)
