"""Convolutional networks: one list of layers each, from which every library builds its own.

Images are channels last: (height, width, channels).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, Literal, TypeAlias

import numpy as np

from .networks import Workload

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Conv:
    """A convolution, with the kernel, the stride and the padding of both sizes."""

    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True)
class Linear:
    outputs: int


@dataclass(frozen=True)
class Residual:
    """inner(x) + shortcut(x); without a shortcut inner(x) + x."""

    inner: Network
    shortcut: Network = ()


# pool: the largest of 2 × 2; mean: of all positions, which leaves a vector of channels.
Layer: TypeAlias = (
    Conv | Linear | Residual | Literal["norm", "relu", "relu6", "pool", "mean", "flatten"]
)
Network: TypeAlias = tuple[Layer, ...]


def after(shape: Shape, layer: Layer) -> Shape:
    """The shape that a layer makes of one."""
    match layer:
        case Conv(outputs, kernel, stride, padding):
            height, width = ((n + 2 * padding - kernel) // stride + 1 for n in shape[:2])
            return height, width, outputs
        case Linear(outputs):
            return (outputs,)
        case Residual(inner):
            return reduce(after, inner, shape)
        case "pool":
            return shape[0] // 2, shape[1] // 2, shape[2]
        case "mean":
            return shape[2:]
        case "flatten":
            return (math.prod(shape),)
        case _:
            return shape


def walk(layers: Network, shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Each layer, with the shape of what it reads."""
    for layer in layers:
        yield layer, shape
        shape = after(shape, layer)


def products(layers: Network, shape: Shape) -> Iterator[int]:
    """Multiplications and additions of each convolution and product, forward, for one image."""
    for layer, read in walk(layers, shape):
        match layer:
            case Conv(kernel=kernel, groups=groups):
                yield 2 * math.prod(after(read, layer)) * kernel**2 * read[-1] // groups
            case Linear(outputs):
                yield 2 * read[-1] * outputs
            case Residual(inner, shortcut):
                yield from products(inner, read)
                yield from products(shortcut, read)


def module(lib: Any, layers: Network, shape: Shape) -> Any:
    """The network in chainrule or torch."""
    return lib.nn.Sequential(
        *(m for layer, read in walk(layers, shape) for m in parts(lib, layer, read))
    )


def parts(lib: Any, layer: Layer, read: Shape) -> list[Any]:
    """The modules that are a layer."""
    nn = lib.nn
    match layer:
        case Conv(outputs, kernel, stride, padding, groups, bias):
            settings = {"groups": groups, "bias": bias}
            return [nn.Conv2d(read[-1], outputs, kernel, stride, padding, **settings)]
        case Linear(outputs):
            return [nn.Linear(read[-1], outputs)]
        case Residual(inner, shortcut):
            residual = torch_residual(nn) if lib.__name__ == "torch" else nn.Residual
            beside = module(lib, shortcut, read) if shortcut else None
            return [residual(module(lib, inner, read), beside)]
        case "norm":
            return [nn.BatchNorm2d(read[-1])]
        case "relu":
            return [nn.ReLU()]
        case "relu6":
            return [nn.ReLU6()]
        case "pool":
            return [nn.MaxPool2d(2)]
        case "mean":
            return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        case "flatten":
            return [nn.Flatten()]


@cache
def torch_residual(nn: Any) -> Any:
    """chainrule's nn.Residual, for torch."""

    class Residual(nn.Module):  # type: ignore[misc]
        def __init__(self, inner: Any, shortcut: Any) -> None:
            super().__init__()
            self.inner, self.shortcut = inner, shortcut

        def forward(self, x: Any) -> Any:
            return self.inner(x) + (x if self.shortcut is None else self.shortcut(x))

    return Residual


@dataclass(frozen=True)
class Images(Workload):
    """A convolutional network that classifies images of a shape."""

    batch: int
    shape: Shape
    title: str
    layers: Network

    @property
    def operations(self) -> int:
        first, *rest = products(self.layers, self.shape)
        return self.batch * (2 * first + 3 * sum(rest))

    def __str__(self) -> str:
        return f"{self.title}, {self.shape[0]} × {self.shape[1]}"

    def rows(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.batch, *self.shape), dtype=np.float32)
        (classes,) = reduce(after, self.layers, self.shape)
        return x, rng.integers(0, classes, self.batch)

    def network(self, lib: Any) -> Any:
        return module(lib, self.layers, self.shape)


def normed(outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> Network:
    """A convolution without bias that keeps or divides the sizes, and its batch normalization."""
    return Conv(outputs, kernel, stride, kernel // 2, groups, bias=False), "norm"


def plain_block(outputs: int, stride: int) -> Network:
    return *normed(outputs, 3, stride), "relu", *normed(outputs), "relu"


def residual_block(inputs: int, outputs: int, stride: int) -> Network:
    """He et al., 2015; the shortcut is a 1 × 1 convolution where the shape changes (option B)."""
    inner = *normed(outputs, 3, stride), "relu", *normed(outputs)
    return Residual(inner, normed(outputs, 1, stride) if inputs != outputs else ()), "relu"


def inverted_block(inputs: int, outputs: int, stride: int) -> Network:
    """Sandler et al., 2018: four times as wide inside, where each channel is filtered by itself."""
    wide = 4 * inputs
    depthwise = *normed(wide, 1), "relu6", *normed(wide, 3, stride, groups=wide), "relu6"
    inner = *depthwise, *normed(outputs, 1)
    return (Residual(inner),) if inputs == outputs and stride == 1 else inner


CNN = Images(
    64,
    (28, 28, 1),
    "2 convs",
    (
        *(Conv(16, 5, padding=2), "relu", "pool"),
        *(Conv(32, 5, padding=2), "relu", "pool"),
        *("flatten", Linear(128), "relu", Linear(10)),
    ),
)
CNN3 = Images(
    64,
    (32, 32, 3),
    "6 convs",
    (*plain_block(32, 1), *plain_block(64, 2), *plain_block(128, 2), "mean", Linear(10)),
)
# The network of SimpleChains.jl's published run on MNIST; its batch is 96
# per thread there, as far as known.
LENET5 = Images(
    96,
    (28, 28, 1),
    "LeNet-5",
    (
        *(Conv(6, 5), "relu", "pool", Conv(16, 5), "relu", "pool", "flatten"),
        *(Linear(120), "relu", Linear(84), "relu", Linear(10)),
    ),
)
DEPTHWISE = Images(
    32,
    (32, 32, 3),
    "MobileNet",
    (
        *(*normed(32), "relu6"),
        *(*inverted_block(32, 32, 1), *inverted_block(32, 48, 2)),
        *(*inverted_block(48, 48, 1), *inverted_block(48, 64, 2)),
        *("mean", Linear(10)),
    ),
)
RESNET20 = Images(
    128,
    (32, 32, 3),
    "ResNet-20",
    (
        *(*normed(16), "relu"),
        *(*residual_block(16, 16, 1), *residual_block(16, 16, 1), *residual_block(16, 16, 1)),
        *(*residual_block(16, 32, 2), *residual_block(32, 32, 1), *residual_block(32, 32, 1)),
        *(*residual_block(32, 64, 2), *residual_block(64, 64, 1), *residual_block(64, 64, 1)),
        *("mean", Linear(10)),
    ),
)
