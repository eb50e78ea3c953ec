"""Findings from the gradient on its way back, through layers and through time steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..finding import Finding
from ..wording import number, place
from .reading import Probes, advice, early

LOST, GROWN = 1e-4, 1e3  # the gradient after all layers over that before
DEEP = 4  # layers that have a gain
FORGOTTEN = 1e-3  # norm of the gradient of the first time step over the largest; and the inverse
TIMES = 10  # time steps


def depth_findings(probes: Probes, harm: float) -> Iterator[Finding]:
    """Layers that make the gradient smaller, or larger, one after the other.

    The product of the gains is that of the whole way only without branches: residuals carry the
    gradient past layers of any gain, and such a network learns.
    """
    gains = {path: early(values) for path, values in probes.values.get("gain", {}).items()}
    gains = {path: gain for path, gain in gains.items() if gain > 0}
    if len(gains) < DEEP:
        return
    product = math.exp(sum(map(math.log, gains.values())))
    vanishes = product < LOST
    if not vanishes and product < GROWN:
        return
    typical = product ** (1 / len(gains))
    yield Finding(
        "vanishing_gradient" if vanishes else "exploding_gradient",
        next(iter(gains)),
        f"{len(gains)} layers, one after the other, make the gradient {number(product)} times as "
        f"large: each {number(typical)} times, most of all {place(_extreme(gains, vanishes))}",
        {"gain": gains},
        harm,
        advice("ReLU or GELU", "kaiming initialization", "normalization layers or residuals")
        if vanishes
        else advice(
            "smaller first weights (kaiming or xavier initialization)", "normalization layers"
        ),
    )


def _extreme(gains: dict[str, float], vanishes: bool) -> str:
    return (min if vanishes else max)(gains, key=gains.__getitem__)


def time_findings(probes: Probes, harm: float) -> Iterator[Finding]:
    """Recurrent layers whose gradient vanishes, or explodes, on its way back to the first step."""
    for path, by_step in probes.by_step.items():
        count = max(map(len, by_step), default=0)
        rows = np.array([row for row in by_step if len(row) == count and np.isfinite(row).all()])
        if count < TIMES or not rows.size or not rows.any():
            continue
        shares = rows / np.maximum(rows.max(1, keepdims=True), np.finfo(float).tiny)
        usual = np.median(shares, axis=0)
        evidence = {"first": float(usual[0]), "last": float(usual[-1]), "steps": count}
        if usual[0] < FORGOTTEN:
            since = int(np.argmax(usual >= FORGOTTEN))
            yield Finding(
                "vanishing_gradient",
                path,
                f"of {count} time steps those before step {since + 1} get less than a thousandth "
                f"of the largest gradient, the first {number(usual[0])} of it: {place(path)} "
                "learns nothing from them",
                {**evidence, "since": since + 1},
                harm,
                advice(
                    "an LSTM or GRU in place of an RNN",
                    "orthogonal recurrent weights",
                    "shorter sequences",
                    "a mean over the time steps in place of the last one",
                ),
            )
        elif usual[-1] < FORGOTTEN:
            until = count - int(np.argmax(usual[::-1] >= FORGOTTEN))
            yield Finding(
                "exploding_gradient",
                path,
                f"the gradient grows on its way back through {count} time steps of {place(path)}: "
                f"that of the last is {number(usual[-1])} of the largest, and less than a "
                f"thousandth in all after step {until}",
                {**evidence, "until": until},
                harm,
                advice("clip_norm=1.0", "smaller recurrent weights", "shorter windows (tbptt)"),
            )
