"""Structured changes of a program, and their translation into the language of patches.

A change is (what, place, value); a remedy is a list of changes. Indices of layers are those of the
program before the remedy.

    ("rate", "optimizer.lr", 0.01)           ("optimizer", "optimizer", {"name": "adam", "lr": …})
    ("batch", "batch", 32)                   ("epochs", "epochs", 40)
    ("activation", "layers.3", "relu")       ("output_activation", "layers.5", "softmax")
    ("loss", "loss", "cce_logits")           ("reduction", "loss", "mean")
    ("initialisation", "layers.2", "he_uniform"): with biases of 0
    ("scale", "data.inputs", "standardise"), or "minmax"; ("scale", "data.targets", …)
    ("remove", "layers.4", None)             ("insert", "layers.4", {"type": "batchnorm"}): before 4
    ("dropout", "layers.3", 0.2)             ("l2", "layers.3", 0.0)
    ("width", "layers.0", 16)                ("shuffle", "data", True)
    ("clip", "optimizer", 1.0): the norm of the gradients
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from .initial import NAMES as INITIALISATIONS
from .network import ACTIVATIONS
from .patches import Item, Recipe

Change = tuple[str, str, Any]

WEIGHTED = "dense", "conv2d"
PREPARED = {"data.inputs": "x", "data.targets": "y"}


def as_patch(remedy: Iterable[Change], recipe: Recipe) -> Item:
    """One item of a patch that makes all changes; raises ValueError for one that cannot be made."""
    item: dict[str, Any] = {"set": {}, "insert": [], "delete": [], "prep": []}
    for what, place, value in remedy:
        if what not in CHANGES:
            raise ValueError(f"got the change {what!r}; expected one of {', '.join(CHANGES)}")
        for key, part in CHANGES[what](recipe, place, value).items():
            if isinstance(part, dict):
                item[key].update(part)
            else:
                item[key] += part
    return {key: part for key, part in item.items() if part}


# ── each change as a part of an item ─────────────────────────────────────────────────────────────

Translation = Callable[[Recipe, str, Any], dict[str, Any]]


def _setting(path: str) -> Translation:
    """A change of one setting, whose place is fixed."""

    def translate(recipe: Recipe, place: str, value: Any) -> dict[str, Any]:
        return {"set": {path: value}}

    return translate


def _of_layer(setting: str, *kinds: str, names: Iterable[str] = ()) -> Translation:
    """A change of one setting of a layer.

    kinds   the types of layers that have it; any if left out
    names   what its value begins with; anything if left out
    """

    def translate(recipe: Recipe, place: str, value: Any) -> dict[str, Any]:
        layer = recipe["layers"][_index(recipe, place)]
        if kinds and layer["type"] not in kinds:
            raise ValueError(f"{place} is {layer['type']}; expected {' or '.join(kinds)}")
        if names and value.partition("(")[0] not in names:
            raise ValueError(f"got {value!r} for {place}; expected one of {', '.join(names)}")
        return {"set": {f"{place}.{setting}": value}}

    return translate


def _index(recipe: Recipe, place: str, ends: int = 0) -> int:
    """The layer of a place; `ends` is 1 where the place after the last layer is one too."""
    match = re.fullmatch(r"layers\.(\d+)", place)
    count = len(recipe["layers"])
    if match is None or int(match[1]) >= count + ends:
        raise ValueError(f"got the place {place!r}; expected layers.0 to layers.{count - 1 + ends}")
    return int(match[1])


def _loss(recipe: Recipe, place: str, value: Any) -> dict[str, Any]:
    """A new loss has no reduction yet: the mean."""
    return {"set": {"loss": {"name": value} if isinstance(value, str) else value}}


def _initialisation(recipe: Recipe, place: str, value: Any) -> dict[str, Any]:
    weights = _of_layer("init", *WEIGHTED, names=INITIALISATIONS)(recipe, place, value)["set"]
    return {"set": {**weights, f"{place}.bias_init": None}}


def _scale(recipe: Recipe, place: str, value: Any) -> dict[str, Any]:
    """By a step of preparation, or by its name."""
    if place not in PREPARED:
        raise ValueError(f"got the place {place!r}; expected {' or '.join(PREPARED)}")
    step = {"op": value} if isinstance(value, str) else value
    return {"prep": [{**step, "on": PREPARED[place]}]}


def _remove(recipe: Recipe, place: str, value: Any) -> dict[str, Any]:
    return {"delete": [_index(recipe, place)]}


def _insert(recipe: Recipe, place: str, value: Any) -> dict[str, Any]:
    return {"insert": [[_index(recipe, place, ends=1), value]]}


CHANGES: dict[str, Translation] = {
    "rate": _setting("optimizer.lr"),
    "optimizer": _setting("optimizer"),
    "clip": _setting("optimizer.clipnorm"),
    "batch": _setting("batch"),
    "epochs": _setting("epochs"),
    "shuffle": _setting("shuffle"),
    "activation": _of_layer("activation", names=ACTIVATIONS),
    "output_activation": _of_layer("activation", names=ACTIVATIONS),
    "width": _of_layer("size", "dense", "conv2d", "lstm"),
    "dropout": _of_layer("rate", "dropout"),
    "l2": _of_layer("l2", *WEIGHTED),
    "initialisation": _initialisation,
    "loss": _loss,
    "reduction": _setting("loss.reduction"),
    "scale": _scale,
    "remove": _remove,
    "insert": _insert,
}
