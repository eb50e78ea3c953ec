"""Findings: problems that a finished training shows, each with its cause and remedy.

gradients   norms that vanish, burst or are 0
losses      training and validation losses: overfitting, a loss that climbs, too few epochs
held_out    the test rows: no better than a guess, few rows, classes that are confused
finding     the form of a finding, and what findings read of a history
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...graph import Array
from .finding import Finding, TrainingHistory, finding
from .gradients import VANISHING, gradient_findings
from .held_out import BY_GUESSING, Guess, class_findings, test_findings
from .losses import loss_findings

__all__ = [
    "VANISHING",
    "Finding",
    "Guess",
    "findings_of_history",
    "findings_of_run",
]


def findings_of_run(
    history: TrainingHistory,
    untrained: list[str],
    metrics: Mapping[str, float],
    rows: int,
    guess: Guess | None,
    table: Array | None = None,
    classes: Sequence[str] = (),
) -> list[Finding]:
    """Findings from the test, the gradient norms, the losses, the untrained parameters.

    rows    of the test
    guess   None: not known for this task
    table   (C, C) counts of the test rows: rows are the true classes, columns the predicted
    """
    collected = [
        finding(
            "warning",
            f"Not trained: {text.partition(':')[0]}",
            text.partition(": ")[2].capitalize() + ".",
            "Use the parameter in the forward pass, or remove it.",
        )
        for text in untrained
    ]
    tested = list(test_findings(metrics, rows, guess, table))
    if not any(f["title"].endswith(BY_GUESSING) for f in tested) and table is not None:
        tested += class_findings(table, classes, guess is not None and guess.metric == "f1")
    collected += [*tested, *findings_of_history(history)]
    if not collected:
        collected = [
            finding(
                "good",
                "Gradients reach every layer",
                "No layer's gradient vanished or exploded at any step.",
                "",
            )
        ]
    return collected


def findings_of_history(history: TrainingHistory) -> list[Finding]:
    """Findings from the gradient norms and the losses alone."""
    return [*gradient_findings(history), *loss_findings(history)]
