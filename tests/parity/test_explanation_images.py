"""Saliency maps and Grad-CAM beside the same computed with PyTorch's gradients, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError
from chainrule.explanation import grad_cam, has_regions, saliency

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 8, 10, 2))
LAYERS = ("first", "norm", "active", "pool", "second", "curved", "mean", "flat", "drop", "head")


def both() -> tuple[Any, Any]:
    """The same network here and in PyTorch, in training mode, with statistics of its own."""
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 6, 3, padding=1),
        torch.nn.Tanh(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(6, 5),
    ).double()
    with torch.no_grad():
        theirs[1].running_mean += torch.rand(4)
        theirs[1].running_var += torch.rand(4)
    ours = nn.Sequential(
        first=nn.Conv2d(2, 4, 3, padding=1),
        norm=nn.BatchNorm2d(4),
        active=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        second=nn.Conv2d(4, 6, 3, padding=1),
        curved=nn.Tanh(),
        mean=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        drop=nn.Dropout(0.5),
        head=nn.Linear(6, 5),
    )
    layout = {4: (2, 3, 1, 0), 2: (0, 1), 1: (0,)}
    state = {k: v for k, v in theirs.state_dict().items() if v.ndim}
    for name, value in state.items():
        number, leaf = name.split(".")
        layer = getattr(ours, LAYERS[int(number)])
        array = np.ascontiguousarray(value.numpy().transpose(layout[value.ndim]))
        old = getattr(layer, leaf)
        setattr(layer, leaf, cr.Tensor(array, requires_grad=old.requires_grad))
    return ours, theirs


def in_torch(theirs: Any, classes: Any, layer: int) -> tuple[Any, Any, Any]:
    """Predicted classes, ∂score/∂x, and Grad-CAM of a layer by number, channels first."""
    theirs.eval()
    x = torch.tensor(np.moveaxis(IMAGES, -1, 1).copy(), requires_grad=True)
    features = theirs[: layer + 1](x)
    scores = theirs[layer + 1 :](features)
    chosen = scores.argmax(1) if classes is None else torch.tensor(classes)
    score = scores.gather(1, chosen[:, None]).sum()
    by_image, by_features = torch.autograd.grad(score, [x, features])
    weights = by_features.mean((2, 3), keepdim=True)
    regions = torch.relu((weights * features).sum(1, keepdim=True))
    cam = torch.nn.functional.interpolate(regions, size=(8, 10), mode="bilinear")[:, 0]
    return chosen, by_image, cam


@pytest.mark.parametrize("classes", [None, [4, 0, 2]], ids=["predicted", "chosen"])
@pytest.mark.parametrize("name", [None, "active", "second", "curved"])
def test_maps_are_those_of_pytorch(name: str | None, classes: Any) -> None:
    ours, theirs = both()
    layer = None if name is None else getattr(ours, name)
    cam = grad_cam(ours, IMAGES, layer, classes)
    found = saliency(ours, IMAGES, classes)
    assert ours.training, "in its mode again"
    assert all(p.grad is None for p in ours.parameters())
    _, by_image, expected = in_torch(theirs, classes, LAYERS.index(name or "curved"))
    np.testing.assert_allclose(found, by_image.abs().amax(1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cam, expected.detach(), rtol=1e-9, atol=1e-12)
    assert expected.max() > 0
    assert not cam.requires_grad
    assert not found.requires_grad


def test_bytes_and_a_layer_in_training_mode() -> None:
    ours, _ = both()
    ours = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Dropout(0.9), nn.Flatten(), nn.Linear(48, 2)
    )
    pixels = RNG.integers(0, 255, (2, 6, 6, 1)).astype(np.uint8)
    for function in (saliency, grad_cam):
        np.testing.assert_array_equal(
            function(ours, pixels), function(ours, pixels / np.float32(1))
        )
    ours[2].eval()
    saliency(ours, pixels)
    assert [m.training for m in ours] == [True, True, False, True, True]


def test_a_network_without_convolutions_has_a_saliency_only() -> None:
    dense = nn.Sequential(nn.Flatten(), nn.Linear(160, 5))
    weights = dense[1].weight.numpy()
    best = dense(IMAGES.astype("f4")).numpy().argmax(-1)
    expected = np.abs(weights[best].reshape(3, 8, 10, 2)).max(-1)
    np.testing.assert_allclose(saliency(dense, IMAGES.astype("f4")), expected, rtol=1e-6)
    assert not has_regions(dense, IMAGES.astype("f4"))
    with pytest.raises(ArgumentError, match="without features of several positions"):
        grad_cam(dense, IMAGES.astype("f4"))


def test_what_does_not_fit_is_an_error() -> None:
    ours, _ = both()
    for function in (saliency, grad_cam):
        with pytest.raises(ShapeError, match=r"\(N, H, W, C\), channels last; image\[None\]"):
            function(ours, IMAGES[0])
        for classes in ([0, 1], [0, 1, 5], [-1, 0, 0], [0.0, 1.0, 2.0]):
            with pytest.raises(ArgumentError, match="3 whole numbers from 0 to 4"):
                function(ours, IMAGES, classes=classes)
        with pytest.raises(ShapeError, match=r"expected scores \(N, classes\)"):
            function(ours.first, IMAGES)
    for layer in (ours.flat, ours.mean, nn.ReLU()):
        with pytest.raises(ArgumentError, match="leave layer out"):
            grad_cam(ours, IMAGES, layer)
    for named, advice in (("flat", "layer=model.flat"), (3, "layer=model.features")):
        with pytest.raises(ArgumentError, match=f"expected a module inside the model; {advice}"):
            grad_cam(ours, IMAGES, named)


def test_features_of_one_position_have_no_regions() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for side, regions in ((2, False), (3, True)):
        assert has_regions(model, np.zeros((1, side, side, 1), "f4")) == regions
