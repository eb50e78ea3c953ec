"""Faults of the output's activation and of the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...diagnosis.finding import Change
from ...diagnosis.wording import number
from ...graph import Array
from ..facts import Facts
from .fault import Fault

RANGES = {
    "Sigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "ReLU": (0.0, math.inf),
}
LIKELY = 0.8  # a prior above which a fault that cannot be cured here is named
NEAR_ONE = 1e-3  # of a sum in float32
OF_PROBABILITIES = {"Softmax": "cce_probs", "Sigmoid": "bce_probs"}
PLAIN = {
    ("cross_entropy", "logits"): "cce_logits",
    ("cross_entropy", "probabilities"): "cce_probs",
    ("cross_entropy", "softened logits"): "cce_logits",
    ("cross_entropy", "logarithms"): "cce_logits",
    ("binary_cross_entropy", "logits"): "bce_logits",
    ("binary_cross_entropy", "probabilities"): "bce_probs",
    ("mse", "numbers"): "mse",
    ("mae", "numbers"): "mse",
}


def output_faults(f: Facts) -> Iterator[Fault]:
    """What does not fit: output, loss and task to each other."""
    yield from _activation_of_numbers(f) if f.score.task == "numbers" else _activation_of_classes(f)
    yield from _formula(f)
    yield from _loss_of_task(f)
    yield from _units(f)


def _fault(
    f: Facts, kind: str, activation: str, cause: str, prior: float, sure: bool = False
) -> Fault:
    if f.called:  # it cannot be exchanged, but the loss may take what it gives
        loss = OF_PROBABILITIES.get(f.called) if f.score.task != "numbers" else None
        changes = (Change("loss", "loss", loss),) if loss and activation == "linear" else ()
        cause = f"{cause}; it is a call in the model's forward"
        sure = sure or (not changes and prior > LIKELY)
        return Fault(kind, f.output_place, cause, prior, changes, sure)
    change = Change("output_activation", f.output_place, activation)
    cure = _without_activation(f) if activation == "linear" else (change,)
    return Fault(kind, f.output_place, cause, prior, cure, sure)


def _without_activation(f: Facts) -> tuple[Change, ...]:
    """No activation after the last layer of weights, of several none."""
    after = [a.path for a in f.start.layers[f.last + 1 :] if a.kind == "activation"]
    places = dict.fromkeys([*after, f.output_place])
    return tuple(Change("output_activation", place, "linear") for place in places)


def of_scores(f: Facts, loss: str) -> tuple[Change, ...]:
    """A loss that takes scores, with none but scores before it.

    A call cannot be taken out: then it is the loss of what that gives.
    """
    if f.called in OF_PROBABILITIES:
        return (Change("loss", "loss", OF_PROBABILITIES[f.called]),)
    return (Change("loss", "loss", loss), *_without_activation(f))


def _activation_of_classes(f: Facts) -> Iterator[Fault]:
    act, loss, units = f.activation_name, f.loss, f.units
    odd = act not in ("Identity", "Softmax", "Sigmoid")
    kind = "missing_output_activation" if act == "Identity" else "output_activation_wrong"
    axis = _normalised_axis(f.start.output)
    if axis is not None:
        over = "the rows of a batch" if axis == 0 else f"axis {axis}"
        cause = f"the outputs sum to 1 over {over}, and not over the {units} classes"
        new = "softmax" if units > 1 and f.score.task == "classes" else "sigmoid"
        yield _fault(f, "softmax_axis_wrong", new, cause, 1.0, True)
    elif act == "Softmax" and units == 1:
        cause = "softmax over one unit is 1 for every input"
        yield _fault(f, kind, "sigmoid", cause, 1.0, True)
    elif loss.takes == "logarithms" and not _are_logarithms(f.start.output):
        cause = "the loss takes logarithms of probabilities, and gets other outputs: it has no "
        new = "cce_probs" if act == "Softmax" else "cce_logits"
        change = (Change("loss", "loss", new),)
        yield Fault(kind, f.output_place, f"{cause}least value", 1.0, change, True)
    elif loss.takes == "logits" and act != "Identity":
        twice = act == "Softmax" and loss.name == "cross_entropy"
        cause = f"{act} before a loss that takes scores and applies its own"
        yield _fault(f, "double_softmax" if twice else kind, "linear", cause, 0.8, twice)
    elif (loss.name, loss.takes) == ("cross_entropy", "probabilities") and act != "Softmax":
        cause = f"{act} before a loss that takes the logarithm of probabilities that sum to 1"
        yield _fault(f, kind, "softmax", cause, 0.6 if act == "Sigmoid" else 0.9)
    elif loss.takes == "probabilities" and act not in ("Sigmoid", "Softmax"):
        cause = f"{act} before a loss that takes the logarithm of probabilities"
        yield _fault(f, kind, "sigmoid", cause, 0.9)
    elif loss.takes == "numbers" and odd:
        yield _fault(f, kind, "sigmoid", f"{act} for targets of 0 and 1", 0.7)
    if f.score.task == "labels" and act == "Softmax" and units > 1:
        cause = "softmax makes labels that can occur together exclude each other"
        yield _fault(f, kind, "sigmoid", cause, 0.8)


def _normalised_axis(out: Array) -> int | None:
    """The axis over which a softmax made the outputs sum to 1, if it is not that of the classes."""

    def is_whole(axis: int) -> bool:
        return out.shape[axis] > 1 and bool(np.allclose(out.sum(axis), 1, atol=NEAR_ONE))

    if np.min(out) < 0 or is_whole(out.ndim - 1):
        return None
    return next((axis for axis in range(out.ndim - 1) if is_whole(axis)), None)


def _are_logarithms(out: Array) -> bool:
    """Whether outputs are logarithms of probabilities of the classes."""
    with np.errstate(over="ignore"):
        return bool(np.allclose(np.exp(out).sum(-1), 1, atol=NEAR_ONE))


def _activation_of_numbers(f: Facts) -> Iterator[Fault]:
    act, y = f.activation_name, f.training.data[1]
    if act == "Softmax" and f.units == 1:
        new = "sigmoid" if _within(y, 0, 1) else "linear"
        cause = "softmax over one unit is 1 for every input"
        yield _fault(f, "output_activation_wrong", new, cause, 1.0, True)
    elif act in RANGES:
        low, high = RANGES[act]
        outside = float(np.mean((y < low) | (y > high)))
        if outside:
            kind = "output_activation_wrong" if act == "ReLU" else "target_range_mismatch"
            cause = f"{outside:.0%} of the targets are outside of the range of {act}"
            yield _fault(f, kind, "linear", cause, 0.9)
        elif not f.called:
            cause = f"{act} before numbers"
            yield _fault(
                f, "output_activation_wrong", "linear", cause, 0.5 if act == "Softmax" else 0.3
            )
    elif act != "Identity":
        yield _fault(f, "output_activation_wrong", "linear", f"{act} before numbers", 0.6)


def _within(y: Array, low: float, high: float) -> bool:
    return bool(np.min(y) >= low and np.max(y) <= high)


def _formula(f: Facts) -> Iterator[Fault]:
    """Faults of the loss's own formula."""
    loss, plain = f.loss, PLAIN.get((f.loss.name, f.loss.takes))
    if plain is None:
        return
    twice = (plain, f.activation_name) in (("cce_logits", "Softmax"), ("bce_logits", "Sigmoid"))
    change = of_scores(f, plain) if twice else (Change("loss", "loss", plain),)
    if loss.negative:
        cause = f"the loss is {loss.name} with the wrong sign: it is least where all is wrong"
        yield Fault("gradient_ascent", "loss", cause, 1.0, change, True)
    if loss.takes == "softened logits":
        cause = "the loss applies softmax, and then a loss that applies it again"
        yield Fault("double_softmax", "loss", cause, 0.8, change)
    if loss.coupled:
        cause = "each output is compared with the targets of all rows: shapes broadcast"
        yield Fault("loss_shape_broadcast", "loss", cause, 1.0, change, True)
    elif loss.reduction in ("sum", "sum_over_rows"):
        cause = (
            f"the loss is a sum over {f.training.batch} rows, so its gradient grows with the batch"
        )
        yield Fault("loss_reduction_wrong", "loss", cause, 0.7, change)
    if not loss.protected and f.outcome.nonfinite is not None:
        cause = "the loss takes the logarithm of 0 where a probability is 0 or 1"
        yield Fault("unprotected_log", "loss", cause, 1.0, change, True)


