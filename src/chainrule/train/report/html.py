"""Pieces of HTML: names and values as words, lists, tables, figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..charts import Chart
from ..charts.drawing import escape, number, shorten

NAMES = {
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "auc": "AUC",
    "f1": "mean F1",
    "lr": "learning rate",
}


def label(key: str) -> str:
    """A metric's or fact's name as words."""
    base = key.removeprefix("valid_")
    words = NAMES.get(base, base.replace("_", " "))
    return words if base == key else f"validation {words}"


def value_text(key: str, value: Any) -> str:
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


def definitions(pairs: Iterable[tuple[str, str]], kind: str = "facts") -> str:
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
    head = line(list(map(escape, heads)), "th")
    return _scrolled(f"<table><thead>{head}</thead><tbody>{body}</tbody></table>")


def _scrolled(body: str) -> str:
    """What may be wider than the page; it can be scrolled with the keyboard."""
    return f'<div class="wide" tabindex="0">{body}</div>'


def class_name(name: object, limit: int = 48) -> str:
    """A class's name as HTML: isolated, so that its direction leaves the line alone."""
    return f'<bdi title="{escape(name)}">{escape(shorten(name, limit))}</bdi>'


def figure(chart: Chart, note: str = "", wide: bool = False) -> str:
    """A chart with a sentence under it."""
    note = f"<figcaption>{note}</figcaption>" if note else ""
    body = _scrolled(chart.bare) if wide else chart.bare
    return f"<figure>{body}{note}</figure>"


def code(text: str) -> str:
    return f'<pre tabindex="0">{escape(text)}</pre>'


def collapsible(title: str, body: str, shown: bool = False) -> str:
    """A part that opens on a click, and on paper."""
    return f"<details{' open' * shown}><summary>{escape(title)}</summary>{body}</details>"


def slot(name: str, text: str = "") -> str:
    """A part of a page whose text can be replaced later: see `page.with_trials`."""
    return f"<!--{name}-->{text}<!--/{name}-->"


def count_text(value: float) -> str:
    return f"{value:,.0f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}%" if math.isfinite(value) else "–"


def percent_of(count: float, total: float) -> str:
    return percent(count / total if total else math.nan)


def bar(value: float) -> str:
    """A share as a number on a bar of that length."""
    width = f' style="--v:{value:.3f}"' if math.isfinite(value) else ""
    return f'<span class="bar"{width}>{percent(value)}</span>'
