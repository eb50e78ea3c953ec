"""Equations of an explanation, evaluated with NumPy, without the graph's operations."""

import math

import numpy as np

from chainrule.explanation.mathematics.expression import (
    At,
    Call,
    Cases,
    Compare,
    Count,
    Index,
    Number,
    Numbered,
    Part,
    Plain,
    Power,
    Product,
    Reduce,
    Softmax,
    Sum,
)

FUNCTIONS = {
    "abs": np.abs,
    "cos": np.cos,
    "erf": np.vectorize(math.erf),
    "exp": np.exp,
    "log": np.log,
    "logaddexp": np.logaddexp,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sign": np.sign,
    "sin": np.sin,
    "tanh": np.tanh,
}
RELATIONS = {
    "=": np.equal,
    "≠": np.not_equal,
    "<": np.less,
    "≤": np.less_equal,
    ">": np.greater,
    "≥": np.greater_equal,
}
REDUCTIONS = {"sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod, "argmax": np.argmax}


def grid(indices):
    """The values of indices, each along its own axis."""
    n = len(indices)
    return {i: np.arange(i.size).reshape((-1,) + (1,) * (n - 1 - k)) for k, i in enumerate(indices)}


def place(p, indices, tensors):
    out = p.offset
    for atom, k in p.terms:
        if isinstance(atom, Index):
            value = indices[atom]
        elif isinstance(atom, Part):
            value = place(atom.of, indices, tensors) // atom.stride % atom.size
        else:
            value = evaluate(atom, indices, tensors)
        out = out + k * np.asarray(value).astype(int)
    return out


def evaluate(e, indices, tensors):
    """The value of the expression for all values of the indices, which broadcast."""

    def of(part):
        return evaluate(part, indices, tensors)

    match e:
        case Number(value):
            return float(value)
        case Count(size):
            return float(size)
        case Numbered(at):
            return place(at, indices, tensors)
        case At(symbol, at):
            return element(tensors[symbol], [place(p, indices, tensors) for p in at])
        case Sum(terms):
            return sum(of(t) for t in terms)
        case Product(factors):
            return math.prod(of(f) for f in factors)
        case Power(base, exponent):
            return np.asarray(of(base), float) ** of(exponent)
        case Call(name, arguments):
            return FUNCTIONS[name](*map(of, arguments))
        case Compare(relation, left, right):
            return RELATIONS[relation](of(left), of(right)).astype(float)
        case Cases(condition, yes, no):
            return np.where(np.asarray(of(condition)) != 0, of(yes), of(no))
        case Reduce(kind, index, body):
            return REDUCTIONS[kind](along(index, body, indices, tensors), axis=-1)
        case Softmax(index, body, at):
            powers = np.exp(along(index, body, indices, tensors))
            weights = powers / powers.sum(-1, keepdims=True)
            at = np.asarray(place(at, indices, tensors))
            shape = np.broadcast_shapes(weights.shape[:-1], at.shape)
            weights = np.broadcast_to(weights, (*shape, index.size))
            return np.take_along_axis(weights, np.broadcast_to(at, shape)[..., None], -1)[..., 0]
        case Plain():
            return operation(e, indices, tensors)
    raise AssertionError(e)


def operation(e, indices, tensors):
    """An operation on whole tensors; in a loop at each time."""
    times = [i for i in indices if i.time]
    results = []
    for t in range(times[0].size if times else 1):
        values = []
        for a, i in zip(e.arguments, e.meaning.inputs, strict=True):
            own = [k for p in a.places for k in p.free if k not in times]
            at = grid(own) | dict.fromkeys(times, t)
            value = np.asarray(evaluate(a, at, tensors), i.dtype)
            values.append(value.reshape(i.shape) if own else np.full(i.shape, value))
        out = e.meaning.op.evaluate(*values, **e.meaning.params)
        results.append(out if e.result is None else out[e.result])
    return np.stack(results) if times else results[0]


def along(index, body, indices, tensors):
    """The body with the index along a new last axis."""
    inner = {i: np.asarray(v)[..., None] for i, v in indices.items()}
    out = np.asarray(evaluate(body, inner | {index: np.arange(index.size)}, tensors), float)
    return np.broadcast_to(out, (*out.shape[:-1], index.size))


def element(tensor, places):
    """The tensor at the places, 0 outside."""
    if not places:
        return tensor
    inside, clipped = True, []
    for p, n in zip(places, tensor.shape, strict=True):
        inside = inside & (np.asarray(p) >= 0) & (np.asarray(p) < n)
        clipped.append(np.clip(p, 0, n - 1))
    return np.where(inside, tensor[tuple(np.broadcast_arrays(*clipped))], 0)


def solved(mathematics):
    """The value of each symbol by its equations; those of loops are repeated until all is known."""
    equations = [e for _, part in mathematics.parts for e in part]
    tensors = {s: np.asarray(s.value) for s in mathematics.inputs}
    tensors |= {e.left.symbol: np.zeros(e.left.symbol.shape) for e in equations}
    while True:
        before = dict(tensors)
        for e in equations:
            indices = grid(e.indices)
            right = np.asarray(evaluate(e.right, indices, tensors))
            if isinstance(e.right, Plain):
                right = right.reshape(e.shape)
            at = np.broadcast_arrays(*(place(p, indices, tensors) for p in e.left.at))
            value = np.broadcast_to(right, e.shape)
            if at:
                tensors[e.left.symbol] = tensors[e.left.symbol].copy()
                tensors[e.left.symbol][tuple(at)] = value.reshape(at[0].shape)
            else:
                tensors[e.left.symbol] = value
        if all(np.array_equal(tensors[s], before[s], equal_nan=True) for s in tensors):
            return tensors