def _loss_of_task(f: Facts) -> Iterator[Fault]:
    loss, task, units = f.loss, f.score.task, f.units
    name = loss.name or "a loss of another form"
    if task != "numbers":
        each = task == "classes" and units > 1 and loss.name == "binary_cross_entropy"
        if loss.name in ("", "mse", "mae") or each:
            new = "bce_logits" if units == 1 or task == "labels" else "cce_logits"
            cause = f"{name} for classes: its gradient is small where the output is sure and wrong"
            yield Fault("loss_wrong", "loss", cause, 0.6, of_scores(f, new))
        if loss.name == "mae":
            cause = "the absolute error is least at the median, which is 0 or 1 for classes"
            yield Fault("loss_wrong", "loss", cause, 0.5, (Change("loss", "loss", "mse"),))
    elif loss.name not in ("mse", "mae", "poisson"):
        if loss.name == "binary_cross_entropy" and _within(f.training.data[1], 0, 1):
            return
        changes: tuple[Change, ...] = (Change("loss", "loss", "mse"),)
        if f.activation_name != "Identity":
            changes = *changes, Change("output_activation", f.output_place, "linear")
        cause = f"{name} for numbers"
        if loss.name == "binary_cross_entropy":
            low, high = (number(float(end(f.training.data[1]))) for end in (np.min, np.max))
            cause = f"{name} for targets from {low} to {high}, which has no least value there"
        yield Fault("loss_wrong", "loss", cause, 0.9, changes)


def _units(f: Facts) -> Iterator[Fault]:
    """Fewer outputs than the classes need."""
    units, last = f.units, f.weights[-1] if f.weights else None
    if f.score.task != "classes" or last is None or last.name != "Linear":
        return
    y = f.training.data[1]
    first, count = int(y[y >= 0].min(initial=f.score.classes)), f.score.classes
    if units < count > 2:
        outputs = "1 output is" if units == 1 else f"{units} outputs are"
        cause = f"{outputs} not enough for classes up to {count - 1}, which need {count}"
        if first > 0 and count - first <= units:
            cause += f"; or number them from 0, not from {first}"
        changes = Change("units", last.path, count), *of_scores(f, "cce_logits")
        yield Fault("output_units_wrong", last.path, cause, 1.0, changes, True)
