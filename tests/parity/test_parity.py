"""chainrule against PyTorch: values, first and second derivatives, in float64.

The cases stand in the `tables_*` modules, one row for many shapes and arguments; what is compared
and how closely is said in `parity_harness`. Where the two differ on purpose, DIFFERENCES says so.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import re
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tables_contractions
import tables_control
import tables_elementwise
import tables_indexing
import tables_reductions
import tables_shaping
import torch
from parity_harness import (
    ATOL,
    LEVELS,
    RTOL,
    Case,
    Function,
    Levels,
    as_list,
    assert_close,
    assert_same_bits,
    by_backward,
    by_chainrule,
    by_torch,
    differing,
    gradient,
)

import chainrule as cr
from chainrule.derivatives import TABLE
from chainrule.errors import TraceError
from chainrule.recording import record

inf, nan = math.inf, math.nan

# PyTorch warns of the variance of nothing; its value is compared all the same.
pytestmark = pytest.mark.filterwarnings("ignore:.*degrees of freedom is <= 0:UserWarning")

CASES: list[Case] = [
    case
    for table in (
        tables_elementwise,
        tables_shaping,
        tables_reductions,
        tables_contractions,
        tables_indexing,
        tables_control,
    )
    for case in table.cases()
]


# ── what PyTorch would have to compute to agree ──────────────────────────────────────────────────


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return axis if isinstance(axis, tuple) else (axis,)


def multiplied(x: Any, axis: int | None, keep: bool) -> Any:
    """The product, by multiplying one element after another."""
    parts = (x.reshape(-1), 0) if axis is None else (x, axis)
    out = functools.reduce(operator.mul, torch.unbind(*parts))
    return out.unsqueeze(axis) if keep and axis is not None else out


def multiplied_on(x: Any, axis: int) -> Any:
    """The running products, one after another."""
    out = [x.select(axis, 0)]
    for k in range(1, x.shape[axis]):
        out.append(out[-1] * x.select(axis, k))
    return torch.stack(out, axis)


def _abs(x: Any) -> Any:
    """|x|, whose derivative at NaN is NaN."""
    return x * torch.where(torch.isnan(x), nan, torch.sign(x)).detach()


def norm_with_nan(x: Any, axis: Any, keep: bool, order: float) -> Any:
    """∑|x| or max |x| with that derivative."""
    y = _abs(x)
    return y.sum(axis, keepdim=keep) if order == 1 else torch.amax(y, axis, keepdim=keep)


def norm_of_others(x: Any, axis: Any, keep: bool, order: float) -> Any:
    """The norm of the elements that are not 0."""
    none = x == 0
    powers = torch.where(none, 0.0, torch.where(none, 1.0, x).abs() ** order)
    return powers.sum(axis, keepdim=keep) ** (1 / order)


def log_softmax(x: Any) -> Any:
    """The formula, with nothing special for infinities."""
    return x - torch.logsumexp(x, -1, keepdim=True)


def assigned_last(x: Any, v: Any, key: Any) -> Any:
    """x[[1, 4, 1]] = v: of the two values for place 1 the last one stays."""
    return torch.cat([x[:1], v[2:], x[2:4], v[1:2]]) * x


def apart(x: Any, key: Any) -> Any:
    """x[0, :, [1, 3]] with the 0 as an array: as in NumPy, its axis and the array's go first."""
    return x[torch.tensor([0, 0]), :, torch.tensor(key[2])]


def signed_by(x: Any, y: Any) -> Any:
    """copysign as |x| times a sign."""
    return torch.abs(x) * torch.where(torch.signbit(y), -1.0, 1.0)


# ── THE table of differences ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Difference:
    """Cases that are meant to differ from PyTorch.

    ids      a regular expression for whole ids
    level    the first at which they differ; those before must agree
    stated   what chainrule gives instead: a PyTorch function that it agrees with, or for each
             result of that level the number that it is filled with
    reason   why
    through  the last level at which the stated function is compared: where values are infinite or
             NaN, PyTorch does not define second derivatives
    """

    ids: str
    level: str
    stated: Function | list[float]
    reason: str
    through: str = "second"


