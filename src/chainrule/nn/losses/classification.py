"""Losses of classes: of scores, log-probabilities or probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import ops
from ...dtypes import int64, is_exact, is_floating
from ...errors import ArgumentError, DtypeError, ShapeError, class_refusal, user_line
from ...functions import creation, elementwise, indexing, reductions
from ...functions.elementwise import where
from ...functions.inspection import finfo
from ...graph import spec_text
from ...tensor import Tensor, as_tensor
from ..arguments import as_factor, as_floating, expect_fraction, expect_unit_interval, expect_values
from .common import loss, paired, reduce

ROUNDING = 1e-3  # how far soft targets may be out of their range


@loss
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-log p of the target class; input (..., C) log-probabilities, target (...) class numbers.

    weight        (C,) one factor per class; the mean is weighted too
    ignore_index  targets of this number do not count
    """
    logs = as_floating(input)
    target, _, weights = class_targets("nll_loss", logs, target, weight, ignore_index)
    return _weighted("nll_loss", _of_targets(logs, target, weights), weights, reduction)


@loss
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input) of the target class.

    input            (..., C) scores (logits), not probabilities
    target           (...) class numbers, or (..., C) probabilities
    weight           (C,) one factor per class; the mean is weighted too
    ignore_index     targets of this number do not count; only for class numbers
    label_smoothing  the share of the target that is spread evenly over all classes
    """
    scores, target = as_tensor(input), as_tensor(target)
    expect_fraction("cross_entropy", "label_smoothing", label_smoothing)
    logs = reductions.log_softmax(scores)
    each = label_smoothing / max(1, scores.shape[-1])
    weighted = logs if weight is None else logs * _by_class("cross_entropy", weight, logs)
    if has_probabilities(scores, target):
        if ignore_index != -100:
            raise ArgumentError(
                "cross_entropy",
                f"got ignore_index={ignore_index} and probabilities as targets",
                "expected class numbers for an ignore_index",
                "leave it out, or pass target.argmax(-1)",
                user_line(),
            )
        target = expect_values(
            "cross_entropy",
            "the target",
            target,
            lambda v: v < -ROUNDING,
            "probabilities, 0 or more",
            "scores become probabilities with softmax",
        )
        spread = target.astype(logs.dtype) * (1 - label_smoothing) + each
        return reduce("cross_entropy", -reductions.sum(spread * weighted, axis=-1), reduction)
    target, counts, weights = class_targets("cross_entropy", logs, target, weight, ignore_index)
    losses = _of_targets(logs, target, weights)
    if label_smoothing:
        evenly = where(counts, -reductions.sum(weighted, axis=-1), 0.0)
        losses = losses * (1 - label_smoothing) + evenly * each
    return _weighted("cross_entropy", losses, weights, reduction)


def _advice(scores: tuple[int, ...], target: tuple[int, ...]) -> str:
    """The advice if the targets of these scores have another shape."""
    if scores == target:
        return "for one-hot targets take argmax(-1)"
    if len(scores) > 2 and target == scores[:1] + scores[2:]:
        return "move the classes to the last axis with moveaxis(scores, 1, -1)"
    if len(target) == len(scores):
        return "squeeze the targets, y[..., 0]"
    return "pass one class number per row of scores"


def class_targets(
    name: str, scores: Any, target: Any, weight: Any, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Class numbers with 0 for ignored ones, which of them count, and the weight of each."""
    scores, target = as_floating(scores), as_tensor(target)
    if not is_exact(target.dtype):
        raise DtypeError(
            name,
            f"got targets {spec_text(target)}",
            "expected class numbers of an integer dtype",
            "convert with y.astype(int); for probabilities the shape must be the scores'",
            user_line(),
        )
    target = target.astype(int64)  # which can represent every ignore_index
    if not scores.ndim or scores.shape[:-1] != target.shape:
        raise ShapeError(
            name,
            f"got scores {spec_text(scores)} and targets {spec_text(target)}",
            "expected targets of the scores' shape without its last axis, the classes",
            _advice(scores.shape, target.shape),
            user_line(),
        )
    counts = target != ignore_index
    target, weights = where(counts, target, 0), counts.astype(scores.dtype)
    classes = scores.shape[-1]
    target = ops.checked_index(target, size=classes, refusal=class_refusal(name, classes))
    if weight is not None:
        weights = weights * indexing.take(_by_class(name, weight, scores), target, axis=0)
    return target, counts, weights


