"""The page: its frame, and the order of its sections."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..charts.drawing import escape
from .confusion import confusion_section
from .contents import Report
from .curves import curves_section, gradient_flow_section
from .details import data_section, findings_section, model_section, recipe_section, versions_section
from .html import slot
from .pictures import filters_section, maps_section, training_section
from .predictions import residuals_section, samples_section
from .style import PAGE
from .verdict import head, header

TRIED = "What was tried"


def render(report: Report) -> str:
    """The page as text."""
    parts = [(name, text) for name, section in SECTIONS if (text := section(report))]
    if not any(isinstance(sample, str) for sample in report.samples):
        parts = [("Mistakes" if name == "Samples" else name, text) for name, text in parts]
    links = " · ".join(_link(name) + slot("link") * (name == "Findings") for name, _ in parts)
    links = f"<nav>{links}</nav>" if len(parts) > 2 else ""
    body = "".join(
        _section(name, text) + slot("trials") * (name == "Findings") for name, text in parts
    )
    return _framed(report.title, f"{head(report)}{links}{body}")


def page_of(title: str, over: Sequence[str], said: str, section: str) -> str:
    """A page of what was tried alone: `section` is HTML, `said` its result in a sentence."""
    top = header(title, over, escape(said))
    return _framed(title, top + _section(TRIED, section))


def with_trials(page: str, section: str) -> str | None:
    """The page of a report with what was tried, which is HTML, after its findings.

    None if it has no place for that: pages of earlier versions have none.
    """
    texts = {"trials": _section(TRIED, section), "link": f" · {_link(TRIED)}", "doctor": ""}
    if slot("trials").partition(">")[0] not in page:
        return None
    return re.sub(
        r"<!--(trials|link|doctor)-->.*?<!--/\1-->",
        lambda match: slot(match[1], texts[match[1]]),
        page,
        flags=re.DOTALL,
    )


def _link(name: str) -> str:
    return f'<a href="#{_key(name)}">{name}</a>'


def _section(name: str, text: str) -> str:
    return f'<section id="{_key(name)}"><h2>{name}</h2>{text}</section>'


def _key(name: str) -> str:
    return name.split()[0].lower()


def _framed(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none';style-src 'unsafe-inline';img-src data:\">"
        f"<title>{escape(title)}</title><style>{PAGE}</style></head><body><main>"
        f"{body}</main></body></html>\n"
    )


SECTIONS: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("Curves", curves_section),
    ("Gradient flow", gradient_flow_section),
    ("Findings", findings_section),
    ("Classes", confusion_section),
    ("Residuals", residuals_section),
    ("Samples", samples_section),
    ("Where it looks", maps_section),
    ("Filters", filters_section),
    ("Training images", training_section),
    ("Data", data_section),
    ("Model", model_section),
    ("Recipe", recipe_section),
    ("Versions", versions_section),
)
