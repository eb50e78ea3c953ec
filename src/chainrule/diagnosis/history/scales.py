"""Findings from the first batch: inputs and targets that are not scaled."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..finding import LIKELY, Finding
from ..wording import number
from .reading import FAR, SOON, TrainingHistory, advice, harm, if_known

LARGE = 10.0  # root mean square of a batch: standardised data has 1


def scale_findings(history: TrainingHistory) -> Iterator[Finding]:
    """Raw inputs or targets, of a training that has learned little.

    Raw inputs show in the first loss, unless a normalization makes up for them, or units at the
    ends of their range hide them. They make the first output far too large, raw targets far too
    small, and the weights go a long way to make up for it: the rate is blamed only without them.
    """
    sure, first, guess = harm(history), history.first, history.guess
    if not sure or not first or guess is None:
        return
    loss = first.get("loss", math.nan)
    far = loss > FAR * guess[0] > 0
    compared = (
        f", and the first loss, {number(loss)}, is far above that of a guess, {number(guess[0])}"
        if far
        else ""
    )
    layers = history.gradients.layers
    hides = bool(history.probes.values.get("saturated"))  # units that have ends of a range
    plain = hides and not any("Norm" in layer.rpartition(" ")[2] for layer in layers)
    hidden = if_known(history, sure, SOON)
    for name, kind in (("targets", "targets_not_scaled"), ("inputs", "inputs_not_scaled")):
        size = first.get(name, 0.0)
        shown = far or name == "targets"
        if size > LARGE and (shown or plain):
            yield Finding(
                kind,
                f"data.{name}",
                f"the root mean square of the {name} is {number(size)} in the first "
                f"batch{compared}",
                {"size": size, "guess": guess[0], **({"loss": loss} if far else {})},
                # what else is found follows from it
                hidden if not shown else 0.95 if sure > LIKELY else sure,
                advice("standardise the inputs and targets (mean 0, standard deviation 1)")
                if name == "targets"
                else advice(
                    "standardise the inputs (mean 0, standard deviation 1)",
                    "a normalization layer before the first one",
                ),
            )