D = Difference
DIFFERENCES: list[Difference] = [
    # at kinks and ties
    D(
        r"max-torch-dim-ties.*",
        "first",
        lambda x, a: torch.amax(x, a),
        "elements that tie share the gradient, as in PyTorch's amax; its max(dim) picks one",
    ),
    D(
        r"(maximum|minimum)@.*nan.*",
        "first",
        [nan, nan],
        "NaN stays visible, as in PyTorch's amax; its maximum hands the gradient whole to both",
    ),
    D(
        r"clip(01|0|1)@nan",
        "first",
        [1.0],
        "NaN is beyond no bound and passes through, and so does its gradient",
    ),
    D(r"(abs|abs\(x\))@nan", "first", [nan], "sign(NaN) is NaN, as the Array API says"),
    D(r"sign@nan", "value", [nan], "sign(NaN) is NaN, as the Array API says"),
    D(r"norm\[.* (1|inf) with_nan\]", "first", norm_with_nan, "sign(NaN) is NaN", "first"),
    D(
        r"norm\[.* (1\.5|2|3) zeros\]",
        "second",
        [0.0, 0.0],
        "at 0 the gradient is selected to be 0, constantly; PyTorch divides 0 by 0",
    ),
    D(
        r"norm\[.* 1\.5 some_zeros\]",
        "second",
        norm_of_others,
        "elements that are 0 get gradient 0, constantly; PyTorch multiplies 0 by inf",
        "second",
    ),
    # at the edge of the domain
    D(r"acosh@-(1|inf)", "first", [nan], "below 1 acosh is undefined, and so is its derivative"),
    D(
        r"acosh@1",
        "second",
        [inf, nan],
        "1 / (√(x-1) √(x+1)) does not overflow for large x; at 1 its derivative is inf · 0",
    ),
    D(r"x\*\*0\.5@-0", "first", [inf], "½ (-0.0)^(-½) is inf by IEEE 754; PyTorch has 1 / √-0.0"),
    D(r"x\*\*1\.5@-0", "second", [-0.0, inf], "¾ (-0.0)^(-½) is inf by IEEE 754, as above"),
    D(
        r"atan2@-?0,-?0",
        "second",
        [0.0, -1.0, 1.0],
        "the gradient is selected to be (x2, -x1), which is 0 at the origin; PyTorch divides by 0",
    ),
    D(
        r"hypot@-?0,-?0",
        "first",
        [0.0, 0.0],
        "0 at the origin, as abs has and norm; PyTorch divides 0 by 0",
    ),
    D(
        r"where-guarded-log@nan",
        "first",
        [0.0],
        "what was not chosen has no gradient; PyTorch multiplies 0 by what is NaN there",
    ),
    D(
        r"power@1,-?0",
        "second",
        [0.0, 1.0, 1.0],
        "∂²(x^y)/∂x∂y is 1/x at y = 0, in either order; PyTorch masks it to 0 in one of them",
    ),
    D(
        r"power@-?0,-?0",
        "second",
        [0.0, 0.0, 1.0],
        "x^y is not even continuous there; each gradient is that of what its rule selects",
    ),
    D(
        r"power@-?0,1",
        "second",
        [1.0, 0.0, 1.0],
        "∂/∂y 0^y is selected to be 0 for y ≥ 0, constantly; PyTorch has 0 · inf",
    ),
    D(r"power@-?0,inf", "second", [nan, nan, 0.0], "as above"),
    D(
        r"power@(-2|-inf),-?0",
        "second",
        [nan, nan, nan],
        "log x is NaN below 0, and so is all that comes from it",
    ),
    D(r"power@inf,-?0", "second", [inf, nan, nan], "0 · log inf; PyTorch masks it to 0"),
    D(r"power@nan,-?0", "first", [nan, nan], "0 · NaN^(-1) is NaN; PyTorch masks it to 0"),
    D(r"x\*\*0@nan", "first", [nan], "as above"),
    D(
        r"std\[2x5 zeros\]",
        "second",
        [0.0, 0.0],
        "where all are equal the gradient is selected to be 0, constantly; PyTorch's is 0 / 0",
    ),
    D(
        r"mean\[(0 None|0x3 None|0x3 0|2x0 1) .*\]",
        "second",
        [nan, 0.0],
        "the mean of nothing is 0 / 0, and so is its derivative in u; PyTorch counts that as 0",
    ),
    # infinities and NaN that PyTorch's formulas spread further
    D(
        r"logaddexp@(-?[012],-?inf|-?inf,-?[012]|inf,-inf|-inf,inf)",
        "second",
        [1.0, 0.0, 0.0],
        "σ(x1 - x2) is flat at ±inf; PyTorch has inf / inf",
    ),
    D(
        r"copysign@-?inf,.*",
        "first",
        signed_by,
        "the derivative is ±sign(x); PyTorch divides the result by x: inf / inf",
    ),
    D(r"copysign@-?0,.*", "second", signed_by, "as above: 0 / 0"),
    D(r"copysign@nan,.*", "second", [nan, 0.0, 0.0], "sign(x) is constant between its jumps"),
    D(
        r"prod\[3x4 (0 False with_nan|.* with_inf)\]",
        "first",
        multiplied,
        "the gradient multiplies the other elements; PyTorch divides the product by each",
        "first",
    ),
    D(
        r"cumulative_prod\[(.* with_inf|4x3 . with_nan|5x2 1 with_nan)\]",
        "first",
        multiplied_on,
        "the gradient is a recurrence; PyTorch divides by each element",
        "first",
    ),
    D(r"cumulative_prod\[5x2 0 with_nan\]", "second", multiplied_on, "as above"),
    D(
        r"softmax\[3x5 with_inf\]",
        "value",
        lambda x: torch.exp(log_softmax(x)),
        "exp(x - logsumexp(x)): beside an infinite element the finite ones get 0, it alone NaN",
    ),
    D(
        r"log_softmax\[.* with_inf\]",
        "value",
        log_softmax,
        "x - logsumexp(x): beside an infinite element the finite ones get -inf, it alone NaN",
    ),
    D(
        r"var\[2x5 with_inf\]",
        "first",
        lambda x: torch.mean((x - torch.mean(x, 1, keepdim=True)) ** 2, 1),
        "the gradient flows through the mean too, where it is NaN",
    ),
    # functions that PyTorch defines otherwise
    D(
        r"softplus@25",
        "second",
        lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        "log(1 + eˣ) everywhere; PyTorch's softplus is x above 20",
    ),
    D(
        r"(floor_divide|x//1\.5).*",
        "first",
        lambda x, y=1.5: torch.floor_divide(*(torch.as_tensor(v).detach() for v in (x, y))),
        "piecewise constant, so the derivative is 0; PyTorch has none",
    ),
    D(
        r"index-int-apart.*",
        "value",
        apart,
        "an integer beside index arrays counts as one of them, as in NumPy and the Array API",
    ),
    D(
        r"assign-repeated.*",
        "first",
        assigned_last,
        "of values assigned to one place only the one that stays has a gradient",
    ),
]


