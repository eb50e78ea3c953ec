"""What an element of each operation's result is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...dtypes import is_boolean, is_exact, is_floating
from ...graph import Node, Operation, Shape
from .algebra import add, call, cases, compare, mul, negative, opposite, power, reduced, total
from .expression import At, Expr, Index, Number, Numbered, Place
from .fractions import ONE, ZERO, number
from .places import at_index, part, place, span
from .reader import Places, Reader, Rule
from .windows import convolution, convolution_weight, pooled, unfold


def _pointwise(make: Callable[..., Expr]) -> Rule:
    return lambda e, node, at: make(*(e.at(i, at) for i in node.inputs))


def _named(name: str) -> Rule:
    return _pointwise(lambda *xs: call(name, *xs))


def _relation(sign: str) -> Rule:
    return _pointwise(lambda a, b: compare(sign, a, b))


def _astype(e: Reader, node: Node, at: Places) -> Expr | None:
    (x,) = node.inputs
    rounds = is_floating(x.dtype) and is_exact(node.dtype)
    return None if rounds or is_boolean(node.dtype) else e.at(x, at)


def _logical(make: Callable[..., Expr]) -> Rule:
    def rule(e: Reader, node: Node, at: Places) -> Expr | None:
        return make(*(e.at(i, at) for i in node.inputs)) if is_boolean(node.dtype) else None

    return rule


def _broadcast(e: Reader, node: Node, at: Places) -> Expr:
    (x,) = node.inputs
    return e.at(x, tuple(Place() if n == 1 else p for p, n in zip(at, x.shape, strict=True)))


def _reshape(e: Reader, node: Node, at: Places) -> Expr | None:
    (x,) = node.inputs
    if not are_matched(x.shape, node.shape):
        return None
    out: list[Place] = []
    for inside, outside in matched(x.shape, node.shape):
        whole = place(
            [(at[k], math.prod(node.shape[m] for m in outside if m > k)) for k in outside]
        )
        stride = math.prod(x.shape[k] for k in inside)
        for k in inside:
            stride //= x.shape[k] or 1
            out.append(whole if len(inside) == 1 else part(whole, stride, x.shape[k]))
    return e.at(x, tuple(out))


def are_matched(a: Shape, b: Shape) -> bool:
    """Whether sizes tell which axes belong together: of empty tensors only equal ones do."""
    return bool(math.prod(a)) or [n for n in a if n != 1] == [n for n in b if n != 1]


def matched(a: Shape, b: Shape) -> list[tuple[list[int], list[int]]]:
    """The axes of two shapes in groups of the same size, as small as can be."""
    out: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        left: list[int] = []
        right: list[int] = []
        m = n = 1
        if i < len(a):
            left, m, i = [i], a[i], i + 1
        while m != n or (not right and j < len(b) and b[j] == 1 and m == 1):
            if ((n < m or not m) and j < len(b)) or (m == n):
                right.append(j)
                n *= b[j]
                j += 1
            else:
                left.append(i)
                m *= a[i]
                i += 1
        if i == len(a):
            right += range(j, len(b))
            j = len(b)
        out.append((left, right))
    return out


def _permute(e: Reader, node: Node, at: Places) -> Expr:
    axes = node.params["axes"]
    return e.at(node.inputs[0], tuple(at[axes.index(k)] for k in range(len(axes))))


def _slice(e: Reader, node: Node, at: Places) -> Expr:
    start, step = node.params["start"], node.params["step"]
    moved = (place([(p, k)], a) for p, a, k in zip(at, start, step, strict=True))
    return e.at(node.inputs[0], tuple(moved))


def _pad(e: Reader, node: Node, at: Places) -> Expr | None:
    """Zeros around: the element is the input's inside of its range."""
    low, high, interior = (node.params[k] for k in ("low", "high", "interior"))
    if any(interior) or min((*low, *high), default=0) < 0:
        return None
    (x,) = node.inputs
    inside: list[Expr] = []
    for p, a, b, n in zip(at, low, high, x.shape, strict=True):
        if n == 1 and (a or b):
            inside.append(compare("=", Numbered(p), number(a)))
            continue
        inside += [compare("≥", Numbered(p), number(a))] if a else []
        inside += [compare("<", Numbered(p), number(a + n))] if b else []
    body = e.at(x, tuple(place([(p, 1)], -a) for p, a in zip(at, low, strict=True)))
    return mul(*inside, body)


def _flip(e: Reader, node: Node, at: Places) -> Expr:
    axes = node.params["axis"]
    return e.at(
        node.inputs[0],
        tuple(
            place([(p, -1)], n - 1) if k in axes else p
            for k, (p, n) in enumerate(zip(at, node.shape, strict=True))
        ),
    )


def _reduction(kind: str) -> Rule:
    return lambda e, node, at: _reduced(e, node, at, kind)


def _reduced(
    e: Reader, node: Node, at: Places, kind: str, of: Callable[[Expr], Expr] = lambda x: x
) -> Expr:
    (x,) = node.inputs
    places, indices = list(at), []
    for k in node.params["axis"]:
        indices.append(Index(x.shape[k], (x, k) in e.rows))
        places[k] = at_index(indices[-1])
    out = of(e.at(x, tuple(places)))
    for index in reversed(indices):
        out = reduced(kind, index, out)
    return out


def _norm(e: Reader, node: Node, at: Places) -> Expr:
    """√Σ x²."""
    return _half(_reduced(e, node, at, "sum", lambda x: power(x, number(2))))


def _matmul(e: Reader, node: Node, at: Places) -> Expr:
    a, b = node.inputs
    k = Index(a.shape[-1], (a, len(a.shape) - 1) in e.rows)
    left = e.at(a, (*at[:-1], at_index(k)))
    return total(k, mul(left, e.at(b, (*at[:-2], at_index(k), at[-1]))))


