"""`diagnose`: the findings of a training in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.loader import order
from ..diagnosis.finding import Finding, Trial
from ..errors import ArgumentError
from ..graph import Array
from ..nn import Module
from ..optim import Adam, Optimizer
from ..train.evaluation.objective import Objective
from .modules import ModuleTraining
from .search import find
from .training import Data

HELD_OUT = 5  # one of so many rows is held out, if none are given


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a training; its text shows it.

    findings   the most harmful first
    metric     the name of the score: "accuracy", "balanced accuracy", "R²"
    score      of the training as it is, on the held-out rows
    trials     what was tried: the changes, and what they came to; the best first
    """

    findings: tuple[Finding, ...]
    metric: str
    score: float
    trials: tuple[tuple[str, Trial], ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers and text, for JSON."""
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "metric": self.metric,
            "score": self.score,
            "trials": [{"changes": text, "score": t.after} for text, t in self.trials],
        }

    def __repr__(self) -> str:
        lines = [f"{self.metric} {self.score:.3f} on held-out rows"]
        if not self.findings:
            lines.append(f"Nothing found; {len(self.trials)} changes were tried.")
        for k, finding in enumerate(self.findings, 1):
            lines.append(f"{k}. {finding.kind} at {finding.place}: {finding.cause}")
            for remedy in finding.remedies[: k == 1]:
                lines.append(f"   remedy: {'; '.join(map(str, remedy.changes))}")
                if remedy.trial is not None:
                    lines[-1] += f" ({self.metric} {remedy.trial.after:.3f} when tried)"
        return "\n".join(lines)


def diagnose(
    model: Module,
    data: Any,
    *,
    loss: str | Callable[..., Any],
    optimizer: Optimizer | None = None,
    valid: Any = None,
    epochs: int = 10,
    batch_size: int = 32,
    seconds: float = 60.0,
) -> Diagnosis:
    """Find what is wrong with a training, by training copies of it; the model stays as it is.

    model       with its first weights
    data        (x, y) arrays
    loss        a name, a loss of nn, or a function (prediction, target), as for `fit`
    optimizer   before its first step; Adam with lr 1e-3 by default
    valid       held-out (x, y); by default every fifth row of the data, in random order
    seconds     of processor time for trials, after the training itself has run once
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "diagnose",
            f"got a model of type {type(model).__name__}",
            "expected a Module of chainrule.nn",
            "for a model of PyTorch: chainrule.interop.torch.diagnose",
        )
    optimizer = Adam(model.named_parameters()) if optimizer is None else optimizer
    trained, valid = _sets(data, valid)
    training = ModuleTraining(
        model, Objective(loss).mean, optimizer, trained, valid, batch_size, epochs
    )
    findings, search = find(training, seconds)
    tried = [
        ("; ".join(sorted(map(str, changes))), outcome)
        for (changes, seed), outcome in search.tried.items()
        if changes and not seed
    ]
    trials = [
        (text, Trial(search.base, o.score, o.losses[-1] if o.losses else np.nan, o.seconds))
        for text, o in sorted(tried, key=lambda pair: -pair[1].score)
    ]
    return Diagnosis(tuple(findings), search.facts.score.name, search.base, tuple(trials))


def _sets(data: Any, valid: Any) -> tuple[Data, Data]:
    """The rows that are trained on, and those that are held out."""
    x, y = _pair("data", data)
    if valid is not None:
        return (x, y), _pair("valid", valid)
    if len(x) < HELD_OUT:
        return (x, y), (x, y)
    rows = order(len(x), 0)
    cut = len(x) // HELD_OUT
    return (x[rows[cut:]], y[rows[cut:]]), (x[rows[:cut]], y[rows[:cut]])


def _pair(name: str, data: Any) -> tuple[Array, Array]:
    if not isinstance(data, (tuple, list)) or len(data) != 2 or not len(data[0]):
        raise ArgumentError(
            "diagnose",
            f"got {name} of type {type(data).__name__}",
            "expected (x, y), two arrays of the same number of rows",
            f"diagnose(model, {name}=(x, y), …)"
            if name == "valid"
            else "diagnose(model, (x, y), …)",
        )
    x, y = (np.asarray(part) for part in data)
    if len(x) != len(y):
        raise ArgumentError(
            "diagnose",
            f"got {name} with {len(x)} inputs and {len(y)} targets",
            "expected as many of one as of the other",
            "check where rows were dropped",
        )
    return x.astype(np.float32) if x.dtype == np.float64 else x, (
        y.astype(np.float32) if y.dtype == np.float64 else y
    )
