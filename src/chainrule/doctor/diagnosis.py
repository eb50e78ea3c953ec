"""What a diagnosis says: as text, as HTML for notebooks, and as plain dicts."""

from __future__ import annotations

import html
import itertools
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..diagnosis.finding import Finding, Remedy, Trial
from ..diagnosis.kinds import KINDS
from ..files import with_nulls
from .words import place

WIDTH = 96
SHOWN = 6  # trials in the text
HELPS = 0.1  # a difference of scores that is more than nothing


@dataclass(frozen=True)
class Attempt:
    """A number of changes that were tried, in words, and what they came to."""

    count: int
    text: str
    trial: Trial


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a training; its text shows it.

    findings    the most harmful first; the first remedy of each repairs them together, the second
                this one alone
    metric      the name of the score: "accuracy", "balanced accuracy", "R²"
    score       of the training as it is, on the held-out rows
    rows        how many rows are held out
    trials      what was tried, the best first
    broke       the epoch in which a loss or a weight was not finite, or None
    """

    findings: tuple[Finding, ...]
    metric: str
    score: float
    rows: int
    trials: tuple[Attempt, ...]
    broke: int | None = None

    @property
    def remedy(self) -> Remedy | None:
        """What repairs most, and was tried; None if nothing does."""
        first = (finding.remedies[0] for finding in self.findings if finding.remedies)
        helps = (r for r in first if r.trial is not None and r.trial.after > r.trial.before)
        return max(helps, key=_after, default=None)

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers and text, for JSON; None for what is not finite."""
        out: dict[str, Any] = with_nulls(
            {
                "metric": self.metric,
                "score": self.score,
                "rows": self.rows,
                "broke": self.broke,
                "findings": [finding.to_dict() for finding in self.findings],
                "trials": [
                    {
                        "changes": attempt.text,
                        "score": attempt.trial.after,
                        "loss": attempt.trial.loss,
                        "seconds": attempt.trial.seconds,
                    }
                    for attempt in self.trials
                ],
            }
        )
        return out

    # ── as text ──────────────────────────────────────────────────────────────────────────────────

    @property
    def headline(self) -> str:
        """How many findings there are, the score, and what it came to."""
        count = len(self.findings)
        what = "nothing found" if not count else f"{count} finding{'s' * (count > 1)}"
        scores = [] if self.broke else [_score(self.score)]
        scores += [] if self.remedy is None else [_score(_after(self.remedy))]
        text = f"{self.metric} {' → '.join(scores)} on {self.rows} held-out rows"
        if self.broke:
            breaks = f"the loss is not finite in epoch {self.broke}"
            text = f"{breaks}; repaired, {text}" if scores else breaks
        return f"{what}: {text}"

    @property
    def verdict(self) -> str:
        """Of a training without findings, or without a remedy: what the trials say; or nothing."""
        best = self.trials[0].trial.after if self.trials else -math.inf
        if self.findings and self.remedy is None:
            return "No change that was tried repairs it."
        if self.findings:
            return ""
        if not self.trials:
            return "There was no time for trials: give it more seconds."
        if best - self.score < HELPS:
            return "No change that was tried makes it much better."
        return "The best change below was a chance of the held-out rows, or of the seed."

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def lines(self, width: int = WIDTH) -> Iterator[str]:
        """The text, line by line."""
        yield _capital(self.headline)
        for number, finding in enumerate(self.findings, 1):
            yield ""
            head = f"{number}. "
            yield f"{head}{title(finding)}"
            yield from _indented(_capital(finding.cause) + ".", len(head), width)
            alone = finding.remedies[-1] if finding.remedies else None
            if alone is not None:
                helps = alone.trial is None or alone.trial.after > alone.trial.before
                name = "remedy" if helps else "tried"
                yield from self._listed(name, alone, " " * len(head), width)
        if self.remedy is not None and all(f.remedies[-1] != self.remedy for f in self.findings):
            yield ""
            yield from self._listed("together", self.remedy, "", width)
        if self.verdict:
            yield ""
            yield self.verdict
        if self.trials:
            yield ""
            yield from table(self, width)

    def _listed(self, head: str, remedy: Remedy, indent: str, width: int) -> Iterator[str]:
        """The changes of a remedy, one per line, and what they came to."""
        rest = itertools.repeat(" " * (len(head) + 2))
        heads = (indent + h for h in itertools.chain([f"{head}  "], rest))
        for change in remedy.text.split("; "):
            for line in textwrap.wrap(change, max(width - 12, 20), break_on_hyphens=False):
                yield next(heads) + line
        if remedy.trial is not None:
            after = _score(remedy.trial.after)
            before = "" if self.broke else f"{_score(remedy.trial.before)} → "
            yield f"{next(heads)}{self.metric} {before}{after}"
        else:
            yield f"{next(heads)}not tried: there was no time left"

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        parts = [f"<p><b>{html.escape(_capital(self.headline))}</b></p>"]
        if self.findings:
            items = (
                f"<li><b>{html.escape(title(f))}</b><br>{html.escape(_capital(f.cause))}.</li>"
                for f in self.findings
            )
            parts.append(f"<ol>{''.join(items)}</ol>")
        if self.remedy is not None:
            changes = (f"<li>{html.escape(c)}</li>" for c in self.remedy.text.split("; "))
            parts.append(f"<p>Remedy, tried:</p><ul>{''.join(changes)}</ul>")
        if self.verdict:
            parts.append(f"<p>{html.escape(self.verdict)}</p>")
        if self.trials:
            head = f"<tr><th>{html.escape(self.metric)}</th><th>changes</th></tr>"
            cell = '<td style="text-align:left">'
            rows = (
                f"<tr><td>{_score(a.trial.after)}</td>{cell}{html.escape(a.text)}</td></tr>"
                for a in self.trials
            )
            body = f"<table>{head}{''.join(rows)}</table>"
            count = len(self.trials)
            parts.append(f"<details><summary>{_trials(count)}</summary>{body}</details>")
        return f"<div>{''.join(parts)}</div>"


def title(finding: Finding) -> str:
    """The kind, its place, and what the kind means."""
    meaning = KINDS.get(finding.kind, "")
    return f"{finding.kind} at {place(finding.place)}" + f": {meaning}" * bool(meaning)


def table(diagnosis: Diagnosis, width: int = WIDTH) -> Iterator[str]:
    """What was tried, the best first."""
    shown, name = diagnosis.trials[:SHOWN], diagnosis.metric
    head = max(len(name), 6)
    yield f"{'tried':<8}{name:>{head}}  changes"
    own = Trial(diagnosis.score, diagnosis.score, math.nan, 0.0)
    none = Attempt(0, "none: the training as it is", own)
    for attempt in sorted([*shown, none], key=lambda a: -round(a.trial.after, 3)):
        start = f"{'':<8}{_score(attempt.trial.after):>{head}}  "
        text = textwrap.wrap(attempt.text, max(width - len(start), 20), break_on_hyphens=False)
        yield start + text[0]
        yield from (" " * len(start) + line for line in text[1:])
    more = len(diagnosis.trials) - len(shown)
    if more:
        yield f"{'':<8}{'':>{head}}  … and {more} more, none of them better than these"


def _indented(text: str, indent: int, width: int) -> Iterator[str]:
    space = " " * indent
    yield from textwrap.wrap(
        text, width, initial_indent=space, subsequent_indent=space, break_on_hyphens=False
    )


def _after(remedy: Remedy) -> float:
    return math.nan if remedy.trial is None else remedy.trial.after


def _trials(count: int) -> str:
    return f"{count} change{'s' * (count > 1)} tried"


def _score(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
