"""What operations do, in plain words: one phrase per operation, one sentence per kind of rule."""

from __future__ import annotations

from ... import derivatives, ops
from ...graph import Operation

# What the operation does to what it reads; an operation without a phrase is named.
PHRASES = {
    "negative": "changes the sign",
    "abs": "takes the distance from 0",
    "square": "squares",
    "sqrt": "takes the square root",
    "exp": "raises e to that power",
    "log": "takes the logarithm",
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
    "matmul": "weighs and adds up",
    "convolution": "slides a window over its input, weighs and adds up",
    "standardise": "shifts and scales to mean 0 and spread 1",
    "attention": "mixes rows by how well queries match keys",
    "scan": "repeats one step along time",
    "call": "runs a part that is computed again on the way back",
}


def phrase(op: Operation) -> str:
    """What an operation does."""
    return PHRASES.get(op.name, f"computes {op.name.replace('_', ' ')}")


def manner(op: Operation) -> str:
    """How the blame goes back through an operation, by the kind of its rule."""
    if op in (ops.add, ops.subtract, ops.negative):
        return "passes the blame on as it is" + (", its sign turned" * (op is not ops.add))
    if op.name not in derivatives.TABLE:
        return "has a rule that the user wrote"
    if op is ops.broadcast_to:
        return "made copies, whose blame is added up"
    if op.kind == "elementwise":
        return "multiplies the blame by its slope"
    if op.kind == "bilinear":
        return "gives each factor the blame times the other factor"
    if op is ops.where:
        return "passes the blame to the numbers that it kept"
    if op in (ops.max, ops.min, ops.max_pool):
        return "passes the blame to the number that was picked"
    if op is ops.scan:
        return "carries the blame back step by step, from the last step to the first"
    if op is ops.standardise:
        return "shares the blame among all numbers that made the mean and the spread"
    if op is ops.attention:
        return "shares the blame among the rows that were mixed and the weights that mixed them"
    return "passes the blame to the places that the numbers came from"
