"""The networks for images that a recipe names, in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ... import models, nn
from ...errors import ArgumentError
from ...models.images.parts import normalised, pooled
from .networks import RandomShift, Standardise, dense

Shape = tuple[int, int, int]  # height, width, channels
Build = Callable[[Shape, int, Sequence[int], float], nn.Module]
HALVED = 10  # pixels of the shorter side from which a `cnn` has one more stage
WIDEST, NARROWEST = 128, 16  # channels of a stage of a `cnn`
LARGE = 64  # pixels: beyond, MobileNetV2 and ConvNeXt have the strides of their papers


@dataclass(frozen=True)
class ImageNetwork:
    """A row of the table.

    build     (shape, classes, sizes, dropout) -> network: standardised images (N, H, W, C) ->
              scores (N, classes). The sizes are hidden layers of an mlp, channels of a cnn
    cost      time of a step in multiples of that of a cnn, about
    dropout   the default; None: it has none
    smallest  pixels of the shorter side of the smallest images that it takes
    square    whether it takes squares alone
    """

    build: Build
    cost: float
    lr: float
    dropout: float | None
    smallest: int = 1
    square: bool = False


def image_network(
    kind: str,
    shape: Shape,
    classes: int,
    channels: Sequence[int],
    hidden: Sequence[int],
    dropout: float,
    mean: Any,
    std: Any,
    shift: int,
) -> nn.Module:
    """(N, H, W, C) bytes -> (N, classes). In training, images are shifted by up to `shift` pixels.

    A cnn with hidden layers is one of a run of an earlier version.
    """
    first = Standardise(mean, std), RandomShift(shift)
    if kind == "mlp" or hidden:  # the names of weights in earlier runs
        layers = mlp if kind == "mlp" else strided(channels)
        return nn.Sequential(*first, *layers(shape, classes, hidden, dropout))
    _expect_size(kind, shape)
    network = IMAGE_NETWORKS[kind].build(shape, classes, channels, dropout)
    return nn.Sequential(standardise=first[0], shift=first[1], network=network)


def _expect_size(kind: str, shape: Shape) -> None:
    """Raise for images that are too small for a network, or not square."""
    (height, width, _), row = shape, IMAGE_NETWORKS[kind]
    least = row.smallest
    if min(height, width) < least or (row.square and height != width):
        size = max(28, least) if row.square else least
        raise ArgumentError(
            "recipe",
            f"got model = {kind!r} for images of {height} × {width}",
            f"expected {'squares' if row.square else 'images'} of {least} × {least} pixels or more",
            f"model = 'cnn', or size = [{size}, {size}] in a recipe",
        )


def channels_for(shape: Shape) -> list[int]:
    """Channels of the stages of a cnn: half as many in each earlier stage, so that large maps,
    which cost the most, have few."""
    side, stages = min(shape[:2]), 1
    while side >= HALVED:
        side, stages = side // 2, stages + 1
    return [max(NARROWEST, WIDEST >> (stages - 1 - k)) for k in range(stages)]


def mlp(shape: Shape, classes: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Hidden layers that read all pixels."""
    height, width, depth = shape
    size = height * width * depth
    last = nn.Linear(hidden[-1] if hidden else size, classes)
    return nn.Sequential(nn.Flatten(), *dense(size, hidden, dropout), last)


def strided(channels: Sequence[int]) -> Callable[..., nn.Sequential]:
    """The cnn of earlier versions: convolutions with a stride of 2, then hidden layers."""

    def build(shape: Shape, classes: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
        height, width, depth = shape
        layers: list[nn.Module] = []
        for k, outputs in enumerate(channels):
            kernel = 3 if k else 5
            layers += [nn.Conv2d(depth, outputs, kernel, stride=2, padding=kernel // 2)]
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
            height, width, depth = -(-height // 2), -(-width // 2), outputs
        layers += [nn.Flatten(), *([nn.Dropout(dropout)] if dropout else [])]
        layers += dense(height * width * depth, hidden, dropout)
        return nn.Sequential(*layers, nn.Linear(hidden[-1], classes))

    return build


def cnn(shape: Shape, classes: int, channels: Sequence[int], dropout: float) -> nn.Module:
    """3 × 3 convolutions in stages, half the size after each, then the mean over positions.

    So a class is seen at any place. The first stage, which reads the most pixels, has one
    convolution, the others two; a stage that the image is too small for halves nothing.
    """
    side, inputs, layers = min(shape[:2]), shape[2], list[nn.Module]()
    for stage, outputs in enumerate(channels):
        if stage and side > 1:
            side //= 2
            layers.append(nn.MaxPool2d(2))
        for _ in range(2 if stage else 1):
            layers += normalised(inputs, outputs)
            inputs = outputs
    layers += pooled(dropout)
    return nn.Sequential(features=nn.Sequential(*layers), head=nn.Linear(inputs, classes))


def lenet5(shape: Shape, classes: int, _sizes: Sequence[int], dropout: float) -> nn.Module:
    return models.LeNet5(classes, channels=shape[2], size=shape[0], dropout=dropout)


def vgg(shape: Shape, classes: int, _sizes: Sequence[int], dropout: float) -> nn.Module:
    """One stage for each time that the image can be halved, up to five."""
    blocks = (1, 1, 2, 2, 2)[: max(1, min(shape[:2]).bit_length() - 1)]
    return models.VGG(classes, channels=shape[2], blocks=blocks, dropout=dropout)


def mobilenet(shape: Shape, classes: int, _sizes: Sequence[int], dropout: float) -> nn.Module:
    stride = 2 if min(shape[:2]) > LARGE else 1
    return models.MobileNetV2(classes, channels=shape[2], stride=stride, dropout=dropout)


def convnext(shape: Shape, classes: int, _sizes: Sequence[int], _dropout: float) -> nn.Module:
    """With 40 channels in the first stage, as for small images."""
    side = min(shape[:2])
    patch = 4 if side > LARGE else 2 if side >= 16 else 1
    return models.ConvNeXt(classes, channels=shape[2], width=40, blocks=(2, 2, 6, 2), patch=patch)


def residual(make: Callable[..., nn.Module]) -> Build:
    """A residual network of `models`."""
    return lambda shape, classes, _, dropout: make(classes, channels=shape[2], dropout=dropout)


IMAGE_NETWORKS = {
    # build, cost, learning rate, dropout, the smallest images
    "mlp": ImageNetwork(mlp, 0.1, 4e-3, 0.1),
    "cnn": ImageNetwork(cnn, 1, 4e-3, 0.1),
    "lenet5": ImageNetwork(lenet5, 1, 2e-3, 0.1, 12, square=True),
    "vgg": ImageNetwork(vgg, 12, 2e-3, 0.3, 2),
    "resnet20": ImageNetwork(residual(models.resnet20), 4, 4e-3, 0.0),
    "resnet32": ImageNetwork(residual(models.resnet32), 6, 4e-3, 0.0),
    "resnet18": ImageNetwork(residual(models.resnet18), 10, 2e-3, 0.0),
    "mobilenet": ImageNetwork(mobilenet, 20, 4e-3, 0.2),
    "convnext": ImageNetwork(convnext, 15, 2e-3, None, 8),
}
