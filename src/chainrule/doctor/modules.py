"""The training of a model of this library, as the doctor sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import nn, random
from ..compile import Compiled
from ..diagnosis.finding import Change
from ..diagnosis.sharpness import Product, hessian_product
from ..graph import Array
from ..nn import Module
from ..nn.activation import Activation
from ..nn.normalization import _BatchNorm
from ..nn.utils import clip_grad_norm_
from ..tensor import Tensor, as_tensor, no_grad
from ..train.evaluation.modes import evaluating
from ..train.loop.schedule_ahead import ScheduleAhead
from ..train.loop.untrained import tensors_read
from .changes import apply
from .runnable import Runnable
from .training import Layer

STEPS = 16  # in one native call


class ModuleTraining(Runnable):
    """As `Training`."""

    def changed(self, changes: Sequence[Change]) -> ModuleTraining:
        """As `Training.changed`."""
        return apply(self.fork(), changes)

    def tensor(self, a: Array) -> Tensor:
        """As `Runnable.tensor`."""
        return as_tensor(a)

    def array(self, tensor: Any) -> Array:
        """As `Runnable.array`."""
        return (tensor.to_dense() if hasattr(tensor, "to_dense") else tensor).numpy()

    def probe(self, value: Any) -> Tensor | None:
        """As `Runnable.probe`."""
        if not isinstance(value, Tensor) or value.dtype.kind != "f":
            return None
        return Tensor(np.zeros(value.shape, value.dtype), requires_grad=True)

    def drawing(self, seed: int) -> _Drawing:
        """As `Runnable.drawing`."""
        return _Drawing(seed)

    def predictions(self, model: Module, parts: Sequence[Array]) -> list[Array]:
        """As `Runnable.predictions`."""
        with evaluating(model):
            return [model(as_tensor(part)).numpy() for part in parts]

    def steps(self) -> _Steps:
        """As `Runnable.steps`."""
        return _Steps(self)

    def assign(self, tensor: Tensor, values: Array) -> None:
        """As `Runnable.assign`."""
        with no_grad():
            tensor[...] = values

    def features(self, module: Module, dimensions: int, before: int) -> int:
        """The last axis, always."""
        return -1

    def time_axis(self, module: Module) -> int | None:
        """As `Runnable.time_axis`."""
        return 1 if kind_of(module) == "recurrent" else None

    def hessian_product(self, x: Any, y: Any) -> tuple[Product, int]:
        """As `Runnable.hessian_product`."""
        trained = (p for p in self.model.parameters() if p.requires_grad)
        return hessian_product("diagnose", lambda: self.loss(self.model(x), y), trained)

    def parameters_read(self, x: Any) -> set[int]:
        """As `Runnable.parameters_read`."""
        return tensors_read(self.model, x)

    def layer(self, path: str, module: Module, output: Array, features: int) -> Layer:
        """As `Runnable.layer`."""
        weight = getattr(module, "weight", None)
        kind, units, gradient = kind_of(module), None, None
        if kind == "weights" and isinstance(weight, Tensor):
            w = weight.numpy()  # a convolution's is (*kernel, in, out)
            units = w if isinstance(module, nn.Linear) else w.reshape(-1, w.shape[-1]).T
            gradient = None if weight.grad is None else self.array(weight.grad)
        return Layer(path, kind, type(module).__name__, output, features, units, gradient)


class _Steps:
    """As `runnable.Steps`: several in one native call where that is possible."""

    def __init__(self, training: ModuleTraining) -> None:
        t = self.t = training
        parameters = t.model.parameters()

        def step(x: Any, y: Any) -> Tensor:
            t.optimizer.zero_grad()
            loss: Tensor = t.loss(t.model(x), y)
            loss.backward()
            if t.clip_norm is not None:
                clip_grad_norm_(parameters, t.clip_norm)
            t.optimizer.step()
            return loss

        self.step = Compiled(step, (t.optimizer, t.loss))

    @property
    def at_once(self) -> int:
        return STEPS if self.step.repeats else 1

    def __call__(self, x: Array, y: Array, count: int) -> list[float]:
        t = self.t
        if count > 1:
            ahead = ScheduleAhead(t.schedule, t.optimizer, count)
            results = self.step.repeat(count, [x, y], ahead.varying)
            if results is not None:
                return [float(loss) for loss in results[0]]
            ahead.undo()
        size, losses = len(x) // count, []
        for k in range(count):
            part = slice(k * size, (k + 1) * size)
            losses.append(float(self.step(x[part], y[part])))
            if t.schedule is not None:
                t.schedule.step()
        return losses


class _Drawing:
    """Random numbers from this seed inside; afterwards they go on as before."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        self.before = random.default.state
        random.default.set_state(random.Generator(self.seed).state)

    def __exit__(self, *_: Any) -> None:
        random.default.set_state(self.before)


def kind_of(module: Module) -> str:
    """As `Layer.kind`."""
    weight = getattr(module, "weight", None)
    if isinstance(module, Activation):
        return "activation"
    if isinstance(module, nn.Dropout):
        return "dropout"
    if isinstance(module, (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
        return "norm"
    if isinstance(module, (nn.RNN, nn.LSTM, nn.GRU)):
        return "recurrent"
    if isinstance(weight, Tensor) and weight.ndim >= 2 and not isinstance(module, nn.Embedding):
        return "weights"
    return "other" if type(module).__module__.startswith("chainrule.") else "custom"
