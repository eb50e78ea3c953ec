"""Of each operation of the table the expression in NumPy that computes it."""

from __future__ import annotations

import inspect

from ... import gauss_error, ops
from ...graph import Node, Operation
from . import axes, calls, elementwise, helpers
from .elementwise import Emission
from .expressions import AND, OR, PRODUCT, SHIFT, SUM, XOR, Expression
from .functions import Functions


def expression(node: Node, xs: list[Expression], functions: Functions) -> Expression:
    """The node as an expression, from those of its inputs."""
    assert node.op is not None
    emission = EMISSIONS.get(node.op, calls.meaning)
    return emission(node, xs, functions)


# Aligned by hand, for the eye that proofreads it.
# fmt: off
_NUMPY = (  # has them under the same name
    ops.sqrt, ops.exp, ops.expm1, ops.log, ops.log1p, ops.log2, ops.log10, ops.sin, ops.cos,
    ops.tan, ops.sinh, ops.cosh, ops.tanh, ops.remainder, ops.maximum, ops.minimum, ops.hypot,
    ops.logaddexp, ops.copysign, ops.sign, ops.floor, ops.ceil, ops.trunc, ops.floor_divide,
    ops.nextafter,
)
_HELPERS = (  # has them as functions
    ops.norm, ops.cumulative_sum_by_key, ops.recurrence, ops.convolution,
    ops.convolution_weight, ops.unfold, ops.max_pool, ops.fold, ops.standardise, ops.attention,
    ops.attention_derivative, ops.scatter_add, ops.put_rows, ops.random_bits,
)

EMISSIONS: dict[Operation, Emission] = {
    **{op: elementwise.function(f"np.{op.name}") for op in _NUMPY},
    **{op: calls.helper(getattr(helpers, op.name)) for op in _HELPERS},
    ops.negative:       elementwise.negative,
    ops.abs:            elementwise.absolute,
    ops.square:         elementwise.square,
    ops.asin:           elementwise.function("np.arcsin"),
    ops.acos:           elementwise.function("np.arccos"),
    ops.atan:           elementwise.function("np.arctan"),
    ops.asinh:          elementwise.function("np.arcsinh"),
    ops.acosh:          elementwise.function("np.arccosh"),
    ops.atanh:          elementwise.function("np.arctanh"),
    ops.sigmoid:        elementwise.own(helpers.sigmoid),
    ops.erf:            elementwise.own(inspect.unwrap(gauss_error.erf), wide=True),
    ops.erfinv:         elementwise.own(gauss_error.erfinv),

    ops.add:            elementwise.infix("+", SUM),
    ops.subtract:       elementwise.infix("-", SUM),
    ops.multiply:       elementwise.infix("*", PRODUCT),
    ops.divide:         elementwise.divide,
    ops.power:          elementwise.power,
    ops.atan2:          elementwise.function("np.arctan2"),

    ops.round:          elementwise.function("np.rint"),
    ops.equal:          elementwise.comparison("==", "np.equal"),
    ops.not_equal:      elementwise.comparison("!=", "np.not_equal"),
    ops.less:           elementwise.comparison("<", "np.less"),
    ops.less_equal:     elementwise.comparison("<=", "np.less_equal"),
    ops.bitwise_and:    elementwise.infix("&", AND),
    ops.bitwise_or:     elementwise.infix("|", OR),
    ops.bitwise_xor:    elementwise.infix("^", XOR),
    ops.bitwise_invert: elementwise.invert,
    ops.bitwise_left_shift:  elementwise.infix("<<", SHIFT),
    ops.bitwise_right_shift: elementwise.infix(">>", SHIFT),

    ops.where:          elementwise.where,
    ops.alias:          elementwise.same,
    ops.stop_gradient:  elementwise.same,
    ops.astype:         elementwise.astype,

    ops.broadcast_to:   elementwise.same,
    ops.reshape:        axes.reshape,
    ops.permute_dims:   axes.permute,
    ops.slice:          axes.part,
    ops.pad:            axes.pad,
    ops.concat:         axes.concat,
    ops.flip:           axes.flip,

    ops.sum:            axes.reduction("sum"),
    ops.prod:           axes.reduction("prod"),
    ops.max:            axes.reduction("max"),
    ops.min:            axes.reduction("min"),
    ops.any:            axes.reduction("any"),
    ops.argmax:         axes.arg("argmax"),
    ops.argmin:         axes.arg("argmin"),
    ops.argsort:        axes.argsort,
    ops.cumulative_sum:  axes.running("np.cumsum"),
    ops.cumulative_prod: axes.running("np.cumprod"),

    ops.matmul:         axes.matmul,

    ops.take:           axes.take,
    ops.checked_index:  axes.checked_index,
}
# fmt: on

# Operations that are more than one expression: `statements` writes them.
WRITTEN = {ops.scan, ops.call, ops.custom, ops.item}
