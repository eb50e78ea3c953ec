"""Findings from the test: no better than a guess, few rows, classes that are confused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...graph import Array
from ..finding import Finding, Remedy
from .reading import advice


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
MORE_DATA = advice("more data", "training again with other seeds, to compare")


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
    counted = f"{rows} test {unit if rows == 1 else units}"
    if guess is not None:
        value = metrics[guess.metric]
        chance = _chance(guess, rows, table)
        if math.isnan(value) and rows < FEW_ROWS:
            undefined = f"{guess.metric} is not defined, and "
        elif not value > guess.value + max(FAIR * (1 - guess.value), chance) and not value >= 1:
            worse = value < guess.value - chance
            cause = (
                f"{guess.metric} {value:.3g} on {counted}, where a model that has learned nothing "
                f"gets {guess.value:.3g}"
                + (f", and chance alone moves that by {chance:.2g}" if chance else "")
            )
            evidence = {guess.metric: value, "guess": guess.value, "chance": chance, "rows": rows}
            if rows < TOO_FEW and not worse:
                yield Finding("few_test_rows", "data.test", cause, evidence, 0.4, MORE_DATA)
                return
            remedies = _against_guessing(guess.imbalanced, first_kept)
            yield Finding("no_better_than_guess", "", cause, evidence, 0.8, remedies)
    if rows < FEW_ROWS:
        yield Finding(
            "few_test_rows",
            "data.test",
            f"{counted}: {undefined}a few {units} more or less right change the metrics a lot",
            {"rows": rows},
            0.4,
            MORE_DATA,
        )


def _against_guessing(imbalanced: bool, first_kept: bool) -> tuple[Remedy, ...]:
    """What to try against a result like that of a guess."""
    if first_kept:
        return advice("no epoch was better than the first: a lower learning rate (lr, --lr)")
    if imbalanced:
        return advice(
            'one class is much more frequent than the others: class_weight = "balanced" '
            "(--class-weight balanced), so that the rare ones weigh the same"
        )
    return advice(
        "inputs that contain information about the target, without outliers",
        "another learning rate (lr, --lr)",
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
    inputs = f"inputs that distinguish it from the others, or more {unit}s"
    weights = 'class_weight = "balanced" (--class-weight balanced), for a rare class'
    shares = list[tuple[float, Finding]]()
    for name, wrong, of, cause, remedies in (
        (
            "false_alarms",
            predicted - hits,
            predicted,
            f"{{wrong}} of the {{of}} test {unit}s predicted as {{name}} belong to other classes",
            ["no class_weight, if a false alarm costs the same as a miss"]
            if balanced
            else [inputs],
        ),
        (
            "misses",
            true - hits,
            true,
            f"{{wrong}} of the {{of}} test {unit}s of {{name}} are predicted as other classes",
            [inputs] if balanced else [inputs, weights],
        ),
    ):
        bad = (wrong >= MISTAKEN) & (2 * wrong > of)
        if bad.any():
            share = np.where(bad, wrong / np.maximum(of, 1), -1)
            k = int(np.lexsort((wrong, share))[-1])
            more = f"; this holds for {bad.sum()} of {len(bad)} classes" if bad.sum() > 1 else ""
            worst = Finding(
                "classes_confused",
                f"class {classes[k]}",
                cause.format(wrong=wrong[k], of=of[k], name=classes[k]) + more,
                {name: int(wrong[k]), "rows": int(of[k]), "classes": int(bad.sum())},
                0.7,
                advice(*remedies),
            )
            shares.append((float(share[k]), worst))
    return [worst for _, worst in sorted(shares, key=lambda pair: -pair[0])]
