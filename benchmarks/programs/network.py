"""The layers of a recipe as modules of chainrule: `layers.N` is the layer N of the recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import chainrule as cr
from chainrule import nn

from . import initial

Spec = dict[str, Any]
Shape = tuple[int, ...]


class Exponential(nn.Module):
    """exp(x) as an activation."""

    def forward(self, x: Any) -> cr.Tensor:
        return cr.exp(x)


class EvaluationDropout(nn.Dropout):
    """Dropout that multiplies by 1 - test_rate in evaluation, where it should do nothing."""

    def __init__(self, p: float, test_rate: float) -> None:
        super().__init__(p)
        self.test_rate = test_rate

    def forward(self, x: Any) -> cr.Tensor:
        return super().forward(x) if self.training else x * (1 - self.test_rate)


class OutputsLSTM(nn.LSTM):
    """An LSTM that returns the outputs alone, without the last state."""

    def forward(self, x: Any) -> cr.Tensor:
        return super().forward(x)[0]


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "exponential": Exponential,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "softmax": nn.Softmax,
    "softmax_over_batch": lambda: nn.Softmax(axis=0),
}


class Network(nn.Module):
    """The layers one after another; an image as output is flattened, channels first."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Any) -> cr.Tensor:
        y = self.layers(cr.asarray(x))
        return cr.flatten(cr.permute_dims(y, (0, 3, 1, 2)), 1) if y.ndim == 4 else y


def network(layers: Sequence[Spec], shape: Shape) -> tuple[Network, dict[str, float]]:
    """The network for samples of a shape (C,), (T, C) or (H, W, C), and its L2 penalties.

    penalties   the coefficient of ∑w² for each weight that has one, by its path
    Weights are drawn from cr.random. A layer with an activation is Sequential(layer, activation).
    """
    modules, penalties = [], {}
    for n, spec in enumerate(layers):
        if spec["type"] not in KINDS:
            raise ValueError(f"layer {n} is a {spec['type']}; expected one of {', '.join(KINDS)}")
        layer, shape = KINDS[spec["type"]](spec, shape)
        activation = spec.get("activation", "linear")
        name = f"layers.{n}"
        if isinstance(layer, nn.Identity):
            layer = ACTIVATIONS[activation]()
        elif activation != "linear":
            layer, name = nn.Sequential(layer, ACTIVATIONS[activation]()), f"{name}.0"
        if spec.get("l2"):
            penalties[f"{name}.weight"] = spec["l2"]
        modules.append(layer)
    return Network(modules), penalties


def _dense(spec: Spec, shape: Shape) -> tuple[nn.Module, Shape]:
    layer = nn.Linear(shape[-1], spec["size"], bias=spec.get("bias", True))
    _fill(layer, spec, shape[-1], spec["size"])
    return layer, (*shape[:-1], spec["size"])


def _conv2d(spec: Spec, shape: Shape) -> tuple[nn.Module, Shape]:
    kernel, stride, size = spec["kernel"], spec.get("stride", 1), spec["size"]
    padding = kernel // 2 if spec.get("padding", "valid") == "same" else 0
    bias = spec.get("bias", True)
    layer = nn.Conv2d(shape[-1], size, kernel, stride=stride, padding=padding, bias=bias)
    _fill(layer, spec, shape[-1] * kernel**2, size * kernel**2)
    return layer, (*((n + 2 * padding - kernel) // stride + 1 for n in shape[:-1]), size)


def _max_pool2d(spec: Spec, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.MaxPool2d(spec["size"]), (*(n // spec["size"] for n in shape[:-1]), shape[-1])


def _flatten(spec: Spec, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.Flatten(), (math.prod(shape),)


def _dropout(spec: Spec, shape: Shape) -> tuple[nn.Module, Shape]:
    if spec.get("test_rate"):
        return EvaluationDropout(spec["rate"], spec["test_rate"]), shape
    return nn.Dropout(spec["rate"]), shape


def _batch_norm(spec: Spec, shape: Shape) -> tuple[nn.Module, Shape]:
    """Frozen statistics stay 0 and 1: training uses those of the batch, evaluation these."""
    if len(shape) == 2:
        raise ValueError("batchnorm of a sequence; expected an image or a row of numbers")
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    momentum = 0.0 if spec.get("frozen_statistics") else 0.1
    return kind(shape[-1], eps=1e-3, momentum=momentum), shape


def _lstm(spec: Spec, shape: Shape) -> tuple[nn.Module, Shape]:
    directions = 2 if spec.get("bidirectional") else 1
    layer = OutputsLSTM(shape[-1], spec["size"], bidirectional=directions == 2)
    initial.fill_lstm(layer)
    return layer, (shape[0], spec["size"] * directions)


def _activation(spec: Spec, shape: Shape) -> tuple[nn.Module, Shape]:
    return nn.Identity(), shape


def _fill(layer: Any, spec: Spec, fan_in: int, fan_out: int) -> None:
    initial.fill(layer.weight, spec.get("init", "glorot_uniform"), fan_in, fan_out)
    if layer.bias is not None:
        initial.fill(layer.bias, spec.get("bias_init", "zeros"), fan_in, fan_out)


KINDS: dict[str, Callable[[Spec, Shape], tuple[nn.Module, Shape]]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "maxpool2d": _max_pool2d,
    "flatten": _flatten,
    "dropout": _dropout,
    "batchnorm": _batch_norm,
    "lstm": _lstm,
    "activation": _activation,
}
