"""Losses, as functions. Scores and probabilities have the classes on the last axis.

classification  of classes
regression      of numbers and distributions
margin          of signs, pairs, triplets
common          the checks and the reduction of all

reduction  "mean", "sum" or "none". The mean of no losses, or of losses that all have the weight 0
(every target is ignored, for example), is 0 with gradients of 0, so that training goes on.

A prediction and a target of different shapes are an error: that they happen to broadcast is nearly
always a mistake. Their dtypes are promoted to a floating one: the loss of integers and 2.7 is
computed with 2.7. Settings and targets that give a loss without meaning are errors too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import ArgumentError, user_line
from ...functions import reductions
from ...hints import hide_modules
from ...tensor import Tensor, as_tensor, constant, no_grad
from .classification import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    class_targets,
    cross_entropy,
    has_probabilities,
    kl_div,
    nll_loss,
)
from .margin import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    soft_margin_loss,
    triplet_margin_loss,
)
from .regression import (
    gaussian_nll_loss,
    huber_loss,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)

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

_BY_NAME: Mapping[str, Callable[..., Tensor]] = {
    "binary_cross_entropy": binary_cross_entropy,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "cosine_embedding_loss": cosine_embedding_loss,
    "cross_entropy": cross_entropy,
    "gaussian_nll_loss": gaussian_nll_loss,
    "hinge_embedding_loss": hinge_embedding_loss,
    "huber_loss": huber_loss,
    "kl_div": kl_div,
    "l1_loss": l1_loss,
    "margin_ranking_loss": margin_ranking_loss,
    "mse_loss": mse_loss,
    "nll_loss": nll_loss,
    "poisson_nll_loss": poisson_nll_loss,
    "smooth_l1_loss": smooth_l1_loss,
    "soft_margin_loss": soft_margin_loss,
    "triplet_margin_loss": triplet_margin_loss,
}

hide_modules(__name__)


def total_weight(
    loss: str | Callable[..., Tensor], settings: Mapping[str, Any], *inputs: Any
) -> Tensor:
    """The divisor of the loss's "mean": how many losses count, or the sum of their weights.

    The sum of a loss over all parts of a batch, divided by the sum of the parts' divisors, is the
    mean over the batch.

    loss      one of these functions, or its name
    settings  its arguments by name
    inputs    its tensors: the prediction, the target
    """
    function = _BY_NAME.get(loss, loss) if isinstance(loss, str) else loss
    if isinstance(function, str):
        raise ArgumentError(
            "total_weight",
            f"got the loss {function!r}",
            "expected a function of nn.functional or its name",
            'for example "mse_loss"',
            user_line(),
        )
    tensors = [as_tensor(x) for x in inputs]
    with no_grad():
        if function in (nll_loss, cross_entropy):
            scores, target = tensors
            if function is nll_loss or not has_probabilities(scores, target):
                weight, ignored = settings.get("weight"), settings.get("ignore_index", -100)
                return reductions.sum(
                    class_targets(function.__name__, scores, target, weight, ignored)[2]
                )
        losses = function(*tensors, **{**settings, "reduction": "none"})
        return constant((), losses.size, losses.dtype)
