"""The report of a training run: one HTML page that needs no network and no script.

`Report` holds what is known of the run, `render` writes the page; parts without content are left
out. Charts come from charts.py, colours from drawing.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..charts.charts import confusion_matrix, heatmap, histogram, lines, scatter
from ..charts.drawing import Chart, escape, number, rounded, shorten
from .style import PAGE

MOST_CELLS = 30  # classes whose confusion matrix can still be read
MOST_PAIRS = 20
MOST_BESIDE = 9  # characters of a class name that leave room for a table beside the matrix
MOST_OPEN = 15  # rows of a table that is shown without asking

NAMES = {
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "auc": "AUC",
    "f1": "mean F1",
    "lr": "learning rate",
}
FIRST = {"classification": "accuracy", "regression": "r2", "text": "bits_per_character"}
LEVELS = {"warning": "▲ Warning", "notice": "● Notice", "good": "✓ Good"}
IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")


@dataclass
class Report:
    """What the page says of a run; every part but the first three may be empty.

    metrics     of the test set
    history     a dict an epoch: epoch, loss, valid_loss, accuracy, valid_accuracy, lr, seconds…
    gradients   steps; layers, from input to output; norms, a list per step of one per layer
    findings    dicts: level ("good", "notice", "warning"), title, cause, remedy
    confusion   (C, C) counts of the test set: rows are the true classes, columns the predicted
    samples     generated texts, or the worst mistakes as (true, predicted, confidence)
    pictures    (data URI, caption) pairs
    """

    title: str
    task: str
    run: str
    seconds: float = 0.0
    interrupted: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    data: Mapping[str, str | int | float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    model: str = ""
    parameters: int = 0
    history: Sequence[Mapping[str, Any]] = ()
    best_epoch: int | None = None
    gradients: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Mapping[str, str]] = ()
    confusion: NDArray[Any] | None = None
    classes: Sequence[str] = ()
    truth: NDArray[Any] | None = None
    predicted: NDArray[Any] | None = None
    samples: Sequence[str | tuple[Any, Any, float]] = ()
    pictures: Sequence[tuple[str, str]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""


def render(report: Report) -> str:
    """The page as text."""
    parts = [(name, text) for name, section in SECTIONS if (text := section(report))]
    if not any(isinstance(sample, str) for sample in report.samples):
        parts = [("Mistakes" if name == "Samples" else name, text) for name, text in parts]
    names = [name.split()[0].lower() for name, _ in parts]
    links = " · ".join(
        f'<a href="#{key}">{name}</a>' for key, (name, _) in zip(names, parts, strict=True)
    )
    links = f"<nav>{links}</nav>" if len(parts) > 2 else ""
    body = "".join(
        f'<section id="{key}"><h2>{name}</h2>{text}</section>'
        for key, (name, text) in zip(names, parts, strict=True)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none';style-src 'unsafe-inline';img-src data:\">"
        f"<title>{escape(report.title)}</title><style>{PAGE}</style></head><body><main>"
        f"{head(report)}{links}{body}</main></body></html>\n"
    )


# Words


def named(key: str) -> str:
    """A metric's or fact's name as words."""
    base = key.removeprefix("valid_")
    words = NAMES.get(base, base.replace("_", " "))
    return words if base == key else f"validation {words}"


def valued(key: str, value: Any) -> str:
    """A value as text; accuracies in percent."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}".replace("-", "−")
    value = as_float(value)
    if "accuracy" in key and 0 <= value <= 1:
        return f"{100 * value:.4g}%"
    return number(value)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number))


def as_float(value: Any) -> float:
    """A number, or NaN for None."""
    return math.nan if value is None else float(value)


