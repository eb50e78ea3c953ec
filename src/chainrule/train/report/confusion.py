"""The confusion matrix, and precision, recall and F1 of each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..charts import confusion_matrix
from .contents import Report
from .html import bar, class_name, collapsible, count_text, figure, percent, percent_of, table

MOST_CELLS = 30  # classes whose confusion matrix can still be read
MOST_PAIRS = 20
MOST_BESIDE = 9  # characters of a class name that leave room for a table beside the matrix
MOST_OPEN = 15  # rows of a table that is not collapsed


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


def confusion_section(report: Report) -> str:
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
            (
                class_name(names[i]),
                class_name(names[j]),
                count_text(wrong[i, j]),
                percent_of(wrong[i, j], true[i]),
            )
            for i, j in (divmod(k, n) for k in worst)
            if wrong[i, j] > 0
        ]
        said = f"<h3>The most frequent confusions among the {n} classes</h3>"
        heads = ("true class", "predicted as", "times", "share of the class")
        first = said + table(heads, rows, 2) if rows else "<p>No class was ever mistaken.</p>"
    rates = per_class(cells)
    rows_of = [
        (
            class_name(name),
            *map(percent, rates[i, :2]),
            bar(rates[i, 2]),
            count_text(cells[i].sum()),
        )
        for i, name in enumerate(names)
    ]
    title = "Precision, recall and F1" + (f" of all {n} classes" if n > MOST_OPEN else "")
    by_class = table(("class", "precision", "recall", "F1", "samples"), rows_of)
    if n > MOST_OPEN:
        return first + collapsible(title, by_class)
    if max(len(str(name)) for name in names) > MOST_BESIDE:
        return f"{first}<h3>{title}</h3>{by_class}"
    return f'<div class="pair roomy">{first}<div><h3>{title}</h3>{by_class}</div></div>'
