"""Points and distributions: `scatter` and `histogram`."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from ...errors import ShapeError
from .drawing import (
    Axis,
    Chart,
    alike,
    cell,
    finish,
    floats,
    frame,
    nothing,
    number,
    thin,
    xy,
)


def scatter(
    x: ArrayLike,
    y: ArrayLike,
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    identity: bool = False,
    width: float = 480,
    height: float = 420,
) -> Chart:
    """Points, at most about 2000 of them (every extreme stays); `identity` draws the line y = x."""
    px, py = floats(x).ravel(), floats(y).ravel()
    if len(px) != len(py):
        raise ShapeError(
            "charts.scatter",
            f"got {len(px)} x and {len(py)} y",
            "expected a y for each x",
            "pass arrays of equal length",
        )
    fine = np.isfinite(px) & np.isfinite(py)
    px, py = px[fine], py[fine]
    if not len(px):
        return nothing(width, height, title)
    both = np.concatenate([px, py])
    to_y = Axis.around(both if identity else py, height - 46, 50)
    to_x = Axis.around(both if identity else px, to_y.gutter, width - 10)
    indices = thin(py - px if identity else py, 2000)
    parts = frame(to_x, to_y, x_label, y_label)
    if identity:
        ends = f"M{xy(to_x.start)} {xy(to_y.start)}L{xy(to_x.end)} {xy(to_y.end)}"
        parts.append(f'<path class="axis" d="{ends}"/>')
    parts.append(f'<g class="f1" fill-opacity="{0.75 if len(indices) < 300 else 0.4}">')
    spots = ((xy(to_x(px[i])), xy(to_y(py[i]))) for i in indices)
    parts += [f'<circle cx="{a}" cy="{b}" r="2.3"/>' for a, b in spots]
    parts.append("</g>")
    lost = int((~fine).sum())
    description = f"{len(px)} points" + (f", {lost} more are not finite" if lost else "")
    return finish(width, height, title, parts, description)


def histogram(
    values: ArrayLike,
    *,
    title: str,
    x_label: str = "",
    y_label: str = "count",
    mark: float | None = None,
    width: float = 480,
    height: float = 300,
) -> Chart:
    """How often values fall in each of up to 60 equal bins; `mark` draws an upright line."""
    array = floats(values).ravel()
    fine = array[np.isfinite(array)]
    if not len(fine):
        return nothing(width, height, title)
    low, high = float(fine.min()), float(fine.max())
    quartiles = np.percentile(fine, [25, 75])
    step = 2 * float(np.ptp(quartiles)) / len(fine) ** (1 / 3)  # Freedman and Diaconis
    bins = max(5, math.ceil((high - low) / step)) if step > (high - low) / 60 else 60
    if alike(low, high):
        around = Axis.around(fine, 0, 1)
        low, high, bins = around.low, around.high, 1
    counts, edges = np.histogram(fine, bins, (low, high))
    to_y = Axis(0, float(counts.max()) * 1.05, height - 46, 50)
    to_x = Axis(low, high, to_y.gutter, width - 10)
    parts = frame(to_x, to_y, x_label, y_label)
    for count, (a, b) in zip(counts, pairwise(edges), strict=True):
        label, y = f"{number(a)} to {number(b)}: {count}", to_y(float(count))
        wide = max(to_x(b) - to_x(a) - 1, 0.5)
        parts.append(cell("f1", to_x(a), y, wide, to_y.start - y, label))
    if mark is not None and to_x.low <= mark <= to_x.high:
        parts.append(f'<path class="axis" d="M{xy(to_x(mark))} {xy(to_y.start)}V{xy(to_y.end)}"/>')
    lost = len(array) - len(fine)
    description = f"{len(fine)} values" + (f", {lost} more are not finite" if lost else "")
    return finish(width, height, title, parts, description)
