"""Random remedies, of the same changes as a doctor's: what luck finds at the same cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.doctor.training import MISFITS

from .collection import Collection
from .patches import Item
from .program import Program
from .remedies import WEIGHTED, Change, as_patch
from .training import train

Random = np.random.Generator

MOST_CHANGES = 3
HIDDEN = "relu", "tanh", "sigmoid", "elu", "selu", "linear"
OUTPUT = "linear", "sigmoid", "softmax", "tanh", "relu"
INITIALISATIONS = "glorot_uniform", "glorot_normal", "he_uniform", "he_normal"
OPTIMIZERS = (
    {"name": "sgd", "lr": 0.01},
    {"name": "sgd", "lr": 0.01, "momentum": 0.9},
    {"name": "adam", "lr": 0.001},
    {"name": "rmsprop", "lr": 0.001},
)


def best_of_random(collection: Collection, name: str, seconds: float, seed: int) -> Item | None:
    """The random remedy of a case with the best score, as a patch; None if none is better.

    seconds   of processor time for trials, after the program itself has run once
    """
    program, random = collection.program(name), np.random.default_rng(seed)
    began = time.process_time()
    best, remedy = _score(collection, name, program, math.inf), None
    limit = max(3 * (time.process_time() - began), seconds / 8)
    began = time.process_time()
    while (left := seconds - (time.process_time() - began)) > 0:
        patch = as_patch(random_remedy(program, random), program.recipe)
        score = _score(collection, name, program.patched([patch]), min(limit, left))
        if score > best:
            best, remedy = score, patch
    return remedy


def _score(collection: Collection, name: str, program: Program, limit: float) -> float:
    """Of a training within so much processor time; −∞ if that is not possible."""
    try:
        outcome = train(program, limit=limit)
    except MISFITS:  # the changes do not fit the program
        return -math.inf
    score = collection.score(name, program.arrays, outcome.outputs, outcome.test_outputs)
    return score if math.isfinite(score) else -math.inf


def random_remedy(program: Program, random: Random) -> list[Change]:
    """One to three changes that fit the program: half of the remedies are one, a quarter two."""
    wanted = min(MOST_CHANGES, int(random.geometric(0.5)))
    remedy: list[Change] = []
    for k in random.permutation(len(KINDS)):
        change = KINDS[k](program, random)
        taken = [(what, place) for what, place, _ in remedy]
        layers = [place for what, place, _ in remedy if what == "remove"]
        if change and change[:2] not in taken and change[1] not in layers:
            remedy.append(change)
        if len(remedy) == wanted:
            break
    return remedy


# ── kinds of changes: one at random, or None where there is none ─────────────────────────────────


def _pick(random: Random, choices: Any) -> Any:
    """One of some choices, as it is; None if there are none."""
    choices = list(choices)
    return choices[random.integers(len(choices))] if choices else None


def _layer(program: Program, random: Random, *kinds: str, hidden: bool = False) -> int | None:
    """A layer of some types; `hidden`: before the output layer."""
    layers = program.recipe["layers"]
    end = _output(program) if hidden else len(layers)
    return _pick(random, (n for n in range(end) if layers[n]["type"] in kinds))


def _output(program: Program) -> int:
    """The layer that gives the output: the last with weights."""
    layers = program.recipe["layers"]
    return max(n for n, layer in enumerate(layers) if layer["type"] in (*WEIGHTED, "lstm"))


def _rate(program: Program, random: Random) -> Change:
    """A rate from a thousandth to a hundred times the present one."""
    lr = program.recipe["optimizer"]["lr"] * 10 ** random.uniform(-3, 2)
    return "rate", "optimizer.lr", float(f"{lr:.2g}")


def _optimizer(program: Program, random: Random) -> Change:
    return "optimizer", "optimizer", _pick(random, OPTIMIZERS)


def _batch(program: Program, random: Random) -> Change | None:
    rows, now = len(program.arrays.x), program.recipe["batch"]
    size = _pick(random, (2**k for k in range(3, 9) if 2**k <= rows and 2**k != now))
    return ("batch", "batch", size) if size else None


def _epochs(program: Program, random: Random) -> Change:
    return "epochs", "epochs", program.recipe["epochs"] * _pick(random, (2, 3, 4))


def _shuffle(program: Program, random: Random) -> Change | None:
    return None if program.recipe.get("shuffle", True) else ("shuffle", "data", True)


def _activation(program: Program, random: Random) -> Change | None:
    n = _layer(program, random, *WEIGHTED, "activation", hidden=True)
    return None if n is None else ("activation", f"layers.{n}", _pick(random, HIDDEN))


def _output_activation(program: Program, random: Random) -> Change:
    return "output_activation", f"layers.{_output(program)}", _pick(random, OUTPUT)


def _loss(program: Program, random: Random) -> Change:
    """A loss whose shapes fit the targets and the number of outputs."""
    y = program.arrays.y
    if not np.issubdtype(y.dtype, np.integer):
        names = ["mse", "mae", "bce_probs", "bce_logits"]
    elif y.ndim == 2:
        names = ["cce_probs", "cce_logits"]
    elif program.recipe["layers"][_output(program)]["size"] == 1:
        names = ["bce_probs", "bce_logits", "mse", "mae"]
    else:
        names = ["cce_probs", "cce_logits", "bce_one_hot", "mse", "mae"]
    return "loss", "loss", _pick(random, names)


def _reduction(program: Program, random: Random) -> Change | None:
    given = program.recipe["loss"].get("reduction", "mean")
    return None if given == "mean" else ("reduction", "loss", "mean")


def _initialisation(program: Program, random: Random) -> Change:
    n = _layer(program, random, *WEIGHTED)
    return "initialisation", f"layers.{n}", _pick(random, INITIALISATIONS)


def _scale(program: Program, random: Random) -> Change:
    places = ["data.inputs"]
    if np.issubdtype(program.arrays.y.dtype, np.floating):
        places.append("data.targets")
    return "scale", _pick(random, places), _pick(random, ("standardise", "minmax"))


def _remove(program: Program, random: Random) -> Change | None:
    n = _layer(program, random, *WEIGHTED, "dropout", "batchnorm", "maxpool2d", hidden=True)
    return None if n is None else ("remove", f"layers.{n}", None)


def _insert(program: Program, random: Random) -> Change | None:
    n = _layer(program, random, *WEIGHTED, hidden=True)
    layers: list[dict[str, Any]] = [{"type": "dropout", "rate": 0.2}]
    if program.arrays.x.ndim != 3 and program.recipe["batch"] > 1:  # else there is no batchnorm
        layers.append({"type": "batchnorm"})
    return None if n is None else ("insert", f"layers.{n + 1}", _pick(random, layers))


def _dropout(program: Program, random: Random) -> Change | None:
    n = _layer(program, random, "dropout")
    return None if n is None else ("dropout", f"layers.{n}", _pick(random, (0.0, 0.1, 0.2, 0.5)))


def _l2(program: Program, random: Random) -> Change:
    n = _layer(program, random, *WEIGHTED)
    return "l2", f"layers.{n}", _pick(random, (0.0, 1e-5, 1e-4, 1e-3, 1e-2))


def _width(program: Program, random: Random) -> Change | None:
    n = _layer(program, random, *WEIGHTED, "lstm", hidden=True)
    if n is None:
        return None
    size = program.recipe["layers"][n]["size"]
    return "width", f"layers.{n}", _pick(random, (max(1, size // 2), 2 * size, 4 * size))


KINDS: tuple[Callable[[Program, Random], Change | None], ...] = (
    _rate,
    _optimizer,
    _batch,
    _epochs,
    _shuffle,
    _activation,
    _output_activation,
    _loss,
    _reduction,
    _initialisation,
    _scale,
    _remove,
    _insert,
    _dropout,
    _l2,
    _width,
)
