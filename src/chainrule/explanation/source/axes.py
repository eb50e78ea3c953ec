"""Expressions of operations that have axes: shapes, reductions, products of matrices, rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...graph import Node, Shape
from . import helpers
from .calls import call, whole
from .elementwise import Emission
from .expressions import (
    ATOM,
    MATMUL,
    PRODUCT,
    UNARY,
    Expression,
    as_whole,
    computed,
    dtype_text,
    permuted,
    reshaped,
    stripped,
)
from .functions import Functions


def reshape(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    return reshaped(xs[0], node.inputs[0].shape, node.shape)


def permute(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    return permuted(xs[0], node.params["axes"])


def part(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    (x,) = whole(node, xs)
    p, texts, single, left = node.params, [], [], []
    end = 0  # of the axes that are cut
    places = zip(x.shape, p["start"], p["stop"], p["step"], node.shape, strict=True)
    for axis, (n, start, stop, step, size) in enumerate(places):
        first, last = str(start) if start else "", str(stop) if stop < n else ""
        texts.append(f"{first}:{last}" + (f":{step}" if step != 1 else ""))
        one = n > 1 and stop == start + 1 and 0 <= start < n
        single.append(str(start) if one else texts[-1])
        left += [] if one else [size]
        end = axis + 1 if (start, stop, step) != (0, n, 1) else end

    def at(indices: list[str], shape: Shape) -> Expression:
        text = f"{x.atom}[{', '.join(indices[:end])}]" if end else x.text
        return Expression(text, ATOM if end else x.level, shape, weight=x.weight)

    return replace(at(texts, node.shape), narrow=at(single, tuple(left)))


def pad(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    (x,) = whole(node, xs)
    p = node.params
    if not any(p["interior"]) and min(*p["low"], *p["high"]) >= 0:
        sides = tuple(zip(p["low"], p["high"], strict=True))
        return computed(f"np.pad({x.text}, {sides})", node.shape, x)
    return call(node, [x], functions, helpers.pad)


def concat(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    parts = whole(node, xs)
    text = f"np.concatenate([{', '.join(x.text for x in parts)}], axis={node.params['axis']})"
    return computed(text, node.shape, *parts)


def flip(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    (x,) = whole(node, xs)
    return computed(f"np.flip({x.text}, {_axes(node.params['axis'])})", node.shape, x)


def _axes(axis: Shape) -> str:
    return str(axis[0]) if len(axis) == 1 else str(axis)


# ── reductions ────────────────────────────────────────────────────────────────────────────────────


def reduction(method: str) -> Emission:
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
        ones = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        where = f"axis={_axes(axes)}" if left else ""
        plain = f"{where}{kind}" if where else kind.removeprefix(", ")

        def reduced(name: str) -> Expression:
            narrow = computed(f"{x.atom}.{name}({plain})", left, x)
            if axes == tuple(range(len(axes))):
                return narrow
            out = computed(f"{x.atom}.{name}({plain}, keepdims=True)", ones, x)
            return replace(out, narrow=narrow)

        out = reduced(method)
        if method != "sum":
            return out
        mean = reduced("mean")
        narrow = out.narrow and replace(out.narrow, mean=mean.narrow)
        return replace(out, mean=mean, narrow=narrow)

    return emission


def arg(method: str) -> Emission:
    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        (x,) = whole(node, xs)
        axis = node.params["axis"][0]
        left = tuple(n for a, n in enumerate(node.shape) if a != axis)
        narrow = computed(f"{x.atom}.{method}(axis={axis})", left, x)
        text = f"{x.atom}.{method}(axis={axis}, keepdims=True)"
        return replace(computed(text, node.shape, x), narrow=narrow)

    return emission


def argsort(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    (x,) = whole(node, xs)
    if node.params["descending"]:
        name = functions.add(helpers.argsort_descending, "argsort_descending", "argsort")
        text = f"{name}({x.text}, axis={node.params['axis']})"
    else:
        text = f'np.argsort({x.text}, axis={node.params["axis"]}, kind="stable")'
    return computed(text, node.shape, x)


def running(name: str) -> Emission:
    def emission(node: Node, xs: list[Expression], functions: Functions) -> Expression:
        (x,) = whole(node, xs)
        small = node.dtype.itemsize < 8 and node.dtype.kind in "iu"
        kind = f", dtype={dtype_text(node.dtype)}" if small else ""
        text = f"{name}({x.text}, axis={node.params['axis']}{kind})"
        return computed(text, node.shape, x)

    return emission


# ── products of matrices, and rows of tables ──────────────────────────────────────────────────────


def matmul(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    column, row = xs
    line = column.narrow if column.shape[1:] == (1,) else None
    if line is not None and len(line.shape) == len(row.shape) == 1:
        text = f"np.outer({line.text}, {row.text})"
        return computed(text, (line.shape[0], row.shape[0]), column, row)
    a, b = (
        x if len(x.shape) > 1 and x.shape[-2:] == i.shape[-2:] else as_whole(x, i.shape, i.dtype)
        for x, i in zip(xs, node.inputs, strict=True)
    )
    if len(b.shape) == 2 and xs[0].shape == node.inputs[0].shape[-1:] and len(node.shape) == 2:
        a, shape = xs[0], b.shape[1:]  # a vector
    else:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*batch, a.shape[-2], b.shape[-1])
    left = a.text if a.level == MATMUL else a.within(UNARY)
    weight = a.weight + b.weight + 1
    return Expression(f"{left} @ {b.within(UNARY)}", MATMUL, shape, weight=weight)


def take(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    x, indices = whole(node, xs)
    text = f"np.take({x.text}, {indices.text}, axis={node.params['axis']})"
    if node.params["axis"] == 0:
        text = f"{x.atom}[{indices.text}]"
    return computed(text, node.shape, x, indices)


def checked_index(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    """Of a class nothing; of an index that may count from the end, the same from the start."""
    x = xs[0]
    if node.params.get("refusal") is None:
        x = Expression(f"{x.within(PRODUCT)} % {node.params['size']}", PRODUCT, x.shape, x.weak, 1)
    if node.inputs[0].dtype == node.dtype or x.weak:
        return x
    return Expression(f"{x.atom}.astype({dtype_text(node.dtype)})", ATOM, x.shape, weight=x.weight)
