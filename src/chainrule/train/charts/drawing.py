"""Drawing charts: colours, the finished `Chart`, text, numbers and axes.

Colours: series use those of Okabe and Ito, which are distinct under every common colour blindness;
magnitudes use viridis, whose lightness rises evenly and which has no red: red means "not finite".
"""

from __future__ import annotations

import html
import itertools
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ArgumentError

Floats = NDArray[np.float64]

LIGHT = (
    "--paper:#fffefb;--ink:#1c2126;--soft:#5c656e;--rule:#e2e1db;--lost:#c4314b;"
    "--c1:#0072b2;--c2:#d55e00;--c3:#00855f;--c4:#b05088;--full:#fff;"
)
DARK = (
    "--paper:#14171a;--ink:#e8e6e1;--soft:#9aa2aa;--rule:#2b3035;--lost:#ff7085;"
    "--c1:#56b4e9;--c2:#f0a23c;--c3:#35c79c;--c4:#e39bc4;--full:#0b0d0f;"
)
RULES = """.chart{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
font-variant-numeric:tabular-nums lining-nums;display:block;width:100%;
max-width:var(--w);height:auto}
.chart text{fill:var(--ink)}.chart .head{font-size:14px;font-weight:600}
.chart .soft{fill:var(--soft)}
.chart .paper{fill:var(--paper)}.chart .rule{stroke:var(--rule);fill:none}
.chart .axis{stroke:var(--soft);fill:none}.chart .mark{stroke:var(--soft);stroke-dasharray:2 3}
.chart .line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.chart .s1{stroke:var(--c1)}.chart .s2{stroke:var(--c2)}.chart .s3{stroke:var(--c3)}
.chart .s4{stroke:var(--c4)}.chart .line.s2{stroke-dasharray:7 3}
.chart .line.s3{stroke-dasharray:2 4}.chart .f1{fill:var(--c1)}.chart .f2{fill:var(--c2)}
.chart .f3{fill:var(--c3)}.chart .f4{fill:var(--c4)}
.chart .band{fill:var(--lost);opacity:.16}
.chart .cross{stroke:var(--lost);stroke-width:1.6;fill:none}
.chart .zero{fill:var(--paper);stroke:var(--rule)}.chart text.full{fill:var(--full)}
.chart .hit .show{visibility:hidden}.chart .hit:hover .show{visibility:visible}
.chart .hit text{font-size:11.5px}"""
ALONE = "padding:12px;box-sizing:border-box;background:var(--paper)"
STYLE = (
    f"<style>.chart{{{LIGHT}{ALONE}}}@media(prefers-color-scheme:dark){{.chart{{{DARK}}}}}"
    f"{RULES}</style>"
)
VIRIDIS = np.array(
    [
        *((68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140)),
        *((40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37)),
    ]
)


@dataclass(frozen=True)
class Chart:
    """A finished chart; notebooks show it, `save` writes it, `str` is its SVG."""

    svg: str

    def __str__(self) -> str:
        return self.svg

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div style="max-width:60rem">{self.svg}</div>'

    @property
    def bare(self) -> str:
        """The SVG without its style, for a page that defines the colours and `RULES` itself."""
        return self.svg.replace(STYLE, "", 1)

    def save(self, path: str | Path, write: Callable[[Path, str], object] | None = None) -> Path:
        """Write the chart to a .svg or .html file, with `write(path, text)` if it is given."""
        path = Path(path)
        if path.suffix.lower() not in {".svg", ".html"}:
            raise ArgumentError(
                "Chart.save",
                f"the name {path.name!r}",
                "expected a chart is SVG",
                "end it in .svg or .html",
            )
        page = f'<!doctype html><meta charset="utf-8"><title>Chart</title>{self._repr_html_()}\n'
        text = page if path.suffix.lower() == ".html" else self.svg + "\n"
        if write is None:
            path.write_text(text, encoding="utf-8")
        else:
            write(path, text)
        return path


# Text


_ODD = "\ufffe\uffff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def escape(text: object) -> str:
    """Text for HTML and XML; characters that XML forbids, or that turn the direction of the rest of
    a line, become U+FFFD."""
    text = str(text)
    if text.isprintable():
        return html.escape(text)
    bad = {"Cc", "Cs"}
    allowed = (c if c in "\n\t" or unicodedata.category(c) not in bad else "\ufffd" for c in text)
    return html.escape("".join("\ufffd" if c in _ODD else c for c in allowed))


