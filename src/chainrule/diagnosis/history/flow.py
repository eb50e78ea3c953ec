"""Findings from the gradient on its way back, through layers and through time steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..finding import Finding
from ..wording import number, place
from .reading import BySteps, GradientNorms, Values, advice, early, path_of

LOST, GROWN = 1e-4, 1e3  # what all layers make of a gradient, by their gains
SWOLLEN = 100.0  # likewise by the norms of the first and the last layer
DEEP = 4  # layers that have a gain
FORGOTTEN = 1e-3  # norm of the gradient of the first time step over the largest
HOPELESS = 1e-8  # likewise, of a training that still runs
EXPLODED = 50.0  # the largest norm over that of the last time step
TIMES = 10  # time steps
GATED = "LSTM", "GRU"


def depth_findings(values: Values, flow: GradientNorms, harm: float) -> Iterator[Finding]:
    """Layers that make the gradient smaller, or larger, one after the other.

    The product of their gains is that of the whole way only without branches: residuals carry the
    gradient past layers of any gain. So the way is measured a second time, by its ends.
    """
    gains = {path: early(of_layer) for path, of_layer in values.get("gain", {}).items()}
    gains = {path: gain for path, gain in gains.items() if gain > 0}
    if len(gains) < DEEP:
        return
    product, carried = math.exp(sum(map(math.log, gains.values()))), _carried(values, flow)
    vanishes = product < LOST and carried < LOST
    if not vanishes and not (product > GROWN and carried > SWOLLEN):
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


def _carried(values: Values, flow: GradientNorms) -> float:
    """The gradient of the first layer's output over that of the last's, by their weights; NaN where
    it is unknown.

    ‖∂loss/∂W‖ of a layer is about the norm of the gradient of its output times that of its input.
    The first input is taken as 1, the last is the output of the layer before.
    """
    means, spreads = values.get("mean", {}), values.get("spread", {})
    sizes = [math.hypot(early(means[path]), early(of)) for path, of in spreads.items()]
    known = [size for size in sizes if math.isfinite(size)]
    if len(known) < 2 or not flow.norms:
        return math.nan
    first, *_, last = (early(of_layer) for of_layer in zip(*flow.norms, strict=True))
    return first / last * known[-2] if last > 0 else math.nan


def _extreme(gains: dict[str, float], vanishes: bool) -> str:
    return (min if vanishes else max)(gains, key=gains.__getitem__)


def time_findings(
    by_step: BySteps, layers: Sequence[str], harm: float, forgets: float, ended: bool
) -> Iterator[Finding]:
    """Recurrent layers whose gradient vanishes, or explodes, on its way back to the first step.

    layers   of the gradient norms: "rnn GRU"
    forgets  the confidence that a vanishing gradient harms: at first it vanishes in healthy
             trainings too, which learn later on, and tasks may need the last steps alone
    ended    the training has ended
    """
    kinds = {path_of(layer): layer.rpartition(" ")[2] for layer in layers}
    for name, norms in by_step.items():
        if name.endswith("_reverse"):  # its partner, from the first step to the last, says the same
            continue
        count = max(map(len, norms), default=0)
        rows = np.array([row for row in norms if len(row) == count], np.float64)
        rows = rows[np.isfinite(rows).all(axis=1) & rows.any(axis=1)] if count else rows
        if count < TIMES or not len(rows):
            continue
        shares = rows / rows.max(axis=1, keepdims=True)
        usual, now = (np.median(of, axis=0) for of in (shares, shares[-max(1, len(rows) // 4) :]))
        ends = count - np.argmax(rows[:, ::-1] > 0, axis=1)  # without padding
        end = float(np.median(shares[np.arange(len(rows)), ends - 1]))
        path, most = name.partition(" ")[0], int(np.argmax(usual)) + 1
        if now[0] < (FORGOTTEN if ended else HOPELESS):
            since = int(np.argmax(now >= FORGOTTEN)) + 1
            yield Finding(
                "vanishing_gradient",
                path,
                f"of {count} time steps those before step {since} get less than a thousandth of "
                f"the largest gradient, and the first gets {number(now[0])} of it: nothing is "
                "learned from them",
                {"first": float(now[0]), "since": since, "steps": count},
                forgets,
                advice(
                    "orthogonal recurrent weights",
                    "gates whose biases keep the state for longer"
                    if kinds.get(path) in GATED
                    else "an LSTM or GRU in place of an RNN",
                    "shorter sequences",
                    "the mean over the time steps in place of the last one",
                ),
            )
        elif end < 1 / EXPLODED:
            yield Finding(
                "exploding_gradient",
                path,
                f"the gradient grows on its way back through {count} time steps: the last step "
                f"gets {number(end)} of the largest gradient, which is that of step {most}",
                {"last": end, "largest": most, "steps": count},
                harm,
                advice("clip_norm=1.0", "smaller recurrent weights", "shorter windows (tbptt)"),
            )
