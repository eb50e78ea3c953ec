"""Findings: problems that a finished training shows, each with its cause and remedy.

gradients   norms that vanish, burst or are 0; steps that the guard has refused
losses      training and validation losses: overfitting, a loss that climbs, too few epochs
held_out    the test rows: no better than a guess, few rows, classes that are confused
finding     the form of a finding, and what findings read of a history
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...graph import Array
from .finding import Finding, TrainingHistory, finding
from .gradients import REFUSED, VANISHING, gradient_findings, refused_steps
from .held_out import BY_GUESSING, Guess, class_findings, test_findings
from .losses import first_epoch_kept, loss_findings

__all__ = [
    "REFUSED",
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
    unit: str = "row",
) -> list[Finding]:
    """Findings from the test, the gradient norms, the losses, the untrained parameters.

    Warnings are first.

    rows    of the test
    guess   None: not known for this task
    table   (C, C) counts of the test rows: rows are the true classes, columns the predicted
    unit    what a row is called
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
    first_kept = first_epoch_kept(history)
    tested = list(test_findings(metrics, rows, guess, table, unit, first_kept))
    if not any(f["title"].endswith(BY_GUESSING) for f in tested) and table is not None:
        balanced = guess is not None and guess.metric == "f1"
        tested += class_findings(table, classes, balanced, unit)
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
    return sorted(collected, key=lambda finding: finding["level"] != "warning")


def findings_of_history(history: TrainingHistory) -> list[Finding]:
    """Findings from the gradient norms and the losses alone."""
    return [*refused_steps(history), *gradient_findings(history), *loss_findings(history)]
