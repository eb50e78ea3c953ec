"""Findings, data, model, recipe and versions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...diagnosis.finding import Finding
from ...diagnosis.wording import capitalised, number, place
from ..charts.drawing import escape
from .contents import Report
from .html import code, collapsible, definitions, label, slot, value_text

LEVELS = {"warning": "▲ Warning", "notice": "● Notice", "good": "✓ Good"}
SHOWN = 8  # numbers by layer or step
EVIDENCE = {
    "dead": "share of dead units",
    "gain": "gradient of the input over that of the output",
    "growth": "weights over the first ones",
    "norms": "norm of the gradient",
    "saturated": "share of saturated outputs",
    "update_ratio": "change of the weights in a step, over the weights",
}


def findings_section(report: Report) -> str:
    if report.findings is None:
        return ""
    ordered = sorted(report.findings, key=lambda f: -f.confidence)
    asked = "".join(map(_to_try, ordered)) + _doctor(report)
    return asked or _framed(
        "good", "Nothing found", "<p>Gradients, losses and test show no fault.</p>"
    )


def _doctor(report: Report) -> str:
    """Where a warning leads: to the trials of the doctor."""
    if not report.run or not any(f.level == "warning" for f in report.findings or ()):
        return ""
    command = f"chainrule doctor …/{report.run}"
    text = f"<p><code>{escape(command)}</code> tries remedies and says which of them help.</p>"
    return slot("doctor", text)


def _to_try(finding: Finding) -> str:
    remedies = [r.text for r in finding.remedies]
    return article(finding, [("to try", listed(remedies))] if remedies else [])


def listed(texts: Sequence[str]) -> str:
    """Texts as a list; one alone as it is."""
    items = [escape(_begun(text)) for text in texts]
    return "".join(
        items if len(items) == 1 else ["<ul>", *(f"<li>{i}</li>" for i in items), "</ul>"]
    )


def article(finding: Finding, remedies: Sequence[tuple[str, str]], label: str = "") -> str:
    """A finding; remedies are pairs of a name and HTML.

    label   in place of its level
    """
    shown = [("cause", escape(finding.sentence))]
    if numbers := "; ".join(_numbers(finding.evidence)):
        shown.append(("evidence", numbers))
    shown += remedies
    where = f"<code>{escape(finding.kind)}</code> at {escape(place(finding.place))}"
    return _framed(
        "warning" if label else finding.level,
        capitalised(finding.meaning),
        f'<p class="kind">{where}</p>{definitions(shown, "why")}',
        label,
    )


def _begun(text: str) -> str:
    """The text with a capital first letter, unless it begins with a setting."""
    return text if re.match(r"\w*[_=]", text) else capitalised(text)


def _framed(level: str, title: str, body: str, label: str = "") -> str:
    return (
        f'<article class="{level}"><p class="level">{label or LEVELS[level]}</p>'
        f"<div><h3>{escape(title)}</h3>{body}</div></article>"
    )


def _numbers(evidence: Mapping[str, Any]) -> Iterator[str]:
    """The numbers of a finding by layer or step, of many the first and last; the others are in the
    cause."""
    for name, value in evidence.items():
        if not isinstance(value, (Mapping, list, tuple)) or len(value) < 2:
            continue
        if isinstance(value, Mapping):
            shown = [f"{escape(place(k))} {_value(v)}" for k, v in value.items()]
        else:
            shown = [_value(v) for v in value]
        left_out = len(shown) - SHOWN
        if left_out > 0:
            shown[SHOWN // 2 : -SHOWN // 2] = [f"… {left_out} more …"]
        yield f"{escape(EVIDENCE.get(name, label(name)))}: {', '.join(shown)}"


def _value(value: Any) -> str:
    return number(value) if isinstance(value, float) else escape(str(value))


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
    return why + collapsible(size, code(report.model), shown)


def recipe_section(report: Report) -> str:
    if not report.recipe.strip():
        return ""
    return collapsible("Everything needed to repeat the run", code(report.recipe))


def versions_section(report: Report) -> str:
    return definitions((k, escape(v)) for k, v in report.versions.items())
