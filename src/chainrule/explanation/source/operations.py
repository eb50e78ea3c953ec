"""One row per operation of the table: the expression in NumPy that computes it."""

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
EMISSIONS: dict[Operation, Emission] = {
    ops.negative:       elementwise.negative,
    ops.abs:            elementwise.size,
    ops.square:         elementwise.square,
    ops.sqrt:           elementwise.function("np.sqrt"),
    ops.exp:            elementwise.function("np.exp"),
    ops.expm1:          elementwise.function("np.expm1"),
    ops.log:            elementwise.function("np.log"),
    ops.log1p:          elementwise.function("np.log1p"),
    ops.log2:           elementwise.function("np.log2"),
    ops.log10:          elementwise.function("np.log10"),
    ops.sin:            elementwise.function("np.sin"),
    ops.cos:            elementwise.function("np.cos"),
    ops.tan:            elementwise.function("np.tan"),
    ops.asin:           elementwise.function("np.arcsin"),
    ops.acos:           elementwise.function("np.arccos"),
    ops.atan:           elementwise.function("np.arctan"),
    ops.sinh:           elementwise.function("np.sinh"),
    ops.cosh:           elementwise.function("np.cosh"),
    ops.tanh:           elementwise.function("np.tanh"),
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
    ops.remainder:      elementwise.function("np.remainder"),
    ops.maximum:        elementwise.function("np.maximum"),
    ops.minimum:        elementwise.function("np.minimum"),
    ops.atan2:          elementwise.function("np.arctan2"),
    ops.hypot:          elementwise.function("np.hypot"),
    ops.logaddexp:      elementwise.function("np.logaddexp"),
    ops.copysign:       elementwise.function("np.copysign"),

    ops.sign:           elementwise.function("np.sign"),
    ops.floor:          elementwise.function("np.floor"),
    ops.ceil:           elementwise.function("np.ceil"),
    ops.trunc:          elementwise.function("np.trunc"),
    ops.round:          elementwise.function("np.rint"),
    ops.floor_divide:   elementwise.function("np.floor_divide"),
    ops.nextafter:      elementwise.function("np.nextafter"),
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
    ops.norm:           calls.helper(helpers.norm),
    ops.max:            axes.reduction("max"),
    ops.min:            axes.reduction("min"),
    ops.any:            axes.reduction("any"),
    ops.argmax:         axes.arg("argmax"),
    ops.argmin:         axes.arg("argmin"),
    ops.argsort:        axes.argsort,
    ops.cumulative_sum:  axes.running("np.cumsum"),
    ops.cumulative_prod: axes.running("np.cumprod"),
    ops.cumulative_sum_by_key: calls.helper(helpers.cumulative_sum_by_key),
    ops.recurrence:     calls.helper(helpers.recurrence),

    ops.matmul:         axes.matmul,
    ops.convolution:    calls.helper(helpers.convolution),
    ops.convolution_weight: calls.helper(helpers.convolution_weight),
    ops.unfold:         calls.helper(helpers.unfold),
    ops.max_pool:       calls.helper(helpers.max_pool),
    ops.fold:           calls.helper(helpers.fold),
    ops.standardise:    calls.helper(helpers.standardise),
    ops.attention:      calls.helper(helpers.attention),
    ops.attention_derivative: calls.helper(helpers.attention_derivative),

    ops.take:           axes.take,
    ops.scatter_add:    calls.helper(helpers.scatter_add),
    ops.put_rows:       calls.helper(helpers.put_rows),
    ops.checked_index:  axes.checked_index,
    ops.random_bits:    calls.helper(helpers.random_bits),
}
# fmt: on

# Operations that are more than one expression: `statements` writes them.
WRITTEN = {ops.scan, ops.call, ops.custom, ops.item}
