"""Shape and dtype rules, one for each way that an operation of `ops.py` can map its inputs.

A rule takes the inputs' specs (anything with `.shape` and `.dtype`) and the operation's parameters,
and returns (shape, dtype) or raises an error that says what to try. Broadcasting and promotion have
been done before (see `broadcasting.py`): here shapes match exactly. Longer than other files: one
rule per kind of operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .dtypes import (
    DTYPES,
    FLOATING,
    FLOATS,
    INTEGERS,
    bool_,
    float32,
    float64,
    index_dtype,
    int64,
    uint32,
    uint64,
)
from .errors import DtypeError, Refusal, ShapeError
from .graph import Dtype, Graph, Shape, ShapeRule, Spec, spec_text

_CLASSES: dict[str, tuple[frozenset[Dtype], str]] = {
    "float": (FLOATING, "a floating dtype"),
    "number": (frozenset(INTEGERS + FLOATS), "a numeric dtype"),
    "integer": (frozenset(INTEGERS), "an integer dtype"),
    "bits": (frozenset((bool_, *INTEGERS)), "a bool or integer dtype"),
    "any": (frozenset(DTYPES), "a supported dtype"),
}

Infer = Callable[..., tuple[Any, Any]]


def strict(infer: Infer) -> ShapeRule:
    """A rule that eager mode runs too, because NumPy would accept what the rule refuses."""
    return ShapeRule(infer, strict=True)


def takes(cls: str) -> Callable[[Infer], ShapeRule]:
    """Decorate a rule whose first input has to be of the class of dtypes."""
    return lambda infer: ShapeRule(infer, dtypes=_CLASSES[cls][0])


def _texts(specs: tuple[Spec, ...]) -> str:
    return "got " + " and ".join(spec_text(s) for s in specs)


def of_class(name: str, specs: tuple[Spec, ...], cls: str) -> None:
    """All specs share one dtype of the class, or DtypeError."""
    allowed, words = _CLASSES[cls]
    first = specs[0].dtype
    if first in allowed and not [s for s in specs if s.dtype is not first]:
        return
    if any(s.dtype not in allowed for s in specs):
        raise DtypeError(
            name, _texts(specs), f"expected {words}", "convert with astype(x, dtype) first"
        )
    if any(s.dtype != specs[0].dtype for s in specs):
        raise DtypeError(
            name, _texts(specs), "expected one common dtype", "convert with astype(x, dtype)"
        )


def elementwise(name: str, cls: str = "float", result: Dtype | None = None) -> ShapeRule:
    """All inputs of one shape and one dtype of the class; the same comes out, or `result`."""

    @takes(cls)
    def rule(*specs: Spec) -> tuple[Shape, Dtype]:
        of_class(name, specs, cls)
        first = specs[0]
        for s in specs[1:]:
            if s.shape != first.shape:
                raise ShapeError(
                    name,
                    _texts(specs),
                    "expected equal shapes",
                    "use broadcast_to or expand_dims",
                )
        return first.shape, first.dtype if result is None else result

    return rule


_branches = elementwise("where", "any")


@ShapeRule
def where(condition: Spec, x1: Spec, x2: Spec) -> tuple[Shape, Dtype]:
    if condition.dtype != bool_:
        raise DtypeError(
            "where", f"got a condition {spec_text(condition)}", "expected bool", "try x != 0"
        )
    shape, dtype = _branches(x1, x2)
    if condition.shape != shape:
        raise ShapeError(
            "where", _texts((condition, x1)), "expected equal shapes", "use broadcast_to"
        )
    return shape, dtype


@ShapeRule
def alias(x: Spec) -> tuple[Shape, Dtype]:
    return x.shape, x.dtype


@strict
def astype(x: Spec, dtype: Dtype) -> tuple[Shape, Dtype]:
    if dtype not in DTYPES:
        raise DtypeError(
            "astype",
            f"got {dtype}",
            "expected one of " + ", ".join(map(str, DTYPES)),
            "pass one of these",
        )
    return x.shape, dtype


@ShapeRule
def broadcast_to(x: Spec, shape: Shape) -> tuple[Shape, Dtype]:
    fits = len(x.shape) == len(shape) and all(
        a in (1, b) for a, b in zip(x.shape, shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            "broadcast_to",
            f"got {spec_text(x)} for {shape}",
            "expected each size equal or 1",
            "reshape it so that it has a size of 1 where it repeats",
        )
    return shape, x.dtype


@ShapeRule
def reshape(x: Spec, shape: Shape) -> tuple[Shape, Dtype]:
    if math.prod(x.shape) != math.prod(shape) or any(n < 0 for n in shape):
        raise ShapeError(
            "reshape",
            f"got {spec_text(x)} for {shape}",
            f"expected a shape of {math.prod(x.shape)} elements",
            "put -1 for one size to have it computed",
        )
    return shape, x.dtype


@ShapeRule
def permute_dims(x: Spec, axes: Shape) -> tuple[Shape, Dtype]:
    if sorted(axes) != list(range(len(x.shape))):
        raise ShapeError(
            "permute_dims",
            f"got axes {axes} for {spec_text(x)}",
            "expected each axis exactly once",
            f"for example {tuple(reversed(range(len(x.shape))))}",
        )
    return tuple(x.shape[a] for a in axes), x.dtype


@ShapeRule
def slice_(x: Spec, start: Shape, stop: Shape, step: Shape) -> tuple[Shape, Dtype]:
    for n, a, b, k in zip(x.shape, start, stop, step, strict=True):
        if not (0 <= a <= n and 0 <= b <= n and k > 0):
            raise ShapeError(
                "slice",
                f"got {a}:{b}:{k} for a size of {n}",
                "expected 0 <= start, stop <= size and step > 0",
                "index the tensor instead: x[a:b:k]",
            )
    sizes = zip(start, stop, step, strict=True)
    return tuple(max(0, -((a - b) // k)) for a, b, k in sizes), x.dtype


@ShapeRule
def pad(x: Spec, low: Shape, high: Shape, interior: Shape) -> tuple[Shape, Dtype]:
    if min((*low, *high, *interior), default=0) < 0:
        raise ShapeError(
            "pad",
            f"got widths {low}, {high}, {interior}",
            "expected no width below 0",
            "slice to make smaller",
        )
    return tuple(
        lo + hi + n + max(0, n - 1) * k
        for n, lo, hi, k in zip(x.shape, low, high, interior, strict=True)
    ), x.dtype


@ShapeRule
def concat(*xs: Spec, axis: int) -> tuple[Shape, Dtype]:
    of_class("concat", xs, "any")
    rest = [s.shape[:axis] + s.shape[axis + 1 :] for s in xs]
    if any(r != rest[0] for r in rest):
        raise ShapeError(
            "concat",
            _texts(xs),
            f"expected equal sizes except on axis {axis}",
            "reshape or slice them first",
        )
    size = sum(s.shape[axis] for s in xs)
    return (*xs[0].shape[:axis], size, *xs[0].shape[axis + 1 :]), xs[0].dtype


def along(name: str, cls: str = "any") -> ShapeRule:
    """One input whose shape stays; the axis was normalised before."""

    @takes(cls)
    def rule(x: Spec, **params: Any) -> tuple[Shape, Dtype]:
        of_class(name, (x,), cls)
        return x.shape, x.dtype

    return rule


def reduction(name: str, cls: str, result: Dtype | None = None, empty: bool = True) -> ShapeRule:
    """The named axes become 1. `empty`: whether an axis of size 0 has an answer."""

    @takes(cls)
    def rule(x: Spec, axis: Shape) -> tuple[Shape, Dtype]:
        of_class(name, (x,), cls)
        shape = tuple(1 if k in axis else n for k, n in enumerate(x.shape))
        if not empty and any(x.shape[a] == 0 for a in axis):
            raise ShapeError(
                name,
                f"got {spec_text(x)} on axes {axis}",
                "expected at least one element to choose from",
                "skip empty batches, or give a start value by concat",
            )
        return shape, x.dtype if result is None else result

    return rule


@ShapeRule
def argsort(x: Spec, axis: int, descending: bool) -> tuple[Shape, Dtype]:
    return x.shape, int64


@takes("float")
def recurrence(a: Spec, b: Spec, axis: int) -> tuple[Shape, Dtype]:
    shape, dtype = elementwise("recurrence", "float")(a, b)
    return shape, dtype


@strict
def cumulative_sum_by_key(x: Spec, keys: Spec, axis: int) -> tuple[Shape, Dtype]:
    of_class("cumulative_sum_by_key", (x,), "number")
    _indices("cumulative_sum_by_key", keys)
    if keys.shape != x.shape[axis : axis + 1]:
        raise ShapeError(
            "cumulative_sum_by_key",
            _texts((x, keys)),
            f"expected one key for each index of axis {axis}",
            "reshape the keys to one axis",
        )
    return x.shape, x.dtype


@takes("number")
def matmul(x1: Spec, x2: Spec) -> tuple[Shape, Dtype]:
    of_class("matmul", (x1, x2), "number")
    a, b = x1.shape, x2.shape
    if len(a) < 2 or len(a) != len(b) or a[:-2] != b[:-2] or a[-1] != b[-2]:
        raise ShapeError(
            "matmul",
            _texts((x1, x2)),
            "expected (..., n, k) and (..., k, m) with equal k",
            "transpose one with matrix_transpose, or check the layer's in_features",
        )
    return (*a[:-1], b[-1]), x1.dtype


@strict
def convolution(
    x: Spec,
    w: Spec,
    stride: Shape,
    padding: tuple[tuple[int, int], ...],
    input_dilation: Shape,
    kernel_dilation: Shape,
    groups: int,
) -> tuple[Shape, Dtype]:
    of_class("convolution", (x, w), "number")
    if len(x.shape) != len(w.shape) or x.shape[-1] != w.shape[-2] * groups or w.shape[-1] % groups:
        raise ShapeError(
            "convolution",
            f"{_texts((x, w))} with {groups} groups",
            "expected x (N, *size, C) and w (*kernel, C / groups, O) with O a multiple of groups",
            "images are channels-last: permute_dims(x, (0, 2, 3, 1)) from N, C, H, W",
        )
    size = []
    for n, k, s, (lo, hi), di, dk in zip(
        x.shape[1:-1], w.shape[:-2], stride, padding, input_dilation, kernel_dilation, strict=True
    ):
        room = (n - 1) * di + 1 if n else 0
        out = max(0, (room + lo + hi - (k - 1) * dk - 1) // s + 1)
        if k == 0 or (out == 0 and n > 0):
            raise ShapeError(
                "convolution",
                f"{_texts((x, w))}, padding {(lo, hi)}",
                "expected a kernel no larger than the padded input",
                "use a smaller kernel or more padding",
            )
        size.append(out)
    return (x.shape[0], *size, w.shape[-1]), x.dtype


@strict
def convolution_weight(
    x: Spec, z: Spec, kernel: Shape, groups: int, **params: Any
) -> tuple[Shape, Dtype]:
    of_class("convolution_weight", (x, z), "number")
    w = np.broadcast_to(x.dtype.type(0), (*kernel, x.shape[-1] // groups, z.shape[-1]))
    if convolution(x, w, groups=groups, **params)[0] != z.shape:
        raise ShapeError(
            "convolution_weight",
            f"{_texts((x, z))}, kernel {kernel}",
            "expected z to have the shape of the convolution of x with that kernel",
            "it is called by the rule of convolution",
        )
    return w.shape, x.dtype


@strict
def unfold(x: Spec, window: Shape, stride: Shape, dilation: Shape) -> tuple[Shape, Dtype]:
    size = []
    for n, k, s, d in zip(x.shape[1:-1], window, stride, dilation, strict=True):
        out = (n - (k - 1) * d - 1) // s + 1
        if out < 1:
            raise ShapeError(
                "unfold",
                f"got {spec_text(x)} and a window of {window}",
                "expected a window no larger than the input",
                "use a smaller window or pad the input",
            )
        size.append(out)
    return (x.shape[0], *size, *window, x.shape[-1]), x.dtype


@strict
def max_pool(
    x: Spec,
    window: Shape,
    stride: Shape,
    dilation: Shape,
    padding: tuple[tuple[int, int], ...],
) -> tuple[Any, Any]:
    of_class("max_pool", (x,), "number")
    sides = [n + low + high for n, (low, high) in zip(x.shape[1:-1], padding, strict=True)]
    padded = np.broadcast_to(x.dtype.type(0), (x.shape[0], *sides, x.shape[-1]))
    views, _ = unfold(padded, window=window, stride=stride, dilation=dilation)
    shape = (*views[: len(window) + 1], x.shape[-1])
    return (shape, shape), (x.dtype, index_dtype(math.prod(window)))


@strict
def fold(x: Spec, size: Shape, stride: Shape, dilation: Shape) -> tuple[Shape, Dtype]:
    of_class("fold", (x,), "number")
    n = len(size)
    if len(x.shape) != 2 * n + 2:
        raise ShapeError(
            "fold",
            f"got {spec_text(x)}",
            f"expected (N, {n} sizes, {n} windows, C)",
            "make it with unfold",
        )
    return (x.shape[0], *size, x.shape[-1]), x.dtype


@strict
def standardise(*xs: Spec, axis: Shape, eps: float) -> tuple[Any, Any]:
    of_class("standardise", xs, "float")
    x, *scale = xs
    size = tuple(1 if k in axis else n for k, n in enumerate(x.shape))
    if scale and (len(scale) > 1 or scale[0].shape != size):
        raise ShapeError(
            "standardise",
            _texts(xs),
            f"expected one scale of shape {size}",
            "reshape it, with size 1 on the axes",
        )
    return (x.shape, size, size), (x.dtype,) * 3


@strict
def attention(*xs: Spec, causal: bool, scale: float) -> tuple[Any, Any]:
    query, key, value = xs[:3]
    _expect_attention("attention", query, key, value, xs[3:])
    rows = query.shape[:3]
    return ((*rows, value.shape[3]), (*rows, 1)), (query.dtype, query.dtype)


@strict
def attention_derivative(*xs: Spec, causal: bool, scale: float) -> tuple[Any, Any]:
    g, delta, logsumexp, query, key, value = xs[:6]
    _expect_attention("attention_derivative", query, key, value, xs[6:])
    rows = query.shape[:3]
    shapes = (g.shape, delta.shape, logsumexp.shape)
    if shapes != ((*rows, value.shape[3]), (*rows, 1), (*rows, 1)):
        raise ShapeError(
            "attention_derivative",
            _texts(xs[:3]),
            f"expected the shapes of the results of attention on {spec_text(query)}",
            "it is called by the rule of attention",
        )
    return (query.shape, key.shape, value.shape), (query.dtype,) * 3


def _expect_attention(
    name: str, query: Spec, key: Spec, value: Spec, masks: tuple[Spec, ...]
) -> None:
    """Raise unless (N, T, H, d), (N, S, H, d), (N, S, H, e) and masks fit together."""
    specs = (query, key, value)
    of_class(name, specs, "float")
    n, t, h, d = query.shape if len(query.shape) == 4 else (0,) * 4
    s = key.shape[1] if len(key.shape) == 4 else 0
    fits = len(query.shape) == 4 and key.shape == (n, s, h, d) and value.shape[:3] == (n, s, h)
    if query.dtype not in (float32, float64) or not fits or len(value.shape) != 4:
        raise ShapeError(
            name,
            _texts(specs),
            "expected (N, T, H, d), (N, S, H, d) and (N, S, H, e) in float32 or float64",
            "nn.functional.scaled_dot_product_attention takes other shapes and dtypes",
        )
    for mask in masks:
        sizes = zip(mask.shape, (n, h, t, s), strict=False)
        if (
            mask.dtype not in (bool_, query.dtype)
            or len(mask.shape) != 4
            or any(a not in (1, b) for a, b in sizes)
        ):
            raise ShapeError(
                name,
                f"got the mask {spec_text(mask)}",
                f"expected sizes of 1 or {(n, h, t, s)}, and bool or {query.dtype}",
                "reshape or convert it",
            )


def _indices(name: str, indices: Spec) -> None:
    if indices.dtype not in INTEGERS:
        raise DtypeError(
            name,
            f"got indices {spec_text(indices)}",
            "expected an integer dtype",
            "convert with astype(indices, int64)",
        )


@strict
def take(x: Spec, indices: Spec, axis: int) -> tuple[Shape, Dtype]:
    _indices("take", indices)
    return (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype


@strict
def scatter_add(updates: Spec, indices: Spec, axis: int, size: int) -> tuple[Shape, Dtype]:
    _indices("scatter_add", indices)
    of_class("scatter_add", (updates,), "number")
    end = axis + len(indices.shape)
    if updates.shape[axis:end] != indices.shape:
        raise ShapeError(
            "scatter_add",
            _texts((updates, indices)),
            f"expected the indices' shape inside the updates', from axis {axis} on",
            "take(x, indices, axis=axis) shows the shape that fits",
        )
    return (*updates.shape[:axis], size, *updates.shape[end:]), updates.dtype


@strict
def checked_index(indices: Spec, size: int, refusal: Refusal | None = None) -> tuple[Shape, Dtype]:
    _indices("checked_index", indices)
    return indices.shape, int64


@strict
def put_rows(table: Spec, rows: Spec, values: Spec, distinct: bool = False) -> tuple[Shape, Dtype]:
    _indices("put_rows", rows)
    of_class("put_rows", (table, values), "any")
    fits = len(rows.shape) == 1 and bool(table.shape)
    if not fits or values.shape != (*rows.shape, *table.shape[1:]):
        raise ShapeError(
            "put_rows",
            _texts((table, rows, values)),
            "expected rows (n,), and values (n, ...) that are rows of the table",
            "assign by index instead: table[rows] = values",
        )
    return table.shape, table.dtype


@ShapeRule
def random_bits(state: Spec, shape: Shape) -> tuple[Shape, Dtype]:
    if state.dtype != uint64 or state.shape != (2,):
        raise DtypeError(
            "random_bits",
            f"got {spec_text(state)}",
            "expected uint64[2]: seed, draw",
            "use cr.random",
        )
    return shape, uint32


@ShapeRule
def call(*xs: Spec, graph: Graph, **params: Any) -> tuple[Any, Any]:
    for x, node in zip(xs, graph.inputs, strict=True):
        if x.shape != node.shape or x.dtype != node.dtype:
            raise ShapeError(
                "call", f"got {spec_text(x)}", f"expected {spec_text(node)}", "trace it again"
            )
    return tuple(o.shape for o in graph.outputs), tuple(o.dtype for o in graph.outputs)


@ShapeRule
def scan(
    *xs: Spec, graph: Graph, length: int, consts: int, carries: int, **params: Any
) -> tuple[Any, Any]:
    """Inputs: constants, first carries, stacked xs. Outputs: last carries, stacked ys."""
    for k, (x, node) in enumerate(zip(xs, graph.inputs, strict=True)):
        needed = node.shape if k < consts + carries else (length, *node.shape)
        if x.shape != needed or x.dtype != node.dtype:
            raise ShapeError(
                "scan",
                f"got {spec_text(x)}",
                f"expected {node.dtype}{needed}",
                "give each x the same leading length",
            )
    outs = graph.outputs
    shapes = [o.shape if k < carries else (length, *o.shape) for k, o in enumerate(outs)]
    return tuple(shapes), tuple(o.dtype for o in outs)


@ShapeRule
def item(x: Spec, index: int) -> tuple[Shape, Dtype]:
    return x.shape[index], x.dtype[index]
