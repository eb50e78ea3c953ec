"""Findings of a training that has run, or still runs: what its history and its test show.

gradients   norms that vanish, explode or are 0; steps that the guard has refused
units       activations: units that are dead, die, or are saturated
flow        the gradient on its way back, through layers and through time steps
updates     the size of steps beside that of the weights
untrained   parameters that no step has trained
noise       a loss that has stopped falling, where gradients are noise
scales      inputs and targets that are not scaled
losses      training and validation losses: overfitting, a loss that climbs, too few epochs
held_out    the test rows: no better than a guess, few rows, classes that are confused
reading     what findings read of a history, and how they give advice
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...graph import Array
from ..finding import Finding
from .flow import depth_findings, time_findings
from .gradients import gradient_findings, refused_steps
from .held_out import Guess, class_findings, test_findings
from .losses import first_epoch_kept, loss_findings
from .noise import plateau_findings
from .reading import SOON, TrainingHistory, harm, if_known
from .scales import scale_findings
from .units import equal_findings, unit_findings
from .untrained import ZERO, untrained_findings
from .updates import growth_findings, update_findings

__all__ = ["ZERO", "Guess", "findings_of_history", "findings_of_run", "is_worth_a_warning"]

SURE = 0.95  # a confidence
MEASURED = 12  # steps, at least

SAID_AT_FIRST = "untrained_parameters"
FOLLOW_FROM_RAW_INPUTS = {"saturated_activation", "vanishing_gradient", "no_gradient"}
SHOWN_BY_NO_LOSS = {
    "steps_refused",
    "inputs_not_scaled",
    "vanishing_gradient",
    "dead_relu",
    "dying_units",
    "saturated_activation",
}


def findings_of_run(
    history: TrainingHistory,
    metrics: Mapping[str, float],
    rows: int,
    guess: Guess | None,
    table: Array | None = None,
    classes: Sequence[str] = (),
    unit: str = "row",
) -> list[Finding]:
    """Findings from the test, and from the history; the surest are first.

    rows    of the test
    guess   None: not known for this task
    table   (C, C) counts of the test rows: rows are the true classes, columns the predicted
    unit    what a row is called
    """
    first_kept = first_epoch_kept(history)
    tested = list(test_findings(metrics, rows, guess, table, unit, first_kept))
    if not any("guess" in f.evidence for f in tested) and table is not None:
        balanced = guess is not None and guess.metric == "f1"
        tested += class_findings(table, classes, balanced, unit)
    collected = [*findings_of_history(history), *tested]  # causes before what they lead to
    return sorted(collected, key=lambda finding: -finding.confidence)


def is_worth_a_warning(finding: Finding) -> bool:
    """Whether `fit` warns of it at the end: it is sure, or no loss and no metric shows what it is
    about, and it was not said yet."""
    unseen = finding.kind in SHOWN_BY_NO_LOSS or "growth" in finding.evidence
    sure = unseen or finding.confidence >= SURE
    return finding.level == "warning" and sure and finding.kind != SAID_AT_FIRST


def findings_of_history(history: TrainingHistory) -> list[Finding]:
    """Findings from the untrained parameters, the gradient norms, the probes and the losses; the
    surest are first."""
    scales = [*scale_findings(history)]
    collected = [*untrained_findings(history.untrained), *scales, *refused_steps(history)]
    collected += gradient_findings(history)
    collected += _of_probes(history, collected)
    collected = _once([*collected, *loss_findings(history)])
    for scale in scales:  # what is no surer follows from it
        collected = [f for f in collected if f is scale or not _follows(f, scale)]
    if any(f.level == "warning" for f in collected):  # more of the same would not help
        collected = [f for f in collected if f.place != "epochs"]
    return sorted(collected, key=lambda finding: -finding.confidence)


def _follows(finding: Finding, scale: Finding) -> bool:
    """Whether raw inputs or targets may be why it was found."""
    of_inputs = scale.kind == "inputs_not_scaled" and finding.kind in FOLLOW_FROM_RAW_INPUTS
    said = finding.place == "optimizer.lr" or of_inputs
    return said and finding.confidence <= scale.confidence


def _of_probes(history: TrainingHistory, known: list[Finding]) -> list[Finding]:
    """What the probes show of a training that has learned little, and is not known yet."""
    sure = harm(history)
    if not sure or len(history.probes.steps) < MEASURED:
        return []
    values = history.probes.values
    out = [*growth_findings(values, sure), *equal_findings(values, sure)]
    out += unit_findings(values, sure)
    if not any("norms" in f.evidence for f in known):
        out += depth_findings(values, history.gradients, sure)
    layers, ended = history.gradients.layers, bool(history.stopped)
    forgets = if_known(history, sure, SOON)
    out += time_findings(history.probes.by_step, layers, sure, forgets, ended)
    explained = bool(out) or any(f.kind != SAID_AT_FIRST for f in known)
    out += update_findings(history, values, sure, explained)
    return out or [*plateau_findings(history, values)]


def _once(findings: list[Finding]) -> list[Finding]:
    """Of findings of one kind and place the surest; of weights of 0, dead units, parameters and
    layers without a gradient, which follow from each other, the first."""
    kinds = {f.kind for f in findings}
    dead = kinds & {"dead_relu", "dying_units"}
    best = dict[tuple[str, str], Finding]()
    for f in findings:
        zero = f.kind == "no_gradient" or f.evidence.get("reason") == ZERO
        follows = (
            ("init_symmetric" in kinds and (zero or f.kind in dead))
            or (dead and zero)
            or (SAID_AT_FIRST in kinds and f.kind == "no_gradient")
        )
        key = f.kind, f.place
        if not follows and (key not in best or best[key].confidence < f.confidence):
            best[key] = f
    return list(best.values())
