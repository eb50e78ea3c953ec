"""The numbers that the doctor compares with thresholds, of one training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from chainrule.doctor import loss_reading
from chainrule.doctor.facts import Facts
from chainrule.doctor.faults import data, leakage, rows, steps, time, weights
from chainrule.graph import Array

Numbers = Callable[[Facts], list[float]]


@dataclass(frozen=True)
class Measure:
    """A number of a training, its threshold, and the faults that it should tell from healthy ones.

    module, name   of the threshold in the code
    limit          its value; above it if `above`, else below it, a fault is suspected
    numbers        none, where the training has no such number
    """

    module: ModuleType
    name: str
    what: str
    numbers: Numbers
    kinds: tuple[str, ...]
    above: bool = True
    limit: float = math.nan

    @property
    def threshold(self) -> float:
        """The limit, or the constant of that name."""
        return float(getattr(self.module, self.name)) if math.isnan(self.limit) else self.limit

    def crosses(self, value: float) -> bool:
        """Whether a fault is suspected at this value."""
        return value > self.threshold if self.above else value < self.threshold


def _tokens(f: Facts) -> bool:
    return f.training.data[0].dtype.kind in "iu"


def _flat_inputs(f: Facts) -> Array:
    x = f.training.data[0]
    return x.reshape(len(x), -1).astype(np.float64)


def _rms(a: Array) -> float:
    return float(np.sqrt(np.square(a, dtype=np.float64).mean()))


def _input_size(f: Facts) -> list[float]:
    return [] if _tokens(f) else [_rms(_flat_inputs(f))]


def _input_spread(f: Facts) -> list[float]:
    return [] if _tokens(f) else [float(_flat_inputs(f).std())]


def _uneven(f: Facts) -> list[float]:
    spreads = _flat_inputs(f).std(0)
    spreads = spreads[spreads > 0]
    return [] if _tokens(f) or not spreads.size else [float(spreads.max() / np.median(spreads))]


def _target_size(f: Facts) -> list[float]:
    return [_rms(f.training.data[1])] if f.score.task == "numbers" else []


def _target_spread(f: Facts) -> list[float]:
    return [float(f.training.data[1].std())] if f.score.task == "numbers" else []


def _apart(f: Facts) -> list[float]:
    a, b = (
        float(np.abs(x, dtype=np.float64).mean()) for x in (f.training.data[0], f.training.valid[0])
    )
    return [max(a / b, b / a)]


def _shares(f: Facts) -> list[float]:
    y, valid = f.training.data[1], f.training.valid[1]
    if f.score.task != "classes" or y.ndim > 1:
        return []
    k = f.score.classes
    one, two = (
        np.bincount(np.maximum(a, 0).astype(int), minlength=k)[:k] / len(a) for a in (y, valid)
    )
    return [float(np.abs(one - two).sum() / 2)]


def _in_order(f: Facts) -> list[float]:
    """0 for a random order of the classes, 1 for one class after another."""
    y = f.training.data[1].ravel()
    if f.score.task != "classes" or len(y) != len(f.training.data[0]):
        return []
    expected = float(np.square(np.unique(y, return_counts=True)[1] / len(y)).sum())
    return [(float(np.mean(y[1:] == y[:-1])) - expected) / (1 - expected)]


def _explained(held_out: bool) -> Numbers:
    """Of trainings whose held-out targets their neighbours explain."""

    def numbers(f: Facts) -> list[float]:
        if f.training.data[1].ndim > 1 and f.training.data[1].shape[1] > 64:
            return []
        trained, valid = (
            data.explained(*rows.some_rows(*d, f.score.task))
            for d in (f.training.data, f.training.valid)
        )
        if held_out:
            return [valid]
        return [trained] if valid > data.EXPLAINED else []

    return numbers


def _told(held_out: bool) -> Numbers:
    """By the column that tells most of the targets that are trained on: of these, or of those held
    out, where it tells enough of these."""

    def numbers(f: Facts) -> list[float]:
        shares = leakage.column_shares(f)
        if shares is None:
            return []
        told, again = shares
        column = int(np.argmax(told))
        if not held_out:
            return [float(told[column])]
        return [float(again[column])] if told[column] > leakage.TELLS else []

    return numbers


def _spreads(f: Facts) -> list[float]:
    """Of each layer, over the widest or narrowest of the usual ones."""
    return [weights.size_of(a.units).beyond for a in f.weights if a.units is not None]


def _first_units(f: Facts) -> list[float]:
    """The largest difference between two units of a layer, of the layer where it is smallest."""
    found = [
        float(np.ptp(a.units, axis=0).max())
        for a in f.weights
        if a.units is not None and len(a.units) > 1
    ]
    found += [float(np.ptp(a.by_unit, axis=1).max()) for a in f.weights if a.by_step is not None]
    return [min(found)] if found else []


def _over_time(f: Facts) -> list[float]:
    return [
        float(a.by_step[0] / a.by_step[-1])
        for a in f.weights
        if a.by_step is not None and a.by_step[-1]
    ]


def _deep(number: Callable[[Facts], float]) -> Numbers:
    """Of networks with several layers of weights."""
    return lambda f: [number(f)] if len(f.weights) > 1 else []


def _saturated(f: Facts) -> list[float]:
    return [max(share for _, share in f.saturated)] if f.saturated else []


def _with_relu(number: Callable[[Facts], float]) -> Numbers:
    return lambda f: [number(f)] if any(a.name == "ReLU" for a in f.hidden) else []


def _gap(f: Facts) -> list[float]:
    return [f.outcome.fit - f.outcome.score] if math.isfinite(f.outcome.fit) else []


def _fit(f: Facts) -> list[float]:
    """The score of trained rows."""
    return [f.outcome.fit]


def _mode(f: Facts) -> list[float]:
    """The score in training mode above that in evaluation mode, of models with two modes."""
    if f.end is None or not f.start.of_kind("norm", "dropout", "custom"):
        return []
    x, y = (a[:256] for a in f.training.data)
    return [f.score_in_training_mode - f.score(f.training.outputs(f.outcome.model, x), y)]


def _loss_differences(f: Facts) -> list[float]:
    """The relative differences between the loss and the known formulas, the smallest first."""
    shape, (_, y) = f.start.output.shape[1:], f.training.data
    rng = np.random.default_rng(0)
    y = y[rng.permutation(len(y))[: loss_reading.ROWS]]
    outs = [rng.uniform(0.05, 0.95, (len(y), *shape)).astype(np.float32) for _ in range(2)]
    values = [f.training.loss_value(out, y) for out in outs]
    units, found = shape[-1], []
    rows = math.prod(shape[:-1]) * len(y)
    targets = y.reshape(rows, -1) if y.size % rows == 0 else y
    for name, _, formula in loss_reading.FORMULAS:
        for t in loss_reading._as_columns(targets, units, name):
            for _, _, reduced in loss_reading._reductions(name, formula, t):
                with np.errstate(all="ignore"):
                    made = [reduced(out.reshape(-1, units).astype(float)) for out in outs]
                apart = [abs(v - m) / max(abs(v), 1e-6) for v, m in zip(values, made, strict=True)]
                found.append(max(apart))
    return sorted(v for v in found if math.isfinite(v))


def _match(f: Facts) -> list[float]:
    return _loss_differences(f)[:1]


def _other_formula(f: Facts) -> list[float]:
    """The nearest formula that is another one."""
    return [v for v in _loss_differences(f) if v > 1e-4][:1]


VANISHING, EXPLODING = ("vanishing_gradient", "init_too_small"), ("exploding_gradient",)
RAW, TARGETS = ("inputs_not_scaled",), ("targets_not_scaled",)
SMALL_TARGETS, HALF = ("targets_overscaled",), data.SMALL / 2
MISALIGNED, LEAKED, DEAD = ("labels_misaligned",), ("label_leakage",), ("dead_relu",)
_ratio, _growth = _deep(lambda f: f.gradient_ratio), _deep(lambda f: f.growth)
_dead_first, _dead = _with_relu(lambda f: f.dead_at_start), _with_relu(lambda f: f.dead_share)

MEASURES: list[Measure] = [
    Measure(data, "LARGE", "size of inputs", _input_size, RAW),
    Measure(data, "UNEVEN", "widest column over median", _uneven, RAW),
    Measure(data, "SMALL", "spread of inputs", _input_spread, ("inputs_overscaled",), False),
    Measure(data, "LARGE", "size of targets", _target_size, TARGETS),
    Measure(data, "SMALL", "spread of targets", _target_spread, SMALL_TARGETS, False, HALF),
    Measure(data, "APART", "sizes of the two sets", _apart, ("train_test_mismatch",)),
    Measure(data, "UNLIKE", "classes of the two sets", _shares, ("label_encoding_wrong",)),
    Measure(data, "IN_ORDER", "order of classes", _in_order, ("data_not_shuffled",)),
    Measure(data, "EXPLAINED", "held-out rows explained", _explained(True), MISALIGNED),
    Measure(data, "UNEXPLAINED", "trained rows explained", _explained(False), MISALIGNED, False),
    Measure(leakage, "TELLS", "told by one column, trained", _told(False), LEAKED),
    Measure(leakage, "SILENT", "told by that column, held out", _told(True), LEAKED, False),
    Measure(weights, "WIDE", "spread of weights", _spreads, ("init_too_large",)),
    Measure(weights, "NARROW", "spread of weights", _spreads, ("init_too_small",), False),
    Measure(weights, "VANISHED", "∂/∂weights, first over last", _ratio, VANISHING, False),
    Measure(weights, "LOST", "∂/∂outputs, first over last", _growth, VANISHING, False),
    Measure(weights, "EXPLODED", "∂/∂outputs, first over last", _growth, EXPLODING),
    Measure(time, "EXPLODED", "first step over last", _over_time, EXPLODING),
    Measure(time, "FORGOTTEN", "first step over last", _over_time, VANISHING, False),
    Measure(time, "EQUAL", "units apart", _first_units, ("init_symmetric",), False),
    Measure(weights, "SATURATED", "saturated share", _saturated, ("saturated_activation",)),
    Measure(weights, "DEAD_AT_START", "dead share at the start", _dead_first, DEAD),
    Measure(weights, "DEAD", "dead share at the end", _dead, DEAD),
    Measure(steps, "GAP", "trained minus held-out score", _gap, ("regularisation_missing",)),
    Measure(steps, "WORSE", "training minus evaluation mode", _mode, ("inference_mode_wrong",)),
    Measure(
        steps, "fit", "score of trained rows", _fit, ("regularisation_too_strong",), False, 0.95
    ),
    Measure(loss_reading, "SAME", "loss and its formula", _match, ()),
    Measure(loss_reading, "SAME", "loss and the next formula", _other_formula, ()),
]
