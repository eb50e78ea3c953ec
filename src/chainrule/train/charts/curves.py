"""Curves over a common axis: `lines`, and what the pointer shows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ShapeError
from .drawing import (
    Axis,
    Chart,
    Floats,
    cross,
    escape,
    extent,
    finish,
    floats,
    frame,
    nothing,
    number,
    shorten,
    text_at,
    thin,
    xy,
)


@dataclass(frozen=True)
class Series:
    """One curve: its points, and which values cannot be drawn (not finite; log of 0 or less)."""

    name: str
    x: Floats
    y: Floats
    lost: NDArray[np.bool_]

    @staticmethod
    def of(name: str, values: object, x: object, log: bool) -> Series:
        listed = list(values)  # type: ignore[call-overload]
        y = floats(listed).ravel()
        at = np.arange(1.0, len(y) + 1) if x is None else floats(x).ravel()
        if len(at) != len(y):
            raise ShapeError(
                "charts.lines",
                f"got {len(y)} values and {len(at)} x positions for {name!r}",
                "expected one position per value",
                "pass x={name: positions} where series differ in length",
            )
        drawn = np.isfinite(y) & (y > 0 if log else True)
        y = np.clip(y, 1e-200, 1e200) if log else y
        lost = ~drawn & np.array([v is not None for v in listed], bool)
        fine = np.isfinite(at) & (drawn | lost | np.isnan(y))
        return Series(name, at[fine], np.where(drawn, y, np.nan)[fine], lost[fine])

    def path(self, to_x: Axis, to_y: Axis, kind: int) -> str:
        """The thinned curve, interrupted where values are missing; single points become dots."""
        indices = thin(self.y)
        pieces: list[list[str]] = [[]]
        for i in indices:
            if np.isnan(self.y[i]):
                pieces.append([])
            else:
                pieces[-1].append(f"{xy(to_x(self.x[i]))} {xy(to_y(self.y[i]))}")
        route = "".join("M" + "L".join(p) for p in pieces if len(p) > 1)
        dots = [p for p in pieces if len(p) == 1] if len(indices) > 24 else pieces
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

    def description(self) -> str:
        """The curve in words, for screen readers."""
        finite = self.y[~np.isnan(self.y)]
        if not len(finite):
            return f"{self.name}: no finite value."
        ends = f"from {number(finite[0])} to {number(finite[-1])}"
        spread = f"lowest {number(finite.min())}, highest {number(finite.max())}"
        lost = f", {self.lost.sum()} not drawable" if self.lost.any() else ""
        return f"{self.name}: {len(finite)} values {ends}, {spread}{lost}."


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
    return finish(width, height, title, parts, " ".join(c.description() for c in drawn))


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
    """What the pointer shows, without script: a rule, and the values there."""
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
