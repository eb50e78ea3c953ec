"""The same programs in PyTorch, by the collection's build.py, and the same weights in both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import interop, nn

from . import optimizers
from .program import Array, Built, Program
from .training import SECONDS, first_rows

# Any: PyTorch's modules and tensors, and those of build.py.


@dataclass(frozen=True)
class TorchBuilt:
    """All that is trained. Images are channels first; `model.penalty()` is added to the loss."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any
    model: Any
    loss: Callable[[Any, Any], Any]
    optimizer: Any
    batch: int
    epochs: int
    shuffle: bool
    augment: dict[str, Any] | None


def build_torch(build: Any, program: Program, seed: int = 0) -> TorchBuilt:
    """The program with fresh weights, from the seed; `build` is the module build.py."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    recipe, arrays = program.recipe, program.arrays
    x, y, x_test, y_test = (
        torch.from_numpy(np.moveaxis(a, -1, 1).copy() if a.ndim == 4 else a)
        for a in (arrays.x, arrays.y, arrays.x_test, arrays.y_test)
    )
    model = build.build(recipe, arrays.x.shape[1:], torch)
    return TorchBuilt(
        x=x,
        y=y,
        x_test=x_test,
        y_test=y_test,
        model=model,
        loss=lambda prediction, target: build.loss_of(torch, recipe["loss"], prediction, target),
        optimizer=build.Optimizer(torch, recipe["optimizer"], model.parameters()),
        batch=recipe["batch"],
        epochs=recipe["epochs"],
        shuffle=recipe.get("shuffle", True),
        augment=recipe.get("augment"),
    )


def train_torch(
    build: Any, program: Program, metric: dict[str, Any], seed: int = 0, limit: float = SECONDS
) -> dict[str, Any]:
    """What build.py says of a training: score, losses, the first step that is not finite."""
    return build.train({"metric": metric}, program.recipe, seed, limit)


def copy_weights(model: Any, built: Built) -> None:
    """Give a program the weights and statistics of the same one in PyTorch."""
    layers, shape = built.model.layers, built.arrays.x.shape
    names, flattened, channels, flat = {}, {}, shape[-1], False
    for n, layer in enumerate(layers):
        path, core = (f"{n}.0", layer[0]) if isinstance(layer, nn.Sequential) else (str(n), layer)
        names[f"steps.{n}.op"] = path
        channels = getattr(core, "out_channels", channels)
        flat |= isinstance(core, nn.Flatten)
        if flat and len(shape) == 4 and any(True for _ in core.parameters()):
            flattened[path] = channels
            flat = isinstance(core, nn.BatchNorm1d)
    interop.torch.load_state_dict(layers, model.state_dict(), names=names, flattened=flattened)


def in_float64(
    build: Any, program: Program, theirs: TorchBuilt, ours: Built
) -> tuple[TorchBuilt, Built]:
    """Both with weights and inputs in float64, and new optimizers."""
    for _, module in ours.model.named_modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, cr.Tensor) and value.dtype == cr.float32:
                wide = value.detach().astype(cr.float64)
                setattr(module, name, nn.Parameter(wide) if value.requires_grad else wide)
    import torch

    spec, x = program.recipe["optimizer"], ours.arrays.x.astype(np.float64)
    optimizer = optimizers.optimizer(spec, ours.model)
    theirs.model.double()
    return (
        dataclasses.replace(
            theirs,
            x=theirs.x.double(),
            optimizer=build.Optimizer(torch, spec, theirs.model.parameters()),
        ),
        dataclasses.replace(
            ours,
            arrays=dataclasses.replace(ours.arrays, x=x),
            optimizer=optimizer,
            schedule=optimizers.schedule(spec, optimizer),
        ),
    )


def first_losses(built: TorchBuilt, steps: int, orders: np.random.Generator) -> Array:
    """The losses of the first steps, as `training.first_losses`."""
    losses = []
    for rows in first_rows(len(built.x), built.batch, steps, built.shuffle, orders):
        loss = built.loss(built.model(built.x[rows]), built.y[rows])
        penalty = built.model.penalty()
        built.optimizer.inner.zero_grad(set_to_none=False)
        (loss if penalty is None else loss + penalty).backward()
        built.optimizer.step()
        losses.append(float(loss.detach()))
    return np.array(losses)
