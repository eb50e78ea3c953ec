"""Findings of a training that has run, or still runs: what its history and its test show.

gradients   norms that vanish, explode or are 0; steps that the guard has refused
losses      training and validation losses: overfitting, a loss that climbs, too few epochs
held_out    the test rows: no better than a guess, few rows, classes that are confused
reading     what findings read of a history, and how they give advice
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...graph import Array
from ..finding import Finding
from .gradients import gradient_findings, refused_steps
from .held_out import Guess, class_findings, test_findings
from .losses import first_epoch_kept, loss_findings
from .reading import TrainingHistory, advice

__all__ = ["UNSEEN", "Guess", "findings_of_history", "findings_of_run"]

# Kinds that no loss and no metric shows.
UNSEEN = {"steps_refused", "vanishing_gradient", "dead_relu", "dying_units", "saturated_activation"}


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
    """Findings from the test, the gradient norms, the probes, the losses, the untrained parameters.

    Warnings are first.

    untrained   "parameter: reason"
    rows        of the test
    guess       None: not known for this task
    table       (C, C) counts of the test rows: rows are the true classes, columns the predicted
    unit        what a row is called
    """
    collected = [
        Finding(
            "untrained_parameters",
            text.partition(": ")[0],
            text.partition(": ")[2],
            remedies=advice("use it in the forward pass, or remove it"),
        )
        for text in untrained
    ]
    first_kept = first_epoch_kept(history)
    tested = list(test_findings(metrics, rows, guess, table, unit, first_kept))
    if not any("guess" in f.evidence for f in tested) and table is not None:
        balanced = guess is not None and guess.metric == "f1"
        tested += class_findings(table, classes, balanced, unit)
    collected += [*tested, *findings_of_history(history)]
    return sorted(collected, key=lambda finding: finding.level != "warning")


def findings_of_history(history: TrainingHistory) -> list[Finding]:
    """Findings from the gradient norms, the probes and the losses; warnings are first."""
    collected = [*refused_steps(history), *gradient_findings(history), *loss_findings(history)]
    return sorted(collected, key=lambda finding: finding.level != "warning")