def without_common_path(names: Sequence[str]) -> list[str]:
    """Names with dots without the first parts, up to a dot, that all have in common."""
    parts = [name.split(".") for name in names]
    in_turn = zip(*(p[:-1] for p in parts), strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda part: len(set(part)) == 1, in_turn))
    return [".".join(p[common:]) for p in parts]


def shorten_distinctly(texts: Sequence[object], limit: int, most: int) -> list[str]:
    """The texts, shortened to `limit` characters, or up to `most` where they would be equal."""
    short = [shorten(text, limit) for text in texts]
    if len(set(short)) == len(set(map(str, texts))) or limit >= most:
        return short
    return shorten_distinctly(texts, limit + 1, most)


def shorten(text: object, limit: int) -> str:
    """At most `limit` characters: the start and the end, where names differ."""
    text = " ".join(str(text).split())
    if len(text) <= limit:
        return text
    tail = limit // 2
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"


NARROW, WIDE = set(" ijlI.,:;'|!()[]frt"), set("mwMW@%…—")
LARGEST = 14  # pixels of the letters of a chart: on a phone (style.py), 12 elsewhere


def extent(text: str, size: float = 12) -> float:
    """The approximate width of a text in pixels, in a wide font."""
    return size * sum(
        0.42
        if c in NARROW
        else 1.02
        if c in WIDE or unicodedata.east_asian_width(c) in "WF"
        else 0.78
        if c.isupper()
        else 0.64
        for c in text
    )


def number(value: float) -> str:
    """A value as people write it: 0.0312, 12,345, 1.2×10⁻⁵, NaN, ∞."""
    value = float(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        mantissa, power = f"{value:.2e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") + "×"
        tail = "10" + str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = (mantissa[:-2] if mantissa in {"1×", "-1×"} else mantissa) + tail
    elif value == int(value) or abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")


def rounded(value: float, digits: int = 3) -> str:
    """A value as people write it, to a few significant digits."""
    return number(float(f"{value:.{digits}g}"))


def xy(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def text_at(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """A text element; the text is escaped here."""
    kinds = f' class="{kind}"' if kind else ""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{xy(x)}" y="{xy(y)}"{kinds}{place}>{escape(text)}</text>'


def finish(
    width: float, height: float, title: str, body: Iterable[str], description: str = ""
) -> Chart:
    """The SVG around a chart's body: its size, accessible title and description, and heading."""
    description = f"<desc>{escape(description)}</desc>" if description else ""
    head = text_at(0, 16, shorten(title, int(width / 8)), "head") if title else ""
    return Chart(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" '
        f'viewBox="0 0 {xy(width)} {xy(height)}" style="--w:{xy(width)}px">'
        f"<title>{escape(title)}</title>{description}{STYLE}"
        f'<rect class="paper" width="{xy(width)}" height="{xy(height)}"/>'
        f"{head}{''.join(body)}</svg>"
    )


# Numbers and axes


def floats(values: Any) -> Floats:
    """Numbers as float64; None becomes NaN, and huge values are clipped."""
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.float64)
    return np.where(np.isfinite(array), np.clip(array, -1e300, 1e300), array)


def thin(values: ArrayLike, limit: int = 400) -> NDArray[np.intp]:
    """Indices of about `limit` values whose curve looks like that of all values.

    They are the first, the last, and in each bucket the extremes and the first value that is not
    finite, so peaks and gaps remain.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) <= limit:
        return np.arange(len(array))
    indices = {0, len(array) - 1}
    for bucket in np.array_split(np.arange(len(array)), max(1, limit // 2 - 1)):
        part = array[bucket]
        finite = np.isfinite(part)
        if finite.any():
            indices.add(int(bucket[np.argmin(np.where(finite, part, np.inf))]))
            indices.add(int(bucket[np.argmax(np.where(finite, part, -np.inf))]))
        if not finite.all():
            indices.add(int(bucket[np.argmin(finite)]))
    return np.array(sorted(indices))


def ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten apart) between low and high."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    step = max(1.0, round(step)) if whole else step
    places = max(0, 1 - math.floor(math.log10(step)))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    if len(numbers) < 2 and not whole and count < 20:
        return ticks(low, high, 2 * count)
    return [round(k * step, places) for k in numbers]


def log_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Decades between low and high; with 2 and 5 in between, or plain ticks, where they are few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 2:
        return [10.0**k for k in range(first, last + 1, -(-(last - first + 1) // count))]
    candidates = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5)]
    candidates = [v for v in candidates if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    return candidates if len(candidates) > 2 else ticks(low, high, count)


def labels(values: Sequence[float]) -> list[str]:
    """Ticks as text, evenly spaced ones with the same number of decimals."""
    texts = [number(v) for v in values]
    gaps = np.diff(values)
    if len(values) < 2 or not np.allclose(gaps, gaps[0], rtol=1e-6, atol=0):
        return texts
    step = float(gaps[0])
    if (step < 1e-4 or max(map(abs, values)) >= 1e6) and len(set(texts)) == len(texts):
        return texts
    places = min(max(0, -math.floor(math.log10(step) + 1e-9)), 15)
    return [f"{v:,.{places}f}".replace("-", "−") if v else "0" for v in values]


def alike(low: float, high: float) -> bool:
    """Whether two values are too close for an axis to distinguish them."""
    return high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-290)


@dataclass(frozen=True)
class Axis:
    """A range of values laid on a range of pixels, evenly or by decades."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @staticmethod
    def around(values: Floats, start: float, end: float, log: bool = False) -> Axis:
        """An axis with all of the (finite) values and a margin around them."""
        low, high = float(values.min()), float(values.max())
        if log:
            air = max(math.exp(0.04 * (math.log(high) - math.log(low))), 1.05)
            return Axis(low / air, high * air, start, end, True)
        size = max(abs(low), abs(high))
        if alike(low, high):
            half = 0.1 * size if size > 1e-280 else 0.5
            return Axis(low - half, high + half, start, end)
        air = 0.04 * (high - low)
        return Axis(low - air, high + air, start, end)

    @staticmethod
    def tight(values: Floats, start: float, end: float) -> Axis:
        """An axis from the least to the greatest value, or around a single one."""
        low, high = float(values.min()), float(values.max())
        if alike(low, high):
            return Axis(low - 0.5 - 1e-9 * abs(low), high + 0.5 + 1e-9 * abs(low), start, end)
        return Axis(low, high, start, end)

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int, whole: bool = False) -> list[float]:
        if self.log:
            return log_ticks(self.low, self.high, count)
        return ticks(self.low, self.high, count, whole)

    @property
    def gutter(self) -> float:
        """The width of the labels on the left of this upright axis."""
        shown = labels(self.ticks(self.rows))
        return max(52, *(extent(text, LARGEST) + 10 for text in shown), 0)

    @property
    def rows(self) -> int:
        """How many ticks an upright axis has room for."""
        return max(2, round((self.start - self.end) / 36))


