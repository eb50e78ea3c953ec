"""`text`: forward and backward, operation by operation, compact enough for a terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from ...errors import printable
from ...graph import Node
from ..derivation import Derivation
from ..layers import Layers, folded
from ..numbers import array_text, shape_text
from .loops import body
from .reading import Reading, Share

DETAILED = 80  # operations up to which each is shown; of more only what goes between the steps
WIDTH = 46  # of the column of formulas
SIGNS = {  # in lines of the backward pass
    r" \+= ": "+=: a share; the shares of a value add up",
    r"∂each ": "each b: b at every place that uses it; the gradient of b is the sum over these "
    "places",
    r"= rows .*: ": "rows i: v: v at the rows i of the table, added up where i repeats; "
    "0 elsewhere",
}


def text(derivation: Derivation) -> str:
    """The pass, compact: forward, backward from the loss, then the gradients."""
    reading = Reading(derivation)
    parts = folded(derivation.steps)
    nodes = [node for part in parts for step in part.steps for node in step.nodes]
    lines = _detailed if sum(map(reading.is_shown, nodes)) <= DETAILED else _folded
    every = [*lines(reading, parts), *_gradients(reading, parts)]
    return "\n".join(map(printable, every))


def _detailed(reading: Reading, parts: Sequence[Layers]) -> Iterator[str]:
    """Every operation, and what its rule gives to its inputs."""
    yield "Forward"
    end = reading.derivation.loss
    if end in reading.derivation.inputs:
        yield _line(f"loss = {reading.name(end)}", end, reading)
    for part in parts:
        for step in part.steps:
            yield f"  {step.title}"
            for node in filter(reading.is_shown, step.nodes):
                formula = f"{reading.name(node)} = {reading.written(node)}"
                stops = "  (no gradient flows through it)" * reading.stops(node)
                yield _line(formula, node, reading) + stops
                yield from (f"      {line}" for line in body(reading, node))
        yield from _note(part)
    loss = reading.name(reading.derivation.loss)
    yield from ("", f"Backward, from ∂loss/∂{loss} = 1")
    lines = []
    for part in reversed(parts):
        lines += _note(part)
        for step in reversed(part.steps):
            rules = [_rule_line(s, reading) for pull in step.pulls for s in reading.shares(pull)]
            lines += [f"  {step.title}", *rules] if rules else []
    for sign, meaning in SIGNS.items():
        if any(re.search(sign, line) for line in lines):
            yield f"  {meaning}"
    yield from lines


def _rule_line(share: Share, reading: Reading) -> str:
    """∂loss/∂input = the rule; += where it is a share of several. A product of two numbers is
    written out."""
    sign = "=" if share.whole else "+="
    line = _line(
        f"∂loss/∂{reading.spread(share.node)} {sign} {share.rule}", share.share, reading, share.node
    )
    factor = reading.factor(share)
    if factor is None or factor.size != 1 or abs(factor.item()) == 1:
        return line
    start, _, product = line.rpartition("  ")
    g = array_text(reading.value(share.upstream)) if share.upstream is not None else ""
    return f"{start}  {g} · {array_text(factor)} = {product.lstrip()}"


def _folded(reading: Reading, parts: Sequence[Layers]) -> Iterator[str]:
    """What goes between the steps alone: their outputs, and the gradients of these."""
    yield "Forward"
    for part in parts:
        for step in part.steps:
            yield f"  {step.title}"
            for node in step.outputs:
                inputs = ", ".join(dict.fromkeys(map(reading.name, step.inputs)))
                yield _line(f"{reading.name(node)} from {inputs}", node, reading)
        yield from _note(part)
    yield from ("", "Backward")
    for part in reversed(parts):
        yield from _note(part)
        for step in reversed(part.steps):
            lines = [
                _line(f"∂loss/∂{reading.name(node)}", reading.gradients[node], reading)
                for node in step.outputs
                if node in reading.gradients
            ]
            rules = dict.fromkeys(str(p.node.op) for p in step.pulls if reading.shares(p))
            if lines and rules:
                yield from (f"  {step.title}", *lines)
                yield f"    carried back by the rules of {', '.join(rules)}"


def _note(part: Layers) -> list[str]:
    return [f"  {line}" for line in part.note]


def _gradients(reading: Reading, parts: Sequence[Layers]) -> Iterator[str]:
    """The gradients, and what a training step assigns, without those of repeated layers."""
    d = reading.derivation
    paths = [s.path for part in parts for steps in part.repeats for s in steps]
    for title, sign, nodes in (
        ("Gradients", "∂loss/∂", d.gradients),
        ("Assigned by the step", "", d.updated),
    ):
        shown = [n for n in nodes if n.rpartition(".")[0] not in paths]
        if nodes:
            yield from ("", title)
            yield from (_line(sign + name, nodes[name], reading) for name in shown)
        if len(shown) < len(nodes):
            yield f"    and {len(nodes) - len(shown)} of the layers that are as others"


def _line(formula: str, node: Node, reading: Reading, of: Node | None = None) -> str:
    """A formula, and the value of the node with its shape, or the shape of what it belongs to."""
    value = reading.value(node)
    if isinstance(value, tuple):
        shapes = ", ".join(f"({shape_text(v.shape)})" for v in value)
        return f"    {formula:<{WIDTH}}  {shapes}"
    if of is not None and math.prod(reading.shape(of)) == value.size:
        value = value.reshape(reading.shape(of))
    shape = shape_text(value.shape)
    parts = [f"    {formula:<{WIDTH}}", f"({shape})" if shape else "", array_text(value)]
    return "  ".join(filter(None, parts))
