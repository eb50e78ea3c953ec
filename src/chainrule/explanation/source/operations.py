"""One row per operation of the table: the expression in NumPy that computes it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ... import gauss_error, ops
from ...errors import ArgumentError, user_line
from ...graph import Node, Operation, Shape
from . import helpers
from .expressions import (
    AND,
    ATOM,
    COMPARISON,
    MATMUL,
    OR,
    POWER,
    PRODUCT,
    SHIFT,
    SUM,
    UNARY,
    XOR,
    Expression,
    array_text,
    as_whole,
    dtype_text,
    number_text,
    permuted,
    reshaped,
    stripped,
)
from .functions import Functions

Emission = Callable[[Node, list[Expression], Functions], Expression]


def expression(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    """The node as an expression, from those of its inputs."""
    op = node.op
    assert op is not None
    emission = EMISSIONS.get(op)
    if emission is None:
        return _meaning(node, xs, functions)
    return emission(node, xs, functions)


# ── elementwise ──────────────────────────────────────────────────────────────────────────────────


def _elementwise(
    node: Node, xs: Sequence[Expression], text: str, level: int, by_python: bool = False
) -> Expression:
    """An expression with the shape that broadcasting gives.

    by_python   the text has signs only, so that of Python's numbers it is one
    """
    shape = np.broadcast_shapes(*[x.shape for x in xs])
    weight = 1 + sum(x.weight for x in xs)
    weak = by_python and all(x.weak for x in xs)
    if not weak and all(x.weak for x in xs) and node.dtype not in (np.float64, np.bool_):
        text, level = f"{dtype_text(node.dtype)}({text})", ATOM
    return Expression(text, level, shape, weak, weight)


def _infix(sign: str, level: int, right: int) -> Emission:
    """x1 sign x2, the second one in parentheses if it binds less tightly than `right`."""

    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        a, b = xs
        if sign in "+-" and b.text.startswith("-") and b.level in (UNARY, PRODUCT):
            other = "-" if sign == "+" else "+"
            return _elementwise(node, xs, f"{a.within(level)} {other} {b.text[1:]}", level, True)
        return _elementwise(
            node, xs, f"{a.within(level)} {sign} {b.within(right)}", level, by_python=True
        )

    return emission


def _multiply(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    """x1 x2; by 1 / n is a division by n."""
    a, b = xs
    for x, n in ((a, b), (b, a)):
        if n.weak and n.text.startswith("1 / ") and not x.weak:
            text = n.text.removeprefix("1 / ")
            return _elementwise(node, xs, f"{x.within(PRODUCT)} / {text}", PRODUCT, True)
    text = f"{a.within(PRODUCT)} * {b.within(PRODUCT + 1)}"
    return _elementwise(node, xs, text, PRODUCT, by_python=True)


def _divide(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    a, b = xs
    if a.mean is not None and b.weak and b.text == str(a.mean[0]):
        return a.mean[1]
    return _elementwise(node, xs, f"{a.within(PRODUCT)} / {b.within(UNARY)}", PRODUCT, True)


def _power(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    a, b = xs
    return _elementwise(node, xs, f"{a.atom} ** {b.within(UNARY)}", POWER, by_python=True)


def _square(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    return _elementwise(node, xs, f"{xs[0].atom} ** 2", POWER, by_python=True)


def _negative(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    x = xs[0]
    if x.level == PRODUCT and not x.text.startswith("-"):
        return _elementwise(node, xs, f"-{x.text}", PRODUCT, by_python=True)
    return _elementwise(node, xs, f"-{x.within(UNARY + 1)}", UNARY, by_python=True)


def _comparison(sign: str, function: str) -> Emission:
    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        a, b = xs
        if all(x.weak for x in xs):
            return _elementwise(node, xs, f"{function}({a.text}, {b.text})", ATOM)
        size = node.inputs[0].op is ops.abs and a.text.startswith("np.abs(")
        if sign == "<" and size and b.text == "np.inf":
            return _elementwise(node, xs, "np.isfinite" + a.text[len("np.abs") :], ATOM)
        return _elementwise(node, xs, f"{a.within(OR)} {sign} {b.within(OR)}", COMPARISON)

    return emission


def _invert(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    return _elementwise(node, xs, f"~{xs[0].within(UNARY)}", UNARY)


def _function(name: str) -> Emission:
    """name(x1, ...), elementwise."""

    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        return _elementwise(node, xs, f"{name}({', '.join(x.text for x in xs)})", ATOM)

    return emission


def _own(function: Any) -> Emission:
    """A function that the module brings along, elementwise."""

    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        name = functions.add(function, function.__name__, str(node.op))
        x = as_whole(xs[0], node.shape, node.dtype) if xs[0].weak else xs[0]
        return _elementwise(node, [x], f"{name}({x.text})", ATOM)

    return emission


def _where(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    text = f"np.where({', '.join(x.text for x in xs)})"
    out = _elementwise(node, xs, text, ATOM)
    if xs[1].weak and xs[2].weak:
        return replace(out, text=f"{text}.astype({dtype_text(node.dtype)})")
    return out


def _astype(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    x = xs[0]
    if x.weak and node.dtype.kind == "f":
        return x
    if x.weak:
        x = as_whole(x, node.shape, node.inputs[0].dtype)
    return Expression(f"{x.atom}.astype({dtype_text(node.dtype)})", ATOM, x.shape, weight=x.weight)


def _same(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    return xs[0]


# ── shape ────────────────────────────────────────────────────────────────────────────────────────


def _whole(node: Node, xs: list[Expression]) -> list[Expression]:
    """The operands as arrays of the shapes that the graph has."""
    pairs = zip(xs, node.inputs, strict=True)
    return [x if isinstance(i.dtype, tuple) else as_whole(x, i.shape, i.dtype) for x, i in pairs]


def _reshape(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    out = reshaped(xs[0], node.inputs[0].shape, node.shape)
    if xs[0].mean is not None and out.mean is None and out.text == xs[0].text:
        return replace(out, mean=xs[0].mean)
    return out


def _permute(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    return permuted(xs[0], node.params["axes"])


def _slice(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    (x,) = _whole(node, xs)
    p, texts, single = node.params, [], []
    for n, start, stop, step in zip(x.shape, p["start"], p["stop"], p["step"], strict=True):
        first, last = str(start) if start else "", str(stop) if stop < n else ""
        texts.append(f"{first}:{last}" + (f":{step}" if step != 1 else ""))
        one = n > 1 and stop == start + 1 and 0 <= start < n
        single.append(str(start) if one else texts[-1])
    dropped = tuple(
        n for n, one in zip(node.shape, single, strict=True) if ":" in one
    )  # the shape where single places are taken

    def at(indices: list[str], shape: Shape) -> Expression:
        while indices and indices[-1] == ":":
            indices = indices[:-1]
        text = f"{x.atom}[{', '.join(indices)}]" if indices else x.text
        return Expression(text, ATOM, shape, weight=x.weight)

    return replace(at(texts, node.shape), narrow=at(single, dropped))


def _pad(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    (x,) = _whole(node, xs)
    p = node.params
    if not any(p["interior"]) and min(*p["low"], *p["high"]) >= 0:
        sides = tuple(zip(p["low"], p["high"], strict=True))
        return Expression(f"np.pad({x.text}, {sides})", ATOM, node.shape, weight=x.weight + 1)
    return _call(node, [x], functions, helpers.pad)


def _concat(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    whole = _whole(node, xs)
    text = f"np.concatenate([{', '.join(x.text for x in whole)}], axis={node.params['axis']})"
    return Expression(text, ATOM, node.shape, weight=1 + sum(x.weight for x in whole))


def _flip(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    (x,) = _whole(node, xs)
    text = f"np.flip({x.text}, {_axes(node.params['axis'])})"
    return Expression(text, ATOM, node.shape, weight=x.weight + 1)


def _axes(axis: Shape) -> str:
    return str(axis[0]) if len(axis) == 1 else str(axis)


# ── reductions ───────────────────────────────────────────────────────────────────────────────────


def _reduction(method: str) -> Emission:
    """x.method(axis); the axes stay if others are before them: NumPy adds those in front."""

    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        old, x = node.inputs[0].shape, xs[0]
        if x.weak or x.shape != stripped(old):
            x = as_whole(x, old, node.inputs[0].dtype)
        implied = len(old) - len(x.shape)
        axes = tuple(a - implied for a in node.params["axis"] if a >= implied)
        if not axes:
            return x if method != "any" else replace(x, text=f"{x.atom}.astype(bool)", level=ATOM)
        kind = ""
        if method in ("sum", "prod") and node.dtype.itemsize < 8 and node.dtype.kind in "iu":
            kind = f", dtype={dtype_text(node.dtype)}"
        left = tuple(n for a, n in enumerate(x.shape) if a not in axes)
        kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        where = f"axis={_axes(axes)}" if left else ""
        plain = f"{where}{kind}" if where else kind.removeprefix(", ")
        count = math.prod(x.shape[a] for a in axes)

        def reduced(name: str, more: str, shape: Shape) -> Expression:
            text = f"{x.atom}.{name}({plain}{more})"
            return Expression(text, ATOM, shape, weight=x.weight + 1)

        def with_mean(more: str, shape: Shape) -> Expression:
            mean = (count, reduced("mean", more, shape)) if method == "sum" else None
            return replace(reduced(method, more, shape), mean=mean)

        narrow = with_mean("", left)
        if axes == tuple(range(len(axes))):
            return narrow
        out = replace(with_mean(", keepdims=True", kept), narrow=narrow)
        if out.mean is not None and narrow.mean is not None:
            mean = replace(out.mean[1], narrow=narrow.mean[1])
            out = replace(out, mean=(count, mean))
        return out

    return emission


def _arg(method: str) -> Emission:
    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        (x,) = _whole(node, xs)
        axis = node.params["axis"][0]
        left = tuple(n for a, n in enumerate(node.shape) if a != axis)
        narrow = Expression(f"{x.atom}.{method}(axis={axis})", ATOM, left, weight=x.weight + 1)
        text = f"{x.atom}.{method}(axis={axis}, keepdims=True)"
        return Expression(text, ATOM, node.shape, weight=x.weight + 1, narrow=narrow)

    return emission


def _argsort(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    (x,) = _whole(node, xs)
    if node.params["descending"]:
        name = functions.add(helpers.argsort_descending, "argsort_descending", "argsort")
        text = f"{name}({x.text}, axis={node.params['axis']})"
    else:
        text = f'np.argsort({x.text}, axis={node.params["axis"]}, kind="stable")'
    return Expression(text, ATOM, node.shape, weight=x.weight + 1)


def _running(name: str) -> Emission:
    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        (x,) = _whole(node, xs)
        small = node.dtype.itemsize < 8 and node.dtype.kind in "iu"
        kind = f", dtype={dtype_text(node.dtype)}" if small else ""
        text = f"{name}({x.text}, axis={node.params['axis']}{kind})"
        return Expression(text, ATOM, node.shape, weight=x.weight + 1)

    return emission


# ── products of matrices, and rows of tables ─────────────────────────────────────────────────────


def _matmul(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    a, b = (
        x if len(x.shape) > 1 and x.shape[-2:] == i.shape[-2:] else as_whole(x, i.shape, i.dtype)
        for x, i in zip(xs, node.inputs, strict=True)
    )
    row = xs[0]
    if len(b.shape) == 2 and row.shape == node.inputs[0].shape[-1:] and len(node.shape) == 2:
        a, shape = row, (b.shape[-1],)  # a vector
    else:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*batch, a.shape[-2], b.shape[-1])
    left = a.text if a.level == MATMUL else a.within(UNARY)
    weight = a.weight + b.weight + 1
    return Expression(f"{left} @ {b.within(UNARY)}", MATMUL, shape, weight=weight)


def _take(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    x, indices = _whole(node, xs)
    weight = x.weight + indices.weight + 1
    if node.params["axis"] == 0:
        return Expression(f"{x.atom}[{indices.text}]", ATOM, node.shape, weight=weight)
    text = f"np.take({x.text}, {indices.text}, axis={node.params['axis']})"
    return Expression(text, ATOM, node.shape, weight=weight)


def _checked_index(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    """Of a class nothing; of an index that may count from the end, the same from the start."""
    x = xs[0]
    if node.params.get("refusal") is None:
        x = Expression(f"{x.within(PRODUCT)} % {node.params['size']}", PRODUCT, x.shape, x.weak, 1)
    if node.inputs[0].dtype == node.dtype or x.weak:
        return x
    return Expression(f"{x.atom}.astype({dtype_text(node.dtype)})", ATOM, x.shape, weight=x.weight)


# ── functions that the module brings along ───────────────────────────────────────────────────────


def _helper(function: Callable[..., Any]) -> Emission:
    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        return _call(node, _whole(node, xs), functions, function)

    return emission


def _call(node: Node, xs: Sequence[Expression], functions: Functions, function: Any) -> Expression:
    """function(*xs, **params), without the parameters that the function does not know."""
    name = functions.add(function, function.__name__, str(node.op))
    known = inspect.signature(function).parameters
    params = {
        k: v
        for k, v in ((k, node.params[k]) for k in known if k in node.params)
        if v != known[k].default and not (known[k].default is None and _plain(v))
    }
    return _called(node, xs, name, params)


def _plain(value: Any) -> bool:
    """Whether a stride, dilation or padding changes nothing."""
    return {*value} <= {1} or {*value} <= {(0, 0)}


def _called(node: Node, xs: Sequence[Expression], name: str, params: dict[str, Any]) -> Expression:
    arguments = [x.text for x in xs] + [f"{k}={_parameter(v, node)}" for k, v in params.items()]
    weight = 1 + sum(x.weight for x in xs)
    return Expression(f"{name}({', '.join(arguments)})", ATOM, node.shape, weight=weight)


def _meaning(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    """An operation of the user's own: its meaning, as the user wrote it."""
    assert node.op is not None
    meaning = user_meaning(node.op)
    if isinstance(meaning, np.ufunc):
        name = f"np.{meaning.__name__}"
    else:
        name = functions.add(meaning, node.op.name, node.op.name)
    return _called(node, _whole(node, xs), name, dict(node.params))


