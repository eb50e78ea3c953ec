"""Where a network looks in an image: `saliency` and `grad_cam`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..dtypes import is_floating
from ..errors import ArgumentError, ShapeError, user_line
from ..functions.creation import zeros
from ..functions.elementwise import relu
from ..functions.indexing import take_along_axis
from ..graph import spec_text
from ..nn import Conv2d, Module
from ..nn.functional import interpolate
from ..tensor import Tensor, as_tensor, no_grad
from ..transforms import grad


def saliency(model: Module, x: Any, classes: Any = None) -> Tensor:
    """How much each pixel moves the score of a class: max over channels of |∂score/∂x|, (N, H, W).

    Simonyan et al., 2014. The model is in evaluation mode inside, its parameters get no gradient.

    model     (N, H, W, C) -> scores (N, classes), before a softmax
    x         images (N, H, W, C)
    classes   (N,) the class of each image whose score it is; by default the predicted ones
    """
    x = _images("saliency", x)
    with _evaluating(model):
        chosen = _classes("saliency", model, x, classes)
        gradient = grad(lambda images: _score(model(images), chosen))(x)
    out: Tensor = abs(gradient.detach()).max(axis=-1)
    return out


def grad_cam(model: Module, x: Any, layer: Module | None = None, classes: Any = None) -> Tensor:
    """Which regions speak for a class: (N, H, W), from 0, in units of the score (Grad-CAM).

    Selvaraju et al., 2017: relu(∑ₖ wₖ Aₖ), resized to the image, where Aₖ is channel k of the
    layer's output, and wₖ the mean over its positions of ∂score/∂Aₖ. The model is in evaluation
    mode inside, its parameters get no gradient.

    model     (N, H, W, C) -> scores (N, classes), before a softmax
    x         images (N, H, W, C)
    layer     a module inside the model whose output is (N, h, w, channels); by default the last one
              behind a convolution that has several positions, which is its activation if it has one
    classes   (N,) the class of each image whose score it is; by default the predicted ones
    """
    x = _images("grad_cam", x)
    with _evaluating(model):
        chosen = _classes("grad_cam", model, x, classes)
        layer, features = _features(model, x, layer)

        def score(change: Tensor) -> Tensor:
            hook = layer.register_forward_hook(lambda _module, _inputs, out: out + change)
            try:
                return _score(model(x), chosen)
            finally:
                hook.remove()

        gradient = grad(score)(zeros(features.shape, dtype=features.dtype))
    weights = gradient.detach().mean(axis=(1, 2), keepdims=True)
    regions = relu((weights * features).sum(axis=-1, keepdims=True))
    size = (x.shape[1], x.shape[2])
    out: Tensor = interpolate(regions, size=size, mode="bilinear")[..., 0]
    return out


def has_regions(model: Module, x: Any) -> bool:
    """Whether `grad_cam` finds a layer: one behind a convolution with several positions."""
    x = _images("has_regions", x)
    with _evaluating(model):
        return _last_with_positions(_outputs(model, x, list(model.modules()))) is not None


def _images(name: str, x: Any) -> Tensor:
    """The images as floats without history."""
    x = as_tensor(x)
    if x.ndim != 4 or not x.shape[0]:
        raise ShapeError(
            name,
            f"got {spec_text(x)}",
            "expected images (N, H, W, C), channels last",
            "image[None] for one image",
            user_line(),
        )
    x = x.detach()
    return x if is_floating(x.dtype) else x.astype("float32")


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode inside; each module is in its former mode again afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _classes(name: str, model: Module, x: Tensor, classes: Any) -> Tensor:
    """(N, 1): the classes, or those that the model predicts."""
    with no_grad():
        scores = model(x)
    if scores.ndim != 2:
        raise ShapeError(
            name,
            f"got a model whose output is {spec_text(scores)}",
            "expected scores (N, classes)",
            "wrap it in a module that returns the scores of interest",
            user_line(),
        )
    chosen = scores.numpy().argmax(-1) if classes is None else np.asarray(classes)
    count = scores.shape[1]
    whole = np.issubdtype(chosen.dtype, np.integer)
    if chosen.shape != x.shape[:1] or not whole or ((chosen < 0) | (chosen >= count)).any():
        raise ArgumentError(
            name,
            f"got classes {np.array2string(chosen, threshold=8)}",
            f"expected {x.shape[0]} whole numbers from 0 to {count - 1}, one per image",
            "leave classes out for the predicted ones",
            user_line(),
        )
    return as_tensor(chosen.astype(np.int64)[:, None])


def _score(scores: Tensor, chosen: Tensor) -> Tensor:
    """The sum over the images: the gradient of each image is that of its own score."""
    out: Tensor = take_along_axis(scores, chosen, axis=1).sum()
    return out


def _features(model: Module, x: Tensor, layer: Module | None) -> tuple[Module, Tensor]:
    """The layer and its output."""
    if not isinstance(layer, Module | None):
        path = f"model.{layer}" if isinstance(layer, str) else "model.features"
        raise ArgumentError(
            "grad_cam",
            f"got layer={layer!r}",
            "expected a module inside the model",
            f"layer={path}, or leave layer out for the last one",
            user_line(),
        )
    seen = _outputs(model, x, list(model.modules()) if layer is None else [layer])
    if layer is not None:
        if len(seen) != 1 or not _has_positions(seen[0][1]):
            got = f"an output {spec_text(seen[0][1])}" if len(seen) == 1 else f"{len(seen)} calls"
            raise ArgumentError(
                "grad_cam",
                f"got the layer {type(layer).__name__} with {got}",
                "expected a layer that the model calls once, whose output is (N, h, w, channels)",
                "leave layer out for the last one",
                user_line(),
            )
        return seen[0]
    last = _last_with_positions(seen)
    if last is not None:
        return last
    raise ArgumentError(
        "grad_cam",
        f"got a {type(model).__name__} without features of several positions",
        "expected a convolutional network, or a layer whose output is (N, h, w, channels)",
        "saliency works for every network",
        user_line(),
    )


def _outputs(model: Module, x: Tensor, watched: Sequence[Module]) -> list[tuple[Module, Any]]:
    """Each call of the watched modules in turn, with its output."""
    seen: list[tuple[Module, Any]] = []
    hooks = [
        m.register_forward_hook(lambda module, _inputs, out: seen.append((module, out)))
        for m in watched
    ]
    try:
        with no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _last_with_positions(seen: Sequence[tuple[Module, Any]]) -> tuple[Module, Tensor] | None:
    """The last module at or behind a convolution that was called once, with several positions."""
    first = next((k for k, (m, _) in enumerate(seen) if isinstance(m, Conv2d)), len(seen))
    calls = [m for m, _ in seen]
    for module, out in reversed(seen[first:]):
        if _has_positions(out) and calls.count(module) == 1:
            return module, out
    return None


def _has_positions(out: Any) -> bool:
    """Whether an output is (N, h, w, channels) with h · w > 1."""
    return isinstance(out, Tensor) and out.ndim == 4 and out.shape[1] * out.shape[2] > 1
