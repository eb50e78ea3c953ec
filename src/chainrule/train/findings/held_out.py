"""Findings from the test: no better than a guess, few rows, classes that are confused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...graph import Array
from .finding import Finding, finding


class Guess(NamedTuple):
    """The test metric of a model that has learned nothing, and whether classes are imbalanced."""

    metric: str
    value: float
    imbalanced: bool = False


FEW_ROWS = 30  # of the test: the metrics are imprecise
FAIR = 0.1  # of the way from guessing to perfect
SPREAD = 1.64  # standard deviations attributed to chance: 1 of 20 goes further
MISTAKEN = 5  # wrong rows of a class: fewer may be chance
BY_GUESSING = "than a guess"


def test_findings(
    metrics: Mapping[str, float], rows: int, guess: Guess | None, table: Array | None
) -> Iterator[Finding]:
    undefined = ""
    if guess is not None:
        value = metrics[guess.metric]
        chance = _chance(guess, rows, table)
        if math.isnan(value) and rows < FEW_ROWS:
            undefined = f"{guess.metric} is not defined for them. "
        elif not value > guess.value + max(FAIR * (1 - guess.value), chance):
            much = "worse" if value < guess.value - chance else "hardly better"
            yield finding(
                "warning",
                f"It does {much} {BY_GUESSING}",
                f"{guess.metric} {value:.3g} on {rows} test rows, where a model that has learned "
                f"nothing gets {guess.value:.3g}"
                + (f", and chance alone moves that by {chance:.2g}." if chance else "."),
                'One class is much more frequent than the others: with class_weight = "balanced" '
                "(--class-weight balanced) the rare ones weigh the same; compare the F1 of each."
                if guess.imbalanced
                else "Check the inputs (do they contain information about the target? are there "
                "outliers?), or try another learning rate.",
            )
    if rows < FEW_ROWS:
        yield finding(
            "notice",
            f"Only {rows} test row{'s' * (rows != 1)}",
            f"{undefined}A few rows more or less right change the metrics a lot.",
            "Collect more data, or repeat with other seeds and compare.",
        )


def _chance(guess: Guess, rows: int, table: Array | None) -> float:
    """How far chance alone can move the metric from that of a guess on the same rows.

    For accuracy only those rows count where exactly one of the two is right: a rare class that is
    recognised well is more than chance, even with few rows (McNemar).
    """
    if guess.metric == "r2":
        return 0.0
    if guess.metric == "accuracy" and table is not None:
        frequent, right = int(np.argmax(table.sum(axis=1))), table.diagonal()
        differ = right.sum() - right[frequent] + table[frequent].sum() - right[frequent]
        return SPREAD * math.sqrt(differ) / rows
    return SPREAD * math.sqrt(guess.value * (1 - guess.value) / rows)


def class_findings(table: Array, classes: Sequence[str], balanced: bool) -> Iterator[Finding]:
    """The classes with the most false alarms and the most misses, if these are the majority of the
    rows that are predicted as the class, or that belong to it."""
    hits, predicted, true = table.diagonal(), table.sum(axis=0), table.sum(axis=1)
    for wrong, of, title, cause, remedy in (
        (
            predicted - hits,
            predicted,
            "False alarms",
            "{wrong} of the {of} test rows predicted as {name} belong to other classes",
            "The classes weigh the same in training (class_weight): "
            "leave it out if a false alarm costs the same as a miss."
            if balanced
            else "More rows of the classes that it confuses, or inputs that distinguish them.",
        ),
        (
            true - hits,
            true,
            "Misses",
            "{wrong} of the {of} test rows of {name} are predicted as other classes",
            "More rows of that class, or inputs that distinguish it from the others; for a "
            'rare class class_weight = "balanced" (--class-weight balanced).'
            if not balanced
            else "More rows of that class, or inputs that distinguish it from the others.",
        ),
    ):
        bad = (wrong >= MISTAKEN) & (2 * wrong > of)
        if bad.any():
            k = int(np.argmax(np.where(bad, wrong, -1)))
            more = f"; this holds for {bad.sum()} of {len(bad)} classes" if bad.sum() > 1 else ""
            name = classes[k]
            yield finding(
                "warning",
                f"{title}: {name}",
                cause.format(wrong=wrong[k], of=of[k], name=name) + f"{more}.",
                remedy,
            )
