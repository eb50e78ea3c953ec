"""Activations as modules. Each is the function of `functional` with its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..functions import creation
from ..tensor import Tensor
from . import functional as F  # noqa: N812 - the usual name
from .arguments import expect_integers
from .module import Module, Parameter


class Activation(Module):
    """A function and its settings."""

    function: Callable[..., Tensor]
    settings: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, **settings: Any) -> None:
        if settings:  # compiled steps compare a dict that an instance has at each call
            if "axis" not in settings:  # whether an axis is right depends on the input
                type(self).function(creation.zeros((0,)), **settings)  # raises for wrong settings
            self.settings = settings

    def forward(self, x: Any) -> Tensor:
        return type(self).function(x, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.settings.items())


def _activation(name: str, function: Callable[..., Tensor], **defaults: Any) -> type[Activation]:
    """A module class for a function whose settings are passed by position or by name."""

    def init(self: Activation, *values: Any, **named: Any) -> None:
        by_position = dict(zip(defaults, values, strict=False))
        Activation.__init__(self, **{**defaults, **by_position, **named})

    def parameter(name: str, **more: Any) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, **more)

    settings = [parameter(k, default=v, annotation=type(v).__name__) for k, v in defaults.items()]
    init.__signature__ = inspect.Signature([parameter("self"), *settings])  # type: ignore[attr-defined]
    body = {"__init__": init, "function": staticmethod(function), "__doc__": function.__doc__}
    return type(name, (Activation,), body)


ReLU = _activation("ReLU", F.relu)
ReLU6 = _activation("ReLU6", F.relu6)
LeakyReLU = _activation("LeakyReLU", F.leaky_relu, negative_slope=0.01)
ELU = _activation("ELU", F.elu, alpha=1.0)
SELU = _activation("SELU", F.selu)
CELU = _activation("CELU", F.celu, alpha=1.0)
GELU = _activation("GELU", F.gelu, approximate="none")
SiLU = _activation("SiLU", F.silu)
Mish = _activation("Mish", F.mish)
Sigmoid = _activation("Sigmoid", F.sigmoid)
LogSigmoid = _activation("LogSigmoid", F.logsigmoid)
Tanh = _activation("Tanh", F.tanh)
Softplus = _activation("Softplus", F.softplus)
Softsign = _activation("Softsign", F.softsign)
Softmax = _activation("Softmax", F.softmax, axis=-1)
LogSoftmax = _activation("LogSoftmax", F.log_softmax, axis=-1)
Hardtanh = _activation("Hardtanh", F.hardtanh, min_val=-1.0, max_val=1.0)
Hardsigmoid = _activation("Hardsigmoid", F.hardsigmoid)
Hardswish = _activation("Hardswish", F.hardswish)
Hardshrink = _activation("Hardshrink", F.hardshrink, lambd=0.5)
Softshrink = _activation("Softshrink", F.softshrink, lambd=0.5)
Tanhshrink = _activation("Tanhshrink", F.tanhshrink)
GLU = _activation("GLU", F.glu, axis=-1)


class Identity(Module):
    """x itself."""

    def forward(self, x: Any) -> Any:
        return x


class Threshold(Module):
    """x above the threshold, the value elsewhere."""

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold, self.value = threshold, value

    def forward(self, x: Any) -> Tensor:
        return F.threshold(x, self.threshold, self.value)


class PReLU(Module):
    """x above 0, weight · x below, the weight learned (He et al., 2015)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        expect_integers("PReLU", 1, num_parameters=num_parameters)
        self.weight = Parameter(creation.full((num_parameters,), init))

    def forward(self, x: Any) -> Tensor:
        return F.prelu(x, self.weight)
