"""`story`: a pass for readers without calculus, with the numbers of the sample."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ... import nn, ops
from ...errors import printable
from ...graph import Node
from ..derivation import MOVES, Derivation
from ..layers import Layers, folded
from ..numbers import (
    array_text,
    count_text,
    element_text,
    largest,
    largest_places,
    number_text,
    shape_text,
)
from ..recorder import Pull
from ..steps import Step
from .closing import blame, next_step
from .flow import STEADY, legs, on_the_way
from .probabilities import batch, probabilities
from .reading import Reading, Share
from .slopes import by_operation, choice, on_this_sample
from .words import documented, manner, phrase, titled

WIDTH = 100  # of a line
STEPS = 10  # that are told, of the forward and of the backward pass
PHRASES = 3  # of what a step does
TERMS = 3  # of a sum that is written out
PARAMETERS = 8  # that are listed
NUDGE = 0.01  # by how much a number grows in the examples


def story(derivation: Derivation) -> str:
    """The pass in plain sentences: what is computed, who is to blame, what a step would change."""
    reading = Reading(derivation)
    notes = _Notes(reading)
    parts = folded(derivation.steps)
    chapters = (
        _beginning(reading),
        ["Forward: from the data to the loss", *_forward(reading, parts, notes)],
        ["Backward: who is to blame", *_backward(reading, parts, notes)],
        ["The blame of each part", *blame(reading)],
        ["The next step", *next_step(reading)],
    )
    return "\n\n".join("\n".join(map(_wrapped, lines)) for lines in chapters)


def sentences(derivation: Derivation) -> list[list[str]]:
    """For each step by itself a sentence on its forward pass, then those on its backward pass.

    Those of the first layer end with what becomes of the gradient on its way there.
    """
    reading = Reading(derivation)
    notes, way = _Notes(reading), legs(reading)
    out = []
    for step in derivation.steps:
        back = _step_back(reading, step, set(), notes)
        if back and way and way[-1].node in step.nodes:
            back += on_the_way(reading, way)
        out.append([printable(text) for text in (_step(reading, step, notes), *back)])
    return out


def _wrapped(line: str) -> str:
    """Lines of WIDTH characters, indented like the first."""
    start = re.match(r" *\d+\. | *", line)
    indent = " " * (start.end() if start else 0)
    return textwrap.fill(
        printable(line),
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


class _Notes:
    """What is said once on the way back.

    loss    if it is of probabilities
    places  what the places of elements mean, by the first value that has such
    """

    def __init__(self, reading: Reading) -> None:
        self.loss = probabilities(reading)
        self.places: dict[Node, str] = {}
        count, known = reading.samples.count, reading.derivation.inputs
        for step in reversed(reading.derivation.steps):
            for node in step.inputs:
                if node not in reading.gradients or len(node.shape) != 2:
                    continue
                weight = node in known and type(step.module) is nn.Linear
                between = node not in known and node.shape[0] == count
                if weight and _WEIGHT not in self.places.values():
                    self.places[node] = _WEIGHT
                elif between and _BETWEEN not in self.places.values():
                    self.places[node] = _BETWEEN


_WEIGHT = "Of a weight, the first place is the unit it leads to, the second the one it comes from."
_BETWEEN = "Places count from 0: the first is the sample, the second the number in it."


def _beginning(reading: Reading) -> Iterator[str]:
    d = reading.derivation
    value = number_text(reading.value(d.loss).item(), 4)
    free = sum(np.size(reading.value(node)) for node in d.gradients.values())
    yield (
        f"The loss is {value}. It says how wrong the result is; training makes it smaller. It "
        f"depends on {count_text(free, 'number')} that can change: {_listed([*d.gradients])}."
    )


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - PARAMETERS
    return ", ".join(names[:PARAMETERS]) + (f" and {more} more" if more > 0 else "")


# ── forward ──────────────────────────────────────────────────────────────────────────────────────


def _forward(reading: Reading, parts: Sequence[Layers], notes: _Notes) -> Iterator[str]:
    items: list[str] = []
    for part in parts:
        items += [*(_step(reading, step, notes) for step in part.steps), *part.note]
    yield from _numbered(items)


def _step(reading: Reading, step: Step, notes: _Notes) -> str:
    """One sentence on what a step does, and its result; of the loss what it says."""
    inputs = ", ".join(dict.fromkeys(map(reading.name, step.inputs)))
    phrases = _phrases(reading, step)
    if not phrases:
        does = "puts the numbers into another shape"
    elif len(phrases) > PHRASES:
        what = documented(step)
        does = "computes, in several small operations: " if what else "works in several steps: "
        does += what or f"{', '.join(phrases[:PHRASES])}, …"
    else:
        does = ", then ".join(phrases)
    results = "; ".join(_result(reading, node) for node in step.outputs)
    parts = [f"{titled(step)} reads {inputs}. It {does}. Result: {results}."]
    if reading.derivation.loss in step.outputs:
        parts += [*([notes.loss.text()] if notes.loss is not None else []), *batch(reading)]
    return " ".join(parts)


def _phrases(reading: Reading, step: Step) -> list[str]:
    """What the operations of a step do, each once; a condition is said with the choice by it."""
    nodes = [n for n in step.nodes if reading.is_shown(n) and n.op not in (*MOVES, ops.item)]
    special = {n: choice(reading, n) for n in nodes if n.op is ops.where}
    said = {n.inputs[0] for n, text in special.items() if text}
    special |= dict.fromkeys(filter(reading.adds_bias, nodes), "adds a bias")
    left = [n for n in nodes if n not in said and n.op is not None]
    return list(dict.fromkeys(special.get(n) or phrase(n.op) for n in left if n.op))


def _result(reading: Reading, node: Node) -> str:
    """A value with its name, size and numbers."""
    value, name = reading.value(node), reading.name(node)
    if isinstance(value, tuple):
        return f"{name}, {count_text(len(value), 'array')}"
    if value.size == 1:
        return f"{name} = {array_text(value)}"
    return f"{name}, {shape_text(value.shape)} numbers, {array_text(value)}"


def _numbered(items: Sequence[str]) -> Iterator[str]:
    """What is told, each of one line or several, with numbers; of many the first and the last."""
    half = STEPS // 2
    for k, lines in enumerate(items, 1):
        if len(items) <= STEPS or k <= half or k > len(items) - half:
            yield from f"{k:>3}. {lines}".split("\n")
        elif k == half + 1:
            yield f"     … {len(items) - 2 * half} more …"


# ── backward ─────────────────────────────────────────────────────────────────────────────────────


def _backward(reading: Reading, parts: Sequence[Layers], notes: _Notes) -> Iterator[str]:
    yield (
        "If a number in the network grew a little, how would the loss change? The answer is the "
        "number's gradient, its share of the blame. The chain rule finds it from the loss back. It "
        "tells what small changes do; where the loss curves or has a kink, a large change does "
        "something else."
    )
    known: set[str] = set()
    items: list[str] = []
    for part in reversed(parts):
        items += part.note
        for step in reversed(part.steps):
            lines = _step_back(reading, step, known, notes)
            items += ["\n     ".join(lines)] * bool(lines)
    yield from _numbered(items)


def _step_back(reading: Reading, step: Step, known: set[str], notes: _Notes) -> list[str]:
    """Sentences on what a step passes back, none if that is nothing.

    known   what has been said of operations
    """
    blamed = [i for i in step.inputs if i in reading.gradients]
    if not blamed:
        return []
    if notes.loss is not None and notes.loss.scores in step.inputs:
        how = notes.loss.back(reading.name(notes.loss.scores))
    else:
        how = _manners(reading, step, known)
    lines = [" ".join(filter(None, (f"Back through {titled(step)}.", how)))]
    for i in blamed:
        lines.append(" ".join(filter(None, (_gradient(reading, i), notes.places.get(i)))))
    lines += [_through_time(reading, p) for p in step.pulls if p.node.op is ops.scan]
    return [*filter(None, lines)]


def _manners(reading: Reading, step: Step, known: set[str]) -> str:
    """How the blame goes back through a step's operations, where that is new.

    Of many kinds of operations only those are told whose rule has no common form.

    known   what has been said
    """
    uses = [p for p in step.pulls if reading.shares(p) and p.node.op not in (*MOVES, ops.item)]
    kinds = by_operation(uses)
    new = []
    if len(kinds) > PHRASES + 1:
        new.append("it goes through several kinds of operations, one after the other")
        kinds = [p for p in kinds if (op := p[0].node.op) is not None and op.kind == "other"]
    for pulls in kinds:
        assert pulls[0].node.op is not None
        general, here = manner(pulls[0].node.op), on_this_sample(reading, pulls)
        if here or general not in known:
            new.append(general + here)
        known.add(general)
    text = "; ".join(new)
    return f"{text[:1].upper()}{text[1:]}." if new else ""


def _gradient(reading: Reading, node: Node) -> str:
    """The largest gradients of a value's elements, what they mean, and where they come from."""
    value = np.asarray(reading.value(node))
    if not value.size:
        return f"{reading.name(node)} is empty: it has no gradient."
    gradient = np.asarray(reading.value(reading.gradients[node]), np.float64).reshape(value.shape)
    place = largest(gradient)
    g, whole = float(gradient[place]), reading.name(node)
    if g == 0 or not np.isfinite(g):
        none = "no gradient" if g == 0 else f"the gradient {number_text(g)}"
        return f"{whole} gets {none}."
    most = ", the largest in size" if value.size > 1 else ""
    change = f"{'grow' if g > 0 else 'fall'} by about {number_text(abs(g) * NUDGE)}"
    because = _because(reading, node, place)
    because = f" = {because}" if because else ""
    out = (
        f"{element_text(whole, place)} = {number_text(value[place])} has the gradient "
        f"{number_text(g)}{because}{most}: if it grew by {NUDGE:g}, the loss would {change}."
    )
    if node in reading.derivation.inputs or not reading.is_shown(node):
        return out
    others = largest_places(gradient, TERMS)[1:]
    if not others:
        return out
    said = ", ".join(f"{element_text(whole, p)} {number_text(gradient[p])}" for p in others)
    return f"{out} Next: {said}."