def difference(case: Case) -> Difference | None:
    """The row of the table that the case is listed in."""
    return next((d for d in DIFFERENCES if re.fullmatch(d.ids, case.id)), None)


LISTED = [case for case in CASES if difference(case)]
NOT_LISTED = [case for case in CASES if not difference(case)]


def each(cases: list[Case]) -> Any:
    """One test for each case."""
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.id)


@each(NOT_LISTED)
def test_agrees(case: Case) -> None:
    """Value, gradient and gradient of the gradient are PyTorch's."""
    ours = by_chainrule(case)
    for level, wanted in by_torch(case).items():
        assert_close(ours[level], wanted, level)


@each(LISTED)
def test_differs(case: Case) -> None:
    """Up to the stated level they agree, there they do not, and chainrule gives what is stated."""
    row = difference(case)
    assert row is not None
    ours = by_chainrule(case)
    if case.operation in ("floor_divide", "x//1.5"):
        assert_close(ours["value"], by_torch(case, ("value",))["value"], "value")
        with pytest.raises(RuntimeError, match="not implemented"):
            by_torch(case)
    else:
        assert differing(ours, by_torch(case)) == row.level
    for level, wanted in stated(case, row, ours).items():
        assert_close(ours[level], wanted, level)


def stated(case: Case, row: Difference, ours: Levels) -> Levels:
    """What the table says instead of PyTorch."""
    if callable(row.stated):
        other = row.stated
        levels = LEVELS[: LEVELS.index(row.through) + 1]
        return by_torch(case, levels, lambda *xs: other(*xs, *case.args))
    results = ours[row.level]
    assert len(row.stated) == len(results)
    filled = [np.full(a.shape, n) for a, n in zip(results, row.stated, strict=True)]
    return {row.level: filled}


# ── what the grid covers ─────────────────────────────────────────────────────────────────────────

# Public functions that have no derivative, or that another test compares.
APART: dict[str, str] = {
    "the result is a truth value": """all any equal greater greater_equal isfinite isin isinf isnan
        less less_equal logical_and logical_not logical_or logical_xor not_equal signbit""",
    "the result is a position or a count": """argmax argmin argsort count_nonzero nonzero one_hot
        searchsorted unique_all unique_counts unique_inverse""",
    "copies of values, with no history": "unique_values",
    "acts on the bits of integers": """bitwise_and bitwise_invert bitwise_left_shift bitwise_or
        bitwise_right_shift bitwise_xor""",
    "the neighbour in the grid of floats, about the format": "nextafter",
    "made from nothing": """arange asarray empty empty_like eye from_dlpack full full_like linspace
        ones ones_like tensor zeros zeros_like""",
    "about dtypes and shapes": "broadcast_shapes can_cast finfo iinfo isdtype result_type",
    "PyTorch has nothing alike": "defop",
}


