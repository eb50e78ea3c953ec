"""Losses, as functions. Scores and probabilities have the classes on the last axis.

reduction  "mean", "sum" or "none". The mean of no losses, or of losses that all have the weight 0
(each target ignored, say), is 0 with gradients of 0, so that training goes on.

A prediction and a target of different shapes are an error: that they happen to broadcast is nearly
always a mistake. Their dtypes are promoted to a floating one: the loss of whole numbers and 2.7 is
computed with 2.7. Settings and targets that give a loss without meaning are an error too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .. import ops
from ..broadcasting import cast
from ..convert import promote
from ..dtypes import int64
from ..errors import ArgumentError, DtypeError, ShapeError, class_refusal, user_line
from ..functions import elementwise, habits, indexing, reductions
from ..functions.elementwise import where
from ..functions.inspection import finfo
from ..graph import spec_text
from ..hints import settings
from ..tensor import Tensor, as_tensor, full, no_grad
from .arguments import factor, fitting, floating, number, share, signs, values, within

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
]


ROUNDING = 1e-3  # how far soft targets may be out of their range


def masked_fill(x: Any, mask: Any, value: float) -> Tensor:
    """x, and the value where the mask holds, which broadcasts to x."""
    x = as_tensor(x)
    return where(fitting("masked_fill", "mask", as_tensor(mask), x.shape), value, x)


def _same(name: str, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
    prediction, target = as_tensor(prediction), as_tensor(target)
    if prediction.shape != target.shape:
        raise ShapeError(
            name,
            f"got a prediction {spec_text(prediction)} and a target {spec_text(target)}",
            "equal shapes are needed, they are not broadcast",
            "squeeze or reshape one of them, for example prediction[:, 0]",
            user_line(),
        )
    prediction = floating(prediction)
    dtype = promote(prediction.dtype, target.dtype)
    return cast(prediction, dtype), cast(target, dtype)


def reduce(name: str, losses: Tensor, reduction: str) -> Tensor:
    """The mean (of none: 0), the sum, or each."""
    if reduction == "mean":
        return reductions.mean(losses) if losses.size else reductions.sum(losses)
    if reduction == "sum":
        return reductions.sum(losses)
    if reduction != "none":
        raise ArgumentError(name, f"got reduction {reduction!r}", "mean, sum or none", "choose one")
    return losses


def mse_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """(ŷ - y)²."""
    y, t = _same("mse_loss", input, target)
    return reduce("mse_loss", elementwise.square(y - t), reduction)


def l1_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """|ŷ - y|."""
    y, t = _same("l1_loss", input, target)
    return reduce("l1_loss", elementwise.abs(y - t), reduction)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """½ d² for |d| ≤ δ, else δ (|d| - ½ δ), with d = ŷ - y (Huber, 1964)."""
    number("huber_loss", "delta", delta, 1.0, above=0)
    y, t = _same("huber_loss", input, target)
    d = elementwise.abs(y - t)
    return reduce(
        "huber_loss", where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta)), reduction
    )


def smooth_l1_loss(
    input: Any, target: Any, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """½ d² / β for |d| < β, else |d| - ½ β; for β = 0 it is |d|."""
    number("smooth_l1_loss", "beta", beta, 1.0, least=0)
    y, t = _same("smooth_l1_loss", input, target)
    d = elementwise.abs(y - t)
    losses = where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta) if beta else d
    return reduce("smooth_l1_loss", losses, reduction)


def _advised(scores: tuple[int, ...], target: tuple[int, ...]) -> str:
    """What to try where the targets of these scores have another shape."""
    if scores == target:
        return "for one-hot targets take argmax(-1)"
    if len(scores) > 2 and target == scores[:1] + scores[2:]:
        return "move the classes to the last axis with moveaxis(scores, 1, -1)"
    if len(target) == len(scores):
        return "squeeze the targets, y[..., 0]"
    return "check which rows are missing, or number the classes, one for each row of scores"


def _classes(
    name: str, scores: Any, target: Any, weight: Any, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Class numbers with ignored ones as 0, where they count, and how much each counts."""
    scores, target = floating(scores), as_tensor(target)
    if target.dtype.kind not in "iub":
        raise DtypeError(
            name,
            f"got targets {spec_text(target)}",
            "class numbers of an integer dtype",
            "convert with y.astype(int); for probabilities the shape must be the scores'",
            user_line(),
        )
    target = target.astype(int64)  # which holds every ignore_index
    if not scores.ndim or scores.shape[:-1] != target.shape:
        raise ShapeError(
            name,
            f"got scores {spec_text(scores)} and targets {spec_text(target)}",
            "targets of the scores' shape without its last axis, the classes",
            _advised(scores.shape, target.shape),
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
    """The factors of the classes, (C,), in the dtype of the scores."""
    each = as_tensor(weight)
    if each.shape != scores.shape[-1:]:
        raise ShapeError(
            name,
            f"got the weight {spec_text(each)} for scores {spec_text(scores)}",
            "a factor for each class",
            "give one number per class",
            user_line(),
        )
    return each.astype(scores.dtype)


def _picked(logs: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """-weight · log p of the target class; 0 where it does not count, even if p is 0."""
    picked = indexing.take_along_axis(logs, target[..., None], axis=-1)[..., 0]
    return where(weights == 0, 0.0, -picked * weights)


def _weighted(name: str, losses: Tensor, weights: Tensor, reduction: str) -> Tensor:
    """The weighted mean divides by the sum of the weights; if that is 0, it is the sum."""
    if reduction == "mean":
        total = reductions.sum(weights)
        return reductions.sum(losses) / where(total == 0, 1.0, total)
    return reduce(name, losses, reduction)


def _by_probabilities(scores: Tensor, target: Tensor) -> bool:
    """Whether the target has a probability for each class, and not the class's number."""
    return target.dtype.kind in "fV" and target.shape == scores.shape


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-log p of the target class; input (..., C) log-probabilities, target (...) class numbers.

    weight        (C,) a factor for each class; the mean is weighted too
    ignore_index  targets of this number do not count
    """
    logs = floating(input)
    target, _, weights = _classes("nll_loss", logs, target, weight, ignore_index)
    return _weighted("nll_loss", _picked(logs, target, weights), weights, reduction)


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
    weight           (C,) a factor for each class; the mean is weighted too
    ignore_index     targets of this number do not count; for class numbers alone
    label_smoothing  the share of the target that is spread evenly over all classes
    """
    scores, target = as_tensor(input), as_tensor(target)
    share("cross_entropy", "label_smoothing", label_smoothing)
    logs = reductions.log_softmax(scores)
    each = label_smoothing / max(1, scores.shape[-1])
    weighted = logs if weight is None else logs * _by_class("cross_entropy", weight, logs)
    if _by_probabilities(scores, target):
        if ignore_index != -100:
            raise ArgumentError(
                "cross_entropy",
                f"got ignore_index={ignore_index} and probabilities as targets",
                "expected class numbers for an ignore_index",
                "leave it out, or pass target.argmax(-1)",
                user_line(),
            )
        target = values(
            "cross_entropy",
            "the target",
            target,
            lambda v: v < -ROUNDING,
            "probabilities, 0 or more",
            "scores become probabilities with softmax",
        )
        spread = target.astype(logs.dtype) * (1 - label_smoothing) + each
        return reduce("cross_entropy", -reductions.sum(spread * weighted, axis=-1), reduction)
    target, counts, weights = _classes("cross_entropy", logs, target, weight, ignore_index)
    losses = _picked(logs, target, weights)
    if label_smoothing:
        evenly = where(counts, -reductions.sum(weighted, axis=-1), 0.0)
        losses = losses * (1 - label_smoothing) + evenly * each
    return _weighted("cross_entropy", losses, weights, reduction)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """-(y log σ(x) + (1 - y) log(1 - σ(x))), without overflow; pos_weight multiplies the first.

    The targets y are from 0 to 1, but for rounding.

    weight, pos_weight   numbers, or of a shape that broadcasts to the prediction's
    """
    name = "binary_cross_entropy_with_logits"
    x, t = _same(name, input, target)
    t = within(name, "the target", t, "write (target + 1) / 2 for targets of 1 and -1", ROUNDING)
    positive = 1.0 if pos_weight is None else factor(name, "pos_weight", pos_weight, x.shape)
    losses = (1 - t) * x + (1 + (positive - 1) * t) * elementwise.softplus(-x)
    losses = losses if weight is None else losses * factor(name, "weight", weight, x.shape)
    return reduce(name, losses, reduction)


def binary_cross_entropy(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)) for probabilities p and targets y, both from 0 to 1.

    weight   a number, or of a shape that broadcasts to the prediction's

    Logarithms end at -100 and their slopes at 1e12 (float16: 3e4), PyTorch's bounds: what is finite
    vanishes in the slope of a saturated sigmoid, and infinity would be NaN there.
    """
    name = "binary_cross_entropy"
    p, t = _same(name, input, target)
    p = within(name, "the probability", p, "use binary_cross_entropy_with_logits for scores")
    t = within(name, "the target", t, "number the classes 0 and 1, for example y > 0")
    least = max(1e-12, 2 / finfo(p.dtype).max)
    yes = _bounded(elementwise.log, p, (p >= 0) & (p < least), 1.0, least)
    no = _bounded(elementwise.log1p, -p, (p <= 1) & (1 - p < least), 0.0, least)
    losses = -(t * yes + (1 - t) * no)
    losses = losses if weight is None else losses * factor(name, "weight", weight, p.shape)
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


def kl_div(input: Any, target: Any, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (log t - x) for log-probabilities x; "batchmean" divides the sum by the batch size.

    log_target   the target is log t too; without it a target below 0 is an error
    """
    x, t = _same("kl_div", input, target)
    if log_target:
        losses = elementwise.exp(t) * (t - x)
    else:
        t = values(
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


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """eˣ - t x (or x - t log x); full adds Stirling's approximation of log t!.

    The targets t are counts, 0 or more.
    """
    number("poisson_nll_loss", "eps", eps, 1e-8, least=0)
    x, t = _same("poisson_nll_loss", input, target)
    t = values(
        "poisson_nll_loss",
        "the target",
        t,
        lambda v: v < 0,
        "counts, 0 or more",
        "mse_loss or gaussian_nll_loss takes other numbers",
    )
    losses = elementwise.exp(x) - t * x if log_input else x - t * elementwise.log(x + eps)
    if full:
        safe = where(t > 1, t, 1.0)
        stirling = safe * elementwise.log(safe) - safe + 0.5 * elementwise.log(2 * math.pi * safe)
        losses = losses + where(t > 1, stirling, 0.0)
    return reduce("poisson_nll_loss", losses, reduction)


def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """½ (log v + (ŷ - y)² / v), v at least eps; full adds ½ log 2π.

    var   0 or more: a number, or of the prediction's shape, or of that shape with one size 1, or
          without its last axis: then there is one variance per row
    """
    number("gaussian_nll_loss", "eps", eps, 1e-6, least=0)
    x, t = _same("gaussian_nll_loss", input, target)
    v = _variance(var, x)
    floor = v + elementwise.clip(v.detach(), eps) - v.detach()  # the gradient stays v's
    losses = 0.5 * (elementwise.log(floor) + elementwise.square(x - t) / floor)
    losses = losses + 0.5 * math.log(2 * math.pi) if full else losses
    return reduce("gaussian_nll_loss", losses, reduction)


def _variance(var: Any, x: Tensor) -> Tensor:
    v = floating(var)
    if v.ndim and v.ndim + 1 == x.ndim and v.shape == x.shape[:-1]:
        v = v[..., None]
    differing = [n for n, m in zip(v.shape, x.shape, strict=False) if n != m]
    if v.ndim and (v.ndim != x.ndim or differing not in ([], [1])):
        raise ShapeError(
            "gaussian_nll_loss",
            f"got the variance {spec_text(v)} for a prediction {spec_text(x)}",
            "expected the prediction's shape, one of its sizes 1, or without its last axis",
            "give a variance per element, or var[:, None] for one per row",
            user_line(),
        )
    return values(
        "gaussian_nll_loss",
        "the variance",
        v,
        lambda a: a < 0,
        "0 or more",
        "let the model return log var, and pass its exp",
    )


def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """x where y = 1, max(0, margin - x) where y = -1; another y is an error."""
    x = floating(input)
    t = signs("hinge_embedding_loss", _same("hinge_embedding_loss", x, target)[1])
    losses = where(t == 1, x, elementwise.relu(margin - x))
    return reduce("hinge_embedding_loss", losses, reduction)


def soft_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """log(1 + e^(-y x)) for y = ±1; a y of 0, with which nothing is learned, is an error."""
    x, t = _same("soft_margin_loss", input, target)
    t = _nonzero("soft_margin_loss", t)
    return reduce("soft_margin_loss", elementwise.softplus(-t * x), reduction)


def _nonzero(name: str, target: Tensor) -> Tensor:
    return values(
        name,
        "the target",
        target,
        lambda v: v == 0,
        "1 or -1",
        "write 2 * target - 1 for targets of 1 and 0",
    )


def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """max(0, -y (x₁ - x₂) + margin) for y = ±1; a y of 0, which ranks nothing, is an error."""
    x1, x2 = _same("margin_ranking_loss", input1, input2)
    x1, t = _same("margin_ranking_loss", x1, target)
    t = _nonzero("margin_ranking_loss", t)
    return reduce("margin_ranking_loss", elementwise.relu(-t * (x1 - x2) + margin), reduction)


def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """1 - cos(x₁, x₂) where y = 1, max(0, cos - margin) where y = -1; vectors on the last axis.

    target   the inputs' shape without its last axis, of 1 and -1 alone
    margin   from -1 to 1, as cosines are
    """
    number("cosine_embedding_loss", "margin", margin, 0.0, least=-1, most=1)
    x1, x2 = _same("cosine_embedding_loss", input1, input2)
    square = elementwise.square
    eps = 1e-12
    sizes = (reductions.sum(square(x1), axis=-1) + eps) * (
        reductions.sum(square(x2), axis=-1) + eps
    )
    cosine = reductions.sum(x1 * x2, axis=-1) / elementwise.sqrt(sizes)
    t = signs("cosine_embedding_loss", _same("cosine_embedding_loss", cosine, target)[1])
    losses = where(t == 1, 1 - cosine, elementwise.relu(cosine - margin))
    return reduce("cosine_embedding_loss", losses, reduction)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    *,
    reduction: str = "mean",
) -> Tensor:
    """max(0, ‖a - p‖ - ‖a - n‖ + margin) over the last axis; the margin is above 0."""
    number("triplet_margin_loss", "margin", margin, 1.0, above=0)
    number("triplet_margin_loss", "p", p, 2.0, above=0)
    number("triplet_margin_loss", "eps", eps, 1e-6, least=0)
    a, b = _same("triplet_margin_loss", anchor, positive)
    _, c = _same("triplet_margin_loss", anchor, negative)
    near = reductions.norm(a - b + eps, ord=p, axis=-1)
    far = reductions.norm(a - c + eps, ord=p, axis=-1)
    return reduce("triplet_margin_loss", elementwise.relu(near - far + margin), reduction)


def total_weight(
    loss: str | Callable[..., Tensor], settings: Mapping[str, Any], *inputs: Any
) -> Tensor:
    """By what the loss's "mean" divides its "sum": how many losses count, or their weights' sum.

    So the sums over parts of a batch, divided by the sum of the parts' weights, are its mean.

    loss      one of these functions, or its name
    settings  what is given to it by name
    inputs    its tensors: the prediction, the target
    """
    function = globals()[loss] if isinstance(loss, str) and loss in __all__ else loss
    if isinstance(function, str):
        raise ArgumentError(
            "total_weight",
            f"got the loss {function!r}",
            "a function of nn.functional or its name",
            "check the spelling",
            user_line(),
        )
    tensors = [as_tensor(x) for x in inputs]
    with no_grad():
        if function in (nll_loss, cross_entropy):
            scores, target = tensors
            if function is nll_loss or not _by_probabilities(scores, target):
                weight, ignored = settings.get("weight"), settings.get("ignore_index", -100)
                return reductions.sum(
                    _classes(function.__name__, scores, target, weight, ignored)[2]
                )
        losses = function(*tensors, **{**settings, "reduction": "none"})
        return full((), losses.size, losses.dtype)


globals().update({name: habits.explained(settings(globals()[name])) for name in __all__})
