"""The page: its frame, and the order of its sections."""

from __future__ import annotations

from collections.abc import Callable

from ..charts.drawing import escape
from .confusion import confusion_section
from .contents import Report
from .curves import curves_section, gradient_flow_section
from .details import data_section, findings_section, model_section, recipe_section, versions_section
from .pictures import filters_section, maps_section, training_section
from .predictions import residuals_section, samples_section
from .style import PAGE
from .verdict import head


def render(report: Report) -> str:
    """The page as text."""
    parts = [(name, text) for name, section in SECTIONS if (text := section(report))]
    if not any(isinstance(sample, str) for sample in report.samples):
        parts = [("Mistakes" if name == "Samples" else name, text) for name, text in parts]
    names = [name.split()[0].lower() for name, _ in parts]
    links = " · ".join(
        f'<a href="#{key}">{name}</a>' for key, (name, _) in zip(names, parts, strict=True)
    )
    links = f"<nav>{links}</nav>" if len(parts) > 2 else ""
    body = "".join(
        f'<section id="{key}"><h2>{name}</h2>{text}</section>'
        for key, (name, text) in zip(names, parts, strict=True)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none';style-src 'unsafe-inline';img-src data:\">"
        f"<title>{escape(report.title)}</title><style>{PAGE}</style></head><body><main>"
        f"{head(report)}{links}{body}</main></body></html>\n"
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
