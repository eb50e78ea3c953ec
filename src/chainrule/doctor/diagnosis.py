"""What a diagnosis says: as text, as HTML for notebooks, and as plain dicts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..diagnosis.finding import Finding, Remedy, Trial
from ..diagnosis.wording import capitalised, number
from ..files import with_nulls
from ..train.report.details import article
from . import page
from .measured import Measurement
from .score import FEW, are_few
from .search import NEAR_PERFECT

WIDTH = 96
NARROWEST = 20  # columns of a text after its indent
SHOWN = 6  # trials in the text
LINES = 12  # of code likewise
BASIC = {  # always in the text
    *("score_of_a_constant", "score_in_training", "initial_loss"),
    *("critical_rate", "gradient_noise_scale", "batch_by_heart"),
}
OTHERS = (
    "All scores are those with other first weights of the same distribution, with which the "
    "training does worse. With its own it gets {}."
)
UNTRIED = "not tried: there was no time left"
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
    own         the score with the model's own first weights, if others of the same distribution,
                with which the training does worse, are diagnosed; else None
    broke       the epoch in which a loss or a weight was not finite, or None
    measured    what was measured, as expected or not; the text has what is not, and a few others
    same_rows   whether the held-out rows are those that are trained on
    """

    findings: tuple[Finding, ...]
    metric: str
    score: float
    rows: int
    trials: tuple[Attempt, ...]
    broke: int | None = None
    measured: tuple[Measurement, ...] = ()
    own: float | None = None
    same_rows: bool = False

    @property
    def remedy(self) -> Remedy | None:
        """What repairs most, and was tried; None if nothing does."""
        first = (finding.remedies[0] for finding in self.findings if finding.remedies)
        helps = (r for r in first if r.trial is not None and r.trial.after > r.trial.before)
        return max(helps, key=_after, default=None)

    @property
    def together(self) -> Remedy | None:
        """That remedy, if it is not that of one finding alone."""
        alone = [finding.remedies[-1] for finding in self.findings if finding.remedies]
        return None if self.remedy in alone else self.remedy

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers and text, for JSON; None for what is not finite."""
        out: dict[str, Any] = with_nulls(
            {
                "metric": self.metric,
                "score": self.score,
                "rows": self.rows,
                "same_rows": self.same_rows,
                "own": self.own,
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
                "measured": [measurement.to_dict() for measurement in self.measured],
            }
        )
        return out

    # ── as text ──────────────────────────────────────────────────────────────────────────────────

    @property
    def headline(self) -> str:
        """How many findings there are, the score, and what it came to.

        Without findings also what else is odd.
        """
        count = len(self.findings)
        odd = [] if count else [_words(m.name) for m in self.measured if m.remark]
        what = f"{count} finding{'s' * (count > 1)}"
        if not count:
            what = "nothing found by trials" if odd and self.trials else "nothing found"
        scores = [] if self.broke else [_score(self.score)]
        scores += [] if self.remedy is None else [_score(_after(self.remedy))]
        rows = f"{self.rows} {'' if self.same_rows else 'held-out '}row{'s' * (self.rows > 1)}"
        rows += ", the same that are trained on" * self.same_rows
        text = f"{self.metric} {' → '.join(scores)} on {rows}"
        if self.broke:
            breaks = f"the loss is not finite in epoch {self.broke}"
            text = f"{breaks}; repaired, {text}" if scores else breaks
        return f"{what}: {text}" + f"; see {', '.join(odd)}" * bool(odd)

    @property
    def verdict(self) -> str:
        """What the trials say, if they found no remedy, or could not; or nothing."""
        best = self.trials[0].trial.after if self.trials else -math.inf
        perfect = self.score > NEAR_PERFECT and not self.findings
        if are_few(self.rows, self.same_rows) and not perfect:
            few = "1 held-out row is" if self.rows == 1 else f"{self.rows} held-out rows are"
            return f"{few} too few to judge by trials: {FEW} or more tell."
        if self.findings:
            if self.remedy is not None:
                return ""
            tried = "No change that was tried repairs it."
            return tried if self.trials else "Nothing was tried: repair this first."
        if not self.trials and self.score > NEAR_PERFECT:
            return "Nothing was tried: the score cannot become much better."
        if not self.trials:
            return "There was no time for trials: give it more seconds."
        if best - self.score < HELPS:
            return "No change that was tried makes it much better."
        rows = "" if self.same_rows else "of the held-out rows, or "
        return f"The best of these may be a chance {rows}of the seed."

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def lines(self, width: int = WIDTH) -> Iterator[str]:
        """The text, line by line."""
        yield from _wrapped(capitalised(self.headline), width)
        if self.own is not None:
            yield ""
            yield from _wrapped(OTHERS.format(_score(self.own)), width)
        for k, finding in enumerate(self.findings, 1):
            yield ""
            head = f"{k}. "
            indent = " " * len(head)
            yield from _wrapped(finding.title, width, head, indent)
            yield from _wrapped(finding.sentence, width, indent, indent)
            for alone in finding.remedies[-1:]:
                yield from self._listed(self._verb(alone), alone, indent, width)
        if self.together is not None:
            yield ""
            yield from self._listed("together", self.together, "", width)
        if self._code:
            yield ""
            yield from (
                f"{'' if k else 'in Python':<11}{line}" for k, line in enumerate(self._code)
            )
        if self.verdict:
            yield ""
            yield from _wrapped(self.verdict, width)
        if self.trials:
            yield ""
            yield from table(self, width)
        if self._shown:
            yield ""
            yield from _measured(self._shown, width)

    @property
    def _code(self) -> list[str]:
        """The first lines of code of the remedy."""
        code = [] if self.remedy is None else [*self.remedy.code]
        more = len(code) - LINES
        return code if more <= 0 else [*code[:LINES], f"# … and {more} more: remedy.code"]

    def _verb(self, alone: Remedy) -> str:
        """What a finding's own remedy is: the remedy, a part of it, or another one."""
        whole = () if self.together is None else self.together.changes
        if whole and not {*alone.changes} <= {*whole}:
            return "instead"
        if alone.trial is None or alone.trial.after > alone.trial.before:
            return "remedy"
        return "alone" if whole else "tried"

    @property
    def _shown(self) -> list[Measurement]:
        """What was measured that the text has."""
        return [m for m in self.measured if m.remark or m.name in BASIC]

    def _listed(self, head: str, remedy: Remedy, indent: str, width: int) -> Iterator[str]:
        """The changes of a remedy, one per line, and what they came to."""
        first, rest = f"{indent}{head}  ", " " * (len(indent) + len(head) + 2)
        for change in remedy.text.split("; "):
            yield from _wrapped(change, width, first, rest)
            first = rest
        if remedy.trial is None:
            yield from _wrapped(UNTRIED, width, rest, rest)
            return
        yield rest + self._result(remedy.trial, head)

    def _result(self, trial: Trial, head: str) -> str:
        """What a trial came to."""
        before = "" if self.broke else f"{_score(trial.before)} → "
        only = "; it helps together with the others" * (head == "alone")
        return f"{self.metric} {before}{_score(trial.after)}{only}"

    # ── as HTML ──────────────────────────────────────────────────────────────────────────────────

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        return page.for_notebook(self.headline, self.html())

    def html(self, settings: Sequence[str] = ()) -> str:
        """All but the headline, for a page with the rules of a report.

        settings   the lines of a recipe that make the changes, in place of Python
        """
        code = () if self.remedy is None else self.remedy.code
        others = "" if self.own is None else OTHERS.format(_score(self.own))
        parts = [page.paragraph(others), page.paragraph(self.verdict)]
        for k, finding in enumerate(self.findings, 1):
            alone = [(self._verb(r), r) for r in finding.remedies[-1:]]
            remedies = [(head, self._changes(head, r)) for head, r in alone]
            parts.append(article(finding, remedies, f"▲ Finding {k}"))
        if self.together is not None:
            parts.append(page.together(self._changes("together", self.together)))
        parts.append(page.lines(settings, "the recipe") or page.lines(code, "Python"))
        if self.trials:
            parts.append(page.trials(self.metric, [*map(self._row, self._ranked(self.trials))]))
        if self._shown:
            rows = ((_words(m.name), _expected(m), number(m.value)) for m in self._shown)
            parts.append(page.measured(rows))
        return "".join(parts)

    def _changes(self, head: str, remedy: Remedy) -> str:
        result = UNTRIED if remedy.trial is None else self._result(remedy.trial, head)
        return page.changes(remedy.text.split("; "), result)

    def _row(self, attempt: Attempt) -> tuple[str, str, float, float]:
        """Changes, score, last loss, seconds."""
        trial = attempt.trial
        before = "" if self.broke or not attempt.count else f"{_score(trial.before)} → "
        return attempt.text, before + _score(trial.after), trial.loss, trial.seconds

    def _ranked(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Attempts and the training as it is, the best first."""
        own = Trial(self.score, self.score, math.nan, math.nan)
        none = Attempt(0, "none: the training as it is", own)
        return sorted([*attempts, none], key=lambda a: -round(a.trial.after, 3))


def table(diagnosis: Diagnosis, width: int = WIDTH) -> Iterator[str]:
    """What was tried, the best first."""
    shown, name = diagnosis.trials[:SHOWN], diagnosis.metric
    head = max(len(name), 6)
    yield f"{'tried':<8}{name:>{head}}  changes"
    for attempt in diagnosis._ranked(shown):
        start = f"{'':<8}{_score(attempt.trial.after):>{head}}  "
        yield from _wrapped(attempt.text, width, start, " " * len(start))
    more = len(diagnosis.trials) - len(shown)
    if more:
        start = " " * (head + 10)
        yield from _wrapped(f"… and {more} more, none better than these", width, start, start)


def _measured(shown: list[Measurement], width: int) -> Iterator[str]:
    """What was measured, and what is expected."""
    first = max(len("measured"), *(len(_words(m.name)) for m in shown))
    second = max(len("value"), *(len(number(m.value)) for m in shown))
    yield f"{'measured':<{first}}  {'value':>{second}}  expected"
    for m in shown:
        start = f"{_words(m.name):<{first}}  {number(m.value):>{second}}  "
        yield from _wrapped(_expected(m) or "–", width, start, " " * len(start))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _expected(m: Measurement) -> str:
    return "; ".join(filter(None, (m.expected, m.remark)))


def _wrapped(text: str, width: int, first: str = "", rest: str = "") -> Iterator[str]:
    """The text in lines, which begin with `first` and `rest`."""
    yield from textwrap.wrap(
        text,
        max(width, len(rest) + NARROWEST),
        initial_indent=first,
        subsequent_indent=rest,
        break_on_hyphens=False,
    )


def _after(remedy: Remedy) -> float:
    return math.nan if remedy.trial is None else remedy.trial.after


def _score(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"
