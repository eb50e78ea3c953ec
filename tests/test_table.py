"""What must hold for every row of the two tables, and examples of rules worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import checking, derivatives, ops
from chainrule.dtypes import DTYPES, float64
from chainrule.errors import DtypeError, ShapeError
from chainrule.graph import Array, Node, Operation
from chainrule.recording import pullback
from chainrule.tensor import Tensor

f64 = np.float64
ROWS = [name for name, row in derivatives.TABLE.items() if not row.reason]
WITH_CASES = [name for name, op in ops.TABLE.items() if op.cases]
# Parameters that are graphs, or several results: tested in test_control and test_attention.
APART = {
    "call",
    "custom",
    "scan",
    "item",
    "attention",
    "attention_derivative",
    "max_pool",
    "standardise",
}


# ── the tables agree ─────────────────────────────────────────────────────────────────────────────


def test_every_operation_has_its_row_in_the_same_order() -> None:
    assert list(derivatives.TABLE) == list(ops.TABLE)
    for name, op in ops.TABLE.items():
        assert op.name == name
        assert getattr(ops, name) is op
        assert derivatives.TABLE[name].op is op


@pytest.mark.parametrize("name", ops.TABLE)
def test_a_row_has_rules_or_a_reason(name: str) -> None:
    row, op = derivatives.TABLE[name], ops.TABLE[name]
    assert [bool(row.rules), bool(row.joint), bool(row.reason)].count(True) == 1
    assert op.kind in ("zero", "linear", "bilinear", "elementwise", "other")
    assert op.cases or name in APART
    if row.rules:
        assert len(row.rules) == len(op.arguments)
        assert len(row.on) in (1, len(op.arguments))
    if row.reason:
        assert op.kind == "zero" or name in APART
    else:
        assert op.kind != "zero"
        assert op.differentiable


@pytest.mark.parametrize("name", ROWS)
def test_rule_agrees_with_central_differences(name: str) -> None:
    verdict = checking.check_row(derivatives.TABLE[name])
    assert not verdict.failure
    assert verdict.samples >= 4


# ── inferred and computed ────────────────────────────────────────────────────────────────────────


def small(op: Operation, case: Sequence[Any], dtype: Any, seed: int = 0) -> list[Array]:
    """Whole numbers of the dtype in the case's shapes; they are exact in every dtype."""
    rng = np.random.default_rng(seed)
    low = 1 if dtype.kind in "bu" else -4
    low = 1 if op.name in ("power", "floor_divide", "remainder") else low  # no 0⁻¹, no n / 0
    out = []
    for name, entry in zip(names(op, case), case, strict=True):
        if isinstance(entry, np.ndarray):
            out.append(entry if entry.dtype.kind in "iu" else entry.astype(dtype))
        elif name == "condition":
            out.append(rng.integers(0, 2, entry).astype(bool))
        else:
            out.append(np.asarray(rng.integers(low, 5, entry)).astype(dtype))
    return out


def names(op: Operation, case: Sequence[Any]) -> list[str]:
    return list(op.arguments) if len(op.arguments) == len(case) else ["xs"] * len(case)


