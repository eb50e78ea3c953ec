"""A training of modules that is observed and run, whatever library they are of.

What is the same for all is here: which rows a step gets, what is counted, what is scored. A library
adds the words of its own: `modules`, `pytorch.modules`.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol, Self

import numpy as np

from ..diagnosis.sharpness import Product, largest_eigenvalue
from ..graph import Array
from ..train.loop.untrained import reason
from .first_rows import expect_gradient, expect_tensor
from .score import Score
from .setup import Setup
from .training import FROZEN, MISFITS, Layer, Observed, Outcome

ROWS = 256  # of a batch that is observed
FEWER = 64  # of images and sequences, each row of which has many places
AT_ONCE = 1000  # rows that are predicted together
TRAINED = 3.0  # how unevenly weights are spread over units, over what is chance


class Steps(Protocol):
    """Changes the weights.

    at_once   batches that are worth giving together, now
    """

    @property
    def at_once(self) -> int: ...

    def __call__(self, x: Array, y: Array, count: int) -> list[float]:
        """The losses of so many steps, each on its part of the rows."""


class Runnable(Setup, ABC):
    """As `Training`, with the words of a library left open."""

    # ── the words ────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def tensor(self, a: Array) -> Any:
        """An array as the library's tensor."""

    def exact(self, a: Array) -> Any:
        """An array as the library's tensor, in single precision at least."""
        return self.tensor(a)

    @abstractmethod
    def array(self, tensor: Any) -> Array:
        """A tensor's values, dense."""

    @abstractmethod
    def probe(self, value: Any) -> Any:
        """Zeros that get the gradient of what they are added to; None if it has none."""

    @abstractmethod
    def drawing(self, seed: int) -> AbstractContextManager[Any]:
        """Random numbers from this seed inside; afterwards they go on as before."""

    @abstractmethod
    def predictions(self, model: Any, parts: Sequence[Array]) -> list[Array]:
        """The outputs of a model in evaluation mode."""

    @abstractmethod
    def steps(self) -> Steps:
        """The steps of this training, which change its model and optimizer."""

    @abstractmethod
    def layer(self, path: str, module: Any, output: Array, features: int) -> Layer:
        """A module that has got its gradients, without the gradient of its output."""

    @abstractmethod
    def features(self, module: Any, dimensions: int, before: int) -> int:
        """The axis of a module's output that has the units; `before` is that of the last output."""

    @abstractmethod
    def time_axis(self, module: Any) -> int | None:
        """The axis of the steps in the input of a recurrent layer; None of other modules."""

    @abstractmethod
    def hessian_product(self, x: Any, y: Any) -> tuple[Product, int]:
        """The Hessian of the loss of a batch times a vector, and how many numbers that has."""

    @abstractmethod
    def parameters_read(self, x: Any) -> set[int]:
        """The ids of the parameters that a forward pass reads."""

    def output(self, prediction: Any) -> Array:
        """The values of a prediction, classes last."""
        return self.array(prediction)

    @abstractmethod
    def assign(self, tensor: Any, values: Array) -> None:
        """Set the values of a parameter."""

    # ── as `Training` ────────────────────────────────────────────────────────────────────────────

    @property
    def optimizer_name(self) -> str:
        """The class of the optimizer."""
        return type(self.optimizer).__name__

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the first group of parameters."""
        group = self.optimizer.param_groups[0]
        return {name: group[name] for name in group if name != "params"}

    def loss_value(self, outputs: Array, targets: Array) -> float:
        """As `Training.loss_value`."""
        try:
            with self.drawing(0):
                return self.array(self.loss(self.exact(outputs), self.exact(targets))).item()
        except MISFITS:
            return math.nan

    def outputs(self, model: Any, x: Array) -> Array:
        """As `Training.outputs`."""
        parts = [x[k : k + AT_ONCE] for k in range(0, len(x), AT_ONCE)]
        return np.concatenate(self.predictions(model, parts)).astype(np.float64)

    def first_step(self) -> float:
        """As `Training.first_step`."""
        t = self.fork()
        before = [self.array(p).copy() for _, p in t.model.named_parameters()]
        t.model.train()
        with self.drawing(0):
            x, y = (self.tensor(a[: self._observed]) for a in t.data)
            parameters, _ = t._backward(x, y)
            gradients = [self._gradient(p).copy() for _, p in parameters]
            t.optimizer.step()
        return sum(
            float(((self.array(p) - old) * g).sum())
            for (_, p), old, g in zip(parameters, before, gradients, strict=True)
        )

    def sharpness(self, rows: int, seconds: float) -> tuple[float, float]:
        """As `Training.sharpness`."""
        t = self.fork()
        t.model.train()
        x, y = (self.tensor(a[self._some(rows)]) for a in t.data)
        try:
            with self.drawing(0):
                product, size = t.hessian_product(x, y)
                return largest_eigenvalue(product, size, tolerance=0.01, seconds=seconds)
        except MISFITS:
            return math.nan, math.inf

    def gradients(self, count: int, rows: int) -> Array:
        """As `Training.gradients`."""
        t = self.fork()
        t.model.train()
        some = self._some(count * rows)
        out: list[Array] = []
        with self.drawing(0):
            for k in range(0, len(some) - rows + 1, rows):
                x, y = (self.tensor(a[some[k : k + rows]]) for a in t.data)
                parameters, _ = t._backward(x, y)
                parts = (self._gradient(p).ravel() for _, p in parameters if p.requires_grad)
                out.append(np.concatenate([*parts]))
        return np.array(out)

    def untrained(self) -> dict[str, str]:
        """As `Training.untrained`."""
        t = self.fork()
        t.model.train()
        trained = {id(p) for group in t.optimizer.param_groups for p in group["params"]}
        out: dict[str, str] = {}
        with self.drawing(0):
            x, y = (self.tensor(a[: self._observed]) for a in t.data)
            parameters, loss = t._backward(x, y)
            read = t.parameters_read(x)
        for name, p in parameters:
            nonzero = None if p.grad is None else bool(np.any(self.array(p.grad)))
            is_read = nonzero is not None or id(p) in read
            why = reason(id(p) in trained, nonzero, is_read, loss)
            if why or not p.requires_grad:
                out[name] = why if p.requires_grad else FROZEN
        return out

    def of_one_batch(self, rows: int, steps: int) -> Self:
        """As `Training.of_one_batch`."""
        some = self._some(rows)
        x, y = (a[some] for a in self.data)
        settings: dict[str, Any] = {"batch": len(x), "epochs": steps, "shuffle": False}
        return replace(self, data=(x, y), valid=(x, y), augment=None, **settings)

    def _some(self, rows: int) -> Array:
        """The numbers of this many rows, or of all, in random order."""
        return np.random.default_rng(0).permutation(len(self.data[0]))[:rows]

    def _backward(self, x: Any, y: Any) -> tuple[list[tuple[str, Any]], float]:
        """The parameters with the gradients of a batch, and the loss."""
        parameters = [*self.model.named_parameters()]
        for _, p in parameters:
            p.grad = None
        loss = self.loss(self.model(x), y)
        loss.backward()
        return parameters, self.array(loss).item()

    def _gradient(self, p: Any) -> Array:
        return np.zeros(tuple(p.shape)) if p.grad is None else self.array(p.grad)

    def observe(self, model: Any = None) -> Observed:
        """As `Training.observe`."""
        model = self.copied(self.model if model is None else model)
        seen: list[tuple[Any, Array, Any]] = []

        def look(module: Any, args: Any, output: Any) -> Any:
            recurrent = self.time_axis(module) is not None
            inputs = args[0] if args else None
            probe = self.probe(inputs if recurrent else output)
            if recurrent and probe is not None:  # it is of the input, for each step
                output = module.forward(inputs + probe, *args[1:])
            first = output
            while isinstance(first, (tuple, list)) and first:
                first = first[0]
            if not _is_tensor(first):
                return None
            seen.append((module, self.array(first).copy(), probe))
            return output if recurrent or probe is None else first + probe

        model.train()
        paths = {id(m): path for path, m in model.named_modules()}
        for m in model.modules():
            if not any(True for _ in m.children()):
                m.register_forward_hook(look)
        for p in model.parameters():
            p.grad = None
        with self.drawing(0):
            x, y = (self.tensor(a[: self._observed]) for a in self.data)
            prediction = model(x)
            expect_tensor(prediction, type(x))
            loss = self.loss(prediction, y)
            expect_gradient(loss)
            loss.backward()
        layers: list[Layer] = []
        features = -1
        for m, output, probe in seen:
            features = self.features(m, output.ndim, features)
            layer = self.layer(paths[id(m)], m, output, features)
            if probe is not None and probe.grad is not None:
                gradient, axis = self.array(probe.grad), self.time_axis(m)
                if axis is None:
                    layer = replace(layer, upstream=gradient)
                else:
                    layer = replace(layer, by_step=_by_step(gradient, axis))
            layers.append(layer)
        return Observed(layers, self.output(prediction), self.array(loss).item())

    def run(self, score: Score, seed: int = 0, seconds: float = math.inf) -> Outcome:
        """As `Training.run`."""
        began = second = time.process_time()
        t, out = self.fork(), Outcome(score.worst)
        out.model = t.model
        order = np.random.default_rng(1000 + seed)
        if seed:
            t._draw_again(order)
        with t.drawing(seed):
            steps = t.steps()
            for epoch in range(t.epochs):
                if epoch == 1:
                    second = time.process_time()
                t.model.train()
                losses = t._epoch(steps, order)
                out.steps += len(losses)
                out.losses.append(float(np.mean(losses)) if losses else math.nan)
                if not all(map(math.isfinite, losses)) or not t._is_finite():
                    out.nonfinite = out.steps
                late = epoch > 0 and time.process_time() - second > seconds  # compilation aside
                if out.nonfinite is not None or late:
                    break
        if out.nonfinite is None:
            (x, y), (valid, targets) = t.data, t.valid
            outputs = t.outputs(t.model, valid)
            out.rows, out.score = score.rows(outputs, targets), score(outputs, targets)
            out.fit = score(t.outputs(t.model, x[:AT_ONCE]), y[:AT_ONCE])
        out.seconds = time.process_time() - began
        count = len(out.losses)
        out.steady = (time.process_time() - second) * count / max(count - 1, 1)
        return out

    def _epoch(self, steps: Steps, order: np.random.Generator) -> list[float]:
        """The losses of an epoch, up to the first that is not finite.

        The last batch is filled with rows of the first: a rest would need a compiled step of its
        own, which takes longer than many steps, and batch normalization fails for a rest of one.
        """
        x, y = self.data
        count = len(x)
        rows = order.permutation(count) if self.shuffle else np.arange(count)
        batch = min(self.batch, count)
        rows = np.concatenate([rows, rows[: -count % batch]])
        losses: list[float] = []
        done = 0  # rows
        while done < len(rows):
            at_once = 1 if self.augment else max(steps.at_once, 1)
            at_once = min(at_once, (len(rows) - done) // batch)
            part = rows[done : done + at_once * batch]
            done += len(part)
            inputs = x[part] if self.augment is None else self.augment(x[part], order)
            for loss in steps(inputs, y[part], at_once):
                losses.append(loss)
                if not math.isfinite(loss):
                    return losses
        return losses

    @property
    def _observed(self) -> int:
        """Rows of a batch that is observed."""
        return ROWS if self.data[0].ndim <= 2 else FEWER

    def _draw_again(self, random: np.random.Generator) -> None:
        """Other first weights of the same distribution: the numbers of each weight, shuffled.

        Weights that were trained stay.
        """
        for path, module in self.model.named_modules():
            weight = getattr(module, "weight", None)
            if any(True for _ in module.children()) or not hasattr(weight, "ndim"):
                continue
            if self.layer(path, module, np.zeros((1, 1)), -1).kind == "weights":
                old = self.array(weight)
                if not _is_trained(old):
                    self.assign(weight, random.permutation(old.ravel()).reshape(old.shape))

    def _is_finite(self) -> bool:
        return all(np.isfinite(self.array(p)).all() for p in self.model.parameters())


def _is_trained(weight: Array) -> bool:
    """Whether some units or inputs have larger weights than others by more than chance.

    A mean of m squares of one distribution spreads 1 / √m as far as the squares.
    """
    squares = np.square(weight, dtype=np.float64)
    for axis, count in enumerate(weight.shape):
        means = squares.mean(tuple(k for k in range(weight.ndim) if k != axis))
        if means.std() > TRAINED * squares.std() / math.sqrt(weight.size / count):
            return True
    return False


def _by_step(gradient: Array, axis: int) -> Array:
    """The root mean square of each step."""
    rest = tuple(k for k in range(gradient.ndim) if k != axis)
    out: Array = np.sqrt(np.mean(np.square(gradient, dtype=np.float64), rest))
    return out


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "ndim")
