"""The training of a PyTorch model, as the doctor sees it.

Arrays are in the layout that the model takes (images channels first); outputs that have classes on
axis 1 of several come with the classes last, as scores and facts expect them.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import numpy as np

from ...diagnosis.finding import Change
from ...diagnosis.sharpness import Product
from ...graph import Array
from ..changes import apply
from ..runnable import Runnable
from ..setup import deep_copy
from ..training import Layer
from . import layers
from .changes import WORDS
from .surroundings import drawing

torch: Any = importlib.import_module("torch")
T = TypeVar("T")


class TorchTraining(Runnable):
    """As `Training`; it has no schedule."""

    def changed(self, changes: Sequence[Change]) -> TorchTraining:
        """As `Training.changed`."""
        return apply(self.fork(), changes, WORDS)

    def copied(self, parts: T) -> T:
        """As `Setup.copied`; what was computed, as a weight by `weight_norm`, has no history."""
        leaves = torch.utils._pytree.tree_leaves([vars(m) for m in self.model.modules()])
        tensors = (a for a in leaves if isinstance(a, torch.Tensor) and not a.is_leaf)
        return deep_copy(parts, self.model, {id(a): a.detach().clone() for a in tensors})

    def tensor(self, a: Array) -> Any:
        """As `Runnable.tensor`, where the model is; numbers in the dtype of its weights."""
        tensor = self.exact(a)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def exact(self, a: Array) -> Any:
        """As `Runnable.exact`."""
        device = next((p.device for p in self.model.parameters()), None)
        tensor = torch.as_tensor(np.ascontiguousarray(a), device=device)
        wide = self._dtype == torch.float64 and tensor.is_floating_point()
        return tensor.double() if wide else tensor

    @property
    def _dtype(self) -> Any:
        kinds = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        return next(kinds, torch.float32)

    def array(self, tensor: Any) -> Array:
        """As `Runnable.array`."""
        return layers.values(tensor)

    def output(self, prediction: Any) -> Array:
        """As `Runnable.output`."""
        out, y = self.array(prediction), self.data[1]
        places = out.shape[2:]
        first = out.ndim > 2 and y.dtype.kind in "iu" and y.shape[1:] == places
        return np.moveaxis(out, 1, -1) if first and out.shape[1:-1] != places else out

    def probe(self, value: Any) -> Any:
        """As `Runnable.probe`."""
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return None
        return torch.zeros_like(value, requires_grad=True)

    def drawing(self, seed: int) -> AbstractContextManager[Any]:
        """As `Runnable.drawing`; also one thread."""
        return drawing(seed)

    def predictions(self, model: Any, parts: Sequence[Array]) -> list[Array]:
        """As `Runnable.predictions`."""
        modes = {m: m.training for m in model.modules()}
        model.eval()
        try:
            with drawing(0), torch.no_grad():
                return [self.output(model(self.tensor(part))) for part in parts]
        finally:
            for module, training in modes.items():
                module.training = training

    def steps(self) -> _Steps:
        """As `Runnable.steps`."""
        return _Steps(self)

    def assign(self, tensor: Any, values: Array) -> None:
        """As `Runnable.assign`."""
        with torch.no_grad():
            tensor.copy_(torch.as_tensor(values))

    def features(self, module: Any, dimensions: int, before: int) -> int:
        """As `Runnable.features`."""
        return layers.features_of(module, dimensions, before)

    def time_axis(self, module: Any) -> int | None:
        """As `Runnable.time_axis`."""
        return int(module.batch_first) if layers.kind_of(module) == "recurrent" else None

    def hessian_product(self, x: Any, y: Any) -> tuple[Product, int]:
        """As `Runnable.hessian_product`."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        loss = self.loss(self.model(x), y)
        slopes = torch.autograd.grad(loss, trained, create_graph=True, allow_unused=True)
        pairs = [(p, g) for p, g in zip(trained, slopes, strict=True) if g is not None]
        sizes = [p.numel() for p, _ in pairs]

        def product(v: Array) -> Array:
            parts = torch.as_tensor(v).split(sizes)
            slope = sum(
                (g * part.reshape(p.shape).to(p)).sum()
                for (p, g), part in zip(pairs, parts, strict=True)
            )
            out = torch.autograd.grad(
                slope, [p for p, _ in pairs], retain_graph=True, materialize_grads=True
            )
            return np.concatenate([self.array(t).ravel() for t in out]).astype(np.float64)

        return product, sum(sizes)

    def parameters_read(self, x: Any) -> set[int]:
        """As `Runnable.parameters_read`."""
        arguments: set[int] = set()

        class Reads(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
            def __torch_function__(
                self, function: Any, _: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                if function.__name__ != "__get__":  # of an attribute, such as its shape
                    leaves = torch.utils._pytree.tree_leaves((args, kwargs))
                    arguments.update(id(a) for a in leaves if isinstance(a, torch.Tensor))
                return function(*args, **(kwargs or {}))

        with torch.no_grad(), Reads():
            self.model(x)
        return arguments

    def layer(self, path: str, module: Any, output: Array, features: int) -> Layer:
        """As `Runnable.layer`."""
        return layers.layer(path, module, output, features)


class _Steps:
    """As `runnable.Steps`, one after another."""

    at_once = 1

    def __init__(self, training: TorchTraining) -> None:
        self.t = training
        self.parameters = list(training.model.parameters())

    def __call__(self, x: Array, y: Array, count: int) -> list[float]:
        t = self.t
        t.optimizer.zero_grad()
        loss = t.loss(t.model(t.tensor(x)), t.tensor(y))
        loss.backward()
        if t.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, t.clip_norm)
        t.optimizer.step()
        return [loss.item()]
