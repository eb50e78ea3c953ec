"""Charts of a training run as SVG text: NumPy and the standard library, no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ShapeError
from .drawing import (
    LARGEST,
    VIRIDIS,
    Axis,
    Chart,
    Floats,
    alike,
    cross,
    escape,
    extent,
    finish,
    floats,
    frame,
    labels,
    nothing,
    number,
    rounded,
    shorten,
    text_at,
    thin,
    ticks,
    told_apart,
    xy,
)


@dataclass(frozen=True)
class Series:
    """One curve: its points, and which of its values were given but cannot be drawn."""

    name: str
    x: Floats
    y: Floats
    lost: NDArray[np.bool_]

    @staticmethod
    def of(name: str, given: object, x: object, log: bool) -> Series:
        listed = list(given)  # type: ignore[call-overload]
        y = floats(listed).ravel()
        at = np.arange(1.0, len(y) + 1) if x is None else floats(x).ravel()
        if len(at) != len(y):
            raise ShapeError(
                "charts.lines",
                f"{len(y)} values and {len(at)} x positions for {name!r}",
                "they pair up one to one",
                "pass x={name: positions} where series differ in length",
            )
        drawn = np.isfinite(y) & (y > 0 if log else True)
        y = np.clip(y, 1e-200, 1e200) if log else y
        lost = ~drawn & np.array([v is not None for v in listed], bool)
        fine = np.isfinite(at) & (drawn | lost | np.isnan(y))
        return Series(name, at[fine], np.where(drawn, y, np.nan)[fine], lost[fine])

    def path(self, to_x: Axis, to_y: Axis, kind: int) -> str:
        """The thinned curve, broken where values are missing; lone points become dots."""
        kept = thin(self.y)
        pieces: list[list[str]] = [[]]
        for i in kept:
            if np.isnan(self.y[i]):
                pieces.append([])
            else:
                pieces[-1].append(f"{xy(to_x(self.x[i]))} {xy(to_y(self.y[i]))}")
        route = "".join("M" + "L".join(p) for p in pieces if len(p) > 1)
        dots = [p for p in pieces if len(p) == 1] if len(kept) > 24 else pieces
        return (f'<path class="line s{kind}" d="{route}"/>' if route else "") + "".join(
            f'<circle class="f{kind}" cx="{x}" cy="{y}" r="2.4"/>'
            for x, y in (point.split() for piece in dots for point in piece)
        )

    def gaps(self, to_x: Axis, to_y: Axis) -> Iterable[str]:
        """A band and a × over each stretch of values that were not finite."""
        runs: list[list[int]] = []  # of lost values that follow one another, or nearly touch
        for i in map(int, np.flatnonzero(self.lost)):
            before = runs[-1][-1] if runs else -2
            if i == before + 1 or (runs and to_x(self.x[i]) - to_x(self.x[before]) < 8):
                runs[-1].append(i)
            else:
                runs.append([i])
        for run in runs:
            first, last = self.x[run[0]], self.x[run[-1]]
            left, right = to_x(first), to_x(last)
            where = number(first) if first == last else f"{number(first)} to {number(last)}"
            box = f'x="{xy(left - 3)}" y="{xy(to_y.end)}" width="{xy(right - left + 6)}"'
            yield f"<g><title>{escape(self.name)}: cannot be drawn at {where}</title>"
            yield f'<rect class="band" {box} height="{xy(to_y.start - to_y.end)}"/>'
            yield cross(left, to_y.end + 8) + "</g>"

    def told(self) -> str:
        """The curve in words, for those who hear the page."""
        seen = self.y[~np.isnan(self.y)]
        if not len(seen):
            return f"{self.name}: no finite value."
        ends = f"from {number(seen[0])} to {number(seen[-1])}"
        spread = f"lowest {number(seen.min())}, highest {number(seen.max())}"
        lost = f", {self.lost.sum()} not drawable" if self.lost.any() else ""
        return f"{self.name}: {len(seen)} values {ends}, {spread}{lost}."


def lines(
    series: Mapping[str, Sequence[float | None] | NDArray[Any]],
    *,
    title: str,
    x: ArrayLike | Mapping[str, Any] | None = None,
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
    marks: Iterable[tuple[float, str]] = (),
    width: float = 480,
    height: float = 300,
) -> Chart:
    """Curves over a common axis: one per name, at 1, 2, 3… or at `x` (shared, or per name).

    None is a gap; a value that is not finite (with `log_y`, not positive) is a gap with a red
    mark. `marks` are (x, label) pairs drawn as upright lines.
    """
    places = x if isinstance(x, Mapping) else dict.fromkeys(series, x)
    curves = [Series.of(name, y, places.get(name), log_y) for name, y in series.items()]
    drawn = [c for c in curves if len(c.x)]
    values = np.concatenate([c.y[~np.isnan(c.y)] for c in drawn] or [np.empty(0)])
    if not len(values):
        return nothing(width, height, title)
    to_y = Axis.around(values, height - 46, 58, log_y)
    to_x = Axis.tight(np.concatenate([c.x for c in drawn]), to_y.gutter, width - 10)
    whole = all(bool(np.all(c.x == np.round(c.x))) for c in drawn)
    parts = frame(to_x, to_y, x_label, y_label, whole)
    for kind, curve in enumerate(curves):
        parts += [*curve.gaps(to_x, to_y), curve.path(to_x, to_y, kind % 4 + 1)]
    for at, label in marks:
        if to_x.low <= at <= to_x.high:
            place = to_x(at)
            parts.append(f'<path class="mark" d="M{xy(place)} {xy(to_y.start)}V{xy(to_y.end)}"/>')
            side = "end" if place + extent(label) / 2 > width else "middle"
            parts.append(text_at(place, to_y.end - 5, label, "soft", side))
    shown = [(kind % 4 + 1, c.name) for kind, c in enumerate(curves) if len(c.x)]
    parts += legend(shown, width, extent(y_label) + 16)
    parts += readouts(drawn, to_x, to_y, x_label)
    return finish(width, height, title, parts, " ".join(c.told() for c in drawn))


def legend(names: Sequence[tuple[int, str]], width: float, taken: float) -> Iterable[str]:
    """The names of several series beside a piece of their line, right-aligned under the title."""
    room = (width - taken) / max(len(names), 1)
    right = width - 10
    for kind, name in reversed(names if len(names) > 1 else ()):
        text = shorten(name, max(4, int((room - 40) / 6.7)))
        left = right - extent(text)
        yield text_at(left, 36, text)
        yield f'<path class="line s{kind}" d="M{xy(left - 26)} 32h20"/>'
        right = left - 40


def readouts(curves: Sequence[Series], to_x: Axis, to_y: Axis, x_label: str) -> Iterable[str]:
    """What the pointer shows: a rule, and the values there, with style alone."""
    at = np.array(sorted({x for c in curves for x in c.x}))  # np.unique would load numpy.ma
    at = at[np.linspace(0, len(at) - 1, min(len(at), 100)).round().astype(int)]
    edges = [to_x.start, *((to_x(a) + to_x(b)) / 2 for a, b in pairwise(at))]
    values = [dict(zip(c.x, c.y, strict=True)) for c in curves]
    top, height = xy(to_y.end), xy(to_y.start - to_y.end)
    for place, left, right in zip(at, edges, [*edges[1:], to_x.end], strict=True):
        read = [f"{x_label} {number(place)}".strip()]
        for curve, known in zip(curves, values, strict=True):
            if place in known:
                read.append(f"{shorten(curve.name, 16)} {number(known[place])}")
        yield (
            f'<g class="hit"><rect x="{xy(left)}" y="{top}" width="{xy(right - left)}" '
            f'height="{height}" fill="none" pointer-events="all"/><g class="show" '
            f'visibility="hidden"><path class="axis" d="M{xy(to_x(place))} {top}v{height}"/>'
            f"{text_at(to_x.start, to_y.start + 36, ' · '.join(read))}</g></g>"
        )


def cell(kind: str, x: float, y: float, w: float, h: float, told: str, fill: str = "") -> str:
    """One cell of a grid, with what it says under the pointer."""
    look = f' style="{fill}"' if fill else ""
    box = f'x="{xy(x)}" y="{xy(y)}" width="{xy(w)}" height="{xy(h)}"'
    return f'<rect class="{kind}" {box}{look}><title>{escape(told)}</title></rect>'


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
    cell; a cell that is not finite is a red ×, and so is an average that holds one.
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
    names = told_apart(rows, 26, 48)
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
            told, box = f"{row}, {x_label} {where}: ", (left + wide * j, y, wide + 0.2, inner)
            if bad[i, group].any():
                parts.append(cell("band", *box, told + "not finite"))
                if j == 0 or not bad[i, groups[j - 1]].any():
                    parts.append(cross(box[0] + wide / 2, y + tall / 2, min(wide, tall, 12) / 3))
            elif zero[i, group].any():
                parts.append(cell("zero", *box, told + "zero"))
            else:
                mean = float(level[i, group].mean())
                told += number(10**mean if log else mean)
                parts.append(cell("", *box, told, viridis((mean - low) / (high - low))))
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


def confusion_matrix(counts: ArrayLike, classes: Sequence[object], *, title: str) -> Chart:
    """Counts of (true class, predicted class): colour is the share of the row, blue if right."""
    n = len(classes)
    table = np.asarray(counts, np.float64).reshape(n, n)
    sums = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, sums, out=np.zeros_like(table), where=sums > 0)
    names = told_apart(classes, 18, 32)
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
            told = f"true {classes[i]}, predicted {classes[j]}: {number(count)} ({share:.1%})"
            fill = f"fill:var(--c{1 if i == j else 2});fill-opacity:{0.06 + 0.94 * share:.2f}"
            box = (left + size * j, y, size - 1, size - 1)
            parts.append(cell("zero", *box, told, fill if count else ""))
            if count:
                kind, written = "full" if share > 0.75 else "", number(count)
                font = min(12.5, 0.36 * size, 0.84 * size / (0.56 * len(written)))
                below = y + size / 2 + font * 0.35
                text = text_at(box[0] + size / 2, below, written, kind, "middle")
                style = f'pointer-events="none" style="font-size:{font:.1f}px"'
                parts.append(text.replace("<text", f"<text {style}", 1))
    return finish(width, top + size * n + 6, title, parts)


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
            "charts.scatter", f"{len(px)} x and {len(py)} y", "points pair them up", "check both"
        )
    fine = np.isfinite(px) & np.isfinite(py)
    px, py = px[fine], py[fine]
    if not len(px):
        return nothing(width, height, title)
    both = np.concatenate([px, py])
    to_y = Axis.around(both if identity else py, height - 46, 50)
    to_x = Axis.around(both if identity else px, to_y.gutter, width - 10)
    kept = thin(py - px if identity else py, 2000)
    parts = frame(to_x, to_y, x_label, y_label)
    if identity:
        ends = f"M{xy(to_x.start)} {xy(to_y.start)}L{xy(to_x.end)} {xy(to_y.end)}"
        parts.append(f'<path class="axis" d="{ends}"/>')
    parts.append(f'<g class="f1" fill-opacity="{0.75 if len(kept) < 300 else 0.4}">')
    spots = ((xy(to_x(px[i])), xy(to_y(py[i]))) for i in kept)
    parts += [f'<circle cx="{a}" cy="{b}" r="2.3"/>' for a, b in spots]
    parts.append("</g>")
    lost = int((~fine).sum())
    told = f"{len(px)} points" + (f", {lost} more are not finite" if lost else "")
    return finish(width, height, title, parts, told)


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
        told, y = f"{number(a)} to {number(b)}: {count}", to_y(float(count))
        wide = max(to_x(b) - to_x(a) - 1, 0.5)
        parts.append(cell("f1", to_x(a), y, wide, to_y.start - y, told))
    if mark is not None and to_x.low <= mark <= to_x.high:
        parts.append(f'<path class="axis" d="M{xy(to_x(mark))} {xy(to_y.start)}V{xy(to_y.end)}"/>')
    lost = len(array) - len(fine)
    told = f"{len(fine)} values" + (f", {lost} more are not finite" if lost else "")
    return finish(width, height, title, parts, told)
