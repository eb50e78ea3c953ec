"""Testing the tester: wrong rows of many sorts, each of which `check_row` must find."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import checking, derivatives, ops, shapes
from chainrule.derivatives import TABLE
from chainrule.errors import GradientError
from chainrule.graph import Operation
from planting import planted


@dataclass
class Wrong:
    """A wrong row: what is wrong, the rules (None: the table's own), and what the check says."""

    sort: str
    op: Operation
    rules: tuple[Any, ...]
    says: str
    joint: bool = False


def own(op: Operation, k: int = 0) -> Callable[..., Any]:
    """The table's own rule."""
    rule = TABLE[op.name].rules[k]
    assert rule is not None
    return rule


def first_only(x: Any) -> Any:
    """cos x, but a constant for whoever differentiates it."""
    return ops.stop_gradient(ops.cos(x))


def square_only(g: Any, x2: Any) -> Any:
    """Transposed only where the shape does not demand it; elsewhere its elements are re-read."""
    n, m = x2.shape[-2:]
    return g @ (x2.mT if n == m else ops.reshape(x2, shape=(*x2.shape[:-2], m, n)))


def all_of_a_tie(g: Any, x1: Any, x2: Any) -> Any:
    """All of g to both in a tie."""
    return ops.where(x1 >= x2, g, 0.0)


def unflipped(
    g: Any,
    w: Any,
    x_shape: Any,
    stride: Any,
    padding: Any,
    input_dilation: Any,
    kernel_dilation: Any,
    groups: int,
) -> Any:
    """The kernel is not mirrored."""
    mirrored = ops.flip(w, axis=tuple(range(len(stride))))
    return derivatives.conv_input(
        g, mirrored, x_shape, stride, padding, input_dilation, kernel_dilation, groups
    )


def padded_wrong(
    g: Any,
    x: Any,
    w_shape: Any,
    stride: Any,
    padding: Any,
    input_dilation: Any,
    kernel_dilation: Any,
    groups: int,
) -> Any:
    """The padding below and above is exchanged."""
    exchanged = tuple((high, low) for low, high in padding)
    return derivatives.conv_kernel(
        g, x, w_shape, stride, exchanged, input_dilation, kernel_dilation, groups
    )


def stepless(g: Any, x_shape: Any, start: Any, step: Any) -> Any:
    """The slice's step is forgotten: its elements return next to each other."""
    high = tuple(n - a - m for n, a, m in zip(x_shape, start, g.shape, strict=True))
    return ops.pad(g, low=start, high=high, interior=(0,) * len(start))


def exchanged_parts(g: Any, xs_shapes: Any, axis: int) -> Any:
    """concat: the inputs' parts in the wrong order."""
    return derivatives.concat_rule(g, xs_shapes[::-1], axis)[::-1]


def unscanned(g: Any, axis: int) -> Any:
    """cumulative_sum: summed from the front instead of from the back."""
    return ops.cumulative_sum(g, axis=axis)


def dividing(g: Any, x: Any, y: Any) -> Any:
    """prod: the product over xᵢ, which is 0 / 0 at a zero."""
    return ops.broadcast_to(g * y, shape=x.shape) / x


def winner_takes_all_twice(g: Any, x: Any, y: Any) -> Any:
    """max: g times the value of the winner."""
    winners = x == ops.broadcast_to(y, shape=x.shape)
    return ops.where(winners, ops.broadcast_to(g, shape=x.shape) * x, 0.0)


def rows_once(g: Any, indices: Any, x_shape: Any, axis: int) -> Any:
    """take: a row taken twice gets the last share only."""
    if axis or len(indices.shape) != 1:
        return own(ops.take)(g, indices, x_shape, axis)
    return ops.put_rows(g._full(x_shape, 0.0), indices, g)


def wide(g: Any, x2: Any) -> Any:
    """Right, but in float64 whatever comes in."""
    return ops.astype(g * x2, dtype=cr.float64)


def looking(x: Any) -> Any:
    """Right, but chosen by a value, which a trace does not know."""
    return -ops.sin(x) if float(cr.sum(x).detach()) < 1e9 else ops.cos(x)


PLANTED = [
    Wrong("sign", ops.cos, (lambda x: ops.sin(x),), "first derivative"),
    Wrong("missing term", ops.tan, (lambda y: ops.square(y),), "first derivative"),
    Wrong("missing factor", ops.square, (lambda x: x,), "first derivative"),
    Wrong("missing share", ops.hypot, (own(ops.hypot), None), "input 1: the first derivative"),
    Wrong(
        "factor almost 1",
        ops.erf,
        (lambda x: 1.12837 * ops.exp(-ops.square(x)),),
        "first derivative",
    ),
    Wrong("axis", ops.flip, (lambda g, axis: ops.flip(g, axis=axis[:1]),), "first derivative"),
    Wrong("tie", ops.maximum, (all_of_a_tie, own(ops.maximum, 1)), "first derivative"),
    Wrong(
        "kink",
        ops.abs,
        (lambda x: ops.where(x >= 0, x._full(x.shape, 1.0), -1.0),),
        "first derivative",
    ),
    Wrong("dtype", ops.multiply, (wide, own(ops.multiply, 1)), r"gave a cotangent float64"),
    Wrong("shape", ops.sum, (lambda g: g,), r"gave a cotangent float64\[2,1\]"),
    Wrong("arguments swapped", ops.atan2, (own(ops.atan2, 1), own(ops.atan2)), "first derivative"),
    Wrong(
        "sides swapped",
        ops.where,
        (None, own(ops.where, 2), own(ops.where, 1)),
        "input 1: the first derivative",
    ),
    Wrong("second order lost", ops.sin, (first_only,), "second derivative"),
    Wrong("square shapes only", ops.matmul, (square_only, own(ops.matmul, 1)), "first derivative"),
    Wrong(
        "kernel not mirrored",
        ops.convolution,
        (unflipped, own(ops.convolution, 1)),
        "input 0: the first derivative",
    ),
    Wrong(
        "padding exchanged",
        ops.convolution,
        (own(ops.convolution), padded_wrong),
        "input 1: the first derivative",
    ),
    Wrong("scan from the front", ops.cumulative_sum, (unscanned,), "first derivative"),
    Wrong("edge of the domain", ops.prod, (dividing,), "nan by the rules"),
    Wrong("infinite at 0", ops.copysign, (lambda x1, y: y / x1, None), "nan by the rules"),
    Wrong("step forgotten", ops.slice, (stepless,), "first derivative"),
    Wrong("parts exchanged", ops.concat, (exchanged_parts,), "first derivative", joint=True),
    Wrong("value in the place of 1", ops.max, (winner_takes_all_twice,), "first derivative"),
    Wrong("repeated index", ops.take, (rows_once, None), "first derivative"),
    Wrong("not traceable", ops.cos, (looking,), "traced"),
    Wrong("raises", ops.exp, (lambda y: y.no_such_method(),), "AttributeError"),
]


@pytest.mark.parametrize("wrong", PLANTED, ids=lambda w: f"{w.sort}-{w.op.name}".replace(" ", "_"))
def test_planted_error_is_found(wrong: Wrong) -> None:
    right = TABLE[wrong.op.name]
    row = replace(right, joint=wrong.rules[0]) if wrong.joint else replace(right, rules=wrong.rules)
    assert not checking.check_row(right).failure
    with planted(row):
        verdict = checking.check_row(row)
    assert verdict.name == wrong.op.name
    assert verdict.failure
    assert re.search(wrong.says, verdict.failure), verdict.failure
    assert not checking.check_row(right).failure, "the table's own row is in place again"


def test_a_row_without_cases_is_no_success() -> None:
    op = Operation("nothing", "elementwise", shapes.elementwise("x"), np.exp, ("x",))
    verdict = checking.check_row(replace(TABLE["exp"], op=op))
    assert verdict.failure == "no cases: nothing was checked"


def test_one_wrong_row_is_the_only_failure_of_the_table() -> None:
    with planted(replace(TABLE["tanh"], rules=(lambda y: 1 + ops.square(y),))):
        failures = [v.name for v in checking.check_table() if v.failure]
    assert failures == ["tanh"]
    assert not [v for v in checking.check_table() if v.failure]


def test_check_gradients_finds_what_is_wrong_in_a_function() -> None:
    def kept(x: Any) -> Any:
        return cr.sum(x * cr.tanh(x))

    def stopped(x: Any) -> Any:
        return cr.sum(x * cr.stop_gradient(cr.tanh(x)))

    x = np.array([0.3, -0.7])
    cr.check_gradients(kept, x)
    with pytest.raises(GradientError, match="stopped: input 0: the first derivative"):
        cr.check_gradients(stopped, x)
    with planted(replace(TABLE["sin"], rules=(first_only,))):
        cr.check_gradients(cr.sin, x, order=1)
        with pytest.raises(GradientError, match="the second derivative"):
            cr.check_gradients(cr.sin, x)


def test_infinity_agrees_with_nothing() -> None:
    """√ at 0 has an infinite slope on one side, and no difference quotient says so."""
    with pytest.raises(GradientError, match="inf by the rules"):
        cr.check_gradients(cr.sqrt, np.array([0.0, 1.0]), order=1)
