"""What operations do, in plain words: one phrase per operation, one sentence per kind of rule."""

from __future__ import annotations

import inspect
import re
from typing import Any

from ... import derivatives, ops
from ...graph import Operation
from ...guards.functions import in_library
from ...nn import functional
from ..steps import Step

# What the operation does to what it reads; an operation without a phrase is named.
PHRASES = {
    "negative": "changes the sign",
    "abs": "takes the distance from 0",
    "square": "squares",
    "sqrt": "takes the square root",
    "exp": "raises e to that power",
    "log": "takes the natural logarithm",
    "tanh": "squeezes each number between −1 and 1",
    "sigmoid": "squeezes each number between 0 and 1",
    "add": "adds",
    "subtract": "subtracts",
    "multiply": "multiplies",
    "divide": "divides",
    "logaddexp": "takes a smooth maximum",
    "maximum": "takes the larger",
    "minimum": "takes the smaller",
    "power": "raises to a power",
    "where": "keeps some numbers and replaces the others",
    "less": "compares",
    "less_equal": "compares",
    "equal": "compares",
    "slice": "picks a part",
    "take": "looks up rows of a table",
    "concat": "puts side by side",
    "pad": "puts zeros around",
    "cumulative_sum": "adds up step by step",
    "sum": "adds up",
    "max": "picks the largest",
    "min": "picks the smallest",
    "prod": "multiplies all",
    "max_pool": "keeps the largest number of each window",
    "matmul": "takes weighted sums",
    "convolution": "slides a window over its input and takes weighted sums",
    "standardise": "shifts and scales to mean 0 and spread 1",
    "attention": "mixes rows by how well queries match keys",
    "scan": "repeats one step along time",
    "call": "runs a part that is computed again on the way back",
}


def phrase(op: Operation) -> str:
    """What an operation does."""
    return PHRASES.get(op.name, f"computes {op.name.replace('_', ' ')}")


def documented(step: Step) -> str:
    """What a layer or loss of this library says that it computes, or an empty text."""
    if step.module is not None:
        kind: Any = type(step.module)
        described = kind if in_library(kind.__module__) else None
    else:
        described = getattr(functional, step.kind, None) if step.kind else None
    text = (inspect.getdoc(described) or "").partition("\n")[0] if described is not None else ""
    text = re.sub(r"^-| - ", lambda m: m[0].replace("-", "−"), text.partition(": (")[0].rstrip("."))
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def titled(step: Step) -> str:
    """A module's title, or the line of the user's in quotes."""
    return step.title if step.module is not None else f"“{step.title}”"


def manner(op: Operation) -> str:
    """How the blame goes back through an operation, by the kind of its rule: a clause."""
    if op is ops.custom or op.name not in derivatives.TABLE:
        return f"the operation `{op.name}` has a rule that the user wrote"
    if op in _MANNERS:
        return _MANNERS[op]
    return f"the operation `{op.name}` {_BY_KIND[op.kind]}"


_PICKED = "passes the blame to the number that was picked"
_MANNERS = {
    ops.add: "adding passes the blame on as it is",
    ops.subtract: "subtracting passes the blame on as it is, with the sign turned to what it takes "
    "away",
    ops.negative: "changing the sign turns the sign of the blame",
    ops.sigmoid: "the operation `sigmoid` multiplies the blame by its slope, which is at most 0.25",
    ops.multiply: "multiplying gives each factor the blame times the other factor",
    ops.matmul: "multiplying matrices gives each factor the blame times the other factor",
    ops.convolution: "sliding a window gives each factor the blame times the other factor, added "
    "up over all places of the window",
    ops.sum: "adding up passes the same blame to every term",
    ops.broadcast_to: "a number that was used at many places gets the blame of all of them, added "
    "up",
    ops.where: "the choice `where` passes the blame to the numbers that it kept; wiggling those "
    "that it replaced changes nothing: their slope is 0, they get none",
    ops.slice: "picking a part passes the blame to the places that the part came from",
    ops.take: "looking up rows passes the blame to the rows that were read",
    ops.concat: "putting side by side gives each part its own blame back",
    ops.max: f"picking the largest {_PICKED}",
    ops.min: f"picking the smallest {_PICKED}",
    ops.max_pool: f"picking the largest of each window {_PICKED}",
    ops.scan: "repeating a step carries the blame back step by step, from the last to the first",
    ops.call: "the part that is computed again carries the blame back through what it runs",
    ops.standardise: "standardising shares the blame among all numbers that made the mean and the "
    "spread",
    ops.attention: "attention shares the blame among what was mixed and the weights that mixed it",
}
_BY_KIND = {
    "elementwise": "multiplies the blame by its slope",
    "bilinear": "gives each factor the blame times the other factor",
    "linear": "passes the blame to the places that the numbers came from",
    "other": "follows a longer rule of the table",
    "zero": "passes no blame: a small change of its input changes nothing",
}
