"""A model on many rows: predictions, and the loss and metrics of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ... import tree
from ...compile import compile
from ...data import DataLoader
from ...errors import ArgumentError
from ...graph import Array
from ...nn import Module
from ...tensor import Tensor, as_tensor
from .batches import loader_of, numbers, pair
from .metrics import Metric, metrics_by_name
from .modes import evaluating
from .objective import Objective

BATCH = 256

Scored = tuple[Any, Any, Any, Any]  # prediction, target, sum of the losses, weight of the batch


class Forward:
    """A model's forward pass, compiled once for many batches, with its loss if it has one."""

    def __init__(
        self, model: Module, objective: Objective | None = None, compiled: bool = True
    ) -> None:
        self.model, self._objective = model, objective

        def forward(x: Any) -> Any:
            return model(x)

        def scored(x: Any, y: Any) -> Any:
            assert objective is not None
            prediction = self._run(x)
            return prediction, *objective.parts(prediction, y)

        self._run: Callable[[Any], Any] = compile(forward) if compiled else forward
        # A custom loss may read values: not compiled.
        known = objective is not None and objective.known
        self._score: Callable[..., Any] = compile(scored) if compiled and known else scored

    def predictions(self, batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """(prediction, target) of each batch (x, y); a DataLoader is read as in epoch 0."""
        for x, y in self._pairs(batches):
            yield self._run(x), y

    def _pairs(self, batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        if isinstance(batches, DataLoader):
            batches = batches.batches(0)
        with evaluating(self.model):
            for batch in batches:
                yield pair(batch)

    def scored(self, batches: Iterable[Any], loss: bool) -> Iterator[Scored]:
        """Each batch with its prediction and, if asked, the parts of its loss (0 otherwise)."""
        for x, target in self._pairs(batches):
            prediction, part, by = self._score(x, target) if loss else (self._run(x), 0.0, 0.0)
            yield prediction, target, part, by

    def evaluate(
        self, batches: Iterable[Any], metrics: dict[str, Metric], loss: bool = True
    ) -> dict[str, float]:
        """The loss (if there is an objective) over all batches, the metrics of all predictions."""
        total = weight = 0.0
        collected: list[tuple[Array, Array]] = []
        loss = loss and self._objective is not None
        for prediction, target, part, by in self.scored(batches, loss):
            total, weight = total + float(part), weight + float(by)
            if metrics:
                collected.append((as_arrays(prediction), as_arrays(target)))
        out = {"loss": total / weight if weight else float("nan")} if loss else {}
        if metrics and collected:
            predictions, targets = (joined(part) for part in zip(*collected, strict=True))
            out.update(
                {name: metric_value(name, m, predictions, targets) for name, m in metrics.items()}
            )
        return out


def as_arrays(values: Any) -> Any:
    """A tree of tensors as arrays."""
    return tree.map(lambda t: as_tensor(t).numpy(), values)


def joined(batches: Sequence[Any]) -> Any:
    """The rows of all batches: an array, or a tree of arrays; a scalar counts as one row."""
    return tree.map(lambda *parts: np.concatenate([np.atleast_1d(a) for a in parts]), *batches)


def metric_value(name: str, metric: Metric, predictions: Any, targets: Any) -> float:
    """The value of a metric; an error that names it unless it is one number."""
    value = metric(predictions, targets)
    if isinstance(value, (Tensor, np.ndarray)) and value.shape == ():
        value = value.item()
    if not isinstance(value, (int, float, np.number, np.bool_)):
        shape = getattr(value, "shape", None)
        raise ArgumentError(
            "fit",
            f"got {type(value).__name__}{'' if shape is None else f' {shape}'} from the "
            f"metric {name}",
            "expected one number",
            "take its mean(), or give each number its own metric",
        )
    return float(value)


def evaluate(
    model: Module, data: Any, loss: Any = None, metrics: Any = (), batch_size: int = BATCH
) -> dict[str, float]:
    """The loss and metrics of a model on (x, y), a DataLoader or batches, in evaluation mode."""
    if isinstance(loss, (np.ndarray, Tensor, list)):
        raise ArgumentError(
            "evaluate",
            f"got {type(loss).__name__} as the loss",
            "expected inputs and targets as one argument",
            "put them into a tuple: evaluate(model, (x, y))",
        )
    objective = None if loss is None else Objective(loss)
    chosen = metrics_by_name(metrics, objective)
    return Forward(model, objective).evaluate(loader_of(data, batch_size), chosen)


def predict(model: Module, x: Any, batch_size: int = BATCH) -> Any:
    """The model's output for rows x, in evaluation mode: an array, or the tree that it returns.

    x   an array or nested lists of numbers; a tuple or dict of arrays if the model takes one
    """
    if isinstance(x, DataLoader):
        raise ArgumentError(
            "predict",
            f"got a {type(x).__name__}",
            "expected the rows as arrays",
            "pass loader.data, or loader.data[0] where it has targets too",
        )
    x = numbers(x, "inputs")
    forward = Forward(model)
    marks = np.zeros(DataLoader(x).samples, np.int8)
    batches = forward.predictions(DataLoader((x, marks), batch_size))
    return joined([as_arrays(prediction) for prediction, _ in batches])
