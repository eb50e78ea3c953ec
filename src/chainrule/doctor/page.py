"""Pieces of a diagnosis as HTML, for notebooks and pages: with the report's tags and classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..diagnosis.wording import capitalised, number
from ..train.charts.drawing import escape
from ..train.report.details import listed
from ..train.report.html import code, collapsible, definitions, duration, table
from ..train.report.style import FINDINGS, TABLES

OPEN = 12  # rows of trials that a page shows at once
NOTEBOOK = (  # colours and fonts are the notebook's
    "--rule:color-mix(in srgb,currentColor 25%,transparent);"
    "--soft:color-mix(in srgb,currentColor 75%,transparent);--lost:currentColor;--c1:currentColor;"
    "dt{color:var(--soft);font-size:.9em}pre{overflow-x:auto}"
)


def for_notebook(headline: str, body: str) -> str:
    """The HTML in a notebook's cell, with the rules that it needs."""
    style = f"<style>.diagnosis{{{NOTEBOOK}{FINDINGS}{TABLES}}}</style>"
    return f'<div class="diagnosis">{style}{lead(headline)}{body}</div>'


def lead(headline: str) -> str:
    return f"<p><strong>{escape(capitalised(headline))}</strong></p>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def changes(texts: Sequence[str], result: str) -> str:
    """Changes, and what they came to."""
    return f'<div>{listed(texts)}</div><div class="score">{escape(result)}</div>'


def together(remedy: str) -> str:
    body = definitions([("remedy", remedy)], "why")
    return f'<article><p class="level">All together</p><div>{body}</div></article>'


def lines(texts: Sequence[str], language: str) -> str:
    """Lines of a language, with a heading; nothing if there are none."""
    text = "\n".join(texts)
    return f"<h3>In {language}</h3>{code(text)}" if text else ""


def trials(metric: str, rows: Iterable[tuple[str, str, float, float]]) -> str:
    """What was tried: changes, score, last loss and seconds; of many the best are open."""
    heads = "changes", metric, "last loss", "time"
    cells = [
        (
            escape(text),
            score,
            *("–" if math.isnan(v) else f(v) for f, v in ((number, loss), (duration, seconds))),
        )
        for text, score, loss, seconds in rows
    ]
    out = "<h3>Trials, the best first</h3>" + table(heads, cells[:OPEN])
    more = len(cells) - OPEN
    return out + (collapsible(f"{more} more", table(heads, cells[OPEN:])) if more > 0 else "")


def measured(rows: Iterable[tuple[str, str, str]]) -> str:
    """What was measured: the name, what is expected, and the value."""
    cells = [tuple(escape(text or "–") for text in row) for row in rows]
    return "<h3>Measured</h3>" + table(("what", "expected", "value"), cells, 2)


def notes(texts: Sequence[str]) -> str:
    said = "".join(paragraph(f"{capitalised(text)}.") for text in texts)
    return f"<h3>Notes</h3>{said}" if texts else ""
