"""Losses with a margin: of signs, pairs and triplets."""

from __future__ import annotations

from typing import Any

from ...functions import elementwise, reductions
from ...functions.elementwise import where
from ...tensor import Tensor
from ..arguments import as_floating, expect_number, expect_signs, expect_values
from .common import loss, paired, reduce


@loss
def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """x where y = 1, max(0, margin - x) where y = -1; another y is an error."""
    x = as_floating(input)
    t = expect_signs("hinge_embedding_loss", paired("hinge_embedding_loss", x, target)[1])
    losses = where(t == 1, x, elementwise.relu(margin - x))
    return reduce("hinge_embedding_loss", losses, reduction)


@loss
def soft_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """log(1 + e^(-y x)) for y = ±1; a y of 0, with which nothing is learned, is an error."""
    x, t = paired("soft_margin_loss", input, target)
    t = _nonzero("soft_margin_loss", t)
    return reduce("soft_margin_loss", elementwise.softplus(-t * x), reduction)


@loss
def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """max(0, -y (x₁ - x₂) + margin) for y = ±1; a y of 0, which ranks nothing, is an error."""
    x1, x2 = paired("margin_ranking_loss", input1, input2)
    x1, t = paired("margin_ranking_loss", x1, target)
    t = _nonzero("margin_ranking_loss", t)
    return reduce("margin_ranking_loss", elementwise.relu(-t * (x1 - x2) + margin), reduction)


def _nonzero(name: str, target: Tensor) -> Tensor:
    return expect_values(
        name,
        "the target",
        target,
        lambda v: v == 0,
        "1 or -1",
        "write 2 * target - 1 for targets of 1 and 0",
    )


@loss
def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """1 - cos(x₁, x₂) where y = 1, max(0, cos - margin) where y = -1; vectors on the last axis.

    target   the inputs' shape without its last axis, of 1 and -1 alone
    margin   from -1 to 1, as cosines are
    """
    expect_number("cosine_embedding_loss", "margin", margin, 0.0, least=-1, most=1)
    x1, x2 = paired("cosine_embedding_loss", input1, input2)
    square = elementwise.square
    eps = 1e-12
    sizes = (reductions.sum(square(x1), axis=-1) + eps) * (
        reductions.sum(square(x2), axis=-1) + eps
    )
    cosine = reductions.sum(x1 * x2, axis=-1) / elementwise.sqrt(sizes)
    t = expect_signs("cosine_embedding_loss", paired("cosine_embedding_loss", cosine, target)[1])
    losses = where(t == 1, 1 - cosine, elementwise.relu(cosine - margin))
    return reduce("cosine_embedding_loss", losses, reduction)


@loss
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
    expect_number("triplet_margin_loss", "margin", margin, 1.0, above=0)
    expect_number("triplet_margin_loss", "p", p, 2.0, above=0)
    expect_number("triplet_margin_loss", "eps", eps, 1e-6, least=0)
    a, b = paired("triplet_margin_loss", anchor, positive)
    _, c = paired("triplet_margin_loss", anchor, negative)
    near = reductions.norm(a - b + eps, ord=p, axis=-1)
    far = reductions.norm(a - c + eps, ord=p, axis=-1)
    return reduce("triplet_margin_loss", elementwise.relu(near - far + margin), reduction)
