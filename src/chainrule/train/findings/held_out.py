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
TOO_FEW = 20  # of the test: with fewer, a metric near that of a guess says nothing
FAIR = 0.1  # of the way from guessing to perfect
SPREAD = 1.64  # standard deviations attributed to chance: 1 of 20 goes further
MISTAKEN = 5  # wrong rows of a class: fewer may be chance
BY_GUESSING = "a guess"
MORE_DATA = "Collect more data, or repeat with other seeds and compare."


def test_findings(
    metrics: Mapping[str, float],
    rows: int,
    guess: Guess | None,
    table: Array | None,
    unit: str,
    first_kept: bool,
) -> Iterator[Finding]:
    """Whether the metric of the guess is better than that, and whether the rows are few.

    unit         what a row is called
    first_kept   the weights are those of the first epoch, and there were several
    """
    undefined, units = "", f"{unit}s"
    if guess is not None:
        value = metrics[guess.metric]
        chance = _chance(guess, rows, table)
        if math.isnan(value) and rows < FEW_ROWS:
            undefined = f"{guess.metric} is not defined for them. "
        elif not value > guess.value + max(FAIR * (1 - guess.value), chance) and not value >= 1:
            much = "hardly better" if value > guess.value else "no better"
            worse = value < guess.value - chance
            cause = (
                f"{guess.metric} {value:.3g} on {rows} test {units}, where a model that has "
                f"learned nothing gets {guess.value:.3g}"
                + (f", and chance alone moves that by {chance:.2g}." if chance else ".")
            )
            if rows < TOO_FEW and not worse:
                title = f"Too few test {units} to tell it from {BY_GUESSING}"
                yield finding("notice", title, cause, MORE_DATA)
                return
            title = f"It does {'worse' if worse else much} than {BY_GUESSING}"
            yield finding("warning", title, cause, _advice(guess.imbalanced, first_kept))
    if rows < FEW_ROWS:
        yield finding(
            "notice",
            f"Only {rows} test {unit if rows == 1 else units}",
            f"{undefined}A few {units} more or less right change the metrics a lot.",
            MORE_DATA,
        )


def _advice(imbalanced: bool, first_kept: bool) -> str:
    """What to try against a result like that of a guess."""
    if first_kept:
        return (
            "No epoch was better than the first: the learning rate may be too high, so try a lower "
            "one (lr, --lr)."
        )
    if imbalanced:
        return (
            'One class is much more frequent than the others: with class_weight = "balanced" '
            "(--class-weight balanced) the rare ones weigh the same; compare the F1 of each."
        )
    return (
        "Check the inputs (do they contain information about the target? are there outliers?), or "
        "try another learning rate."
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


def class_findings(
    table: Array, classes: Sequence[str], balanced: bool, unit: str
) -> list[Finding]:
    """The classes with the largest shares of false alarms and of misses, the worse one first.

    A share is that of the rows that are predicted as the class, or that belong to it; it is a
    finding if it is more than half.
    """
    hits, predicted, true = table.diagonal(), table.sum(axis=0), table.sum(axis=1)
    shares = list[tuple[float, Finding]]()
    for wrong, of, title, cause, remedy in (
        (
            predicted - hits,
            predicted,
            "False alarms",
            "{wrong} of the {of} test {unit}s predicted as {name} belong to other classes",
            "The classes weigh the same in training (class_weight): "
            "leave it out if a false alarm costs the same as a miss."
            if balanced
            else "More {unit}s of the classes that it confuses, or inputs that distinguish them.",
        ),
        (
            true - hits,
            true,
            "Misses",
            "{wrong} of the {of} test {unit}s of {name} are predicted as other classes",
            "More {unit}s of that class, or inputs that distinguish it from the others; for a "
            'rare class class_weight = "balanced" (--class-weight balanced).'
            if not balanced
            else "More {unit}s of that class, or inputs that distinguish it from the others.",
        ),
    ):
        bad = (wrong >= MISTAKEN) & (2 * wrong > of)
        if bad.any():
            share = np.where(bad, wrong / np.maximum(of, 1), -1)
            k = int(np.lexsort((wrong, share))[-1])
            more = f"; this holds for {bad.sum()} of {len(bad)} classes" if bad.sum() > 1 else ""
            name = classes[k]
            said = cause.format(wrong=wrong[k], of=of[k], name=name, unit=unit) + f"{more}."
            worst = finding("warning", f"{title}: {name}", said, remedy.format(unit=unit))
            shares.append((float(share[k]), worst))
    return [worst for _, worst in sorted(shares, key=lambda pair: -pair[0])]
