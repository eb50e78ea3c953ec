"""The head of the page: the title, the verdict in a sentence or two, the main numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..charts.drawing import escape, rounded
from .confusion import counts
from .contents import Report
from .html import as_float, class_name, definitions, duration, is_number, label, value_text

FIRST = {"classification": "accuracy", "regression": "r2", "text": "bits_per_character"}


def ordered(report: Report) -> list[str]:
    """The names of the metrics, the one that the task is about first."""
    first = FIRST.get(report.task, "")
    return sorted(report.metrics, key=lambda name: name != first)


def broken_at(report: Report) -> Any:
    """The first epoch whose loss was not finite, or None."""
    for i, row in enumerate(report.history):
        for key in ("loss", "valid_loss"):
            if is_number(row.get(key)) and not math.isfinite(row[key]):
                return row.get("epoch", i + 1)
    return None


def verdict(report: Report) -> str:
    """The result of the run in a sentence or two."""
    first = FIRST.get(report.task, "")
    value = as_float(report.metrics.get(first))
    sentences = []
    if report.task == "classification" and math.isfinite(value):
        right = f"The model gets {value_text(first, value)} of the test samples right"
        table = counts(report)
        if table is not None and table.sum() > 0:
            most = float(table.sum(axis=1).max() / table.sum())
            always, shown = "always predicting the most frequent class", value_text(first, most)
            if value > most:
                right += f"; {always} would get {shown}"
            elif value_text(first, value) == shown:
                right += f", no more than {always} ({shown})"
            else:
                right += f", less than {always} would ({shown})"
        sentences.append(right)
    elif report.task == "regression" and first in report.metrics and not math.isfinite(value):
        sentences.append(
            "R² is not defined for the test set, which needs rows of different targets"
        )
    elif report.task == "regression" and math.isfinite(value):
        sentences.append(
            f"The model explains {100 * value:.3g}% of the variance of the test set"
            if value > 0
            else f"The model predicts the test set no better than its mean would (R² {value:.3g})"
        )
        if "mae" in report.metrics:
            sentences[0] += f"; it is off by {rounded(as_float(report.metrics['mae']))} on average"
    elif report.task == "text" and math.isfinite(value):
        sentences.append(f"The model needs {rounded(value)} bits per character of the test text")
    if (broken := broken_at(report)) is not None:
        sentences.append(f"Training broke down: the loss was not finite in epoch {broken}")
    if report.interrupted:
        epochs = len(report.history)
        sentences.append(f"The run was interrupted after {epochs} epoch{'s' * (epochs != 1)}")
    if serious := sum(f.level == "warning" for f in report.findings or ()):
        warned = f"are {serious} warnings" if serious > 1 else "is a warning"
        sentences.append(f'There {warned} among the <a href="#findings">findings</a>')
    return ". ".join(sentences) + "." if sentences else ""


def head(report: Report) -> str:
    numbers = [(f"test {label(k)}", value_text(k, report.metrics[k])) for k in ordered(report)]
    if report.parameters:
        numbers.append(("parameters", f"{report.parameters:,}"))
    if report.history:
        best = f" <small>best {report.best_epoch}</small>" if report.best_epoch is not None else ""
        numbers.append(("epochs", f"{len(report.history):,}{best}"))
    if report.seconds:
        numbers.append(("time", duration(report.seconds)))
    over = [part for part in (report.run, report.date) if part]
    return header(report.title, over, verdict(report), definitions(numbers, "numbers"))


def header(title: str, over: Sequence[str], said: str, numbers: str = "") -> str:
    """The head of a page; what is said, and numbers, are HTML."""
    return (
        f"<header><p class=over>{' · '.join(map(class_name, over))}</p>"
        f"<h1><bdi>{escape(title)}</bdi></h1>"
        f"{f'<p class=verdict>{said}</p>' if said else ''}{numbers}</header>"
    )
