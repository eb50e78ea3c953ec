"""Changes of a training in words: "learning rate 0.001 in place of 1", "standardise the inputs"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from ..diagnosis.finding import Change
from ..diagnosis.wording import number, place
from .changes import OPTIMIZERS
from .facts import Facts

ACTIVATIONS = {"relu": "ReLU", "linear": "no activation"}  # others are written as they are
INITIALISATIONS = {"he_uniform": "He", "he_normal": "He, normal", "glorot_uniform": "Glorot"}
LOSSES = {
    "cce_logits": "cross-entropy of logits",
    "cce_probs": "cross-entropy of probabilities",
    "bce_logits": "binary cross-entropy of logits",
    "bce_probs": "binary cross-entropy of probabilities",
    "mse": "mean squared error",
}
FEW = 4  # modules that are listed
READ = {
    "cross_entropy": "cross-entropy",
    "binary_cross_entropy": "binary cross-entropy",
    "mse": "mean squared error",
    "mae": "mean absolute error",
}  # what a loss was read as


def in_words(changes: Sequence[Change], facts: Facts) -> str:
    """The changes in one line; those of many layers together.

    facts   of the training before these changes
    """
    clauses: list[str] = []
    for _, alike in groupby(dict.fromkeys(changes), _likeness):
        several = list(alike)
        clauses += _WORDS.get(several[0].what, _as_it_is)(several, facts)
    return "; ".join(clauses) or "no change"


def _likeness(change: Change) -> tuple[str, str]:
    """What changes have in common that are one clause: of first weights all are."""
    return change.what, "" if change.what == "initialisation" else str(change.value)


def places(paths: Sequence[str]) -> str:
    """Modules by their paths: "layers.0, layers.2 and layers.4", "29 layers (0.1 to 28.1)"."""
    if len(paths) > FEW:
        return f"{len(paths)} layers ({paths[0]} to {paths[-1]})"
    *first, last = map(place, paths)
    return f"{', '.join(first)} and {last}" if first else last


def _as_it_is(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield from map(str, changes)


def _activation(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    """In place of the activations there, or after layers of weights."""
    new = ACTIVATIONS.get(changes[0].value, changes[0].value)
    layers = {layer.path: layer for layer in facts.start.layers}

    def before(change: Change) -> str:
        layer = layers.get(change.place)
        return layer.name if layer is not None and layer.kind in ("activation", "custom") else ""

    for old, alike in groupby(changes, before):
        where = places([change.place for change in alike])
        if old:
            yield f"{new} in place of {_lower(old)} in {where}"
        elif changes[0].value != "linear":
            yield f"{new} after {where}"


def _lower(name: str) -> str:
    """The class of an activation as people write it: sigmoid, tanh, softmax; but ReLU, GELU."""
    return name.lower() if name in ("Sigmoid", "Tanh", "Softmax", "Softplus", "Softsign") else name


def _removal(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"no dropout in {_places(changes)}"


def _insertion(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    what = "batch normalization" if changes[0].value == "batchnorm" else changes[0].value
    yield f"{what} after {_places(changes)}"


def _places(changes: Sequence[Change]) -> str:
    return places([change.place for change in changes])


def _training(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"train the parameters of {_places(changes)}"


def _residual(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"a residual connection around {_places(changes)}"


def _recurrent(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"{changes[0].value.upper()} in place of RNN in {_places(changes)}"


def _units(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"{changes[0].value} outputs in {_places(changes)}"


def _memory(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    steps = changes[0].value
    yield f"gates that keep the state for up to {steps} steps in {_places(changes)}"


def _clip(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"gradients clipped to the norm {number(changes[0].value)}"


def _initialisation(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    recurrent = [c for c in changes if c.value == "orthogonal"]
    others = [c for c in changes if c.value != "orthogonal"]
    if recurrent:
        yield f"orthogonal first weights from state to state, biases of 0, in {_places(recurrent)}"
    if others:
        by = dict.fromkeys(INITIALISATIONS.get(c.value, c.value) for c in others)
        yield f"first weights by {' and '.join(by)}, biases of 0, in {_places(others)}"


def _scale(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    for change in changes:
        yield f"standardise the {change.place.removeprefix('data.')}"


def _binary(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    low, high = changes[0].value
    yield f"targets of 0 and 1 in place of {number(low)} and {number(high)}"


def _drop(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"set column {changes[0].value} of the inputs to 0, held-out rows too"


def _match(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"multiply the inputs of the training rows by {number(changes[0].value)}"


def _match_held_out(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"multiply the inputs of the held-out rows by {number(changes[0].value)}"


def _loss(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    new, old = LOSSES.get(changes[0].value, changes[0].value), READ.get(facts.loss.name, "")
    if old and old not in new:
        yield f"{new} as the loss, in place of {old}"
    elif facts.loss.reduction.startswith("sum"):
        yield f"{new} as the mean over the rows, in place of the sum"
    else:
        yield f"plain {new} as the loss"


def _rate(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    yield f"learning rate {number(changes[0].value)} in place of {number(_rate_now(facts))}"


def _rate_now(facts: Facts) -> float:
    return float(facts.training.settings["lr"])


def _optimizer(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    name, rate = changes[0].value
    new, old, now = OPTIMIZERS[name].__name__, facts.training.optimizer_name, _rate_now(facts)
    text = f"{new} with its usual settings" if new == old else f"{new} in place of {old}"
    if rate != now:
        text += f", learning rate {number(rate)} in place of {number(now)}"
    yield text


def _decay(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    old, new = facts.decay, changes[0].value
    yield (
        f"weight decay {number(new)} in place of {number(old)}"
        if new
        else f"no weight decay (now {number(old)})"
    )


def _batch(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    yield f"batches of {changes[0].value} rows in place of {facts.training.batch}"


def _shuffle(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield "shuffle the rows in each epoch" if changes[0].value else "leave the rows in their order"


def _epochs(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    yield f"{changes[0].value} epochs in place of {facts.training.epochs}"


_WORDS: Mapping[str, Callable[[Sequence[Change], Facts], Iterator[str]]] = {
    "train": _training,
    "drop": _drop,
    "activation": _activation,
    "output_activation": _activation,
    "remove": _removal,
    "insert": _insertion,
    "residual": _residual,
    "recurrent": _recurrent,
    "units": _units,
    "memory": _memory,
    "clip": _clip,
    "initialisation": _initialisation,
    "scale": _scale,
    "binary": _binary,
    "match": _match,
    "match_held_out": _match_held_out,
    "loss": _loss,
    "rate": _rate,
    "optimizer": _optimizer,
    "decay": _decay,
    "shuffle": _shuffle,
    "batch": _batch,
    "epochs": _epochs,
}
