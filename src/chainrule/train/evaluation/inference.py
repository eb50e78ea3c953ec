"""Using a model on many rows: predictions, and the loss and metrics of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ... import random, tree
from ...compile import compile
from ...data import DataLoader
from ...errors import ArgumentError, ShapeError
from ...graph import Array
from ...nn import Module
from ...tensor import Tensor, as_tensor, no_grad
from .metrics import Metric, named
from .objective import Objective

BATCH = 256


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Inside, dropout passes through and running statistics are used; then as it was.

    Random numbers that a model draws even so are not taken from those of the training.
    """
    drawn = random.default.state
    with in_mode(model, training=False):
        try:
            with no_grad():
                yield
        finally:
            random.default.set_state(drawn)


@contextmanager
def in_mode(model: Module, training: bool) -> Iterator[None]:
    """Inside, the model is in that mode; then each module is in its own again.

    In training what the user has put into evaluation mode stays in it: modules of a model in
    training mode, and of one that is in evaluation mode as a whole, those that are frozen.
    """
    modes = [(m, m.training) for m in model.modules()]
    still = _evaluated(model) if training else []
    model.train(training)
    for module in still:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


def _evaluated(model: Module) -> list[Module]:
    """The modules that stay in evaluation mode while the model is trained."""
    still = [m for m in model.modules() if not m.training]
    if model.training:
        return still
    frozen = {id(inner) for m in still if _is_frozen(m) for inner in m.modules()}
    return [m for m in still if id(m) in frozen]


def _is_frozen(module: Module) -> bool:
    parameters = module.parameters()
    return bool(parameters) and not any(p.requires_grad for p in parameters)