def user_meaning(op: Operation) -> Any:
    """The function that the user passed to `defop`: it stands behind two that this library adds."""
    meaning: Any = op.evaluate
    for _ in range(2):
        meaning = getattr(meaning, "__wrapped__", meaning)
    return meaning


def _parameter(value: Any, node: Node) -> str:
    if isinstance(value, np.ndarray):
        return array_text(value)
    if isinstance(value, np.dtype):
        return dtype_text(value)
    if isinstance(value, (bool, str, type(None))):
        return repr(value)
    if isinstance(value, (int, float, np.generic)):
        return number_text(value)
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_parameter(v, node) for v in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise ArgumentError(
        "explain",
        f"got an operation {node.op} with a parameter of type {type(value).__name__}",
        "expected numbers, texts, arrays, and tuples of them",
        "pass it to the operation as an input",
        user_line(),
    )


# Aligned by hand, for the eye that proofreads it.
# fmt: off
EMISSIONS: dict[Operation, Emission] = {
    ops.negative:       _negative,
    ops.abs:            _function("np.abs"),
    ops.square:         _square,
    ops.sqrt:           _function("np.sqrt"),
    ops.exp:            _function("np.exp"),
    ops.expm1:          _function("np.expm1"),
    ops.log:            _function("np.log"),
    ops.log1p:          _function("np.log1p"),
    ops.log2:           _function("np.log2"),
    ops.log10:          _function("np.log10"),
    ops.sin:            _function("np.sin"),
    ops.cos:            _function("np.cos"),
    ops.tan:            _function("np.tan"),
    ops.asin:           _function("np.arcsin"),
    ops.acos:           _function("np.arccos"),
    ops.atan:           _function("np.arctan"),
    ops.sinh:           _function("np.sinh"),
    ops.cosh:           _function("np.cosh"),
    ops.tanh:           _function("np.tanh"),
    ops.asinh:          _function("np.arcsinh"),
    ops.acosh:          _function("np.arccosh"),
    ops.atanh:          _function("np.arctanh"),
    ops.sigmoid:        _own(helpers.sigmoid),
    ops.erf:            _own(inspect.unwrap(gauss_error.erf)),
    ops.erfinv:         _own(gauss_error.erfinv),

    ops.add:            _infix("+", SUM, SUM + 1),
    ops.subtract:       _infix("-", SUM, SUM + 1),
    ops.multiply:       _multiply,
    ops.divide:         _divide,
    ops.power:          _power,
    ops.remainder:      _function("np.remainder"),
    ops.maximum:        _function("np.maximum"),
    ops.minimum:        _function("np.minimum"),
    ops.atan2:          _function("np.arctan2"),
    ops.hypot:          _function("np.hypot"),
    ops.logaddexp:      _function("np.logaddexp"),
    ops.copysign:       _function("np.copysign"),

    ops.sign:           _function("np.sign"),
    ops.floor:          _function("np.floor"),
    ops.ceil:           _function("np.ceil"),
    ops.trunc:          _function("np.trunc"),
    ops.round:          _function("np.rint"),
    ops.floor_divide:   _function("np.floor_divide"),
    ops.nextafter:      _function("np.nextafter"),
    ops.equal:          _comparison("==", "np.equal"),
    ops.not_equal:      _comparison("!=", "np.not_equal"),
    ops.less:           _comparison("<", "np.less"),
    ops.less_equal:     _comparison("<=", "np.less_equal"),
    ops.bitwise_and:    _infix("&", AND, AND + 1),
    ops.bitwise_or:     _infix("|", OR, OR + 1),
    ops.bitwise_xor:    _infix("^", XOR, XOR + 1),
    ops.bitwise_invert: _invert,
    ops.bitwise_left_shift:  _infix("<<", SHIFT, SHIFT + 1),
    ops.bitwise_right_shift: _infix(">>", SHIFT, SHIFT + 1),

    ops.where:          _where,
    ops.alias:          _same,
    ops.stop_gradient:  _same,
    ops.astype:         _astype,

    ops.broadcast_to:   _same,
    ops.reshape:        _reshape,
    ops.permute_dims:   _permute,
    ops.slice:          _slice,
    ops.pad:            _pad,
    ops.concat:         _concat,
    ops.flip:           _flip,

    ops.sum:            _reduction("sum"),
    ops.prod:           _reduction("prod"),
    ops.norm:           _helper(helpers.norm),
    ops.max:            _reduction("max"),
    ops.min:            _reduction("min"),
    ops.any:            _reduction("any"),
    ops.argmax:         _arg("argmax"),
    ops.argmin:         _arg("argmin"),
    ops.argsort:        _argsort,
    ops.cumulative_sum:  _running("np.cumsum"),
    ops.cumulative_prod: _running("np.cumprod"),
    ops.cumulative_sum_by_key: _helper(helpers.cumulative_sum_by_key),
    ops.recurrence:     _helper(helpers.recurrence),

    ops.matmul:         _matmul,
    ops.convolution:    _helper(helpers.convolution),
    ops.convolution_weight: _helper(helpers.convolution_weight),
    ops.unfold:         _helper(helpers.unfold),
    ops.max_pool:       _helper(helpers.max_pool),
    ops.fold:           _helper(helpers.fold),
    ops.standardise:    _helper(helpers.standardise),
    ops.attention:      _helper(helpers.attention),
    ops.attention_derivative: _helper(helpers.attention_derivative),

    ops.take:           _take,
    ops.scatter_add:    _helper(helpers.scatter_add),
    ops.put_rows:       _helper(helpers.put_rows),
    ops.checked_index:  _checked_index,
    ops.random_bits:    _helper(helpers.random_bits),
}
# fmt: on

# Operations that are more than one expression: `statements` writes them.
WRITTEN = {ops.scan, ops.call, ops.custom, ops.item}
