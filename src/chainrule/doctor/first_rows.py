"""What no change could repair, told before a training is diagnosed: `fit` refuses it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ArgumentError
from ..nn import Module
from ..tensor import Tensor, as_tensor, no_grad
from ..train.evaluation.modes import evaluating
from ..train.evaluation.objective import Objective
from ..train.loop.targets import (
    check_classes,
    check_several_scores,
    check_some_count,
    expect_scalar,
)
from .training import Data

ROWS = 32  # whose scores are computed


def check_rows(model: Module, objective: Objective, arguments: Mapping[str, Data]) -> None:
    """Raise if a class has no score, or the loss is not one number.

    arguments   the rows by the name of the argument, as they were passed, so that an error has the
            right row

    Errors name `fit`, whose checks these are.
    """
    for name, (inputs, targets) in arguments.items():
        x, y = (as_tensor(a[:ROWS]) for a in (inputs, targets))
        with evaluating(model), no_grad():
            prediction = model(x)
            expect_tensor(prediction, Tensor)
            check_several_scores(objective, prediction, y)
            outputs = prediction.shape[-1] if prediction.ndim else 1
            check_classes(objective, outputs, targets, f"{name}, ")
            check_some_count(objective, targets, name)
            expect_scalar(objective.mean(prediction, y), objective)


def expect_parameters(model: Any) -> None:
    """Raise if no parameter of a model, of whatever library, is trained."""
    parameters = list(model.parameters())
    if any(p.requires_grad for p in parameters):
        return
    what = "whose parameters are all frozen" if parameters else "without parameters"
    raise ArgumentError(
        "diagnose",
        f"got a model {what}",
        "expected one or more that are trained",
        "for p in model.parameters(): p.requires_grad = True"
        if parameters
        else "are the layers attributes of the module?",
    )


def expect_rate(optimizer: Any) -> None:
    """Raise if an optimizer, of whatever library, moves nothing."""
    if all(group["lr"] == 0 for group in optimizer.param_groups):
        raise ArgumentError("diagnose", "got lr 0", "expected a learning rate above 0", "lr=1e-3")


def expect_tensor(prediction: Any, kind: type) -> None:
    """Raise if a model returns no tensor of its library."""
    if not isinstance(prediction, kind):
        raise ArgumentError(
            "diagnose",
            f"got a model that returns an object of type {type(prediction).__name__}",
            "expected one that returns a tensor",
            "diagnose a module around it that returns what the loss takes",
        )


def expect_gradient(loss: Any) -> None:
    """Raise if a loss depends on no parameter that is trained."""
    if not loss.requires_grad:
        raise ArgumentError(
            "diagnose",
            "got a loss that depends on no parameter that is trained",
            "expected one with a gradient",
            "look for detach, argmax, NumPy and no_grad in the model, in the loss and around",
        )
