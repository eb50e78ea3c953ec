"""THE table of operations: every primitive, its kind, its shape and dtype rule, its meaning.

kind         the form of the derivative (see `derivatives.py`): zero, linear, bilinear,
             elementwise, or other
rule         a rule of `shapes.py`: (input specs, parameters) -> (shape, dtype)
meaning      the same in NumPy; a longer one stands in `numerics.py`
arguments    names of the inputs, where they are not x (one) or x1, x2 (two)
cases        inputs' shapes and parameters on which the row and its derivative are checked

Everything else that the library offers is composed of these (`functions/`). Inputs have been
promoted and broadcast before they get here. Reductions keep their axes as size 1.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from . import gauss_error, graph_evaluation, numerics, shapes, sums
from .dtypes import bool_, float32, float64, int64
from .errors import class_refusal
from .graph import Operation, ShapeRule

TABLE: dict[str, Operation] = {}


def op(
    name: str,
    kind: str,
    rule: ShapeRule,
    meaning: Any,
    arguments: str = "",
    cases: Any = (),
) -> Operation:
    """Add a row to the table."""
    default = "x1 x2" if getattr(meaning, "nin", 1) == 2 else "x"
    names = tuple((arguments or default).split())
    TABLE[name] = Operation(name, kind, rule, meaning, names, cases)
    return TABLE[name]


_ONE: Any = [(((2, 3),), {}), (((),), {})]
_TWO: Any = [(((2, 3), (2, 3)), {}), (((), ()), {})]


POINTWISE: set[Operation] = set()  # an element of the result is made of one of each input


def unary(name: str, kind: str, meaning: Any, cls: str = "float", **more: Any) -> Operation:
    out = op(name, kind, shapes.elementwise(name, cls, **more), meaning, "x", _ONE)
    POINTWISE.add(out)
    return out


def binary(name: str, kind: str, meaning: Any, cls: str = "number", **more: Any) -> Operation:
    out = op(name, kind, shapes.elementwise(name, cls, **more), meaning, "x1 x2", _TWO)
    POINTWISE.add(out)
    return out


# Aligned by hand, for the eye that proofreads it.
# fmt: off

# ── elementwise, one argument ────────────────────────────────────────────────────────────────────
negative      = unary("negative",  "linear",      np.negative, "number")
abs           = unary("abs",       "elementwise", np.abs,      "number")
square        = unary("square",    "elementwise", np.square,   "number")
sqrt          = unary("sqrt",      "elementwise", np.sqrt)
exp           = unary("exp",       "elementwise", np.exp)
expm1         = unary("expm1",     "elementwise", np.expm1)
log           = unary("log",       "elementwise", np.log)
log1p         = unary("log1p",     "elementwise", np.log1p)
log2          = unary("log2",      "elementwise", np.log2)
log10         = unary("log10",     "elementwise", np.log10)
sin           = unary("sin",       "elementwise", np.sin)
cos           = unary("cos",       "elementwise", np.cos)
tan           = unary("tan",       "elementwise", np.tan)
asin          = unary("asin",      "elementwise", np.arcsin)
acos          = unary("acos",      "elementwise", np.arccos)
atan          = unary("atan",      "elementwise", np.arctan)
sinh          = unary("sinh",      "elementwise", np.sinh)
cosh          = unary("cosh",      "elementwise", np.cosh)
tanh          = unary("tanh",      "elementwise", np.tanh)
asinh         = unary("asinh",     "elementwise", np.arcsinh)
acosh         = unary("acosh",     "elementwise", np.arccosh)
atanh         = unary("atanh",     "elementwise", np.arctanh)
sigmoid       = unary("sigmoid",   "elementwise", numerics.sigmoid)
erf           = unary("erf",       "elementwise", gauss_error.erf)
erfinv        = unary("erfinv",    "elementwise", gauss_error.erfinv)

# ── elementwise, two arguments ───────────────────────────────────────────────────────────────────
add           = binary("add",          "linear",      np.add)
subtract      = binary("subtract",     "linear",      np.subtract)
multiply      = binary("multiply",     "bilinear",    np.multiply)
divide        = binary("divide",       "elementwise", np.divide,      "float")
power         = op("power", "elementwise", shapes.elementwise("power", "number"), np.power, "x1 x2",
                   [*_TWO, (((3,), np.array([0.0, 1.0, 2.0])), {})])
remainder     = binary("remainder",    "elementwise", numerics.whole_division(np.remainder))
maximum       = binary("maximum",      "elementwise", np.maximum)
minimum       = binary("minimum",      "elementwise", np.minimum)
atan2         = binary("atan2",        "elementwise", np.arctan2,     "float")
hypot         = binary("hypot",        "elementwise", np.hypot,       "float")
logaddexp     = binary("logaddexp",    "elementwise", np.logaddexp,   "float")
copysign      = binary("copysign",     "elementwise", np.copysign,    "float")

# ── elementwise, piecewise constant ──────────────────────────────────────────────────────────────
sign          = unary ("sign",         "zero", np.sign,         "number")
floor         = unary ("floor",        "zero", np.floor,        "number")
ceil          = unary ("ceil",         "zero", np.ceil,         "number")
trunc         = unary ("trunc",        "zero", np.trunc,        "number")
round         = unary ("round",        "zero", np.rint)
floor_divide  = binary("floor_divide", "zero", numerics.whole_division(np.floor_divide))
nextafter     = binary("nextafter",    "zero", np.nextafter,    "float")
equal         = binary("equal",        "zero", np.equal,        "any",    result=bool_)
not_equal     = binary("not_equal",    "zero", np.not_equal,    "any",    result=bool_)
less          = binary("less",         "zero", np.less,         "number", result=bool_)
less_equal    = binary("less_equal",   "zero", np.less_equal,   "number", result=bool_)
bitwise_and   = binary("bitwise_and",  "zero", np.bitwise_and,  "bits")
bitwise_or    = binary("bitwise_or",   "zero", np.bitwise_or,   "bits")
bitwise_xor   = binary("bitwise_xor",  "zero", np.bitwise_xor,  "bits")
bitwise_invert = unary("bitwise_invert", "zero", np.bitwise_not, "bits")
bitwise_left_shift  = binary("bitwise_left_shift",  "zero", numerics.shift(np.left_shift),  "integer")  # noqa: E501
bitwise_right_shift = binary("bitwise_right_shift", "zero", numerics.shift(np.right_shift), "integer")  # noqa: E501

# ── choosing and copying ─────────────────────────────────────────────────────────────────────────
where         = op("where", "linear", shapes.where, numerics.where, "condition x1 x2",
                   [(((2, 3), (2, 3), (2, 3)), {}), (((), (), ()), {})])
alias         = op("alias", "linear", shapes.alias, lambda x: x, cases=_ONE)
stop_gradient = op("stop_gradient", "zero", shapes.alias, lambda x: x, cases=_ONE)
astype        = op("astype", "linear", shapes.astype, numerics.astype,
                   cases=[(((2, 3),), {"dtype": d}) for d in (float32, float64)])

POINTWISE |= {power, where, astype}

# ── shape ────────────────────────────────────────────────────────────────────────────────────────
broadcast_to  = op("broadcast_to", "linear", shapes.broadcast_to, numerics.broadcast_to,
                   cases=[(((2, 1, 3),), {"shape": (2, 4, 3)}), (((1, 1),), {"shape": (3, 2)}),
                          (((1, 2),), {"shape": (0, 2)}), (((),), {"shape": ()})])
reshape       = op("reshape", "linear", shapes.reshape, lambda x, shape: x.reshape(shape),
                   cases=[(((2, 6),), {"shape": (3, 4)}), (((1, 1),), {"shape": ()}),
                          (((0, 3),), {"shape": (3, 0)})])
permute_dims  = op("permute_dims", "linear", shapes.permute_dims, lambda x, axes: x.transpose(axes),
                   cases=[(((2, 3, 4),), {"axes": (1, 2, 0)}), (((2, 3),), {"axes": (1, 0)})])
slice         = op("slice", "linear", shapes.slice_,
                   lambda x, start, stop, step: x[tuple(map(builtins.slice, start, stop, step))],
                   cases=[(((5, 4),), {"start": (1, 0), "stop": (5, 4), "step": (2, 1)}),
                          (((7,),), {"start": (0,), "stop": (6,), "step": (3,)}),
                          (((4,),), {"start": (1,), "stop": (3,), "step": (5,)}),
                          (((4,),), {"start": (3,), "stop": (1,), "step": (1,)})])
pad           = op("pad", "linear", shapes.pad, numerics.pad,
                   cases=[(((2, 3),), {"low": (1, 0), "high": (0, 2), "interior": (0, 1)}),
                          (((0,),), {"low": (1,), "high": (2,), "interior": (1,)})])
concat        = op("concat", "linear", shapes.concat,
                   lambda *xs, axis: np.concatenate(xs, axis=axis), "*xs",
                   [(((2, 3), (2, 1), (2, 0)), {"axis": 1}), (((2, 3),), {"axis": 0})])
flip          = op("flip", "linear", shapes.along("flip"), lambda x, axis: np.flip(x, axis),
                   cases=[(((2, 3),), {"axis": (1,)}), (((2, 3),), {"axis": (0, 1)})])

# ── reductions (the axes stay, with size 1) and scans along an axis ──────────────────────────────
_AXES = [(((2, 3),), {"axis": (1,)}), (((2, 3, 2),), {"axis": (0, 2)}), (((),), {"axis": ()}),
         (((2, 3, 4),), {"axis": (0,)})]
_ALONG = [(((3,),), {"axis": 0}), (((2, 4),), {"axis": 1}), (((3, 2),), {"axis": 0}),
          (((2, 0),), {"axis": 1})]
sum           = op("sum", "linear", shapes.reduction("sum", "number"),
                   numerics.wide(sums.total), cases=[*_AXES, (((0, 2),), {"axis": (0,)})])
prod          = op("prod", "other", shapes.reduction("prod", "number"),
                   numerics.wide(sums.product), cases=[*_AXES, (((0, 2),), {"axis": (0,)})])
norm          = op("norm", "other", shapes.reduction("norm", "float"),
                   numerics.wide(sums.norm), cases=[*_AXES, (((0, 2),), {"axis": (0,)})])
max           = op("max", "other", shapes.reduction("max", "number", empty=False),
                   lambda x, axis: np.maximum.reduce(x, axis=axis, keepdims=True), cases=_AXES)
min           = op("min", "other", shapes.reduction("min", "number", empty=False),
                   lambda x, axis: np.minimum.reduce(x, axis=axis, keepdims=True), cases=_AXES)
any           = op("any", "zero", shapes.reduction("any", "any", bool_),
                   lambda x, axis: np.any(x, axis=axis, keepdims=True), cases=_AXES)
argmax        = op("argmax", "zero", shapes.reduction("argmax", "number", int64, empty=False),
                   lambda x, axis: np.argmax(x, axis=axis[0], keepdims=True), cases=_AXES[:1])
argmin        = op("argmin", "zero", shapes.reduction("argmin", "number", int64, empty=False),
                   lambda x, axis: np.argmin(x, axis=axis[0], keepdims=True), cases=_AXES[:1])
argsort       = op("argsort", "zero", shapes.argsort, numerics.argsort,
                   cases=[(((2, 3),), {"axis": 1, "descending": d}) for d in (False, True)])
cumulative_sum  = op("cumulative_sum", "linear", shapes.along("cumulative_sum", "number"),
                   numerics.wide(sums.running), cases=_ALONG)
cumulative_prod = op("cumulative_prod", "other", shapes.along("cumulative_prod", "number"),
                   numerics.wide(lambda x, axis: np.cumprod(x, axis=axis, dtype=x.dtype)),
                   cases=_ALONG)
cumulative_sum_by_key = op("cumulative_sum_by_key", "linear", shapes.cumulative_sum_by_key,
                   numerics.wide(numerics.cumulative_sum_by_key), "x keys",
                   [(((5, 2), np.array([1, 0, 2, 2, 2])), {"axis": 0}),
                    (((2, 3), np.array([4, 4, 4])), {"axis": 1}),
                    (((0, 2), np.array([], np.int64)), {"axis": 0})])
recurrence    = op("recurrence", "other", shapes.recurrence, numerics.wide(numerics.recurrence),
                   "a b", [((s, s), p) for (s,), p in _ALONG])

# ── contractions and windows ─────────────────────────────────────────────────────────────────────
_CONV = {"stride": (1,), "padding": ((0, 0),), "input_dilation": (1,), "kernel_dilation": (1,),
         "groups": 1}
matmul        = op("matmul", "bilinear", shapes.matmul, numerics.matmul, "x1 x2",
                   [(((2, 3), (3, 4)), {}), (((2, 1, 3), (2, 3, 2)), {}), (((2, 0), (0, 2)), {})])
convolution   = op("convolution", "bilinear", shapes.convolution, numerics.convolution, "x w",
                   [(((2, 5, 2), (3, 2, 3)), _CONV),
                    (((2, 6, 4), (2, 2, 2)), _CONV | {"groups": 2, "stride": (2,)}),
                    (((1, 4, 2), (2, 1, 2)), _CONV | {"groups": 2, "padding": ((1, 2),)}),
                    (((1, 5, 6), (2, 3, 4)), _CONV | {"groups": 2, "stride": (2,)}),
                    (((1, 4, 1), (2, 1, 2)), _CONV | {"input_dilation": (2,),
                                                      "kernel_dilation": (2,), "stride": (3,)}),
                    (((1, 4, 5, 2), (2, 3, 2, 1)), {"stride": (1, 2), "padding": ((1, 0), (1, 1)),
                        "input_dilation": (1, 1), "kernel_dilation": (2, 1), "groups": 1}),
                    (((1, 3, 2, 3, 1), (2, 2, 2, 1, 1)), {"stride": (1,) * 3,
                        "padding": ((0, 1),) * 3, "input_dilation": (1,) * 3,
                        "kernel_dilation": (1,) * 3, "groups": 1})])
convolution_weight = op("convolution_weight", "bilinear", shapes.convolution_weight,
                   numerics.convolution_weight, "x z",
                   [(((2, 5, 2), (2, 3, 3)), _CONV | {"kernel": (3,)}),
                    (((2, 6, 4), (2, 3, 2)), _CONV | {"kernel": (2,), "groups": 2, "stride": (2,)}),
                    (((1, 4, 2), (1, 6, 2)), _CONV | {"kernel": (2,), "groups": 2,
                                                      "padding": ((1, 2),)}),
                    (((1, 4, 1), (1, 2, 2)), _CONV | {"kernel": (2,), "input_dilation": (2,),
                                                      "kernel_dilation": (2,), "stride": (3,)}),
                    (((1, 4, 5, 2), (1, 3, 3, 1)), {"kernel": (2, 3), "stride": (1, 2),
                        "padding": ((1, 0), (1, 1)), "input_dilation": (1, 1),
                        "kernel_dilation": (2, 1), "groups": 1}),
                    (((1, 3, 2, 3, 1), (1, 3, 2, 3, 1)), {"kernel": (2, 2, 2), "stride": (1,) * 3,
                        "padding": ((0, 1),) * 3, "input_dilation": (1,) * 3,
                        "kernel_dilation": (1,) * 3, "groups": 1})])
unfold        = op("unfold", "linear", shapes.unfold, numerics.unfold,
                   cases=[(((2, 5, 2),), {"window": (3,), "stride": (2,), "dilation": (1,)}),
                          (((1, 4, 5, 1),), {"window": (2, 2), "stride": (1, 2),
                                             "dilation": (2, 1)})])
max_pool      = op("max_pool", "other", shapes.max_pool, numerics.max_pool)
fold          = op("fold", "linear", shapes.fold, numerics.fold,
                   cases=[(((2, 2, 3, 2),), {"size": (5,), "stride": (2,), "dilation": (1,)}),
                          (((1, 2, 2, 2, 3, 1),), {"size": (4, 5), "stride": (1, 2),
                                                   "dilation": (2, 1)})])

standardise   = op("standardise", "other", shapes.standardise, sums.standardise, "*xs")

# ── attention (queries (N, T, H, d), keys (N, S, H, d), values (N, S, H, e), then masks) ──────────
attention     = op("attention", "other", shapes.attention, numerics.attention, "*xs")
attention_derivative = op("attention_derivative", "other", shapes.attention_derivative,
                   numerics.attention_derivative, "*xs")

# ── indexing (an index below 0 counts from the end; outside the axis it is an error) ─────────────
take          = op("take", "linear", shapes.take, numerics.take, "x indices",
                   [(((4, 2), np.array([3, 0, 3])), {"axis": 0}),
                    (((4, 2), np.array([[3, 0, 3], [1, -4, 2]])), {"axis": 0}),
                    (((2, 3), np.array([[0, -1], [1, 1]])), {"axis": 1})])
scatter_add   = op("scatter_add", "linear", shapes.scatter_add, numerics.scatter_add,
                   "updates indices",
                   [(((3, 2), np.array([3, 0, 3])), {"axis": 0, "size": 4}),
                    (((2, 2, 2), np.array([[0, -1], [1, 1]])), {"axis": 1, "size": 3})])
put_rows      = op("put_rows", "linear", shapes.put_rows, numerics.put_rows,
                   "table rows values",
                   [(((4, 2), np.array([3, 0, 3]), (3, 2)), {}),
                    (((3,), np.array([-1, 1, 3]), (3,)), {}),
                    (((0, 2), np.array([0, -1]), (2, 2)), {})])
checked_index = op("checked_index", "zero", shapes.checked_index, numerics.checked_index,
                   "indices", [((np.array([1, -2, 0]),), {"size": 2}),
                               ((np.array([1, 0]),), {"size": 2, "refusal": class_refusal("", 2)})])

# ── random and control ───────────────────────────────────────────────────────────────────────────
random_bits   = op("random_bits", "zero", shapes.random_bits, numerics.random_bits, "state",
                   [((np.array([1, 2], np.uint64),), {"shape": (5,)})])
call          = op("call", "other", shapes.call, graph_evaluation.call, "*xs")
custom        = op("custom", "other", shapes.call, graph_evaluation.call, "*xs")
scan          = op("scan", "other", shapes.scan, graph_evaluation.scan, "*xs")
item          = op("item", "linear", shapes.item, lambda x, index: x[index])
# fmt: on

# An element of the result is an element of an input, or 0: nothing is computed.
MOVES = {alias, stop_gradient, broadcast_to, reshape, permute_dims, slice, pad, concat, flip}
MOVES |= {take, put_rows, unfold}
