"""Losses, metrics and gradient norms over the training."""

from __future__ import annotations

import math

import numpy as np

from ...diagnosis.wording import place
from ...graph import Array
from ..charts import heatmap, lines
from ..charts.drawing import number, rounded, without_common_path
from .contents import Report
from .html import as_float, duration, figure, is_number, label


def curves_section(report: Report) -> str:
    keys = list(dict.fromkeys(k for row in report.history for k in row))
    bases = list(dict.fromkeys(k.removeprefix("valid_") for k in keys))
    plain = [b for b in bases if b not in {"epoch", "step", "lr", "seconds"}]
    shown = sorted(plain, key=lambda b: b != "loss")[:6]
    charts = [chart for base in shown if (chart := curve(report, base))]
    rates = {as_float(r["lr"]) for r in report.history if r.get("lr") is not None}
    sentences = []
    if len(rates) > 1 and (chart := curve(report, "lr")):
        charts.append(chart)
    elif rates:
        when = "throughout" if len(report.history) > 1 else "at the end of the epoch"
        sentences.append(f"The learning rate was {number(rates.pop())} {when}.")
    if report.best_epoch is not None:
        sentences.append(f"The model keeps the weights of epoch {report.best_epoch}.")
    times = [as_float(r["seconds"]) for r in report.history if r.get("seconds") is not None]
    if times and math.isfinite(sum(times)):
        sentences.append(f"An epoch took about {duration(sorted(times)[len(times) // 2])}.")
    if not charts:
        return ""
    note = f"<p>{' '.join(sentences)}</p>" if sentences else ""
    inside, below = (note, "") if len(charts) % 2 else ("", note)
    return f'<div class="pair">{"".join(charts)}{inside}</div>{below}'


def curve(report: Report, base: str) -> str:
    """The curves of one measure, training and validation, over the epochs."""
    series: dict[str, list[float]] = {}
    places: dict[str, list[float]] = {}
    fitted = label(base) if base == "lr" else "training"
    for key, name in ((base, fitted), (f"valid_{base}", "validation")):
        pairs = [
            (float(row.get("epoch", i + 1)), float(row[key]))
            for i, row in enumerate(report.history)
            if is_number(row.get(key))
        ]
        places[name], series[name] = [a for a, _ in pairs], [b for _, b in pairs]
    seen = [v for values in series.values() for v in values if math.isfinite(v)]
    known = [name for name, values in series.items() if values]
    if not known:
        return ""
    log = base == "loss" and bool(seen) and min(seen) > 0 and max(seen) / min(seen) >= 30
    best = report.best_epoch
    marks = [(float(best), f"best: {best}")] if best is not None and base != "lr" else []
    title = label(base)
    if len(known) == 1 and base != "lr":
        title = f"{known[0]} {title}"
    return figure(
        lines(
            series,
            x=places,
            title=title[0].upper() + title[1:],
            x_label="epoch",
            y_label="log scale" if log else "",
            log_y=log,
            marks=marks,
            height=190 if base == "lr" else 300,
        )
    )


def gradient_flow_section(report: Report) -> str:
    flow = report.gradients
    norms = np.asarray(flow.get("norms", []), np.float64)
    if norms.ndim != 2 or not norms.size:
        return ""
    chart = heatmap(
        norms.T,
        [place(layer) for layer in without_common_path(flow["layers"])],
        flow["steps"],
        title="Norm of the gradient, by layer",
        x_label="step",
        y_label="input at the top",
    )
    said = (
        "<p>Each row is a layer, each column a moment of the training; the brighter a cell, the "
        "larger the gradient there, on a logarithmic scale. Rows that fade towards the input mean "
        "that the gradient vanishes on its way back and the first layers hardly learn; rows that "
        "glow, or columns that light up, mean that it explodes.</p>"
    )
    return said + _first_and_last(norms) + figure(chart, wide=True)


def _first_and_last(norms: Array) -> str:
    """How large the first layer's gradient usually is beside that of the last."""
    parts = [norms[np.isfinite(norms[:, i]), i] for i in (0, -1)]
    if norms.shape[1] < 2 or not all(len(part) for part in parts):
        return ""
    first, last = (float(np.sort(part)[len(part) // 2]) for part in parts)
    if not first or not last:
        which = "last" if first else "first" if last else "first and the last"
        return f"<p>Here the gradient of the {which} layer is 0 in most steps.</p>"
    ratio = first / last
    size = f"{rounded(ratio, 2)} times" if not 0.5 < ratio < 2 else "about as large as"
    return f"<p>Here the first layer’s gradient is typically {size} the last’s.</p>"
