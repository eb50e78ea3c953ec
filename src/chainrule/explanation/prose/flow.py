"""What becomes of the gradient on its way from the loss to the first layer.

The way leads from the loss back along values that depend on data, at each operation to the input
that was computed last, so through every layer. What is told are lengths of complete gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ... import ops
from ...graph import Node
from ..numbers import number_text
from ..recorder import Pull
from ..steps import Step
from .reading import PRODUCTS, Reading
from .slopes import curved, replaced, slopes
from .words import titled

VANISHING = 0.01  # the ratio of two lengths from which a gradient nearly vanishes
STEADY = 3  # the factor up to which a length stays about the same
LEGS = 3  # that are told


@dataclass
class Leg:
    """The way through one step.

    node     the value at its end: the input of the step
    length   of ∂loss/∂node
    way      the uses of the chain rule, each with the input that it leads to
    weights  by which the step multiplies what it reads
    """

    step: Step
    node: Node
    length: float
    way: list[tuple[Pull, Node]]
    weights: list[Node]


def on_the_way(reading: Reading, way: Sequence[Leg]) -> Iterator[str]:
    """Whether the gradient vanishes or explodes on its way, where, and because of what."""
    if len(way) < 2 or not all(np.isfinite(leg.length) for leg in way):
        return
    if any(pull.node.op is ops.scan for pull in reading.pulls):
        return  # through time: what is told of the loop says more
    start, end = way[0], way[-1]
    lengths = (
        f"On the way back the length of the gradient goes from {number_text(start.length)} at "
        f"{reading.name(start.node)} to {number_text(end.length)} at {reading.name(end.node)}"
    )
    if not all(leg.length for leg in way[:-1]) and end.length:
        return  # it comes another way
    if not end.length:
        lost = next(k for k, leg in enumerate(way) if not leg.length)
        yield f"{lengths}: it is lost at {titled(way[lost].step)}{_cause(reading, way[lost])}."
        return
    small = " It is small already where it starts." if start.length < VANISHING else ""
    ratio = end.length / start.length
    if 1 / STEADY <= ratio <= STEADY:
        yield f"{lengths}: it neither vanishes nor explodes.{small}"
        return
    factors = [b.length / a.length for a, b in pairwise(way)]
    vanishing = ratio < 1
    order = sorted(range(len(factors)), key=lambda k: factors[k] if vanishing else -factors[k])
    worst = [
        f"{titled(way[k + 1].step)} × {number_text(factors[k])}{_cause(reading, way[k + 1])}"
        for k in order[:LEGS]
        if (factors[k] < 1) == vanishing
    ]
    how, most = ("nearly vanishes", "Most is lost") if vanishing else ("explodes", "It grows most")
    how = "" if VANISHING <= ratio <= 1 / VANISHING else f" and {how}"
    where = f"{most} at {'; '.join(worst)}.{small}"
    yield f"{lengths}: it {_changed(ratio)}{how}. {_in_all(reading, way)}{where}"


def _changed(ratio: float) -> str:
    """What a length does: `grows 16 times`, `shrinks to 1/33`."""
    factor = max(ratio, 1 / ratio)
    text = f"{factor:,.0f}" if 10 <= factor < 1e6 else number_text(factor)
    return f"shrinks to 1/{text}" if ratio < 1 else f"grows {text} times"


def legs(reading: Reading) -> list[Leg]:
    """The way from the loss back, step by step."""
    d = reading.derivation
    outputs = {node for step in d.steps for node in step.outputs}
    pulls = {pull.node: pull for pull in reading.pulls}
    data = {node for node, i in d.inputs.items() if i.kind in ("data", "drawn")}
    for node in d.forward:
        if not data.isdisjoint(node.inputs):
            data.add(node)
    out: list[Leg] = []
    passed: list[tuple[Pull, Node]] = []
    node = d.loss
    while (pull := pulls.get(node.inputs[0] if node.op is ops.item else node)) is not None:
        shared = [
            i
            for i, share in zip(pull.node.inputs, pull.shares, strict=True)
            if share is not None and i in data and i in d.step_of
        ]
        if not shared:
            break
        step, node = d.step_of[node], max(shared, key=d.position.__getitem__)
        passed.append((pull, node))
        if node in outputs and node in reading.gradients and d.step_of[node] is not step:
            weights = [
                i
                for p, _ in passed
                if p.node.op in PRODUCTS
                for i in p.node.inputs
                if i not in data
            ]
            out.append(Leg(step, node, _length(reading, node), passed, weights))
            passed = []
    return out


def _in_all(reading: Reading, way: Sequence[Leg]) -> str:
    """What all slopes and all weights on the way multiply its length by: a sentence."""
    factors = {"slopes": 1.0, "weights": 1.0}
    for pull, node in (part for leg in way[1:] for part in leg.way):
        weighs = pull.node.op in PRODUCTS
        known = pull.node in reading.gradients and node in reading.gradients
        if known and (weighs or curved(pull.node) or pull.node.op is ops.where):
            before, after = _length(reading, pull.node), _length(reading, node)
            factors["weights" if weighs else "slopes"] *= after / before if before else 0
    if not all(factors.values()):
        return ""
    parts = [f"{what} multiply it by {number_text(f)}" for what, f in factors.items() if f != 1]
    return f"In all, {' and '.join(parts)}. " if parts else ""


def _length(reading: Reading, node: Node) -> float:
    gradient = np.asarray(reading.value(reading.gradients[node]), np.float64)
    return float(np.sqrt((gradient**2).sum()))


def _cause(reading: Reading, leg: Leg) -> str:
    """The factors by which a step multiplies: its slopes, its weights."""
    causes = []
    factors = [slopes(reading, p) for p, _ in leg.way if curved(p.node)]
    flat: Any = np.concatenate([np.zeros(0), *factors])
    if flat.size:
        ends = dict.fromkeys(map(number_text, (flat.min(), flat.max())))
        causes.append(f"slopes of {' to '.join(ends)}")
    for pull, _ in leg.way:
        if pull.node.op is ops.where and (out := replaced(reading, pull.node)) is not None:
            causes.append(f"{np.count_nonzero(out)} of {out.size} numbers replaced")
    for node in leg.weights:
        size = np.sqrt((np.asarray(reading.value(node), np.float64) ** 2).mean())
        causes.append(f"weights of about {number_text(size)} in size")
    return f" ({', '.join(causes)})" if causes else ""
