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

WIDE, NARROW = 1.6, 0.6  # spread of weights over the widest and narrowest of the usual ones
VERY_WIDE, VERY_NARROW = 4.0, 0.2
VANISHED = 0.01  # gradient of the first weights over that of the last
LOST = 1e-4  # ∂loss/∂output likewise: small weights make the last weights' gradient small as well
EXPLODED = 50.0  # ∂loss/∂output of the first layer over that of the last; over time likewise
FORGOTTEN = 1e-3  # ∂loss/∂input of the first step over that of the last
EQUAL = 1e-6  # largest difference of the units of a recurrent layer
SATURATED = 0.5  # share of outputs
DEAD = 0.3  # share of units after the training
DEAD_AT_START = 0.8  # of one layer: by chance, about half of the units are 0 for a given row
BENT = 1e-3  # of the largest output: above rounding
DEEP = 8  # hidden activations
USUAL = {
    *("ReLU", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "ReLU6", "Hardswish"),
    *("Tanh", "Sigmoid", "Softplus", "Softsign", "Hardtanh", "Hardsigmoid"),
}


def weight_faults(f: Facts) -> Iterator[Fault]:
    """First weights that spread too far or too little; hidden activations; no normalization."""
    layers = [a for a in f.weights if a.units is not None]
    yield from _over_time(f)
    if layers:
        yield from _by_depth(f, layers)
        yield from _first_weights(f, layers)
        yield from _linear_stack(f, layers)
        yield from _hidden(f, layers)
        if len(layers) >= 5 and not f.start.of_kind("norm"):
            changes = tuple(Change("insert", a.path, "batchnorm") for a in layers[:-1])
            cause = f"{len(layers)} layers without normalization"
            yield Fault("batchnorm_missing", layers[0].path, cause, 0.4, changes)
            if f.gradient_ratio < VANISHED or f.growth < LOST:
                cause = (
                    f"over {len(layers)} layers, the gradient of the first weights is "
                    f"{f.gradient_ratio:.2g} times that of the last, and that of the outputs "
                    f"{f.growth:.2g} times"
                )
                yield Fault("vanishing_gradient", layers[0].path, cause, 0.4, changes)


def _drawn_again(layers: Sequence[Layer]) -> tuple[Change, ...]:
    """First weights by He, of the last layer by Glorot."""
    changes = tuple(Change("initialisation", a.path, "he_uniform") for a in layers[:-1])
    return *changes, Change("initialisation", layers[-1].path, "glorot_uniform")


def _by_depth(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    """What grows, sticks or is lost on the way through the layers, before the first step."""
    changes = _drawn_again(layers)
    if f.growth > EXPLODED:
        cause = (
            f"the gradient of the outputs grows {f.growth:.2g} times from {layers[-1].path} back "
            f"to {layers[0].path}"
        )
        yield Fault("exploding_gradient", layers[0].path, cause, 0.7, changes)
    stuck = [(a, share) for a, share in f.saturated if share > SATURATED]
    if stuck:
        a, share = stuck[0]
        cause = f"{share:.0%} of the outputs of {a.name} are at the ends of its range"
        yield Fault("saturated_activation", a.path, cause, 0.7, changes)
    if f.dead_at_start > DEAD_AT_START:
        relu = next(a for a in f.hidden if a.name == "ReLU")
        cause = f"{f.dead_at_start:.0%} of a layer's ReLU units are 0 for every row from the start"
        yield Fault("dead_relu", relu.path, cause, 0.9, changes)


def _over_time(f: Facts) -> Iterator[Fault]:
    """What grows or is lost on the way back through the steps of a recurrent layer."""
    for a in f.weights:
        if a.by_step is None:
            continue
        first, last = float(a.by_step[0]), float(a.by_step[-1])
        ratio = first / last if last else 1.0
        change = (Change("initialisation", a.path, "glorot_uniform"),)
        units = a.by_unit
        if units.shape[1] > 1 and units.any() and np.ptp(units, axis=1).max() < EQUAL:
            cause = "all units of the layer give the same numbers, so that they stay equal"
            yield Fault("init_symmetric", a.path, cause, 1.0, change, True)
        cause = f"the gradient of the first step's input is {ratio:.2g} times that of the last"
        if ratio > EXPLODED:
            yield Fault("exploding_gradient", a.path, cause, 0.8, change)
        elif ratio < FORGOTTEN:
            yield Fault("vanishing_gradient", a.path, cause, 0.4, change)


def _first_weights(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    changes = _drawn_again(layers)
    ratios = []
    for a in layers:
        w = a.units
        assert w is not None
        units, fan_in = w.shape
        if units > 1 and np.ptp(w, axis=0).max() < 1e-6:
            cause = "the units of the layer begin with equal weights, so that they stay equal"
            yield Fault("init_symmetric", a.path, cause, 1.0, changes, True)
            return
        he, glorot, plain = 2 / fan_in, 2 / (fan_in + units), 1 / (3 * fan_in)  # ±1/√fan_in
        low, high = (math.sqrt(of((he, glorot, plain))) for of in (min, max))
        spread = float(w.std())
        ratios.append(max(spread / high, 1.0) if spread > low else spread / low)
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
                f"the weights spread {ratios[at]:.2g} times as far as usual; "
                f"the outputs of the last layer spread {float(layers[-1].output.std()):.2g}"
            )
            yield Fault(kind, layers[at].path, cause, 0.85 if is_very else 0.5, changes)


def _linear_stack(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    order = [id(a) for a in f.start.layers]
    hidden = {id(a) for a in f.hidden}
    bare = [
        a
        for a, b in itertools.pairwise(layers)
        if hidden.isdisjoint(order[order.index(id(a)) + 1 : order.index(id(b))])
        and not _is_bent(a, b)
    ]
    if bare:
        cause = (
            f"no activation between {bare[0].path} and the next layer: both are one linear layer"
        )
        changes = tuple(Change("activation", a.path, "relu") for a in bare)
        prior = 0.6 if len(bare) == len(layers) - 1 else 0.3
        yield Fault("missing_hidden_activation", bare[0].path, cause, prior, changes)


def _is_bent(a: Layer, b: Layer) -> bool:
    """Whether layer b did not get the output of a: a function without a module is between."""
    w, before, after = b.units, a.units_last, b.units_last
    if w is None or w.shape[1] != before.shape[-1] or after.shape[:-1] != before.shape[:-1]:
        return a.name == b.name == "Linear"  # places were joined, or a mean taken
    bias = (after - before @ w.T).reshape(-1, len(w))
    return bool(np.ptp(bias, axis=0).max() > BENT * np.abs(b.output).max())


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
