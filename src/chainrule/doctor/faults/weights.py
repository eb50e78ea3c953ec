"""Faults of the first weights and of the hidden activations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...diagnosis.finding import Change
from ...graph import Array
from ..facts import Facts
from ..training import Layer
from .fault import Changes, Fault

WIDE, NARROW = 1.6, 0.6  # size of weights over the widest and narrowest of the usual ones
VERY_WIDE, VERY_NARROW = 4.0, 0.2
ERRORS = 2.0  # standard errors of a spread that are chance
EQUAL = 1e-5  # largest difference between units, over the largest number
VANISHED = 0.01  # gradient of the first weights over that of the last
LOST = 1e-4  # ∂loss/∂output likewise: small weights make the last weights' gradient small as well
EXPLODED = 50.0  # ∂loss/∂output of the first layer over that of the last
SATURATED = 0.5  # share of outputs
DEAD = 0.5  # share of units after the training
DEAD_AT_START = 0.8  # of one layer: by chance, about half of the units are 0 for a given row
SIGMOIDS = "Sigmoid", "Hardsigmoid"
BENT = 1e-3  # of the largest output: above rounding
DEEP = 8  # hidden activations: beyond it first weights have to fit them
VERY_DEEP = 20  # layers from which plain networks get worse with depth (He et al., 2016)
USUAL = {
    *("ReLU", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "ReLU6", "Hardswish"),
    *("Tanh", "Sigmoid", "Softplus", "Softsign", "Hardtanh", "Hardsigmoid"),
}


def weight_faults(f: Facts) -> Iterator[Fault]:
    """First weights that spread too far or too little; hidden activations; no normalization."""
    layers = [a for a in f.weights if a.units is not None]
    if layers:
        yield from _by_depth(f, layers)
        yield from _first_weights(f, layers)
        yield from _linear_stack(f, layers)
        yield from _hidden(f, layers)
        if len(layers) >= 5 and not f.start.of_kind("norm"):
            cause = f"{len(layers)} layers without normalization"
            yield Fault("batchnorm_missing", layers[0].path, cause, 0.4, _normalized(layers))


def _drawn_again(layers: Sequence[Layer], hidden: str = "he_uniform") -> Changes:
    """First weights by He, of the last layer by Glorot."""
    changes = tuple(Change("initialisation", a.path, hidden) for a in layers[:-1])
    return *changes, Change("initialisation", layers[-1].path, "glorot_uniform")


def _normalized(layers: Sequence[Layer]) -> Changes:
    """Batch normalization after all but the last."""
    return tuple(Change("insert", a.path, "batchnorm") for a in layers[:-1])


def _by_depth(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    """What grows, sticks or is lost on the way through the layers, before the first step."""
    changes = _drawn_again(layers)
    evidence = {"upstream": dict(f.upstream)}
    if f.growth > EXPLODED:
        cause = (
            f"the gradient of the outputs grows {f.growth:.2g} times from {layers[-1].path} back "
            f"to {layers[0].path}"
        )
        yield Fault("exploding_gradient", layers[0].path, cause, 0.7, changes, evidence=evidence)
    if f.gradient_ratio < VANISHED or f.growth < LOST:
        cause = (
            f"over {len(layers)} layers, the gradient of the first weights is "
            f"{f.gradient_ratio:.2g} times that of the last, and that of the outputs "
            f"{f.growth:.2g} times{_per_layer(f)}"
        )
        for prior, changes in _vanishing(f, layers):
            yield Fault(
                "vanishing_gradient", layers[0].path, cause, prior, changes, evidence=evidence
            )
    stuck = [(a, share) for a, share in f.saturated if share > SATURATED]
    if stuck:
        a, share = stuck[0]
        cause = f"{share:.0%} of the outputs of {a.name} are at the ends of its range"
        yield Fault("saturated_activation", a.path, cause, 0.7, changes)
    yield from _dead(f, layers)


def _dead(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    """ReLU units that are 0 for every row: the layers before them are drawn again, or all."""
    dead = [(a, share) for a, share in f.dead if share > DEAD_AT_START]
    if not dead:
        return
    relu, share = dead[0]
    got = f.before(relu)[-1:]
    cause = f"{share:.0%} of the units of the ReLU are 0 for every row from the start"
    if got:
        mean, spread = float(got[0].output.mean()), float(got[0].output.std())
        cause += f": what it gets has the mean {mean:.2g} and the spread {spread:.2g}"
    feeding = set()
    for a, _ in dead:
        feeding |= {b.path for b in [b for b in f.before(a) if b.units is not None][-1:]}
    evidence = {"dead": {a.path: share for a, share in f.dead}}
    every = _drawn_again(layers)
    some = tuple(c for c in every if c.place in feeding)
    for changes, prior in {every: 0.85, some: 0.9}.items():
        if changes:
            yield Fault("dead_relu", relu.path, cause, prior, changes, evidence=evidence)


def _per_layer(f: Facts) -> str:
    """The part of the gradient that is left after one layer, if all do the same."""
    norms = list(f.upstream.values())
    if len(norms) < 2 or not 0 < norms[0] < norms[-1]:
        return ""
    text = f": a layer passes on {(norms[0] / norms[-1]) ** (1 / (len(norms) - 1)):.0%} of it"
    sigmoids = any(a.name in SIGMOIDS for a in f.hidden)
    return text + ", and the slope of a sigmoid is 25% at most" * sigmoids


def _vanishing(f: Facts, layers: Sequence[Layer]) -> Iterator[tuple[float, Changes]]:
    """What lets a gradient through, with its prior."""
    sigmoids = [a for a in f.hidden if a.name in SIGMOIDS]
    normal = bool(f.start.of_kind("norm"))
    if len(layers) > VERY_DEEP:
        square = [a for a in layers[:-1] if _is_square(a)]
        around = tuple(Change("residual", a.path) for a in square)
        norms = () if normal else _normalized(layers)
        if around:
            again = _drawn_again(layers)
            yield 0.85, (*_exchange(sigmoids, "relu"), *again, *norms, *around)
    if len(sigmoids) > 2:
        deep = len(f.hidden) > DEEP
        for new, weights in (("relu", "he_uniform"), ("tanh", "glorot_uniform")):
            again = _drawn_again(layers, weights) if deep else ()
            yield 0.8, (*_exchange(sigmoids, new), *again)
    elif len(f.hidden) > DEEP:
        yield 0.6, _drawn_again(layers)
    if len(layers) >= 5 and not normal:
        yield 0.4, _normalized(layers)


def _is_square(a: Layer) -> bool:
    """Whether its input can be added to its output."""
    return a.name == "Linear" and a.units is not None and len(set(a.units.shape)) == 1


def _first_weights(f: Facts, layers: Sequence[Layer]) -> Iterator[Fault]:
    changes = _drawn_again(layers)
    upstreams = [a.upstream for a in layers if a.upstream is not None]
    largest = max((float(np.abs(g).max()) for g in upstreams), default=0.0)
    for a in layers:
        equal = a.units is not None and len(a.units) > 1 and _are_equal(a.units.T)
        upstream = a.upstream_by_unit
        if equal and upstream is not None and _are_equal(upstream, largest):
            cause = "the units of the layer begin with equal weights, so that they stay equal"
            yield Fault("init_symmetric", a.path, cause, 1.0, changes, True)
            return
        if equal and a.units is not None and a.units.any():
            cause = "the units of the layer begin with equal weights, and differ by their gradients"
            yield Fault("init_symmetric", a.path, cause, 0.7, changes)
            return
    sizes = [size_of(a.units) for a in layers if a.units is not None]
    beyond = [size.beyond for size in sizes]
    for kind, at, is_far, is_very in (
        ("init_too_large", int(np.argmax(beyond)), max(beyond) > WIDE, max(beyond) > VERY_WIDE),
        ("init_too_small", int(np.argmin(beyond)), min(beyond) < NARROW, min(beyond) < VERY_NARROW),
    ):
        if is_far:
            times = sizes[at].times
            said = f"the weights are {times:.2g} times as large as usual"
            cause = said if times else "all weights of the layer are 0"
            cause += f"; the outputs of the last layer spread {float(layers[-1].output.std()):.2g}"
            yield Fault(kind, layers[at].path, cause, 0.85 if is_very else 0.5, changes)


def _are_equal(by_unit: Array, size: float = 0.0) -> bool:
    """Whether all units (rows, units) have the same numbers, up to rounding of this size."""
    return bool(np.ptp(by_unit, axis=1).max() <= EQUAL * max(np.abs(by_unit).max(), size))


@dataclass(frozen=True)
class Size:
    """How large the first weights of a layer are.

    times    their root mean square over the widest, or narrowest, of the usual ones
    beyond   the same less what may be chance: that of n weights is off by 1/√(2n), so a layer of a
             few is small or large by chance
    """

    times: float
    beyond: float


def size_of(w: Array) -> Size:
    """Of weights (units, fan_in): 1 for usual ones, which have mean 0."""
    units, fan_in = w.shape
    he, glorot, plain = 2 / fan_in, 2 / (fan_in + units), 1 / (3 * fan_in)  # ±1/√fan_in
    low, high = (math.sqrt(of((he, glorot, plain))) for of in (min, max))
    size = float(np.sqrt(np.square(w, dtype=np.float64).mean()))
    error = ERRORS / math.sqrt(2 * w.size)
    if size > high:
        return Size(size / high, max(size / high / (1 + error), 1.0))
    if size < low:
        return Size(size / low, min(size / low / max(1 - error, 1e-9), 1.0))
    return Size(1.0, 1.0)


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
    hidden = f.hidden
    lost = f.gradient_ratio < VANISHED or f.growth < LOST
    odd = [a for a in hidden if a.name not in USUAL]
    sigmoids = [a for a in hidden if a.name in SIGMOIDS]
    relus = [a for a in hidden if a.name == "ReLU"]
    for new in ("relu", "tanh"):
        if odd:
            cause = f"{odd[0].name} as a hidden activation"
            yield Fault("hidden_activation_wrong", odd[0].path, cause, 0.9, _exchange(odd, new))
        elif sigmoids and not (lost and len(sigmoids) > 2):  # else the gradient vanishes
            several = f"{len(sigmoids)} sigmoids, each" if len(sigmoids) > 1 else "a sigmoid"
            cause = (
                f"{several} with a slope of 1/4 at most: the gradient of the first weights is "
                f"{f.gradient_ratio:.2g} times that of the last"
            )
            prior = 0.8 if len(sigmoids) > 2 else 0.4
            changes = _exchange(sigmoids, new)
            yield Fault("hidden_activation_wrong", sigmoids[0].path, cause, prior, changes)
    if relus and not odd and (f.dead_share > DEAD or len(hidden) > DEEP):
        cause = f"{f.dead_share:.0%} of the hidden ReLU units are 0 for every row"
        yield Fault("dead_relu", relus[0].path, cause, 0.7, _exchange(relus, "tanh"))


def _exchange(layers: Sequence[Layer], new: str) -> Changes:
    return tuple(Change("activation", a.path, new) for a in layers)
