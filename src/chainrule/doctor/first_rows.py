"""Checks before a training is diagnosed: what `fit` refuses, and no change could repair."""

from __future__ import annotations

from collections.abc import Mapping

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

_ROWS = 32  # whose scores are computed


def check_rows(model: Module, objective: Objective, arguments: Mapping[str, Data]) -> None:
    """Raise if a class has no score, or the loss is not one number.

    arguments   the rows by the name of the argument, as they were passed, so that an error has the
            right row

    Errors name `fit`, whose checks these are.
    """
    for name, (inputs, targets) in arguments.items():
        x, y = (as_tensor(a[:_ROWS]) for a in (inputs, targets))
        with evaluating(model), no_grad():
            prediction = model(x)
            if not isinstance(prediction, Tensor):  # which is told where layers are observed
                return
            check_several_scores(objective, prediction, y)
            outputs = prediction.shape[-1] if prediction.ndim else 1
            check_classes(objective, outputs, targets, f"{name}, ")
            check_some_count(objective, targets, name)
            expect_scalar(objective.mean(prediction, y), objective)
