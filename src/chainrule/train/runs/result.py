"""The result of a run: metrics, findings and the report."""

from __future__ import annotations

import datetime
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import files, nn
from ...data import DataLoader
from ...diagnosis.finding import Finding
from ...diagnosis.history import Guess
from ...graph import Array
from ..evaluation.inference import Forward
from ..evaluation.modes import evaluating
from ..loop.history import History
from ..report import Report
from .recipe import Recipe
from .tasks import Task, TextTask

IMBALANCED = 2.0  # rows of the most frequent class over the mean of the others


@dataclass
class Result:
    """The result of a run.

    findings   as in the report
    notes      how the data was changed
    ended      why a resumed run had stopped, if nothing was left to do; else empty
    """

    task: str
    metrics: dict[str, float]
    run: Path
    seconds: float
    interrupted: bool
    samples: list[str]
    findings: list[Finding]
    notes: list[str]
    ended: str = ""

    @property
    def report(self) -> Path:
        """The path of the page."""
        return self.run / "report.html"

    def to_json(self) -> dict[str, Any]:
        """The JSON that the command line prints."""
        out = {
            "task": self.task,
            "metrics": files.with_nulls(self.metrics),
            "run": str(self.run),
            "report": str(self.report),
            "seconds": round(self.seconds, 3),
            "findings": files.with_nulls([finding.to_dict() for finding in self.findings]),
            "notes": self.notes,
        }
        return {**out, "interrupted": True} if self.interrupted else out


def evaluate_task(
    task: Task, recipe: Recipe, model: nn.Module, data: tuple[Any, Any]
) -> tuple[Array | None, dict[str, float]]:
    """The outputs for the rows (None for text), and the metrics in the units of the data."""
    if isinstance(task, TextTask):
        return None, task.scores(model, data)
    forward = Forward(model)
    x, y = data
    output = np.concatenate([p.numpy() for p, _ in forward.predictions(DataLoader((x, y), 256))])
    return output, {name: m(output, y) for name, m in task.metrics().items()}


def report_of(
    result: Result,
    recipe: Recipe,
    task: Task,
    model: nn.Module,
    history: History,
    shown: dict[str, Any],
) -> Report:
    import chainrule

    x, _ = next(iter(DataLoader(task.test, 1)))
    if isinstance(task, TextTask):
        x = x[:, : task.length]
    with evaluating(model):  # one row has no batch statistics
        summary = model.summary(x)
    return Report(
        title=Path(recipe.source).name,
        task=result.task,
        run=result.run.name,
        seconds=result.seconds,
        interrupted=result.interrupted,
        metrics=result.metrics,
        recipe=recipe.to_toml(),
        data=task.facts,
        notes=task.notes,
        chosen=task.chosen(recipe),
        model=str(summary),
        parameters=summary.parameters,
        history=history.epochs,
        best_epoch=history.best_epoch,
        gradients=dict(vars(history.gradients)),
        findings=result.findings,
        versions={
            "chainrule": chainrule.__version__,
            "NumPy": np.__version__,
            "Python": platform.python_version(),
        },
        date=datetime.date.today().isoformat(),
        **shown,
    )


def guess_of(task: Task, recipe: Recipe) -> Guess:
    """The metric of always predicting the most frequent class, or the mean.

    With class weights it is F1, where the classes weigh the same too.
    """
    if task.task == "regression":
        return Guess("r2", 0.0)
    counts = np.bincount(np.asarray(task.test[1]))
    most, classes = float(counts.max() / counts.sum()), np.count_nonzero(counts)
    if recipe.class_weight is not None:
        return Guess("f1", 2 * most / (1 + most) / classes)
    imbalanced = bool(most * (classes - 1) >= IMBALANCED * (1 - most))
    return Guess("accuracy", most, imbalanced)