def duration(seconds: float) -> str:
    """7.4 s, 1 min 32 s, 2 h 05 min."""
    if not math.isfinite(seconds):
        return number(seconds)
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


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
    """What came of the run, in a sentence or two."""
    first = FIRST.get(report.task, "")
    value = as_float(report.metrics.get(first))
    told = []
    if report.task == "classification" and math.isfinite(value):
        right = f"The model gets {valued(first, value)} of the test samples right"
        table = counts(report)
        if table is not None and table.sum() > 0:
            most = float(table.sum(axis=1).max() / table.sum())
            always, shown = "always naming the most frequent class", valued(first, most)
            if value > most:
                right += f"; {always} would get {shown}"
            elif valued(first, value) == shown:
                right += f", no more than {always} ({shown})"
            else:
                right += f", less than {always} would ({shown})"
        told.append(right)
    elif report.task == "regression" and first in report.metrics and not math.isfinite(value):
        told.append("R² is not defined for the test set, which needs rows of different targets")
    elif report.task == "regression" and math.isfinite(value):
        told.append(
            f"The model explains {100 * value:.3g}% of the variance of the test set"
            if value > 0
            else f"The model predicts the test set no better than its mean would (R² {value:.3g})"
        )
        if "mae" in report.metrics:
            told[0] += f"; it is off by {rounded(as_float(report.metrics['mae']))} on average"
    elif report.task == "text" and math.isfinite(value):
        told.append(f"The model needs {rounded(value)} bits for a character of the test text")
    if (broken := broken_at(report)) is not None:
        told.append(f"Training broke down: the loss was not finite in epoch {broken}")
    if report.interrupted:
        epochs = len(report.history)
        told.append(f"The run was interrupted after {epochs} epoch{'s' * (epochs != 1)}")
    if serious := sum(f.get("level") == "warning" for f in report.findings):
        warned = f"are {serious} warnings" if serious > 1 else "is a warning"
        told.append(f'There {warned} among the <a href="#findings">findings</a>')
    return ". ".join(told) + "." if told else ""


def facts(pairs: Iterable[tuple[str, str]], kind: str = "facts") -> str:
    """A list of names and values; the values are HTML already."""
    rows = "".join(f"<div><dt>{escape(a)}</dt><dd>{b}</dd></div>" for a, b in pairs)
    return f'<dl class="{kind}">{rows}</dl>' if rows else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns are text and whose others are numbers."""
    kinds = ['<{0} class="word">'] * words + ["<{0}>"] * (len(heads) - words)

    def line(cells: Sequence[str], tag: str) -> str:
        marked = zip(kinds, cells, strict=True)
        return f"<tr>{''.join(k.format(tag) + c + f'</{tag}>' for k, c in marked)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f'<div class="wide"><table><thead>{line(list(map(escape, heads)), "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def called(name: object) -> str:
    """A class's name as HTML: isolated, so that its direction leaves the line alone."""
    return f'<bdi title="{escape(name)}">{escape(shorten(name, 48))}</bdi>'


def figure(chart: Chart, note: str = "", wide: bool = False) -> str:
    """A chart with a sentence under it."""
    note = f"<figcaption>{note}</figcaption>" if note else ""
    body = f'<div class="wide">{chart.bare}</div>' if wide else chart.bare
    return f"<figure>{body}{note}</figure>"


def folded(title: str, body: str, shown: bool = False) -> str:
    """A part that opens on a click, and on paper."""
    return f"<details{' open' * shown}><summary>{escape(title)}</summary>{body}</details>"


# Sections: each returns HTML, or nothing where there is nothing to show


def head(report: Report) -> str:
    numbers = [(f"test {named(k)}", valued(k, report.metrics[k])) for k in ordered(report)]
    if report.parameters:
        numbers.append(("parameters", f"{report.parameters:,}"))
    if report.history:
        best = f" <small>best {report.best_epoch}</small>" if report.best_epoch is not None else ""
        numbers.append(("epochs", f"{len(report.history):,}{best}"))
    if report.seconds:
        numbers.append(("time", duration(report.seconds)))
    said = verdict(report)
    return (
        f"<header><p class=over>{' · '.join(called(a) for a in (report.run, report.date) if a)}"
        f"</p><h1><bdi>{escape(report.title)}</bdi></h1>"
        f"{f'<p class=verdict>{said}</p>' if said else ''}{facts(numbers, 'numbers')}</header>"
    )