def called(cases: list[Case]) -> set[Any]:
    """The code objects that the tables call themselves."""
    found: set[Any] = set()

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "call" and "parity" in frame.f_back.f_code.co_filename:
            found.add(frame.f_code)

    for case in cases:
        xs = [cr.Tensor(a) for a in case.inputs()]
        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            case.ours(*xs)
        finally:
            sys.setprofile(before)
    return found


def one_each() -> list[Case]:
    """The first case of every operation."""
    return list({case.operation: case for case in reversed(CASES)}.values())


def test_every_public_function_is_compared() -> None:
    """A function that is new in the namespace needs a row in a table, or a reason here."""
    reasons = [name for names in APART.values() for name in names.split()]
    functions = {
        name: getattr(cr, name)
        for name in cr.__all__
        if inspect.isfunction(getattr(cr, name))
        and getattr(cr, name).__module__.startswith("chainrule.functions")
    }
    used = called(one_each())
    missing = {name for name, f in functions.items() if f.__code__ not in used}
    assert sorted(missing - set(reasons)) == []
    assert sorted(set(reasons) - set(functions)) == []


def test_every_rule_is_compared() -> None:
    """Each operation with a derivative occurs in the graph of some function and its gradient."""
    seen: set[str] = set()
    for case in one_each():
        if case.operation == "index-by-value":
            continue
        arrays = case.inputs()
        value = as_list(case.ours(*map(cr.Tensor, arrays)))
        us = case.cotangents("u", [y.numpy() for y in value])
        specs = [(a.shape, a.dtype, True) for a in (*us, *arrays)]

        def both(ts: list[Any], case: Case = case, n: int = len(us)) -> list[Any]:
            return [*as_list(case.ours(*ts[n:])), *gradient(case.ours, n)(*ts)]

        graph = record(both, specs).graph
        seen |= {node.op.name for node in graph.nodes if node.op is not None}
    wanted = {name for name, row in TABLE.items() if row.rules or row.joint}
    not_in_pytorch = ["cumulative_sum_by_key"]  # test_table compares its rule with differences
    assert sorted(wanted - seen) == not_in_pytorch


def test_every_difference_has_cases() -> None:
    """No row is left over, and none hides another."""
    for row in DIFFERENCES:
        assert any(re.fullmatch(row.ids, case.id) for case in CASES), row.ids
        assert row.reason
        assert row.level in LEVELS
    for case in CASES:
        assert sum(bool(re.fullmatch(row.ids, case.id)) for row in DIFFERENCES) <= 1, case.id


def test_grid_is_large() -> None:
    """At least a thousand cases, each with a name of its own, and one tolerance for all."""
    assert [name for name, n in Counter(case.id for case in CASES).items() if n > 1] == []
    assert len(NOT_LISTED) >= 1000
    assert (RTOL, ATOL) == (1e-9, 1e-12)


@each(CASES)
def test_backward_gives_the_same(case: Case) -> None:
    """`backward(create_graph=True)` and `backward` again are the functional transforms."""
    functional, leaves = by_chainrule(case), by_backward(case)
    for level in LEVELS:
        assert_close(leaves[level], functional[level], level)


BACKENDS = {"reference": assert_same_bits, "native": assert_close}


@pytest.mark.parametrize("backend", BACKENDS)
@each(CASES)
def test_compiled_gives_the_same(case: Case, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, the function and its gradient give the same bits, or nearly so in machine code.

    Loops nearly so on both: sums over their steps are added in another order.
    """
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    expect_same = assert_close if case.operation.startswith("scan") else BACKENDS[backend]
    xs = [cr.Tensor(a) for a in case.inputs()]
    function = cr.compile(lambda *xs: tuple(as_list(case.ours(*xs))))
    if case.operation == "index-by-value":  # the shape of the result depends on values
        with pytest.raises(TraceError, match="traced mask"):
            function(*xs)
        return
    value = [y.numpy() for y in as_list(case.ours(*xs))]
    expect_same([y.numpy() for y in function(*xs)], value, "value")
    us = [cr.Tensor(u) for u in case.cotangents("u", value)]
    first = gradient(case.ours, len(us))
    eager = [g.numpy() for g in first(*us, *xs)]
    expect_same([g.numpy() for g in cr.compile(first)(*us, *xs)], eager, "gradient")
