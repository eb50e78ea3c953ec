"""Faults of the first weights and of the hidden activations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from ...diagnosis.finding import Change
from ..facts import Facts
from ..training import Layer
from .fault import Fault

WIDE, NARROW = 1.6, 0.6  # spread of weights over that of He or Glorot
VERY_WIDE, VERY_NARROW = 4.0, 0.2
VANISHED = 0.01  # gradient of the first weights over that of the last
DEAD = 0.3  # share of units
DEEP = 8  # hidden activations
USUAL = {
    *("ReLU", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "ReLU6", "Hardswish"),
    *("Tanh", "Sigmoid", "Softplus", "Softsign", "Hardtanh", "Hardsigmoid"),
}


def weight_faults(f: Facts) -> Iterator[Fault]:
    """First weights that spread too far or too little; hidden activations; no normalization."""
    layers = [a for a in f.weights if a.units is not None]
    if layers:
        yield from _first_weights(f, layers)
        yield from _linear_stack(f, layers)
        yield from _hidden(f, layers)
        if len(layers) >= 5 and not f.start.of_kind("norm"):
            changes = tuple(Change("insert", a.path, "batchnorm") for a in layers[:-1])
            cause = f"{len(layers)} layers without normalization"
            yield Fault("batchnorm_missing", layers[0].path, cause, 0.4, changes)


def _first_weights(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    changes = tuple(Change("initialisation", a.path, "he_uniform") for a in layers[:-1])
    changes = *changes, Change("initialisation", layers[-1].path, "glorot_uniform")
    ratios = []
    for a in layers:
        w = a.units
        assert w is not None
        units, fan_in = w.shape
        if units > 1 and np.ptp(w, axis=0).max() < 1e-6:
            cause = "the units of the layer begin with equal weights, so that they stay equal"
            yield Fault("init_symmetric", a.path, cause, 1.0, changes, True)
            return
        usual = sorted((math.sqrt(2 / fan_in), math.sqrt(2 / (fan_in + units))))
        spread = float(w.std())
        ratios.append(max(spread / usual[1], 1.0) if spread > usual[0] else spread / usual[0])
    for kind, at, is_far, is_very in (
        (
            "init_too_large",
            int(np.argmax(ratios)),
            ratios[int(np.argmax(ratios))] > WIDE,
            max(ratios) > VERY_WIDE,
        ),
        ("init_too_small", int(np.argmin(ratios)), min(ratios) < NARROW, min(ratios) < VERY_NARROW),
    ):
        if is_far:
            cause = (
                f"the weights spread {ratios[at]:.2g} times as far as by He or Glorot; "
                f"the outputs of the last layer spread {float(layers[-1].output.std()):.2g}"
            )
            yield Fault(kind, layers[at].path, cause, 0.85 if is_very else 0.5, changes)


def _linear_stack(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    order = list(f.start.layers)
    bare = [
        a
        for a, b in itertools.pairwise(layers)
        if not any(c in f.hidden for c in order[order.index(a) + 1 : order.index(b)])
    ]
    if bare:
        cause = (
            f"no activation between {bare[0].path} and the next layer: both are one linear layer"
        )
        changes = tuple(Change("activation", a.path, "relu") for a in bare)
        prior = 0.6 if len(bare) == len(layers) - 1 else 0.3
        yield Fault("missing_hidden_activation", bare[0].path, cause, prior, changes)


def _hidden(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    hidden, ratio = f.hidden, f.gradient_ratio
    odd = [a for a in hidden if a.name not in USUAL]
    sigmoids = [a for a in hidden if a.name in ("Sigmoid", "Hardsigmoid")]
    relus = [a for a in hidden if a.name == "ReLU"]
    for new in ("relu", "tanh"):
        if odd:
            cause = f"{odd[0].name} as a hidden activation"
            yield Fault("hidden_activation_wrong", odd[0].path, cause, 0.9, _exchange(odd, new))
        elif sigmoids:
            vanishes = ratio < VANISHED and len(sigmoids) > 2
            kind = "vanishing_gradient" if vanishes else "hidden_activation_wrong"
            place = layers[0].path if vanishes else sigmoids[0].path
            cause = (
                f"{len(sigmoids)} sigmoids in a row, each with a slope of 1/4 at most: the "
                f"gradient of the first weights is {ratio:.2g} times that of the last"
            )
            yield Fault(
                kind, place, cause, 0.8 if len(sigmoids) > 2 else 0.4, _exchange(sigmoids, new)
            )
    if relus and not odd and (f.dead_share > DEAD or len(hidden) > DEEP):
        cause = f"{f.dead_share:.0%} of the hidden ReLU units are 0 for every row"
        yield Fault("dead_relu", relus[0].path, cause, 0.7, _exchange(relus, "tanh"))


def _exchange(layers: Sequence[Layer], new: str) -> tuple[Change, ...]:
    return tuple(Change("activation", a.path, new) for a in layers)