def _concat(e: Reader, node: Node, at: Places) -> Expr:
    """The element of the one part that has the place."""
    axis, first = node.params["axis"], 0
    ends = span(at[axis])
    for x in node.inputs:
        last = first + x.shape[axis] - 1
        if ends is not None and first <= ends[0] and ends[1] <= last:
            return e.at(x, (*at[:axis], place([(at[axis], 1)], -first), *at[axis + 1 :]))
        first = last + 1
    e.wanted[node] = None  # its parts are defined one by one
    return ZERO


def _cumulative_prod(e: Reader, node: Node, at: Places) -> Expr:
    (x,), axis = node.inputs, node.params["axis"]
    k = Index(x.shape[axis], (x, axis) in e.rows)
    is_before = compare("≤", Numbered(at_index(k)), Numbered(at[axis]))
    body = e.at(x, (*at[:axis], at_index(k), *at[axis + 1 :]))
    return reduced("prod", k, cases(is_before, body, ONE))


def _recurrence(e: Reader, node: Node, at: Places) -> Expr:
    """y[k] = a[k] y[k − 1] + b[k], and a = 1 of a cumulative sum."""
    *factor, b = node.inputs
    axis = node.params["axis"]
    if node not in e.views:
        e.wanted[node] = None
        return ZERO
    before = e.at(node, (*at[:axis], place([(at[axis], 1)], -1), *at[axis + 1 :]))
    return add(mul(before, *(e.at(a, at) for a in factor)), e.at(b, at))


def _take(e: Reader, node: Node, at: Places) -> Expr | None:
    """The row of the table whose number is in the indices."""
    x, indices = node.inputs
    axis, n = node.params["axis"], len(indices.shape)
    row = e.at(indices, at[axis : axis + n])
    at_row = _as_place(row)
    if at_row is None or not _from_zero(e.value(indices)):
        return None
    return e.at(x, (*at[:axis], at_row, *at[axis + n :]))


def _scatter_add(e: Reader, node: Node, at: Places) -> Expr | None:
    """Σ of the rows that belong there."""
    x, indices = node.inputs
    axis = node.params["axis"]
    if not _from_zero(e.value(indices)):
        return None
    inner = [Index(size, (indices, k) in e.rows) for k, size in enumerate(indices.shape)]
    places = tuple(map(at_index, inner))
    there = compare("=", e.at(indices, places), Numbered(at[axis]))
    out = mul(there, e.at(x, (*at[:axis], *places, *at[axis + 1 :])))
    for i in reversed(inner):
        out = total(i, out)
    return out


def _as_place(e: Expr) -> Place | None:
    match e:
        case At():
            return Place(((e, 1),))
        case Numbered(at):
            return at
        case Number(value):
            return Place((), int(value))
    return None


def _from_zero(value: Any) -> bool:
    return value is not None and bool(np.size(value)) and bool(np.min(value) >= 0)


def _checked_index(e: Reader, node: Node, at: Places) -> Expr | None:
    (x,) = node.inputs
    return e.at(x, at) if _from_zero(e.value(x)) else None


def _half(x: Expr) -> Expr:
    return power(x, number(0.5))


# fmt: off
RULES: dict[Operation, Rule] = {
    ops.negative:       _pointwise(negative),
    ops.square:         _pointwise(lambda x: power(x, number(2))),
    ops.sqrt:           _pointwise(_half),
    ops.expm1:          _pointwise(lambda x: add(call("exp", x), number(-1))),
    ops.log1p:          _pointwise(lambda x: call("log", add(x, ONE))),
    ops.add:            _pointwise(add),
    ops.subtract:       _pointwise(lambda a, b: add(a, negative(b))),
    ops.multiply:       _pointwise(mul),
    ops.divide:         _pointwise(lambda a, b: mul(a, power(b, number(-1)))),
    ops.power:          _pointwise(power),
    ops.equal:          _relation("="),
    ops.not_equal:      _relation("≠"),
    ops.less:           _relation("<"),
    ops.less_equal:     _relation("≤"),
    ops.bitwise_and:    _logical(mul),
    ops.bitwise_or:     _logical(lambda a, b: opposite(mul(opposite(a), opposite(b)))),
    ops.bitwise_invert: _logical(opposite),
    ops.where:          _pointwise(cases),
    ops.alias:          _pointwise(lambda x: x),
    ops.stop_gradient:  _pointwise(lambda x: x),
    ops.astype:         _astype,
    ops.broadcast_to:   _broadcast,
    ops.reshape:        _reshape,
    ops.permute_dims:   _permute,
    ops.slice:          _slice,
    ops.pad:            _pad,
    ops.flip:           _flip,
    ops.sum:            _reduction("sum"),
    ops.prod:           _reduction("prod"),
    ops.max:            _reduction("max"),
    ops.min:            _reduction("min"),
    ops.norm:           _norm,
    ops.cumulative_sum: _recurrence,
    ops.recurrence:     _recurrence,
    ops.cumulative_prod: _cumulative_prod,
    ops.concat:         _concat,
    ops.matmul:         _matmul,
    ops.convolution:    convolution,
    ops.convolution_weight: convolution_weight,
    ops.unfold:         unfold,
    ops.item:           pooled,
    ops.take:           _take,
    ops.scatter_add:    _scatter_add,
    ops.checked_index:  _checked_index,
}
_FUNCTIONS = (
    "abs exp log log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sigmoid "
    "erf erfinv maximum minimum atan2 hypot logaddexp copysign sign floor ceil trunc round "
    "remainder"
)
RULES |= {ops.TABLE[name]: _named(name) for name in _FUNCTIONS.split()}
# fmt: on