def _through_time(reading: Reading, pull: Pull) -> str:
    """How the gradient grows or fades from the last step of a recurrence back to the first."""
    params = pull.node.params
    first = params["consts"] + params["carries"]
    rows = [s for s in reading.shares(pull) if s.node in pull.node.inputs[first:]]
    if not rows or params["length"] < 2:
        return ""
    gradient = np.asarray(reading.value(rows[0].share), "f8").reshape(params["length"], -1)
    sizes = np.sqrt((gradient**2).sum(1))[:: -1 if params["reverse"] else 1]
    ends = f"{number_text(sizes[-1])} at the last step and {number_text(sizes[0])} at the first"
    out = f"Through time: the gradient of what each step reads has the size {ends}"
    if not (np.isfinite(sizes).all() and sizes[0] and sizes[-1]):
        return f"{out}."
    ratio = sizes[0] / sizes[-1]
    how = "fades" if ratio < 1 / STEADY else "grows" if ratio > STEADY else "stays about the same"
    rate = number_text(ratio ** (1 / (len(sizes) - 1)))
    return f"{out}: it {how} on the way back, by × {rate} per step of {len(sizes)}."


def _because(reading: Reading, node: Node, place: tuple[int, ...]) -> str:
    """The gradient of an element as products of numbers that have been told, or an empty text."""
    pulls = reading.readers.get(node, [])
    while len(pulls) == 1 and pulls[0].node.op in MOVES:  # the same number at another place
        moved = pulls[0].node
        if reading.is_shown(moved):  # the reader knows it by its name
            return ""
        place = _place_after(moved, place)
        node, pulls = moved, reading.readers.get(moved, [])
    shares = [s for p in pulls for s in reading.shares(p) if s.node is node]
    if len(shares) != 1 or len(pulls) != 1:
        return ""
    (share,) = shares
    source = share.upstream
    while source is not None and source.op in MOVES:
        source = source.inputs[0]
    if share.upstream is None or source not in reading.between:
        return ""
    upstream = np.asarray(reading.value(share.upstream), "f8")
    if share.pull.node.op is ops.matmul:
        return _terms(share, upstream, place, reading)
    factor = reading.factor(share)
    if factor is None or factor.shape != node.shape or factor[place] == 1:
        return ""
    return f"{number_text(upstream[place])} × {number_text(factor[place])}"


