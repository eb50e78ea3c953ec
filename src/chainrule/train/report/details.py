"""Findings, data, model, recipe and versions."""

from __future__ import annotations

from collections.abc import Mapping

from ..charts.drawing import escape
from .contents import Report
from .html import collapsible, definitions, label, value_text

LEVELS = {"warning": "▲ Warning", "notice": "● Notice", "good": "✓ Good"}


def findings_section(report: Report) -> str:
    order = list(LEVELS)
    known = sorted(report.findings, key=lambda f: order.index(level_of(f)))
    parts = []
    for finding in known:
        level = level_of(finding)
        pairs = [(k, escape(finding[k])) for k in ("cause", "remedy") if finding.get(k)]
        parts.append(
            f'<article class="{level}"><p class="level">{LEVELS[level]}</p>'
            f"<div><h3>{escape(finding.get('title', ''))}</h3>"
            f"{definitions(pairs, 'why')}</div></article>"
        )
    return "".join(parts)


def level_of(finding: Mapping[str, str]) -> str:
    level = finding.get("level", "notice")
    return level if level in LEVELS else "notice"


def data_section(report: Report) -> str:
    listed = definitions((label(k), value_text(k, v)) for k, v in report.data.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return listed + (f"<h3>Preprocessing</h3><ul>{notes}</ul>" if notes else "")


def model_section(report: Report) -> str:
    if not report.model.strip():
        return ""
    why = f"<p>{escape(report.chosen)}</p>" if report.chosen else ""
    size = f"{report.parameters:,} parameters" if report.parameters else "Summary"
    shown = report.model.count("\n") < 25
    return why + collapsible(size, f"<pre>{escape(report.model)}</pre>", shown)


def recipe_section(report: Report) -> str:
    if not report.recipe.strip():
        return ""
    return collapsible("Everything needed to repeat the run", f"<pre>{escape(report.recipe)}</pre>")


def versions_section(report: Report) -> str:
    return definitions((k, escape(v)) for k, v in report.versions.items())
