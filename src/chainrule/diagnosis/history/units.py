"""Findings from the activations: units that are dead, die, or are saturated."""

from __future__ import annotations

from collections.abc import Iterator

from ..finding import LIKELY, Finding
from .reading import NOTICE, Values, advice, early, late, listed

DEAD = 0.9  # share of a layer's units
DYING = 0.4  # by how much that share grew
SATURATED = 0.9  # share of a layer's outputs
SATURATING = 0.6  # by how much that share grew
MOST = 0.75  # of a layer: with few rows in a batch, half of the units are 0 by chance
SLOWER = "a lower learning rate (lr, --lr)"


def equal_findings(values: Values, harm: float) -> Iterator[Finding]:
    """Layers whose weights are 0 at first and stay so: their units are all equal."""
    zero = [
        path
        for path, norms in values.get("weight_norm", {}).items()
        if norms[0] == 0 and late(norms) == 0
    ]
    if zero:
        yield Finding(
            "init_symmetric",
            zero[0],
            f"all weights of {listed(zero)} are 0 and stay so: its units are equal, and pass no "
            "gradient on",
            {"layers": zero},
            0.95 if harm > LIKELY else harm,  # dead units follow from it
            advice("random first weights (kaiming or xavier initialization)"),
        )


def unit_findings(values: Values, harm: float) -> Iterator[Finding]:
    """Layers most of whose units are 0 for all rows, or at the ends of their range.

    The output may be there rightly, as the probability of what is rare: alone it is a notice.
    """
    dead, dying = _standing_and_growing(values, "dead", DEAD, DYING)
    for kind, layers in (("dead_relu", dead), ("dying_units", dying)):
        if layers:
            path, (before, after) = next(iter(layers.items()))
            was = "" if kind == "dead_relu" else f", where it was {before:.0%} at first"
            yield Finding(
                kind,
                path,
                f"{after:.0%} of the units of {listed(list(layers))} are 0 for every row that was "
                f"looked at{was}: they pass no gradient on",
                {"dead": {path: after for path, (_, after) in layers.items()}},
                harm,
                advice(
                    SLOWER,
                    "LeakyReLU or GELU in place of ReLU",
                    "kaiming initialization, with biases of 0",
                    "standardised inputs",
                ),
            )
    saturated, saturating = _standing_and_growing(values, "saturated", SATURATED, SATURATING)
    layers = {**saturated, **saturating}
    if layers:
        output = [*values.get("mean", {})][-1:]
        hidden = [p for p in layers if p not in output]
        path, (before, after) = next(iter(layers.items()))
        yield Finding(
            "saturated_activation",
            path,
            f"{after:.0%} of the outputs of {listed(list(layers))} are at the ends of the range "
            f"({before:.0%} at first), where the slope is nearly 0",
            {"saturated": {path: after for path, (_, after) in layers.items()}},
            harm if hidden else min(harm, NOTICE),
            advice(
                "smaller first weights (xavier initialization)",
                "normalization layers",
                SLOWER,
                "standardised inputs",
            ),
        )


Layers = dict[str, tuple[float, float]]  # shares at first and in the end, by path


def _standing_and_growing(
    values: Values, measure: str, much: float, grown: float
) -> tuple[Layers, Layers]:
    """The layers whose share is large, and those whose share has grown by a lot."""
    standing, growing = Layers(), Layers()
    for path, shares in values.get(measure, {}).items():
        before, after = early(shares), late(shares)
        if after - before > grown and after > MOST:
            growing[path] = before, after
        elif after > much:
            standing[path] = before, after
    return standing, growing