FLOATING = """
    sqrt exp expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
    sigmoid erf erfinv divide atan2 hypot logaddexp copysign round nextafter recurrence norm
"""
NUMERIC = """
    negative abs square add subtract multiply power remainder maximum minimum sign floor ceil trunc
    floor_divide less less_equal sum prod max min argmax argmin cumulative_sum cumulative_prod
    matmul convolution convolution_weight fold scatter_add cumulative_sum_by_key
"""
TAKES = {  # the dtypes that an operation takes, by NumPy's letters (V is bfloat16); others: all
    **dict.fromkeys(FLOATING.split(), "fV"),
    **dict.fromkeys(NUMERIC.split(), "iufV"),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert"), "biu"),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), "iu"),
    **dict.fromkeys(("checked_index",), "iu"),
    "random_bits": "u",
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", WITH_CASES)
def test_inferred_is_what_is_computed(name: str, dtype: Any) -> None:
    """The shape and dtype rule foretells the result; a dtype it does not take is an error."""
    op = ops.TABLE[name]
    for case, params in op.cases:
        arrays = small(op, case, dtype)
        if dtype.kind not in TAKES.get(name, "biufV"):
            if any(a.dtype == dtype for a in arrays):
                with pytest.raises(DtypeError, match=rf"\[{name}\]"):
                    op.infer(*arrays, **params)
            continue
        shape, result = op.infer(*arrays, **params)
        with np.errstate(all="ignore"):
            out = np.asarray(op.evaluate(*arrays, **params))
        assert (out.shape, out.dtype) == (shape, result)


def test_wrong_shapes_are_told_by_the_shape_rule() -> None:
    x, y = np.zeros((2, 3)), np.zeros((3, 2))
    for name in ("add", "multiply", "where", "recurrence", "concat", "matmul"):
        op = ops.TABLE[name]
        first = [np.zeros((2, 3), bool)] if name == "where" else []
        params = {"axis": 1} if name in ("concat", "recurrence") else {}
        wrong = np.zeros((4, 2)) if name == "matmul" else y
        with pytest.raises(ShapeError, match=rf"\[{name}\]"):
            op.infer(*first, x, wrong, **params)


# ── linear and bilinear ──────────────────────────────────────────────────────────────────────────


def pulled(op: Operation, arrays: list[Array], params: Any, u: Array) -> list[Any]:
    """The cotangents of the inputs, as arrays (None: no derivative in that input)."""
    _, pull = pullback(op.name, lambda ts: [op(*ts, **params)], [Tensor(a) for a in arrays])
    return [None if g is None else g.numpy() for g in pull([Tensor(u)])]


def cases_of(kind: str) -> list[Any]:
    return [
        pytest.param(op, case, params, id=f"{name}-{k}")
        for name, op in ops.TABLE.items()
        if op.kind == kind
        for k, (case, params) in enumerate(op.cases)
    ]


def close(a: Any, b: Any) -> bool:
    return bool(np.allclose(a, b, rtol=1e-12, atol=1e-12))


@pytest.mark.parametrize(("op", "case", "params"), cases_of("linear"))
def test_linear_operations_are_linear_and_their_rule_is_the_adjoint(
    op: Operation, case: Any, params: Any
) -> None:
    """A(2x - 3y) = 2Ax - 3Ay, and ⟨u, Ax⟩ = ⟨Aᵀu, x⟩ over all inputs at once."""
    xs, ys = (small(op, case, float64, seed) for seed in (1, 2))
    moving = [x.dtype.kind == "f" for x in xs]
    ys = [y if m else x for x, y, m in zip(xs, ys, moving, strict=True)]
    both = [2 * x - 3 * y if m else x for x, y, m in zip(xs, ys, moving, strict=True)]
    ax, ay, a_both = (op.evaluate(*z, **params) for z in (xs, ys, both))
    assert close(a_both, 2 * ax - 3 * ay)
    u = np.random.default_rng(3).integers(-4, 5, np.shape(ax)).astype(np.asarray(ax).dtype)
    back = pulled(op, xs, params, u)
    assert [g is not None for g in back] == moving
    inside = sum(float((g * x).sum()) for g, x, m in zip(back, xs, moving, strict=True) if m)
    assert close(float((u * ax).sum()), inside)


@pytest.mark.parametrize(("op", "case", "params"), cases_of("bilinear"))
@pytest.mark.parametrize("k", [0, 1])
def test_bilinear_operations_are_linear_in_each_argument(
    op: Operation, case: Any, params: Any, k: int
) -> None:
    xs, ys = (small(op, case, float64, seed) for seed in (1, 2))

    def at(moved: Array) -> Any:
        return op.evaluate(*[moved if j == k else x for j, x in enumerate(xs)], **params)

    ax = at(xs[k])
    assert close(at(2 * xs[k] - 3 * ys[k]), 2 * ax - 3 * at(ys[k]))
    u = np.random.default_rng(3).integers(-4, 5, np.shape(ax)).astype(f64)
    back = pulled(op, xs, params, u)
    assert close(float((u * ax).sum()), float((back[k] * xs[k]).sum()))


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────

KEPT = {  # worked out from the derivatives: what of inputs and output their formulas contain
    "negative": "",
    "add": "",
    "subtract": "",
    "alias": "",
    "astype": "",
    "broadcast_to": "",
    "reshape": "",
    "permute_dims": "",
    "slice": "",
    "pad": "",
    "concat": "",
    "flip": "",
    "sum": "",
    "cumulative_sum": "",
    "unfold": "",
    "fold": "",
    "exp": "y",
    "expm1": "y",
    "sqrt": "y",
    "tanh": "y",
    "sigmoid": "y",
    "tan": "y",
    "erfinv": "y",
    "abs": "x",
    "square": "x",
    "log": "x",
    "log1p": "x",
    "sin": "x",
    "cos": "x",
    "erf": "x",
    "multiply": "x1 x2",
    "divide": "x2 y",
    "hypot": "x1 x2 y",
    "maximum": "x1 x2",
    "matmul": "x1 x2",
    "convolution": "x w",
    "convolution_weight": "x z",
    "where": "condition",
    "take": "indices",
    "scatter_add": "indices",
    "put_rows": "rows",
    "cumulative_sum_by_key": "keys",
    "max": "x y",
    "min": "x y",
    "prod": "x",
    "norm": "x y",
    "cumulative_prod": "x y",
    "recurrence": "a y",
}


def computed(array: Array) -> Tensor:
    """A tensor in the middle of a recording: its own node keeps nothing."""
    t: Tensor = ops.alias(Tensor(array, requires_grad=True))
    assert t._node is not None
    assert t._node.value is None
    return t


def node_of(t: Tensor) -> Node:
    assert t._node is not None
    return t._node


@pytest.mark.parametrize("name", KEPT)
def test_recording_keeps_what_the_rule_names_and_nothing_else(name: str) -> None:
    op = ops.TABLE[name]
    case, params = op.cases[0]
    inputs = [computed(a) if a.dtype == f64 else Tensor(a) for a in small(op, case, float64)]
    y = op(*inputs, **params)
    kept = [
        n
        for n, t in zip(names(op, case), inputs, strict=True)
        if t._node is not None and t._node.value is not None
    ]
    if node_of(y).value is not None:
        kept.append("y")
    assert " ".join(kept) == KEPT[name]


def test_multiplying_by_a_constant_keeps_only_the_constant() -> None:
    x, c = computed(np.ones(3)), Tensor(np.full(3, 2.0))
    y = ops.multiply(x, c)
    assert node_of(x).value is None
    assert node_of(y).value is None
    assert node_of(c).value is c._value


def test_nothing_is_recorded_without_need() -> None:
    x = computed(np.ones(3))
    assert ops.exp(Tensor(np.ones(3)))._node is None
    assert ops.sign(x)._node is None
    with cr.no_grad():
        assert ops.exp(x)._node is None
    assert node_of(x).value is None


# ── worked out by hand ───────────────────────────────────────────────────────────────────────────

Example = Callable[[], None]
BY_HAND: dict[str, list[Example]] = {}  # test_mutation.py runs them as well


def by_hand(*rows: str) -> Callable[[Example], Example]:
    """An example about these rows."""

    def register(example: Example) -> Example:
        for row in rows:
            BY_HAND.setdefault(row, []).append(example)
        return example

    return register


def gradients(op: Operation, xs: Sequence[Any], g: Any, **params: Any) -> list[list[Any]]:
    arrays = [np.array(x, f64) for x in xs]
    back = pulled(op, arrays, params, np.array(g, f64))
    return [b.tolist() for b in back if b is not None]


@by_hand("max", "min")
def ties_share_equally() -> None:
    x = [[1.0, 3.0, 3.0, 3.0], [5.0, 2.0, 5.0, 0.0]]
    low = [[-a for a in row] for row in x]
    wanted = [[0.0, 2.0, 2.0, 2.0], [4.0, 0.0, 4.0, 0.0]]
    assert gradients(ops.max, [x], [[6.0], [8.0]], axis=(1,)) == [wanted]
    assert gradients(ops.min, [low], [[6.0], [8.0]], axis=(1,)) == [wanted]


@by_hand("max", "min")
def ties_over_two_axes_share_equally() -> None:
    x = [[2.0, 1.0], [2.0, 2.0]]
    assert gradients(ops.max, [x], [[3.0]], axis=(0, 1)) == [[[1.0, 0.0], [1.0, 1.0]]]
    assert gradients(ops.min, [x], [[3.0]], axis=(0, 1)) == [[[0.0, 3.0], [0.0, 0.0]]]


@by_hand("max", "min")
def losers_get_zero_from_an_infinite_gradient() -> None:
    x = [1.0, 2.0, 3.0]
    assert gradients(ops.max, [x], [math.inf], axis=(0,)) == [[0.0, 0.0, math.inf]]
    assert gradients(ops.min, [x], [math.inf], axis=(0,)) == [[math.inf, 0.0, 0.0]]


@by_hand("abs")
def at_its_kink_abs_gives_0_even_to_an_infinite_gradient() -> None:
    x, g = [0.0, -2.0, 1.0], [math.inf, 3.0, math.inf]
    assert gradients(ops.abs, [x], g) == [[0.0, -3.0, math.inf]]
    assert gradients(ops.abs, [[1.0, 5.0]], [0.0, -1.0]) == [[0.0, -1.0]]


@by_hand("maximum", "minimum")
def a_tie_of_two_is_halved_and_the_loser_gets_zero() -> None:
    a, b, g = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [math.inf, 4.0, math.inf]
    lost, won = [0.0, 2.0, math.inf], [math.inf, 2.0, 0.0]
    assert gradients(ops.maximum, [a, b], g) == [lost, won]
    assert gradients(ops.minimum, [a, b], g) == [won, lost]


@by_hand("maximum", "minimum")
def nan_stays_visible_to_both() -> None:
    a, b, g = [math.nan, 1.0, math.nan], [1.0, math.nan, math.nan], [1.0, 1.0, 1.0]
    for op in (ops.maximum, ops.minimum):
        assert np.isnan(gradients(op, [a, b], g)).all()


@by_hand("max", "min")
def nan_stays_visible_to_all_that_it_was_compared_with() -> None:
    x = [[1.0, math.nan, 3.0], [2.0, 2.0, 2.0]]
    for op in (ops.max, ops.min):
        (found,) = gradients(op, [x], [[0.0], [6.0]], axis=(1,))
        assert np.isnan(found[0]).all()
        assert found[1] == [2.0, 2.0, 2.0]


@by_hand("hypot", "atan2")
def at_the_origin_there_is_no_direction() -> None:
    for op in (ops.hypot, ops.atan2):
        assert gradients(op, [[0.0], [0.0]], [3.0]) == [[0.0], [0.0]]
    assert gradients(ops.hypot, [[3.0], [-4.0]], [5.0]) == [[3.0], [-4.0]]
    assert gradients(ops.atan2, [[3.0], [-4.0]], [25.0]) == [[-4.0], [-3.0]]


@by_hand("hypot", "atan2")
def at_the_origin_the_second_derivatives_are_finite() -> None:
    for f in (cr.hypot, cr.atan2):
        at = Tensor(np.array([0.0, 0.0]))
        for g in (f, cr.compile(f)):
            assert np.isfinite(cr.hessian(lambda x, g=g: g(x[0], x[1]))(at).numpy()).all()


@by_hand("hypot", "atan2")
def on_an_axis_the_second_derivatives_are_right() -> None:
    at = Tensor(np.array([0.0, 2.0]))
    found = [cr.hessian(lambda x, f=f: f(x[0], x[1]))(at).tolist() for f in (cr.hypot, cr.atan2)]
    assert found == [[[0.5, 0.0], [0.0, 0.0]], [[0.0, -0.25], [-0.25, 0.0]]]


@by_hand("where")
def the_side_not_chosen_gets_zero() -> None:
    condition = np.array([True, False])
    x = np.array([1.0, 2.0])
    for g in (math.inf, math.nan):
        _, a, b = pulled(ops.where, [condition, x, x], {}, np.array([g, g]))
        assert a[1] == 0
        assert b[0] == 0
        assert np.array_equal([a[0], b[1]], [g, g], equal_nan=True)


@by_hand("where", "log", "sqrt")
def a_guarded_logarithm_has_a_finite_gradient() -> None:
    x = Tensor(np.array([0.0, 2.0]), requires_grad=True)
    positive = x > 0
    y = cr.where(positive, cr.log(cr.where(positive, x, 1.0)), 0.0)
    cr.sum(y).backward()
    assert x.grad.tolist() == [0.0, 0.5]


@by_hand("prod")
def prod_with_zeros() -> None:
    x = [[2.0, 3.0, 4.0], [0.0, 3.0, 4.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    wanted = [[12.0, 8.0, 6.0], [12.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert gradients(ops.prod, [x], [[1.0]] * 4, axis=(1,)) == [wanted]


@by_hand("cumulative_prod")
def cumulative_prod_with_zeros() -> None:
    # y = a, ab, abc; with g = 1: da = 1 + b + bc, db = a + ac, dc = ab
    x = [[2.0, 3.0, 4.0], [0.0, 3.0, 4.0], [2.0, 0.0, 4.0], [2.0, 0.0, 0.0], [0.0, 0.0, 5.0]]
    wanted = [[1 + b + b * c, a + a * c, a * b] for a, b, c in x]
    assert gradients(ops.cumulative_prod, [x], np.ones((5, 3)), axis=1) == [wanted]


def second(f: Callable[[Any], Any], x: float) -> float:
    return float(cr.grad(cr.grad(f))(Tensor(np.array(x))))


@by_hand("power")
def power_of_zero() -> None:
    """x⁰, x¹, x², x³ at 0: value, first and second derivative in x."""
    for n, (first, twice) in enumerate([(0.0, 0.0), (1.0, 0.0), (0.0, 2.0), (0.0, 0.0)]):
        exponent = Tensor(np.array(float(n)))
        assert gradients(ops.power, [0.0, float(n)], 1.0)[0] == first
        assert second(lambda x, e=exponent: cr.power(x, e), 0.0) == twice


@by_hand("norm")
def a_norm_is_flat_at_the_origin_and_bent_beside_an_axis() -> None:
    for at, wanted in (([0.0, 0.0], [[0, 0], [0, 0]]), ([0.0, 2.0], [[0.5, 0], [0, 0]])):
        assert cr.hessian(cr.norm)(Tensor(np.array(at))).tolist() == wanted


@by_hand("power")
def zero_to_a_power() -> None:
    """0ˣ is 0 for all x > 0, so flat; it jumps at 0, and is infinite below."""
    assert gradients(ops.power, [0.0, 2.0], 1.0)[1] == 0
    assert gradients(ops.power, [0.0, 0.0], 1.0)[1] == 0
    assert gradients(ops.power, [0.0, -1.0], 1.0)[1] == -math.inf
    zero = Tensor(np.array(0.0))
    for x in (0.5, 1.0, 2.0):
        assert second(lambda e: cr.power(zero, e), x) == 0


@by_hand("power")
def power_mixed_derivative_where_the_exponent_is_zero() -> None:
    """∂²(aᵇ)/∂a∂b at b = 0 is 1/a."""
    four, zero = (Tensor(np.array(x)) for x in (4.0, 0.0))
    assert float(cr.grad(lambda b: cr.grad(cr.power, 0)(four, b))(zero)) == 0.25
    assert float(cr.grad(lambda a: cr.grad(cr.power, 1)(a, zero))(four)) == 0.25


@by_hand("power")
def power_mixed_derivative_where_the_base_is_zero() -> None:
    """∂²(aᵇ)/∂a∂b = aᵇ⁻¹ (1 + b log a), which goes to 0 with a for b = 2."""
    zero, two = (Tensor(np.array(x)) for x in (0.0, 2.0))
    assert float(cr.grad(lambda b: cr.grad(cr.power, 0)(zero, b))(two)) == 0
    assert float(cr.grad(lambda a: cr.grad(cr.power, 1)(a, two))(zero)) == 0


@by_hand("take")
def take_from_the_first_axis_leaves_a_row_sparse_gradient() -> None:
    table = Tensor(np.zeros((5, 2)), requires_grad=True)
    cr.sum(cr.take(table, Tensor(np.array([4, 1, 4])), axis=0)).backward()
    assert isinstance(table.grad, cr.RowSparse)
    assert table.grad.to_dense().tolist() == [[0, 0], [1, 1], [0, 0], [0, 0], [2, 2]]


@by_hand("sum", "prod", "broadcast_to", "cumulative_sum", "cumulative_prod", "concat", "slice")
def no_elements() -> None:
    none = np.zeros((0, 2))
    for op, value in ((ops.sum, 0.0), (ops.prod, 1.0)):
        assert op.evaluate(none, axis=(0,)).tolist() == [[value, value]]
        assert pulled(op, [none], {"axis": (0,)}, np.ones((1, 2)))[0].shape == (0, 2)
    one = np.ones((1, 2))
    assert pulled(ops.broadcast_to, [one], {"shape": (0, 2)}, none)[0].tolist() == [[0, 0]]
    for op in (ops.cumulative_sum, ops.cumulative_prod):
        assert pulled(op, [none], {"axis": 0}, none)[0].shape == (0, 2)
    assert [g.shape for g in pulled(ops.concat, [none, one], {"axis": 0}, one)] == [(0, 2), (1, 2)]
    cut = {"start": (1, 0), "stop": (1, 2), "step": (1, 1)}
    assert pulled(ops.slice, [one], cut, none)[0].tolist() == [[0, 0]]


@by_hand("max", "min", "prod", "sum", "cumulative_prod", "cumulative_sum", "recurrence")
def one_element() -> None:
    for op in (ops.max, ops.min, ops.prod, ops.sum):
        assert gradients(op, [[[3.0], [4.0]]], [[5.0], [6.0]], axis=(1,)) == [[[5.0], [6.0]]]
    for op in (ops.cumulative_prod, ops.cumulative_sum):
        assert gradients(op, [[3.0]], [5.0], axis=0) == [[5.0]]
    assert gradients(ops.recurrence, [[3.0], [4.0]], [5.0], axis=0) == [[0.0], [5.0]]


@by_hand("max", "min")
def no_largest_of_nothing() -> None:
    for op in (ops.max, ops.min, ops.argmax, ops.argmin):
        with pytest.raises(ShapeError, match="at least one element"):
            op.infer(np.zeros((2, 0)), axis=(1,))


@by_hand("abs", "copysign")
def even_at_zero() -> None:
    assert gradients(ops.abs, [[-2.0, 0.0, 3.0]], [1.0] * 3) == [[-1.0, 0.0, 1.0]]
    x, s = [-2.0, 2.0, -2.0, 2.0, 0.0], [1.0, -1.0, -1.0, 1.0, 1.0]
    assert gradients(ops.copysign, [x, s], [1.0] * 5) == [[-1.0, -1.0, 1.0, 1.0, 0.0]]


EXAMPLES = list({e.__name__: e for examples in BY_HAND.values() for e in examples}.values())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.__name__)
def test_by_hand(example: Example) -> None:
    example()