class Forward:
    """A model's forward pass, compiled once and used for many batches, with its loss if wanted."""

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
        # A function of one's own may look at values, which is no harm where nothing is trained.
        known = objective is not None and objective.known
        self._score: Callable[[Any, Any], Any] = compile(scored) if compiled and known else scored

    def predictions(self, batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """(prediction, target) of each batch (x, y); of a DataLoader, those of its first epoch."""
        for x, y in self._pairs(batches):
            yield self._run(x), y

    def _pairs(self, batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        if isinstance(batches, DataLoader):
            batches = batches.batches(0)
        with evaluating(self.model):
            for batch in batches:
                yield pair(batch)

    def evaluate(
        self, batches: Iterable[Any], metrics: dict[str, Metric], loss: bool = True
    ) -> dict[str, float]:
        """The loss (if there is an objective) over all batches, the metrics of all predictions."""
        total = weight = 0.0
        found: list[tuple[Array, Array]] = []
        loss = loss and self._objective is not None
        for x, target in self._pairs(batches):
            if loss:
                prediction, part, by = self._score(x, target)
                total, weight = total + float(part), weight + float(by)
            else:
                prediction = self._run(x)
            if metrics:
                found.append((as_arrays(prediction), as_arrays(target)))
        out = {"loss": total / weight if weight else float("nan")} if loss else {}
        if metrics and found:
            predictions, targets = (joined(part) for part in zip(*found, strict=True))
            out.update({name: number(name, m, predictions, targets) for name, m in metrics.items()})
        return out


def as_arrays(values: Any) -> Any:
    """A tree of tensors as arrays."""
    return tree.map(lambda t: as_tensor(t).numpy(), values)


def joined(batches: Sequence[Any]) -> Any:
    """The rows of all batches: an array, or a tree of them; a number of each batch is a row."""
    return tree.map(lambda *parts: np.concatenate([np.atleast_1d(a) for a in parts]), *batches)


def number(name: str, metric: Metric, predictions: Any, targets: Any) -> float:
    """What a metric gives; an error that names it unless it is one number."""
    value = metric(predictions, targets)
    if isinstance(value, (Tensor, np.ndarray)) and value.shape == ():
        value = value.item()
    if not isinstance(value, (int, float, np.number, np.bool_)):
        shape = getattr(value, "shape", None)
        raise ArgumentError(
            "fit",
            f"got {type(value).__name__}{'' if shape is None else f' {shape}'} from the "
            f"metric {name}",
            "one number",
            "take its mean(), or give each number its own metric",
        )
    return float(value)


def pair(batch: Any, where: str = "") -> tuple[Any, Any]:
    """A batch as (x, y); the error says where it is."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        parts = isinstance(batch, (tuple, list))
        what = f"{len(batch)} parts" if parts else type(batch).__name__
        raise ArgumentError(
            "fit",
            f"got a batch of {what}{where}",
            "pairs (x, y) of inputs and targets",
            "put several inputs into one tuple: ((a, b), y)" if parts else "pass a tuple (x, y)",
        )
    if not tree.flatten(batch[1])[0]:
        raise ArgumentError(
            "fit",
            "got a batch without targets",
            "pairs (x, y) of inputs and targets",
            "give the inputs twice, (x, x), if they are what the model is to return",
        )
    return batch[0], batch[1]


def are_arrays(data: Any) -> bool:
    """Whether these are the arrays (x, y), and not batches: a list of pairs is a list of batches.

    ((a, b), y) is one pair, whose inputs are two arrays; [(x, y), (x, y)] are two batches.
    """
    if not isinstance(data, list):
        return isinstance(data, tuple)
    return not data or not all(isinstance(d, (tuple, list)) and len(d) == 2 for d in data)


def arrays_of(data: Any) -> tuple[Any, Any]:
    """(x, y), with an array in the place of nested lists of numbers."""
    x, y = pair(data)
    return numbers(x, "inputs"), numbers(y, "targets")


def numbers(part: Any, what: str) -> Any:
    """Nested lists of numbers as an array; anything else, a list of arrays too, as it is."""
    leaves = tree.flatten(part)[0] if isinstance(part, list) else []
    if not leaves or not all(isinstance(leaf, (int, float, np.number)) for leaf in leaves):
        return part
    try:
        return np.asarray(part)
    except ValueError:
        raise ShapeError(
            "fit",
            f"got {what} whose lists have unequal lengths",
            "as many numbers in each row",
            "pad the short ones, with 0 for example",
        ) from None


def loader_of(data: Any, batch_size: int) -> Any:
    """Batches of (x, y): what was given, if it makes batches itself, or slices of arrays."""
    if are_arrays(data):
        return DataLoader(arrays_of(data), batch_size)
    return data if isinstance(data, DataLoader) else Batches(data)


class Batches:
    """Batches that are made elsewhere; each is looked at as it comes.

    `first` is the first one; an iterator's is kept and comes again.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        try:
            iterator = iter(source)
        except TypeError:
            raise ArgumentError(
                "fit",
                f"got data of type {type(source).__name__}",
                "arrays (x, y), a DataLoader, or batches (x, y)",
                "pass a tuple (x, y)",
            ) from None
        self.source = source
        self.check: Callable[[Any], None] | None = None  # of the targets
        self.once = iterator is source  # a generator: gone through a single time
        self.first = next(iterator, None)

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type] # TypeError if it has none, as usual

    def __iter__(self) -> Iterator[Any]:
        again = [self.first] if self.once and self.first is not None else []
        for batch in itertools.chain(again, self.source):
            for part, what in zip(pair(batch), ("inputs", "targets"), strict=True):
                for leaf in tree.flatten(part)[0]:
                    if not getattr(leaf, "shape", ()):
                        raise ArgumentError(
                            "fit",
                            f"got a batch whose {what} hold {leaf!r:.50}",
                            "arrays or tensors with rows",
                            "use np.array of the list",
                        )
            if self.check is not None:
                self.check(batch[1])
            yield batch


def evaluate(
    model: Module, data: Any, loss: Any = None, metrics: Any = (), batch_size: int = BATCH
) -> dict[str, float]:
    """The loss and metrics of a model on (x, y), a DataLoader or batches, in evaluation mode."""
    if isinstance(loss, (np.ndarray, Tensor, list)):
        raise ArgumentError(
            "evaluate",
            f"got {type(loss).__name__} in the place of the loss",
            "inputs and targets as one argument",
            "put them into a tuple: evaluate(model, (x, y))",
        )
    objective = None if loss is None else Objective(loss)
    chosen = named(metrics, objective)
    return Forward(model, objective).evaluate(loader_of(data, batch_size), chosen)


def predict(model: Module, x: Any, batch_size: int = BATCH) -> Any:
    """The model's output for rows x, in evaluation mode: an array, or the tree that it returns.

    x   an array or nested lists of numbers; a tuple or dict of arrays if the model takes one
    """
    if isinstance(x, DataLoader):
        raise ArgumentError(
            "predict",
            "got a DataLoader",
            "the rows: an array, or what the model takes, in arrays",
            "pass loader.data, or loader.data[0] where it has targets too",
        )
    x = numbers(x, "inputs")
    forward = Forward(model)
    marks = np.zeros(DataLoader(x).samples, np.int8)
    batches = forward.predictions(DataLoader((x, marks), batch_size))
    return joined([as_arrays(prediction) for prediction, _ in batches])
