"""Long sequences as windows that follow each other, and the state between them.

A model of sequences is called `model(x, state)` and returns (prediction, state), like `nn.LSTM`;
`state` is None at the beginning of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import tree
from ...compile import compile
from ...data import DataLoader
from ...errors import ArgumentError, ShapeError
from ...graph import Array, spec_text
from ...nn import Module
from ...tensor import Tensor, as_tensor, make, no_grad
from .batches import pair
from .inference import Forward, Scored
from .modes import evaluating
from .objective import Objective
from .tracing import forward_graph


class WindowLoader(DataLoader):
    """The windows of the sequences of a DataLoader, (n, T, …) each, as its batches.

    First come the windows of the first `batch_size` sequences, one after the other in time, then
    those of the next.

    steps     k, of a window; the last one of a sequence may have fewer
    windows   W = ⌈T / k⌉ of each sequence
    """

    def __init__(self, loader: DataLoader, steps: int) -> None:
        super().__init__(
            loader.data,
            loader.batch_size,
            loader.shuffle,
            drop_last=loader.drop_last,
            seed=loader.seed,
        )
        shapes = [a.shape for a in self._arrays]
        lengths = {shape[1:2] for shape in shapes}
        if len(lengths) > 1 or lengths == {()}:
            raise ShapeError(
                "fit",
                f"got tbptt={steps} for arrays of the shapes {', '.join(map(str, shapes))}",
                "expected sequences, x (N, T, …) and y (N, T, …), with one T",
                "x, y = cr.data.streams(codes, 32) makes 32 sequences of one long text; leave out "
                "tbptt for targets (N, …), one per sequence",
            )
        if not shapes[0][1]:
            raise ShapeError(
                "fit",
                f"got tbptt={steps} for arrays of the shapes {', '.join(map(str, shapes))}",
                "expected sequences of one step or more",
                "check what cuts the sequences",
            )
        self.steps, self._length = steps, shapes[0][1]
        self.windows = -(-self._length // steps)

    def __len__(self) -> int:
        return super().__len__() * self.windows

    def starts(self, batch: int) -> bool:
        """Whether a batch is the first window of its sequences."""
        return batch % self.windows == 0

    def rows(self, order: Array | None, first: int, count: int) -> list[Array]:
        group, window = divmod(first, self.windows)
        part = slice(group * self.batch_size, (group + 1) * self.batch_size)
        rows = part if order is None else order[part]
        steps = slice(window * self.steps, (window + count) * self.steps)
        return [_one_after_the_other(a[rows, steps], count) for a in self._arrays]

    def alike(self, order: Array | None, first: int) -> int:
        window = first % self.windows
        return 1 if window == 0 else self._length // self.steps - window

    def sizes(self) -> list[int]:
        """The numbers of sequences that a batch may have."""
        whole, rest = divmod(self.samples, self.batch_size)
        return [self.batch_size] * (whole > 0) + [rest] * (rest > 0 and not self.drop_last)


def _one_after_the_other(array: Array, count: int) -> Array:
    """(n, count · k, …) -> (count · n, k, …)."""
    if count == 1:
        return np.ascontiguousarray(array)
    n, steps, *rest = array.shape
    parts = array.reshape(n, count, steps // count, *rest)
    return np.ascontiguousarray(np.moveaxis(parts, 1, 0)).reshape(count * n, -1, *rest)


def advanced(model: Module, x: Any, state: Any) -> tuple[Any, Any]:
    """(prediction, state) of a model of sequences."""
    out = model(x, state)
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise ArgumentError(
            "fit",
            f"got {type(out).__name__} from {type(model).__name__}, with tbptt",
            "expected a pair (prediction, state) from forward(x, state)",
            "return both, as nn.LSTM does; leave out tbptt for a model without a state",
        )
    return out[0], out[1]


class InitialState:
    """The state to begin sequences with: zeros, if the model takes None for zeros, otherwise None.

    With zeros the first window is like the others: one program runs all of them. None means zeros
    if either has the same outputs, to the bit, and reads the same tensors: not one that is trained
    as the initial state.
    """

    def __init__(self, model: Module, x: Any) -> None:
        self._model = model
        self._zeros: dict[int, Any] = {}  # by the number of sequences
        few = tree.map(lambda t: as_tensor(t)[:, :2], x)
        zeros = self._zeros_for(few)
        self.is_zeros = self._outcome(few, None) == self._outcome(few, zeros)

    def __call__(self, x: Any) -> Any:
        """For sequences x (N, T, …)."""
        return self._zeros_for(x) if self.is_zeros else None

    def _zeros_for(self, x: Any) -> Any:
        n = _rows(x)
        if n not in self._zeros:
            with evaluating(self._model):
                _, state = advanced(self._model, tree.map(lambda t: as_tensor(t)[:, :1], x), None)
            self._zeros[n] = tree.map(lambda t: make(np.zeros(t.shape, t.dtype)), state)
        return self._zeros[n]

    def _outcome(self, x: Any, state: Any) -> Any:
        """The outputs and states after x, and the tensors that are read, without the state."""
        with evaluating(self._model):
            leaves, _ = tree.flatten(advanced(self._model, x, state))
        recorded = forward_graph(partial(advanced, self._model, state=state), x)
        own = {id(t) for t in tree.flatten(state)[0]}
        reads = recorded and {id(owner) for owner, _ in recorded.reads} - own
        return [as_tensor(t).numpy().tobytes() for t in leaves], reads


class CarriedState:
    """The state of a model between two windows of training: tensors that each step overwrites.

    They are detached, so gradients flow inside a window only.
    """

    def __init__(self, model: Module, windows: WindowLoader) -> None:
        self._model = model
        self._structure: Any = None
        self._tensors: dict[int, list[Tensor]] = {}  # by the number of sequences
        first = windows.rows(None, 0, 1)
        self.initial = InitialState(model, pair(windows.tree_of(first))[0])
        for n in windows.sizes() if windows.windows > 1 else ():
            x, _ = pair(windows.tree_of([as_tensor(leaf[:n]) for leaf in first]))
            with evaluating(model):
                _, state = advanced(model, x, self.initial(x))
            leaves, self._structure = tree.flatten(state)
            self._tensors[n] = [Tensor(np.zeros(t.shape, t.dtype)) for t in map(as_tensor, leaves)]

    @property
    def starts_over(self) -> bool:
        """Whether `go_on` does for first windows too, after `reset`."""
        return self.initial.is_zeros and bool(self._tensors)

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [t for tensors in self._tensors.values() for t in tensors]

    def reset(self) -> None:
        """Begin sequences: zeros."""
        with no_grad():
            for t in self.tensors():
                t._assign(make(np.zeros(t.shape, t.dtype)))

    def begin(self, x: Any) -> Any:
        """The prediction for the first window of sequences."""
        return self._predicted(x, None)

    def go_on(self, x: Any) -> Any:
        """The prediction for the next window."""
        return self._predicted(x, tree.unflatten(self._structure, self._tensors[_rows(x)]))

    def _predicted(self, x: Any, state: Any) -> Any:
        prediction, state = advanced(self._model, x, state)
        if not self._tensors:  # one window per sequence
            return prediction
        with no_grad():
            for carried, new in zip(self._tensors[_rows(x)], tree.flatten(state)[0], strict=True):
                if new.shape != carried.shape:
                    raise ShapeError(
                        "fit",
                        f"got the state {spec_text(new)} after {spec_text(carried)}, with tbptt",
                        "expected a state of the same shape after each window",
                        "leave out tbptt for a model whose state grows, such as a transformer",
                    )
                carried._assign(new.detach())
        return prediction

    def state_dict(self) -> dict[str, Array]:
        """The tensors, for a checkpoint."""
        return {f"{n}/{k}": t.numpy() for n, ts in self._tensors.items() for k, t in enumerate(ts)}

    def load_state_dict(self, values: dict[str, Array]) -> None:
        """The inverse of `state_dict`."""
        with no_grad():
            for n, tensors in self._tensors.items():
                for k, t in enumerate(tensors):
                    t._assign(Tensor(values[f"{n}/{k}"]))


class CarryingForward(Forward):
    """As `Forward`, on the windows of sequences, with the state carried between them.

    Metrics get each step of each sequence as a row.
    """

    def __init__(self, model: Module, objective: Objective, compiled: bool = True) -> None:
        super().__init__(model, objective, compiled)
        self._initial: InitialState | None = None
        self._by_rows = not objective.known  # its parts are those of a mean over rows, not steps

        def advance(x: Any, state: Any) -> Any:
            return advanced(model, x, state)

        def scored(x: Any, y: Any, state: Any) -> Any:
            prediction, state = self._advance(x, state)
            return prediction, *objective.parts(prediction, y), state

        self._advance: Callable[[Any, Any], Any] = compile(advance) if compiled else advance
        self._score = compile(scored) if compiled and objective.known else scored

    def scored(self, batches: Any, loss: bool) -> Iterator[Scored]:
        state: Any = None
        with evaluating(self.model):
            for k, batch in enumerate(batches.batches(0)):
                x, y = pair(batch)
                if batches.starts(k):
                    self._initial = self._initial or InitialState(self.model, x)
                    state = self._initial(x)
                prediction, part, by, state = self._score(x, y, state)
                if self._by_rows:
                    steps = tree.flatten(y)[0][0].shape[1]
                    part, by = part * steps, by * steps
                yield tree.map(_steps_as_rows, prediction), tree.map(_steps_as_rows, y), part, by


def _rows(x: Any) -> int:
    count: int = tree.flatten(x)[0][0].shape[0]
    return count


def _steps_as_rows(t: Any) -> Any:
    """(n, k, …) -> (n · k, …)."""
    return as_tensor(t).reshape((-1, *t.shape[2:]))
