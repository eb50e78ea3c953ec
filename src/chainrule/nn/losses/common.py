"""The parts of all losses: the check of their tensors, the reduction, the decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...broadcasting import cast
from ...convert import promote
from ...errors import ArgumentError, ShapeError, user_line
from ...functions import reductions
from ...graph import spec_text
from ...hints import check_kinds, explain_arguments
from ...tensor import Tensor, as_tensor
from ..arguments import as_floating


def loss(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorate a loss: errors for other libraries' arguments, and for settings of other kinds."""
    return explain_arguments(check_kinds(function))


def paired(name: str, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Prediction and target of one shape, in one floating dtype."""
    prediction, target = as_tensor(prediction), as_tensor(target)
    if prediction.shape != target.shape:
        raise ShapeError(
            name,
            f"got a prediction {spec_text(prediction)} and a target {spec_text(target)}",
            "expected equal shapes, they are not broadcast",
            "squeeze or reshape one of them, for example prediction[:, 0]",
            user_line(),
        )
    prediction = as_floating(prediction)
    dtype = promote(prediction.dtype, target.dtype)
    return cast(prediction, dtype), cast(target, dtype)


def reduce(name: str, losses: Tensor, reduction: str) -> Tensor:
    """The mean of the losses (of no losses 0), their sum, or the losses."""
    if reduction == "mean":
        return reductions.mean(losses) if losses.size else reductions.sum(losses)
    if reduction == "sum":
        return reductions.sum(losses)
    if reduction != "none":
        raise ArgumentError(
            name,
            f"got reduction {reduction!r}",
            "expected mean, sum or none",
            'reduction="mean" is the default',
            user_line(),
        )
    return losses
