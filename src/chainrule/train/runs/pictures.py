"""Images for the report of an image run: as data URIs, from a model and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn, random
from ...data import DataLoader
from ...explanation import grad_cam, has_regions, saliency
from ...graph import Array
from ..charts.pixels import filter_picture, map_over, map_picture, picture
from .networks import RandomShift

PER_CLASS, MOST_CLASSES = 8, 10
MOST_FILTERS = 64


def as_trained(
    model: nn.Module, x: Any, y: Array, classes: Sequence[str], augment: Sequence[Any]
) -> list[tuple[str, list[str]]]:
    """The first training images of each of the first classes, changed as in the first epoch."""
    shown = range(min(len(classes), MOST_CLASSES))
    rows = [np.flatnonzero(y == k)[:PER_CLASS] for k in shown]
    numbers = np.concatenate(rows)
    loader = DataLoader((x.take(numbers, axis=0), y[numbers]), len(numbers), augment=augment)
    images, _ = next(iter(loader))
    drawn = random.default.state
    for layer in model.modules():
        if isinstance(layer, RandomShift):
            images = RandomShift(layer.pixels)(images)
    random.default.set_state(drawn)  # as if nothing had been drawn
    parts = np.split(images.numpy(), np.cumsum([len(r) for r in rows])[:-1])
    return [(classes[k], [picture(i) for i in part]) for k, part in zip(shown, parts, strict=True)]


def filters(model: nn.Module) -> list[str]:
    """The filters of the first convolution."""
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        return []
    weights = np.moveaxis(first.weight.numpy(), -1, 0)
    return [filter_picture(w) for w in weights[:MOST_FILTERS]]


def maps(model: nn.Module, x: Array, captions: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """For each image its caption, itself, its saliency map and its Grad-CAM.

    Nothing if the network has no regions: no convolutions, or features of a single position.
    """
    if not len(x) or not has_regions(model, x[:1]):
        return []
    pixels, regions = saliency(model, x).numpy(), grad_cam(model, x).numpy()
    return [
        (caption, picture(image), map_picture(pixel), map_over(image, region))
        for caption, image, pixel, region in zip(captions, x, pixels, regions, strict=True)
    ]
