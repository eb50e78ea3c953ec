"""The end of a story: how large the gradients are, and what a step would change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..derivation import Derivation, evaluated
from ..numbers import element_text, largest_places, number_text
from .flow import legs, on_the_way
from .reading import Reading

WEIGHTS = 5  # with the largest moves
PARAMETERS = 8  # whose gradient is told
# Of learning, tried from the largest; page/view/training.js has the same.
RATES = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4)
FALL = 3  # a step may lower the loss by one such part of it


def blame(reading: Reading) -> Iterator[str]:
    """The length of the gradient of each part, and what becomes of it on the way back."""
    gradients = _gradients(reading)
    squares = {name: float((g**2).sum()) for name, g in gradients.items()}
    total = sum(squares.values())
    if not total or not np.isfinite(total):
        what = "0" if not total else "not finite"
        yield f"The length of all gradients together is {what}: there is nothing to share."
        return
    yield (
        "The length of a gradient is the root of the sum of its squares; parts of different sizes "
        "can be compared by the size per number, the root of their mean:"
    )
    order = sorted(squares, key=lambda name: -squares[name])
    for name in order[:PARAMETERS]:
        size = gradients[name].size
        each = f", {number_text((squares[name] / size) ** 0.5)} per number" if size > 1 else ""
        yield f"     {name}: {number_text(squares[name] ** 0.5)}{each}"
    if len(order) > PARAMETERS:
        yield f"     … {len(order) - PARAMETERS} smaller ones …"
    yield from on_the_way(reading, legs(reading))


def next_step(reading: Reading) -> Iterator[str]:
    """What the step assigns; or what a step of gradient descent would change."""
    d = reading.derivation
    before = {i.name: np.asarray(i.value) for i in d.inputs.values() if i.name in d.gradients}
    now = _loss(reading)
    if not np.isfinite(now):
        yield f"The loss is {number_text(now)}: what a step would change cannot be told."
        return
    own = [name for name in before if name in d.updated]
    if own:
        after = {name: np.asarray(reading.value(d.updated[name])) for name in own}
        gradients = _gradients(reading)
        change = sum(float((gradients[n] * (after[n] - before[n])).sum()) for n in own)
        yield (
            "To first order, a move against its gradient lowers the loss by gradient × move. These "
            f"add up to {number_text(change)}, so the gradients alone promise "
            f"{number_text(now + change, 4)}. After this step the loss would be "
            f"{number_text(_loss_with(d, after), 4)}. The largest moves:"
        )
    else:
        rate, after, loss = _descent(reading, before)
        if after is None:
            yield "A small step against the gradients would not lower the loss: it is at rest."
            return
        squares = _sum_of_squares(reading)
        promise, result = (number_text(v, 4) for v in (now - rate * squares, loss))
        exact = "" if promise == result else ", because it curves or has kinks on the way"
        yield (
            f"Gradient descent moves each number against its gradient, here by {rate:g} × the "
            "gradient. To first order, as if it were a straight line, the loss falls by the rate "
            f"times the sum of all squared gradients, {rate:g} × {number_text(squares)} = "
            f"{number_text(rate * squares)}. The gradients alone promise {promise}; the loss would "
            f"be {result}{exact}. The largest moves:"
        )
    moves = [
        (float(abs(after[name][place] - before[name][place])), name, place)
        for name in after
        for place in largest_places(after[name].astype("f8") - before[name], WEIGHTS)
    ]
    for _, name, place in sorted(moves, key=lambda move: -move[0])[:WEIGHTS]:
        old, new = (number_text(values[name][place], 4) for values in (before, after))
        yield f"     {element_text(name, place)}: {old} → {new}"


def _gradients(reading: Reading) -> dict[str, Any]:
    d = reading.derivation
    return {name: np.asarray(reading.value(node), "f8") for name, node in d.gradients.items()}


def _loss(reading: Reading) -> float:
    return float(reading.value(reading.derivation.loss).item())


def _sum_of_squares(reading: Reading) -> float:
    return sum(float((g**2).sum()) for g in _gradients(reading).values())


def _descent(reading: Reading, before: dict[str, Any]) -> tuple[float, Any, float]:
    """The learning rate, the numbers after a step with it, and the loss that they would have.

    The largest rate at which the loss falls by half of what the gradients promise, or more, and by
    a third of it at most: what is promised is then no loss below 0. Of a loss that is near 0 itself
    the smallest rate.
    """
    d, now, squares = reading.derivation, _loss(reading), _sum_of_squares(reading)
    step: tuple[float, Any, float] = RATES[-1], None, now
    for rate in RATES:
        after = {
            name: (old - rate * np.asarray(reading.value(d.gradients[name]))).astype(old.dtype)
            for name, old in before.items()
        }
        loss = _loss_with(d, after)
        fallen = now - loss
        if fallen > 0 and fallen >= rate * squares / 2:
            step = rate, after, loss
            if fallen <= abs(now) / FALL:
                break
    return step


def _loss_with(derivation: Derivation, changed: Mapping[str, Any]) -> float:
    """The loss if some inputs, by name, had other values."""
    fixed = sorted(derivation.fixed, key=derivation.position.__getitem__)
    values = {node: changed.get(i.name, i.value) for node, i in derivation.inputs.items()}
    order = [*(n for n in fixed if n.op is not None), *derivation.forward]
    return float(evaluated(order, values)[derivation.loss].item())