def curves(report: Report) -> str:
    keys = list(dict.fromkeys(k for row in report.history for k in row))
    bases = list(dict.fromkeys(k.removeprefix("valid_") for k in keys))
    plain = [b for b in bases if b not in {"epoch", "step", "lr", "seconds"}]
    shown = sorted(plain, key=lambda b: b != "loss")[:6]
    charts = [chart for base in shown if (chart := curve(report, base))]
    rates = {as_float(r["lr"]) for r in report.history if r.get("lr") is not None}
    said = []
    if len(rates) > 1 and (chart := curve(report, "lr")):
        charts.append(chart)
    elif rates:
        when = "throughout" if len(report.history) > 1 else "at the end of the epoch"
        said.append(f"The learning rate was {number(rates.pop())} {when}.")
    if report.best_epoch is not None:
        said.append(f"The model keeps the weights of epoch {report.best_epoch}.")
    times = [as_float(r["seconds"]) for r in report.history if r.get("seconds") is not None]
    if times and math.isfinite(sum(times)):
        said.append(f"An epoch took about {duration(sorted(times)[len(times) // 2])}.")
    if not charts:
        return ""
    note = f"<p>{' '.join(said)}</p>" if said else ""
    inside, below = (note, "") if len(charts) % 2 else ("", note)
    return f'<div class="pair">{"".join(charts)}{inside}</div>{below}'


def curve(report: Report, base: str) -> str:
    """The curves of one measure, training and validation, over the epochs."""
    series: dict[str, list[float]] = {}
    places: dict[str, list[float]] = {}
    fitted = named(base) if base == "lr" else "training"
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
    title = named(base)
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