def frame(x: Axis, y: Axis, x_label: str, y_label: str, whole: bool = False) -> list[str]:
    """The axes' rules, ticks and labels; the vertical axis is named above its ticks."""
    parts = []
    at = y.ticks(y.rows)
    for value, text in zip(at, labels(at), strict=True):
        parts.append(f'<path class="rule" d="M{xy(x.start)} {xy(y(value))}H{xy(x.end)}"/>')
        parts.append(text_at(x.start - 7, y(value) + 4, text, "soft", "end"))
    at = x.ticks(6, whole)
    for value, text in zip(at, labels(at), strict=True):
        parts.append(f'<path class="axis" d="M{xy(x(value))} {xy(y.start)}v4"/>')
        middle = min(x(value), x.end + 10 - extent(text, 14) / 2)  # the size on narrow screens
        parts.append(text_at(middle, y.start + 18, text, "soft", "middle"))
    parts.append(f'<path class="axis" d="M{xy(x.start)} {xy(y.start)}H{xy(x.end)}"/>')
    parts.append(text_at(x.end, y.start + 36, x_label, "soft", "end"))
    parts.append(text_at(0, 36, y_label, "soft"))
    return parts


def cell(kind: str, x: float, y: float, w: float, h: float, label: str, fill: str = "") -> str:
    """One cell of a grid; the label appears under the pointer."""
    look = f' style="{fill}"' if fill else ""
    box = f'x="{xy(x)}" y="{xy(y)}" width="{xy(w)}" height="{xy(h)}"'
    return f'<rect class="{kind}" {box}{look}><title>{escape(label)}</title></rect>'


def cross(x: float, y: float, size: float = 4) -> str:
    """A small × in the colour of values that are not finite."""
    (a, b), (c, d) = (xy(x - size), xy(x + size)), (xy(y - size), xy(y + size))
    return f'<path class="cross" d="M{a} {c}L{b} {d}M{b} {c}L{a} {d}"/>'


def nothing(width: float, height: float, title: str) -> Chart:
    """The chart of no values, which says so."""
    note = text_at(width / 2, height / 2, "no finite values to draw", "soft", "middle")
    return finish(width, height, title, [note])
