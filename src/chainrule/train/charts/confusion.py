"""The confusion matrix as a chart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .drawing import (
    LARGEST,
    Chart,
    cell,
    extent,
    finish,
    number,
    shorten_distinctly,
    text_at,
    xy,
)


def confusion_matrix(counts: ArrayLike, classes: Sequence[object], *, title: str) -> Chart:
    """Counts of (true class, predicted class): colour is the share of the row, blue if right."""
    n = len(classes)
    table = np.asarray(counts, np.float64).reshape(n, n)
    sums = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, sums, out=np.zeros_like(table), where=sums > 0)
    names = shorten_distinctly(classes, 18, 32)
    size = min(max(820 / max(n, 1), 27), 46)
    longest = max([extent(name, LARGEST) for name in names] or [0])
    left = 26 + longest
    flat = longest <= size - 4
    top = 72 if flat else 60 + longest * 0.71
    width = left + size * n + (10 if flat else longest * 0.71 + 4)
    parts = [text_at(left, 38, "predicted →", "soft"), text_at(0, top - 6, "true ↓", "soft")]
    for i, name in enumerate(names):
        x, y = left + size * (i + 0.5), top + size * i
        parts.append(text_at(left - 8, y + size / 2 + 4, name, "", "end"))
        turned = text_at(0, 0, name, "", "middle" if flat else "start")
        turn = "" if flat else " rotate(-45)"
        parts.append(f'<g transform="translate({xy(x)} {xy(top - 7)}){turn}">{turned}</g>')
        for j in range(n):
            share, count = float(shares[i, j]), float(table[i, j])
            label = f"true {classes[i]}, predicted {classes[j]}: {number(count)} ({share:.1%})"
            fill = f"fill:var(--c{1 if i == j else 2});fill-opacity:{0.06 + 0.94 * share:.2f}"
            box = (left + size * j, y, size - 1, size - 1)
            parts.append(cell("zero", *box, label, fill if count else ""))
            if count:
                kind, written = "full" if share > 0.75 else "", number(count)
                font = min(12.5, 0.36 * size, 0.84 * size / (0.56 * len(written)))
                below = y + size / 2 + font * 0.35
                text = text_at(box[0] + size / 2, below, written, kind, "middle")
                style = f'pointer-events="none" style="font-size:{font:.1f}px"'
                parts.append(text.replace("<text", f"<text {style}", 1))
    return finish(width, top + size * n + 6, title, parts)