def _place_after(moved: Node, place: tuple[int, ...]) -> tuple[int, ...]:
    """Where an element is after an operation that only moves it."""
    if moved.op is ops.permute_dims:
        return tuple(place[axis] for axis in moved.params["axes"])
    if moved.op is ops.reshape:
        flat = np.ravel_multi_index(place, moved.inputs[0].shape) if place else 0
        return tuple(int(i) for i in np.unravel_index(flat, moved.shape))
    return place


def _terms(share: Share, g: Any, place: tuple[int, ...], reading: Reading) -> str:
    """An element of g @ bᵀ, or of aᵀ @ g, as a sum of products, the largest first."""
    first, second = share.pull.node.inputs
    if g.ndim != 2 or len(first.shape) != 2 or len(second.shape) != 2:
        return ""
    row, column = place
    if share.node is first:
        pairs = list(zip(g[row], np.asarray(reading.value(second), "f8")[column], strict=True))
    else:
        pairs = list(zip(g[:, column], np.asarray(reading.value(first), "f8")[:, row], strict=True))
    pairs = sorted((p for p in pairs if p[0] * p[1]), key=lambda p: -abs(p[0] * p[1]))
    text = " + ".join(f"{number_text(a)} × {number_text(b)}" for a, b in pairs[:TERMS])
    text = text.replace("+ −", "− ")
    more = len(pairs) - TERMS
    return text + (f" + {count_text(more, 'smaller product')}" if more > 0 else "")
