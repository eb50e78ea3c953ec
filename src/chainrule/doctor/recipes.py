"""The training of a recipe as `chainrule train` begins it, and the recipe with changes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn, random
from ..diagnosis.finding import Change
from ..errors import ArgumentError
from ..functions import elementwise
from ..graph import Array
from ..optim import Optimizer, Schedule
from ..tensor import Tensor, as_tensor
from ..train.evaluation.objective import Objective
from ..train.runs.folder import expect_unchanged, read_folder
from ..train.runs.networks import Standardise, TableNetwork
from ..train.runs.recipe import Recipe
from ..train.runs.tasks import Task, TextTask, kind_of
from ..train.runs.training import completed, loaded, optimizer_of, schedule_of
from .scheduled import ScheduledTraining
from .training import Data

FEW = 50  # held-out rows


@dataclasses.dataclass(frozen=True)
class RecipeTraining:
    """A complete recipe, its training, and notes on how that differs from `chainrule train`."""

    recipe: Recipe
    training: ScheduledTraining
    notes: list[str]


def recipe_of_run(folder: Path) -> Recipe:
    """The recipe of a run folder whose data has not changed."""
    recipe, data, _ = read_folder(folder)
    expect_unchanged(folder, recipe, data)
    return recipe


def training_of(recipe: Recipe) -> RecipeTraining:
    """The training of a recipe, before its first step, with the validation rows held out."""
    task = loaded(kind_of(recipe.source, recipe.drop), recipe)
    if isinstance(task, TextTask):
        raise ArgumentError(
            "doctor",
            f"got {recipe.source}, a text",
            "expected a table or images",
            "in Python, cr.diagnose takes windows of tokens: cr.data.windows",
        )
    recipe = completed(recipe, task)
    assert recipe.batch_size is not None
    assert recipe.epochs is not None
    drawn = random.default.state
    random.seed(recipe.seed or 0)
    try:
        model = task.network(recipe)
    finally:
        random.default.set_state(drawn)
    prepare = _of_table if task.kind == "table" else _of_images
    model, trained, valid = prepare(model, task)
    batches = math.ceil(len(trained[0]) / recipe.batch_size)

    def scheduling(optimizer: Optimizer, steps: int) -> Schedule:
        schedule = schedule_of(recipe, optimizer, batches, steps)
        assert schedule is not None
        return schedule

    training = ScheduledTraining(
        model,
        Objective(task.loss(recipe)).mean,
        optimizer_of(recipe, model),
        trained,
        valid,
        recipe.batch_size,
        recipe.epochs,
        clip_norm=recipe.clip_norm,
        scheduling=None if recipe.schedule in (None, "constant") else scheduling,
    )
    return RecipeTraining(recipe, training, _notes(recipe, task, len(valid[0])))


def _notes(recipe: Recipe, task: Task, rows: int) -> list[str]:
    notes = []
    if task.augmentations(recipe):
        notes.append("the images are not changed at random: augment is left out")
    if rows < FEW:
        notes.append(
            f"{rows} validation rows are few to judge by: a larger `valid` in the recipe makes "
            "findings surer"
        )
    return notes


class JoinedNetwork(TableNetwork):
    """A network for tables that gets numbers and categories in one array (N, F + K).

    Categories are codes that were standardised, so that no column is far from the others.
    """

    def __init__(self, network: TableNetwork, mean: Array, std: Array) -> None:
        self.embeddings, self.layers = network.embeddings, network.layers
        self.mean, self.std = mean, std
        sizes = [table.num_embeddings - 1 for table in self.embeddings]
        self.largest = np.array(sizes, np.float32)

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        first = x.shape[1] - len(self.mean)
        codes = elementwise.round(x[:, first:] * self.std + self.mean)
        codes = elementwise.clip(codes, 0, self.largest).astype("int64")
        return super().forward((x[:, :first], codes))


def _of_table(model: nn.Module, task: Task) -> tuple[nn.Module, Data, Data]:
    """The inputs as one array, and targets (N, 1) of a regression."""
    network = next(m for m in model.modules() if isinstance(m, TableNetwork))
    codes = task.train[0][1].astype(np.float32)
    mean, std = codes.mean(0), codes.std(0)
    std = np.where(std > 0, std, 1).astype(np.float32)

    def joined(part: Any) -> Data:
        (numbers, categories), y = part
        scaled = (categories.astype(np.float32) - mean) / std
        x = np.concatenate([numbers, scaled], axis=1).astype(np.float32)
        return x, y if task.task == "classification" else y.reshape(-1, 1)

    return JoinedNetwork(network, mean, std), joined(task.train), joined(task.valid)


def _of_images(model: nn.Module, task: Task) -> tuple[nn.Module, Data, Data]:
    """The images as the network's first layer standardises them, and the network without it."""
    name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, Standardise))
    setattr(model, name, nn.Identity())

    def standardised(part: Any) -> Data:
        x, y = part
        return first(np.asarray(x)).numpy(), y

    return model, standardised(task.train), standardised(task.valid)


# ── the recipe with changes ──────────────────────────────────────────────────────────────────────


def repaired(recipe: Recipe, changes: Sequence[Change]) -> tuple[Recipe, list[Change]]:
    """The recipe with those changes that it has settings for, and the others."""
    settings: dict[str, Any] = {}
    others = []
    for change in changes:
        new = _settings(recipe, change)
        settings |= new
        others += [change] * (not new)
    return dataclasses.replace(recipe, **settings), others


def _settings(recipe: Recipe, change: Change) -> dict[str, Any]:
    """The settings of a recipe that make a change; none if there are none."""
    match change.what:
        case "rate":
            return {"lr": _short(change.value)}
        case "optimizer":
            name, rate = change.value
            return {"optimizer": name, "lr": _short(rate), "weight_decay": 0.0}
        case "decay":
            return {"weight_decay": change.value}
        case "batch":
            return {"batch_size": change.value}
        case "epochs":
            patience = max(recipe.patience or 0, change.value)  # a trial does not stop early
            return {"epochs": change.value, "patience": patience}
        case "remove" if recipe.dropout:
            return {"dropout": 0.0}
        case "loss" if recipe.loss is not None and change.value == "mse":
            return {"loss": "mse"}
    return {}


def _short(rate: float) -> float:
    """A rate without the rounding errors of its product: 1e-4, not 9.999999999999999e-05."""
    return float(f"{rate:.6g}")