def _by_class(name: str, weight: Any, scores: Tensor) -> Tensor:
    """The weights of the classes, (C,), in the dtype of the scores."""
    each = as_tensor(weight)
    if each.shape != scores.shape[-1:]:
        raise ShapeError(
            name,
            f"got the weight {spec_text(each)} for scores {spec_text(scores)}",
            "expected one factor per class",
            f"pass {scores.shape[-1]} numbers",
            user_line(),
        )
    return each.astype(scores.dtype)


def _of_targets(logs: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """-weight · log p of the target class; 0 for a weight of 0, even if p is 0."""
    of_class = creation.arange(logs.shape[-1]) == target[..., None]
    picked = reductions.sum(where(of_class, logs, 0.0), axis=-1)  # a lookup has a scatter behind it
    return where(weights == 0, 0.0, -picked * weights)


def _weighted(name: str, losses: Tensor, weights: Tensor, reduction: str) -> Tensor:
    """The weighted mean divides by the sum of the weights; if that is 0, it is the sum."""
    if reduction == "mean":
        total = reductions.sum(weights)
        return reductions.sum(losses) / where(total == 0, 1.0, total)
    return reduce(name, losses, reduction)


def has_probabilities(scores: Tensor, target: Tensor) -> bool:
    """Whether the target has a probability per class, and not the class's number."""
    return is_floating(target.dtype) and target.shape == scores.shape


@loss
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """-(y log σ(x) + (1 - y) log(1 - σ(x))), without overflow; pos_weight multiplies the first.

    The targets y are from 0 to 1, up to rounding.

    weight, pos_weight   numbers, or of a shape that broadcasts to the prediction's
    """
    name = "binary_cross_entropy_with_logits"
    x, t = paired(name, input, target)
    t = expect_unit_interval(
        name, "the target", t, "write (target + 1) / 2 for targets of 1 and -1", ROUNDING
    )
    of_positive = elementwise.softplus(-x)
    if pos_weight is not None:
        factor = as_factor(name, "pos_weight", pos_weight, x.shape)
        of_positive = (1 + (factor - 1) * t) * of_positive
    losses = (1 - t) * x + of_positive
    losses = losses if weight is None else losses * as_factor(name, "weight", weight, x.shape)
    return reduce(name, losses, reduction)


@loss
def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)) for probabilities p and targets y, both from 0 to 1.

    weight   a number, or of a shape that broadcasts to the prediction's

    Logarithms end at -100 and their slopes at 1e12 (float16: 3e4), PyTorch's bounds: what is finite
    vanishes in the slope of a saturated sigmoid, and infinity would be NaN there.
    """
    name = "binary_cross_entropy"
    p, t = paired(name, input, target)
    p = expect_unit_interval(
        name, "the probability", p, "use binary_cross_entropy_with_logits for scores"
    )
    t = expect_unit_interval(name, "the target", t, "number the classes 0 and 1, for example y > 0")
    least = max(1e-12, 2 / finfo(p.dtype).max)
    yes = _bounded(elementwise.log, p, (p >= 0) & (p < least), 1.0, least)
    no = _bounded(elementwise.log1p, -p, (p <= 1) & (1 - p < least), 0.0, least)
    losses = -(t * yes + (1 - t) * no)
    losses = losses if weight is None else losses * as_factor(name, "weight", weight, p.shape)
    return reduce(name, losses, reduction)


def _bounded(
    log: Callable[[Tensor], Tensor], x: Tensor, steep: Tensor, other: float, least: float
) -> Tensor:
    """log(x); where it is steep, no less than -100 and with a slope of 1 / least.

    other   an argument to compute with there, so that no slope is infinite
    """
    here = x.detach()
    line = elementwise.clip(log(here), -100.0) + (1 / least) * (x - here)
    return where(steep, line, log(where(steep, other, x)))


@loss
def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (log t - x) for log-probabilities x; "batchmean" divides the sum by the batch size.

    log_target   the target is log t too; without it a target below 0 is an error
    """
    x, t = paired("kl_div", input, target)
    if log_target:
        losses = elementwise.exp(t) * (t - x)
    else:
        t = expect_values(
            "kl_div",
            "the target",
            t,
            lambda v: v < 0,
            "probabilities, 0 or more",
            "log_target=True takes log-probabilities",
        )
        losses = where(t == 0, 0.0, t * (elementwise.log(where(t == 0, 1.0, t)) - x))
    if reduction == "batchmean":
        return reductions.sum(losses) / max(1, x.shape[0] if x.ndim else 1)
    return reduce("kl_div", losses, reduction)
