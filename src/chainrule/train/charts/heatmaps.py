"""A matrix as a grid of colours: `heatmap`, and the key of its colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .drawing import (
    LARGEST,
    VIRIDIS,
    Chart,
    cell,
    cross,
    extent,
    finish,
    floats,
    labels,
    nothing,
    number,
    rounded,
    shorten,
    shorten_distinctly,
    text_at,
    ticks,
)


def viridis(share: float) -> str:
    """The fill for a magnitude between 0 (dark) and 1 (bright)."""
    place = min(max(share, 0.0), 1.0) * (len(VIRIDIS) - 1)
    rgb = [np.interp(place, np.arange(len(VIRIDIS)), VIRIDIS[:, i]) for i in range(3)]
    return "fill:#" + "".join(f"{round(float(v)):02x}" for v in rgb)


def heatmap(
    matrix: ArrayLike,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    log: bool = True,
    width: float = 960,
) -> Chart:
    """A matrix as a grid of colours (of log10 with `log`): dark is small, bright is large.

    Neighbouring columns are averaged where there are too many. With `log`, a zero is an empty
    cell; a cell that is not finite is a red ×, and so is an average over one.
    """
    values = floats(matrix).reshape(len(rows), len(columns))
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.log10(values) if log else values
    bad = ~np.isfinite(values) | (log & (values < 0))
    zero = (values == 0) & log
    fine = level[~bad & ~zero]
    if not values.size:
        return nothing(width, 120, title)
    low, high = (float(fine.min()), float(fine.max())) if fine.size else (0.0, 1.0)
    air = max(0.0, (2.0 if log else 1e-12 + 1e-9 * abs(high)) - (high - low)) / 2
    low, high = low - air, high + air
    names = shorten_distinctly(rows, 26, 48)
    left = 10 + max(extent(name, LARGEST) for name in names)
    tall = min(max(480 / len(rows), 6), 24)
    inner = tall - 1 if tall > 11 else tall + 0.2
    each = math.ceil(len(columns) / max(24, min(96, 2400 // len(rows))))
    groups = [np.arange(len(columns))[k : k + each] for k in range(0, len(columns), each)]
    wide = (width - left - 10) / len(groups)
    bottom = 50 + tall * len(rows)
    parts = [text_at(0, 36, y_label, "soft")]
    every = math.ceil(14 / tall)
    for i, row in enumerate(rows):
        y = 50 + tall * i
        if i % every == 0:
            parts.append(text_at(left - 8, y + tall / 2 + 4, names[i], "", "end"))
        for j, group in enumerate(groups):
            where = " to ".join(dict.fromkeys(str(columns[k]) for k in (group[0], group[-1])))
            label, box = f"{row}, {x_label} {where}: ", (left + wide * j, y, wide + 0.2, inner)
            if bad[i, group].any():
                parts.append(cell("band", *box, label + "not finite"))
                if j == 0 or not bad[i, groups[j - 1]].any():
                    parts.append(cross(box[0] + wide / 2, y + tall / 2, min(wide, tall, 12) / 3))
            elif zero[i, group].any():
                parts.append(cell("zero", *box, label + "zero"))
            else:
                mean = float(level[i, group].mean())
                label += number(10**mean if log else mean)
                parts.append(cell("", *box, label, viridis((mean - low) / (high - low))))
    for place, text in along(columns, groups):
        parts.append(text_at(left + wide * place, bottom + 16, text, "soft", "middle"))
    parts.append(text_at(width - 10, bottom + 34, x_label, "soft", "end"))
    parts += scale(width - 10, low, high, log, bool(zero.any()), bool(bad.any()))
    return finish(width, bottom + 42, title, parts)


def along(columns: Sequence[object], groups: list[NDArray[Any]]) -> list[tuple[float, str]]:
    """Labels under grouped columns: round numbers if columns are increasing numbers."""
    if len(columns) > 1 and all(isinstance(c, (int, float, np.number)) for c in columns):
        at = np.asarray(columns, np.float64)
        if np.isfinite(at).all() and (np.diff(at) > 0).all():
            middles = [float(at[group].mean()) for group in groups]
            shown = ticks(at[0], at[-1], 7, bool((at == np.round(at)).all()))
            places = np.interp(shown, middles, np.arange(len(groups)) + 0.5)
            return list(zip(map(float, places), labels(shown), strict=True))
    shown = np.unique(np.linspace(0, len(groups) - 1, 7).round())  # type: ignore[assignment]
    return [(float(j) + 0.5, shorten(columns[groups[int(j)][0]], 10)) for j in shown]


def scale(right: float, low: float, high: float, log: bool, zero: bool, bad: bool) -> Iterable[str]:
    """The key of a heatmap, right-aligned under its title."""
    ends = [rounded(10**v if log else v, 2) for v in (low, high)]
    yield text_at(right, 36, ends[1], "soft", "end")
    right -= extent(ends[1]) + 6
    for i in range(40):
        yield cell("", right - 120 + 3 * i, 27, 3.3, 10, "", viridis(i / 39))
    yield text_at(right - 126, 36, ends[0], "soft", "end")
    right -= 126 + extent(ends[0]) + 20
    if zero:
        yield text_at(right, 36, "zero", "soft", "end")
        yield cell("zero", right - 45, 27, 14, 10, "zero")
        right -= 65
    if bad:
        yield text_at(right, 36, "not finite", "soft", "end")
        yield cell("band", right - 72, 27, 12, 10, "not finite") + cross(right - 66, 32, 3)