def gradient_flow(report: Report) -> str:
    flow = report.gradients
    norms = np.asarray(flow.get("norms", []), np.float64)
    if norms.ndim != 2 or not norms.size:
        return ""
    chart = heatmap(
        norms.T,
        flow["layers"],
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
    first, last = (norms[np.isfinite(norms[:, i]) & (norms[:, i] > 0), i] for i in (0, -1))
    if len(flow["layers"]) > 1 and len(first) and len(last):
        first, last = (float(np.sort(part)[len(part) // 2]) for part in (first, last))
        ratio = first / last
        size = f"{rounded(ratio, 2)} times" if not 0.5 < ratio < 2 else "about as large as"
        said += f"<p>Here the first layer’s gradient is typically {size} the last’s.</p>"
    return said + figure(chart, wide=True)


def findings(report: Report) -> str:
    order = list(LEVELS)
    known = sorted(report.findings, key=lambda f: order.index(level_of(f)))
    parts = []
    for found in known:
        level = level_of(found)
        pairs = [(k, escape(found[k])) for k in ("cause", "remedy") if found.get(k)]
        parts.append(
            f'<article class="{level}"><p class="level">{LEVELS[level]}</p>'
            f"<div><h3>{escape(found.get('title', ''))}</h3>{facts(pairs, 'why')}</div></article>"
        )
    return "".join(parts)


def level_of(found: Mapping[str, str]) -> str:
    level = found.get("level", "notice")
    return level if level in LEVELS else "notice"


def counts(report: Report) -> NDArray[np.float64] | None:
    """The confusion matrix, if there is one."""
    table = np.asarray(report.confusion if report.confusion is not None else [], np.float64)
    if table.ndim != 2 or not table.size or table.shape[0] != table.shape[1]:
        return None
    return np.nan_to_num(table, posinf=0, neginf=0)


def per_class(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, 3): precision, recall and F1; NaN where a class was never predicted, or never occurs."""
    hits, predicted, true = table.diagonal(), table.sum(axis=0), table.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([hits / predicted, hits / true, 2 * hits / (predicted + true)], axis=1)


def confusions(report: Report) -> str:
    cells = counts(report)
    if cells is None:
        return ""
    n = len(cells)
    names = report.classes if len(report.classes) == n else [str(i) for i in range(n)]
    if n <= MOST_CELLS:
        said = "Colour is the share of a true class; blue cells are right, orange ones mistaken."
        first = figure(confusion_matrix(cells, names, title="Confusion matrix"), said, wide=True)
    else:
        wrong = cells - np.diag(cells.diagonal())
        worst = [int(k) for k in np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]]
        true = cells.sum(axis=1)
        rows = [
            (called(names[i]), called(names[j]), whole(wrong[i, j]), part(wrong[i, j], true[i]))
            for i, j in (divmod(k, n) for k in worst)
            if wrong[i, j] > 0
        ]
        said = f"<h3>The most frequent confusions among the {n} classes</h3>"
        heads = ("true class", "taken for", "times", "share of the class")
        first = said + table(heads, rows, 2) if rows else "<p>No class was ever mistaken.</p>"
    rates = per_class(cells)
    rows_of = [
        (called(name), *map(percent, rates[i, :2]), bar(rates[i, 2]), whole(cells[i].sum()))
        for i, name in enumerate(names)
    ]
    title = "Precision, recall and F1" + (f" of all {n} classes" if n > MOST_OPEN else "")
    by_class = table(("class", "precision", "recall", "F1", "samples"), rows_of)
    if n > MOST_OPEN:
        return first + folded(title, by_class)
    if max(len(str(name)) for name in names) > MOST_BESIDE:
        return f"{first}<h3>{title}</h3>{by_class}"
    return f'<div class="pair roomy">{first}<div><h3>{title}</h3>{by_class}</div></div>'


def whole(value: float) -> str:
    return f"{value:,.0f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}%" if math.isfinite(value) else "–"


def part(count: float, whole: float) -> str:
    return percent(count / whole if whole else math.nan)


def bar(value: float) -> str:
    """A share as a number on a bar of that length."""
    width = f' style="--v:{value:.3f}"' if math.isfinite(value) else ""
    return f'<span class="bar"{width}>{percent(value)}</span>'


def residuals(report: Report) -> str:
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


def samples(report: Report) -> str:
    texts = [s for s in report.samples if isinstance(s, str)]
    worst = [s for s in report.samples if not isinstance(s, str)]
    parts = [f'<blockquote dir="auto">{escape(text)}</blockquote>' for text in texts]
    if worst:
        rows = [(called(a), called(b), percent(as_float(c))) for a, b, c in worst]
        parts.append("<h3>The mistakes that the model was surest of</h3>")
        parts.append(table(("true", "predicted", "confidence"), rows, 2))
    pictures = [
        f'<figure><img src="{escape(uri)}" alt=""><figcaption>{called(told)}</figcaption></figure>'
        for uri, told in report.pictures
        if IMAGE.fullmatch(uri)
    ]
    if pictures:
        parts.append(f'<div class="pictures">{"".join(pictures)}</div>')
    return "".join(parts)


def data(report: Report) -> str:
    listed = facts((named(k), valued(k, v)) for k, v in report.data.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return listed + (f"<h3>Preprocessing</h3><ul>{notes}</ul>" if notes else "")


def model(report: Report) -> str:
    if not report.model.strip():
        return ""
    size = f"{report.parameters:,} parameters" if report.parameters else "Summary"
    return folded(size, f"<pre>{escape(report.model)}</pre>", report.model.count("\n") < 25)


def recipe(report: Report) -> str:
    if not report.recipe.strip():
        return ""
    return folded("Everything needed to repeat the run", f"<pre>{escape(report.recipe)}</pre>")


def versions(report: Report) -> str:
    return facts((k, escape(v)) for k, v in report.versions.items())


SECTIONS: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("Curves", curves),
    ("Gradient flow", gradient_flow),
    ("Findings", findings),
    ("Classes", confusions),
    ("Residuals", residuals),
    ("Samples", samples),
    ("Data", data),
    ("Model", model),
    ("Recipe", recipe),
    ("Versions", versions),
)
