"""What an element of each operation's result is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ... import ops
from ...dtypes import is_boolean, is_exact, is_floating
from ...graph import Node, Operation, Shape
from .algebra import add, call, cases, compare, mul, negative, opposite, power, reduced, total
from .expression import At, Expr, Index, Number, Numbered, Place
from .numbers import ONE, number
from .places import at_index, part, place

Places = tuple[Place, ...]


class Reader(Protocol):
    """Reads elements of nodes.

    rows     (node, axis) where the axis counts samples
    value    of a node on the sample, or None
    wanted   nodes that need a name before the rest can be written
    """

    rows: set[tuple[Node, int]]
    value: Callable[[Node], Any]
    wanted: dict[Node, None]

    def at(self, node: Node, at: Places) -> Expr:
        """The node's element at these places."""


Rule = Callable[[Reader, Node, Places], Expr | None]  # None: not by elements


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
    def rule(e: Reader, node: Node, at: Places) -> Expr:
        (x,) = node.inputs
        places, indices = list(at), []
        for k in node.params["axis"]:
            indices.append(Index(x.shape[k], (x, k) in e.rows))
            places[k] = at_index(indices[-1])
        out = e.at(x, tuple(places))
        for index in reversed(indices):
            out = reduced(kind, index, out)
        return out

    return rule


def _matmul(e: Reader, node: Node, at: Places) -> Expr:
    a, b = node.inputs
    k = Index(a.shape[-1], (a, len(a.shape) - 1) in e.rows)
    left = e.at(a, (*at[:-1], at_index(k)))
    return total(k, mul(left, e.at(b, (*at[:-2], at_index(k), at[-1]))))


def _convolution(e: Reader, node: Node, at: Places) -> Expr | None:
    """Σ over window and channels: x[n, s·i + d·k − p, c] w[k, c, o]."""
    p = node.params
    n = len(p["stride"])
    if p["groups"] != 1 or any(k != 1 for k in p["input_dilation"]):
        return None
    x, w = node.inputs
    window = [Index(size) for size in w.shape[:n]]
    channel = Index(w.shape[n])
    read = [
        place([(at[k + 1], p["stride"][k]), (i, p["kernel_dilation"][k])], -p["padding"][k][0])
        for k, i in enumerate(window)
    ]
    places = tuple(map(at_index, window))
    left = e.at(x, (at[0], *read, at_index(channel)))
    if _outside(p["padding"]) and not isinstance(left, At):
        e.wanted[x] = None  # 0 outside is said of tensors with a name
    out = mul(left, e.at(w, (*places, at_index(channel), at[-1])))
    for i in (channel, *reversed(window)):
        out = total(i, out)
    return out


def _outside(padding: Sequence[tuple[int, int]]) -> bool:
    return any(low > 0 or high > 0 for low, high in padding)


def _convolution_weight(e: Reader, node: Node, at: Places) -> Expr | None:
    """Σ over samples and positions: x[n, s·i + d·k − p, c] z[n, i, o]."""
    p = node.params
    n = len(p["stride"])
    if p["groups"] != 1 or any(k != 1 for k in p["input_dilation"]):
        return None
    x, z = node.inputs
    row = Index(z.shape[0], (z, 0) in e.rows)
    position = [Index(size) for size in z.shape[1 : n + 1]]
    read = [
        place([(i, p["stride"][k]), (at[k], p["kernel_dilation"][k])], -p["padding"][k][0])
        for k, i in enumerate(position)
    ]
    left = e.at(x, (at_index(row), *read, at[n]))
    if _outside(p["padding"]) and not isinstance(left, At):
        e.wanted[x] = None  # 0 outside is said of tensors with a name
    out = mul(left, e.at(z, (at_index(row), *map(at_index, position), at[-1])))
    for i in (*reversed(position), row):
        out = total(i, out)
    return out


def _unfold(e: Reader, node: Node, at: Places) -> Expr:
    n = len(node.params["window"])
    stride, dilation = node.params["stride"], node.params["dilation"]
    read = [place([(at[k + 1], stride[k]), (at[n + 1 + k], dilation[k])]) for k in range(n)]
    return e.at(node.inputs[0], (at[0], *read, at[-1]))


def _item(e: Reader, node: Node, at: Places) -> Expr | None:
    (whole,) = node.inputs
    if whole.op is ops.max_pool and not node.params["index"]:
        p = whole.params
        window = [Index(n) for n in p["window"]]
        read = [
            place([(at[k + 1], p["stride"][k]), (i, p["dilation"][k])], -p["padding"][k][0])
            for k, i in enumerate(window)
        ]
        if _outside(p["padding"]):
            return None
        out = e.at(whole.inputs[0], (at[0], *read, at[-1]))
        for i in reversed(window):
            out = reduced("max", i, out)
        return out
    return None


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
    ops.matmul:         _matmul,
    ops.convolution:    _convolution,
    ops.convolution_weight: _convolution_weight,
    ops.unfold:         _unfold,
    ops.item:           _item,
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
