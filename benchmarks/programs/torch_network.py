"""The layers of a recipe as modules of PyTorch: `layers.N` is the layer N of the recipe.

Weights are those of the collection's build.py; activations are modules, which a hook sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .program import Program


class Exponential(nn.Module):
    """exp(x) as an activation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(x)


class EvaluationDropout(nn.Dropout):
    """Dropout that multiplies by 1 - test_rate in evaluation, where it should do nothing."""

    def __init__(self, p: float, test_rate: float) -> None:
        super().__init__(p)
        self.test_rate = test_rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if self.training else x * (1 - self.test_rate)


class OutputsLSTM(nn.LSTM):
    """An LSTM that returns the outputs alone, without the last state."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[0]


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {  # of the axis of the classes
    "linear": lambda axis: nn.Identity(),
    "relu": lambda axis: nn.ReLU(),
    "sigmoid": lambda axis: nn.Sigmoid(),
    "tanh": lambda axis: nn.Tanh(),
    "exponential": lambda axis: Exponential(),
    "elu": lambda axis: nn.ELU(),
    "selu": lambda axis: nn.SELU(),
    "softmax": nn.Softmax,
    "softmax_over_batch": lambda axis: nn.Softmax(0),
}


class Network(nn.Module):
    """The layers one after another; an image as output is flattened."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        return y.flatten(1) if y.ndim == 4 else y


def network(build: Any, program: Program, seed: int = 0) -> tuple[Network, dict[str, float]]:
    """The network with fresh weights, and its L2 penalties; `build` is the module build.py.

    penalties   the coefficient of ∑w² for each weight that has one, by its path
    A layer with an activation is Sequential(layer, activation).
    """
    torch.manual_seed(seed)
    steps = build.build(program.recipe, program.arrays.x.shape[1:], torch).steps
    modules: list[nn.Module] = []
    penalties = {}
    for n, step in enumerate(steps):
        spec, layer = step.spec, step.op
        if spec.get("test_rate"):
            layer = EvaluationDropout(spec["rate"], spec["test_rate"])
        elif isinstance(layer, nn.LSTM):
            layer = _outputs_only(layer)
        activation, name = spec.get("activation", "linear"), f"layers.{n}"
        new = ACTIVATIONS[activation](-1 if len(step.shape) == 2 else 1)
        if layer is None:
            layer = new
        elif activation != "linear":
            layer, name = nn.Sequential(layer, new), f"{name}.0"
        if spec.get("l2"):
            penalties[f"{name}.weight"] = spec["l2"]
        modules.append(layer)
    return Network(modules), penalties


def _outputs_only(lstm: nn.LSTM) -> OutputsLSTM:
    new = OutputsLSTM(
        lstm.input_size, lstm.hidden_size, batch_first=True, bidirectional=lstm.bidirectional
    )
    new.load_state_dict(lstm.state_dict())
    return new
