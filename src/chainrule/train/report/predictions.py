"""Residuals of a regression, generated texts, the worst mistakes."""

from __future__ import annotations

import math

import numpy as np

from ..charts import histogram, scatter
from ..charts.drawing import escape, rounded
from .contents import Report
from .html import as_float, class_name, figure, percent, table
from .pictures import pictures


def residuals_section(report: Report) -> str:
    if report.truth is None or report.predicted is None:
        return ""
    truth, guess = (np.asarray(a, np.float64).ravel() for a in (report.truth, report.predicted))
    if not truth.size or truth.size != guess.size:
        return ""
    with np.errstate(invalid="ignore"):
        wrong = guess - truth
    plot = scatter(
        truth,
        guess,
        title="Predicted against true",
        x_label="true",
        y_label="predicted",
        identity=True,
    )
    spread = histogram(wrong, title="Residuals", x_label="predicted − true", mark=0.0, height=420)
    fine = wrong[np.isfinite(wrong)]
    low, middle, high = np.percentile(fine, [5, 50, 95]) if fine.size else [math.nan] * 3
    said = (
        f"<p>Points on the line are exact. The median residual is {rounded(middle)}; nine of ten "
        f"lie between {rounded(low)} and {rounded(high)}.</p>"
    )
    return f'<div class="pair">{figure(plot)}{figure(spread)}</div>' + said * bool(fine.size)


def samples_section(report: Report) -> str:
    texts = [s for s in report.samples if isinstance(s, str)]
    worst = [s for s in report.samples if not isinstance(s, str)]
    parts = [f'<blockquote dir="auto">{escape(text)}</blockquote>' for text in texts]
    if worst:
        rows = [(class_name(a), class_name(b), percent(as_float(c))) for a, b, c in worst]
        parts.append("<h3>The most confident mistakes</h3>")
        parts.append(table(("true", "predicted", "confidence"), rows, 2))
    parts.append(pictures(report.pictures))
    return "".join(parts)
