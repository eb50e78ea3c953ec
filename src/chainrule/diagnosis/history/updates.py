"""Findings from the steps: their size beside that of the weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...graph import Array
from ..finding import LIKELY, Finding
from ..wording import number, place
from .reading import (
    FAR,
    SOON,
    TrainingHistory,
    Values,
    advice,
    finite,
    first_output,
    if_known,
    late,
    steps_of,
)

GREW = 15.0  # norm of a layer's weights over that at first
TINY = 0.1  # of the largest norm at first: a layer of less begins near 0, and has to grow
WAY = 0.25  # of the weights' norm: the length of all steps together
SMALL = 1.0  # root mean square of the first outputs: no weights are too large
UNBALANCED = 100.0  # the largest of the layers' update ratios over the smallest


def update_findings(
    history: TrainingHistory, values: Values, harm: float, explained: bool
) -> Iterator[Finding]:
    """Weights that hardly change; layers whose steps are of different sizes.

    explained   something else is known that makes steps small
    """
    ratios = {
        path: np.array(of_layer, np.float64)
        for path, of_layer in values.get("update_ratio", {}).items()
        if any(ratio > 0 for ratio in of_layer)
    }
    if ratios and not explained:
        unbalanced = [*_balance(ratios, harm)]
        sure = if_known(history, harm)
        small = first_output(values) < SMALL
        yield from unbalanced or (_way(history, ratios, sure, small) if history.stopped else ())


def growth_findings(values: Values, harm: float) -> Iterator[Finding]:
    """Weights whose norm has multiplied."""
    norms = {path: v for path, v in values.get("weight_norm", {}).items() if v[0] > 0}
    least = TINY * max((v[0] for v in norms.values()), default=0.0)
    times = {path: float(np.nanmax(v) / max(v[0], least)) for path, v in norms.items()}
    grown = {path: growth for path, growth in times.items() if growth > GREW}
    if grown:
        path = max(grown, key=grown.__getitem__)
        yield Finding(
            "lr_too_high",
            "optimizer.lr",
            f"the weights of {place(path)} became {number(grown[path])} times as large as at "
            "first: the steps are too large",
            {"growth": grown},
            0.95 if harm > LIKELY else harm,  # no healthy network comes near: it is first
            advice("a tenth of the learning rate (lr, --lr)", "clip_norm=1.0"),
        )


def _balance(ratios: dict[str, Array], harm: float) -> Iterator[Finding]:
    """Layers whose weights change far less than those of others."""
    usual = {path: late(values.tolist()) for path, values in ratios.items()}
    moving = {path: value for path, value in usual.items() if value > 0}
    if len(moving) < 2:
        return
    slow, fast = (of(moving, key=moving.__getitem__) for of in (min, max))
    if moving[fast] > UNBALANCED * moving[slow]:
        yield Finding(
            "unbalanced_layers",
            slow,
            f"a step changes the weights of {place(slow)} by {number(moving[slow])} of their size, "
            f"and those of {place(fast)} by {number(moving[fast])}",
            {"update_ratio": usual},
            harm,
            advice(
                "Adam in place of SGD",
                "first weights of the same spread in all layers (kaiming or xavier initialization)",
                "standardised inputs",
            ),
        )


def _way(
    history: TrainingHistory, ratios: dict[str, Array], harm: float, small: bool
) -> Iterator[Finding]:
    """All steps together have hardly changed the weights, nor would SOON of them.

    small   the first outputs were: of rare classes their loss is far above that of a guess too
    """
    steps = steps_of(history)
    step = float(np.median([np.nanmean(values) for values in ratios.values()]))
    way = step * steps
    if not step * max(steps, SOON) < WAY:
        return
    cause = f"all {steps} steps together are {number(way)} times as long as the weights are large"
    evidence = {"way": way, "steps": steps}
    first = finite(history, "loss")[0]
    if history.guess is not None and first > FAR * history.guess[0] > 0 and not small:
        yield Finding(
            "init_too_large",
            "",
            f"{cause}, and the loss of the first epoch, {number(first)}, is far above that of a "
            f"guess, {number(history.guess[0])}: the inputs or targets are not scaled, or the "
            "first weights are too large",
            {**evidence, "loss": first, "guess": history.guess[0]},
            harm,
            advice("standardise the inputs and targets", "kaiming or xavier initialization"),
        )
        return
    yield Finding(
        "lr_too_low",
        "optimizer.lr",
        f"{cause}: so small a change can hardly teach them anything",
        evidence,
        harm,
        advice("ten times the learning rate (lr, --lr)", "more epochs"),
    )
