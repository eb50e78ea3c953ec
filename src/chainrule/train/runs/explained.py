"""A run explained: the loss of training on test rows, as a function that its user could write."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import tree
from ...errors import printable
from ...explanation import Explanation, explain
from ...explanation.rows import rows_of
from ...explanation.user_code import executed
from ...nn import Module
from ...tensor import Tensor
from ..evaluation.modes import evaluating
from ..evaluation.objective import Objective
from .recipe import Recipe
from .tasks import Task, TextTask

ARGUMENTS = {
    "table": ("numbers, categories", "target"),
    "images": ("image", "label"),
    "text": ("tokens", "following"),
}  # names of the inputs and of the target, by kind of data


def explained(
    task: Task, recipe: Recipe, model: Module, name: str, sample: int, batch: int
) -> tuple[Explanation, str]:
    """The loss of test rows explained, with the model in the mode that it is in; and a title.

    task   with the data of the run
    name   of the run
    """
    x, y = task.test
    if isinstance(task, TextTask):
        x, y = (windows(codes, task.length) for codes in (x, y))
    leaves, form = tree.flatten(x)
    rows = [Tensor(np.asarray(a)) for a in rows_of([*leaves, y], sample, batch)]
    loss = loss_function(task, recipe, model, name)
    with evaluating(model):
        output = model(tree.unflatten(form, rows[:-1])).numpy()
    title = f"{name}, test {task.unit} {sample}"
    if batch > 1:
        title = f"{name}, test {task.unit}s {sample} to {sample + batch - 1}"
    elif isinstance(task, TextTask):
        title = f"{name}, test window {sample}"
    else:
        predicted = task.decoded(output)["prediction"][0]
        title += f": {task.truth()[sample]}, predicted {predicted}"
    return explain(loss, *rows), printable(title)


def loss_function(task: Task, recipe: Recipe, model: Module, name: str) -> Any:
    """(inputs, target) -> the loss of training, as code that explanations can show."""
    objective = Objective(task.loss(recipe))
    inputs, target = ARGUMENTS[task.kind]
    settings = _settings(objective)
    words = [
        f"{key}={value!r}" if isinstance(value, (int, float, str)) else f"{key}={key}"
        for key, value in settings.items()
    ]
    several = f"({inputs})" if "," in inputs else inputs
    source = (
        f"def loss({inputs}, {target}):\n"
        f"    prediction = model({several})\n"
        f"    return {objective.name}({', '.join(['prediction', target, *words])})\n"
    )
    space = {**settings, "model": model, objective.name: objective.function}
    return executed(source, name, **space)["loss"]


def _settings(objective: Objective) -> Mapping[str, Any]:
    """The settings of the loss that are not its defaults."""
    usual = inspect.signature(objective.function).parameters
    return {
        key: value
        for key, value in objective.settings.items()
        if isinstance(value, Tensor) or value != usual[key].default
    }


def windows(codes: Any, length: int) -> Any:
    """Windows of a text, one after the other, of parallel streams (N, T) or windows (N, length)."""
    count = max(1, codes.shape[1] // length)
    return codes[:, : count * length].reshape(-1, min(length, codes.shape[1]))
