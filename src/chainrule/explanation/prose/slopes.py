"""Local derivatives on the sample: how much of the blame an operation lets through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...graph import Node
from ..numbers import number_text
from ..recorder import Pull
from .formulas import constant_text
from .reading import Reading

LITTLE = 0.1  # the largest slope of which it is said that little passes


# Slopes by x alone: 1 − y² and y (1 − y) of a rounded y are rounding where y is near 1.
_BY_X: dict[Any, Callable[[Any], Any]] = {
    ops.tanh: lambda x: 1 / np.cosh(x) ** 2,
    ops.sigmoid: lambda x: 1 / (2 + 2 * np.cosh(x)),
}


def slopes(reading: Reading, pull: Pull) -> Any:
    """share / upstream of an elementwise operation's first share, where blame arrives: flat."""
    shares = reading.shares(pull)
    if pull.node.op not in ops.POINTWISE or not shares or shares[0].upstream is None:
        return np.zeros(0)
    g, out = (
        np.asarray(reading.value(n), np.float64) for n in (shares[0].upstream, shares[0].share)
    )
    if g.shape != out.shape:
        return np.zeros(0)
    with np.errstate(all="ignore"):
        if pull.node.op in _BY_X:
            (x,) = pull.node.inputs
            return _BY_X[pull.node.op](np.asarray(reading.value(x), np.float64))[g != 0]
        return (out / g)[g != 0]


def curved(node: Node) -> bool:
    """Whether the operation multiplies by slopes that depend on the sample."""
    return node.op is not None and node.op.kind == "elementwise"


def replaced(reading: Reading, node: Node) -> Any:
    """Where a choice takes a number that is known before the pass; None if it takes none."""
    condition, yes, no = node.inputs
    known = [i not in reading.moving for i in (yes, no)]
    if sum(known) != 1:
        return None
    chosen = np.broadcast_to(np.asarray(reading.value(condition), bool), node.shape)
    return chosen if known[0] else ~chosen


def choice(reading: Reading, node: Node) -> str:
    """What a choice does with its numbers, or an empty text: a threshold, such as that of relu."""
    out, (condition, *options) = replaced(reading, node), node.inputs
    if out is None or condition.op not in (ops.less, ops.less_equal):
        return ""
    (variable,) = (i for i in options if i in reading.moving)
    (constant,) = (i for i in options if i not in reading.moving)
    left, right = condition.inputs
    if left is not variable or variable is not options[1]:
        return ""
    limit, new = (constant_text(reading.value(i)) for i in (right, constant))
    if not limit or not new:
        return ""
    which = "below" if condition.op is ops.less else "up to"
    return (
        f"replaces numbers {which} {limit} by {new} "
        f"({np.count_nonzero(out)} of {out.size}) and keeps the others"
    )


def on_this_sample(reading: Reading, pulls: Sequence[Pull]) -> str:
    """What the uses of one operation's rule come to: a clause to append, or an empty text."""
    node = pulls[0].node
    if node.op is ops.where:
        out = [r for p in pulls if (r := replaced(reading, p.node)) is not None]
        count = sum(int(np.count_nonzero(r)) for r in out)
        return f" (here {count} of {sum(r.size for r in out)})" if out else ""
    if not curved(node):
        return ""
    return span(np.concatenate([slopes(reading, p) for p in pulls]))


def span(factors: Any) -> str:
    """The smallest and the largest slope, and whether little passes."""
    known = factors[~np.isnan(factors)]
    if not known.size:
        return ""
    low, high = number_text(known.min()), number_text(known.max())
    little = ", so little passes" if np.abs(known).max() <= LITTLE else ""
    return f", here {low}{little}" if low == high else f", here {low} to {high}{little}"


def by_operation(pulls: Sequence[Pull]) -> list[list[Pull]]:
    """The uses of the chain rule, those of one operation together."""
    kinds: dict[Any, list[Pull]] = {}
    for pull in pulls:
        kinds.setdefault(pull.node.op, []).append(pull)
    return [*kinds.values()]
