"""Checking derivatives against finite differences: a function's, a row's, the whole table's.

The comparison is ⟨v, Jᵀu⟩ with ⟨u, Jv⟩: the left side comes from the rules, the right side from
central differences in float64. A function (x, u) ↦ Jᵀu is itself checked in the same way, which
checks second derivatives.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import derivatives, graph_evaluation, tree
from .derivative_rows import Interval, Row
from .dtypes import bfloat16, float32, is_floating, is_ieee_floating
from .errors import ChainruleError, GradientError, user_line
from .functions import creation
from .graph import Array, Operation, spec_text, verify
from .hints import explain_arguments
from .recording import pullback, record
from .tensor import Tensor, as_tensor, no_grad

STEP = 6e-6  # near ε^(1/3) for float64, where the error of a central difference is smallest
TOLERANCE = 2e-6  # relative; the difference itself is good for about 1e-9 of the values' size


@dataclass
class Disagreement:
    """Where a rule and the finite difference part."""

    what: str
    order: int
    rule: float
    difference: float
    relative: float

    def __str__(self) -> str:
        kind = {1: "first", 2: "second"}.get(self.order, f"{self.order}th")
        return (
            f"{self.what}: the {kind} derivative is {self.rule:.9g} by the rules, "
            f"{self.difference:.9g} by central differences"
        )


@explain_arguments
def check_gradients(
    f: Callable[..., Any], *args: Any, order: int = 2, tolerance: float = TOLERANCE, seed: int = 0
) -> None:
    """Compare f's derivatives with central differences; raise GradientError if they part.

    f      takes tensors (or nested lists, tuples, dicts of them) and returns such; it is called
           with float64 copies of the floating arguments, and must give the same at each call
    order  up to which derivatives are checked
    """
    leaves, structure = tree.flatten(list(args))
    arrays = [np.asarray(as_tensor(x).numpy()) for x in leaves]

    def run(tensors: list[Tensor]) -> list[Tensor]:
        out = f(*tree.unflatten(structure, tensors))
        return [as_tensor(t) for t in tree.flatten(out)[0]]

    name = getattr(f, "__name__", "function")
    if not isinstance(order, int) or order < 1:
        raise GradientError(
            "check_gradients",
            f"got order {order!r}",
            "expected a whole number from 1",
            "1 or 2 is usual",
            user_line(),
        )
    _expect_checkable(name, run, arrays)
    difference = compare(run, arrays, np.random.default_rng(seed), order, tolerance)
    if difference is not None:
        raise GradientError(
            "check_gradients",
            f"{name}: {difference}",
            "expected the same number twice, ⟨v, Jᵀu⟩ of random v and u, within the relative "
            f"difference {tolerance:g}: it is {difference.relative:.2g}",
            "check the operations inside one at a time, or look for a kink near the arguments",
            user_line(),
        )


def _expect_checkable(name: str, run: Any, arrays: Sequence[Array]) -> None:
    """Something to move, something to see, and the same at each call."""
    moved = _widened(arrays)
    with no_grad():
        once, again = ([t.numpy() for t in run([Tensor(x) for x in moved])] for _ in range(2))
    for what, values in (("argument", moved), ("result", once)):
        if not any(is_floating(v.dtype) and v.size for v in values):
            got = ", ".join(spec_text(v) for v in values) or "none at all"
            raise GradientError(
                "check_gradients",
                f"{name}: got no floating {what} ({got})",
                "expected something to check",
                f"give a floating {what}",
                user_line(),
            )
    same = len(once) == len(again) and all(
        a.shape == b.shape
        and np.allclose(a.astype(np.float64), b.astype(np.float64), 1e-12, 0, equal_nan=True)
        for a, b in zip(once, again, strict=True)
    )
    if not same:
        raise GradientError(
            "check_gradients",
            f"{name} is not deterministic: two calls on the same arguments gave different results",
            "expected one function of its arguments",
            "seed the random numbers inside it, or pass them in as an argument",
            user_line(),
        )
    narrow = [t for t in once if is_floating(t.dtype) and t.dtype != np.float64]
    if narrow:
        raise GradientError(
            "check_gradients",
            f"{name}: got the result {spec_text(narrow[0])} from float64 arguments",
            "expected float64: a difference of smaller numbers would be mostly rounding",
            "make the tensors outside that it reads float64, and cast nothing inside",
            user_line(),
        )
    rng = np.random.default_rng(0)
    steps = [rng.uniform(0.5, 1.5, x.shape) if is_floating(x.dtype) else x for x in moved]
    elsewhere = (
        [a * x + s if is_floating(x.dtype) else x for x, s in zip(moved, steps, strict=True)]
        for a in (1, -2)
    )
    if all(_same_results(run, once, arguments) for arguments in elsewhere):
        raise GradientError(
            "check_gradients",
            f"{name}: got a result that none of the arguments changes",
            "expected a function of its arguments, which it is called with copies of",
            "compute with the arguments inside it, not with the tensors outside",
            user_line(),
        )


def _same_results(run: Any, once: Sequence[Array], arguments: Sequence[Array]) -> bool:
    """Whether other arguments give the same to the bit; not where they are outside its domain."""
    try:
        with no_grad():
            again = [t.numpy() for t in run([Tensor(x) for x in arguments])]
    except ChainruleError:
        return False
    return len(once) == len(again) and all(
        np.array_equal(a, b) for a, b in zip(once, again, strict=True)
    )


def _widened(arrays: Sequence[Array]) -> list[Array]:
    return [x.astype(np.float64) if is_floating(x.dtype) else x for x in arrays]


def compare(
    f: Callable[[list[Tensor]], Sequence[Tensor]],
    inputs: Sequence[Array],
    rng: np.random.Generator,
    order: int,
    tolerance: float = TOLERANCE,
) -> Disagreement | None:
    """The first disagreement, or None."""
    xs = _widened(inputs)
    wide = [k for k, x in enumerate(xs) if x.dtype == np.float64]
    return _compare(f, xs, wide, rng, 1, order, tolerance)


def _compare(
    f: Any,
    xs: list[Array],
    wide: list[int],
    rng: np.random.Generator,
    level: int,
    order: int,
    tolerance: float,
) -> Disagreement | None:
    def at(moved: Sequence[Array]) -> list[Array]:
        return [np.asarray(t.numpy()) for t in f([Tensor(x) for x in moved])]

    results, pull = pullback("check", f, [Tensor(x) for x in xs])
    floats = [k for k, r in enumerate(results) if is_floating(r.dtype)]
    us = {k: np.asarray(rng.uniform(-1, 1, results[k].shape)) for k in floats}
    seeds = [Tensor(us[k]) if k in us else None for k in range(len(results))]
    shares = pull(seeds)
    # Each element moves in proportion to itself: a step fit for 1 is none for 10⁶ or 10⁻⁶.
    scales = {k: np.where(xs[k] == 0, 1.0, np.abs(xs[k])) for k in wide}
    vs = {k: np.asarray(rng.uniform(-1, 1, xs[k].shape) * scales[k]) for k in wide}
    for k in wide:  # one input at a time, so that errors cannot cancel
        with np.errstate(all="ignore"):
            apart = _directional(at, xs, {k: vs[k]}, us, shares, tolerance)
        if apart is not None:
            return Disagreement(f"input {k}", level, *apart)
    if level >= order or not wide or not floats:
        return None

    def derivative(tensors: list[Tensor]) -> list[Tensor]:
        inner, cotangents = tensors[: len(xs)], tensors[len(xs) :]
        outs, pull_again = pullback("check", f, inner)
        by_output = dict(zip(floats, cotangents, strict=True))
        gradients = pull_again([by_output.get(j) for j in range(len(outs))])
        return [
            s if s is not None else creation.zeros_like(inner[k])
            for k, s in enumerate(gradients)
            if k in wide
        ]

    again = [*xs, *(us[k] for k in floats)]
    both = wide + list(range(len(xs), len(again)))
    return _compare(derivative, again, both, rng, level + 1, order, tolerance)


def _directional(
    at: Any,
    xs: list[Array],
    vs: dict[int, Array],
    us: dict[int, Array],
    shares: Sequence[Any],
    tolerance: float,
) -> tuple[float, float, float] | None:
    """(by the rules, by differences, how far apart) along one direction, if they disagree.

    Infinity and NaN agree with nothing: inputs are drawn where derivatives are finite.
    """
    by_rule = sum(
        float((vs[k] * shares[k].numpy()).sum()) if shares[k] is not None else 0.0 for k in vs
    )
    ahead = at([x + STEP * vs[k] if k in vs else x for k, x in enumerate(xs)])
    behind = at([x - STEP * vs[k] if k in vs else x for k, x in enumerate(xs)])
    terms = [u * (ahead[k] - behind[k]) / (2 * STEP) for k, u in us.items()]
    by_difference = float(sum(t.sum() for t in terms))
    size = sum(float(np.abs(t).sum()) for t in terms)
    # The values themselves are known to a rounding error, which the small step makes large.
    values = sum(
        float((np.abs(u) * (np.abs(ahead[k]) + np.abs(behind[k]))).sum()) for k, u in us.items()
    )
    noise = 8 * np.finfo(np.float64).eps * values / (2 * STEP)
    apart = abs(by_rule - by_difference)
    apart = 0.0 if apart <= noise else (apart - noise) / max(size, abs(by_rule), 1e-300)
    if math.isfinite(size) and apart <= tolerance:
        return None
    return by_rule, by_difference, apart


# ── the table ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Verdict:
    """What the check of one row found: how many samples, and the first failure if any."""

    name: str
    kind: str
    samples: int
    failure: str
    reason: str  # why there is nothing to check


def check_table(rows: dict[str, Row] | None = None) -> Iterator[Verdict]:
    """Check every row of the table (or of another one), to orders 1 and 2."""
    for row in (derivatives.TABLE if rows is None else rows).values():
        yield check_row(row)


def check_row(row: Row, points: int = 3, seed: int = 0) -> Verdict:
    """Check one row on the operation's own cases, domains and kinks."""
    op = row.op
    if row.reason:
        return Verdict(op.name, op.kind, 0, "", row.reason)
    samples, failure = 0, ""
    for samples, check in enumerate(_checks(row, points, seed), 1):  # noqa: B007
        try:
            failure = check()
        except ChainruleError as error:
            failure = str(error)
        except Exception as error:  # whatever a wrong rule may do, the other rows go on
            failure = f"{type(error).__name__}: {error}"
        if failure:
            break
    if not samples:
        failure = "no cases: nothing was checked"
    return Verdict(op.name, op.kind, samples, failure, "")


def _checks(row: Row, points: int, seed: int) -> Iterator[Callable[[], str]]:
    op = row.op
    rng = np.random.default_rng([seed, zlib.crc32(op.name.encode())])

    def against_differences(inputs: list[Array], params: Any, order: int) -> str:
        difference = compare(lambda ts: [op(*ts, **params)], inputs, rng, order)
        where = ", ".join(f"{k}={v}" for k, v in params.items())
        sizes = " ".join(str(x.shape) for x in inputs)
        return f"{difference} ({op.name} on {sizes} {where})" if difference else ""

    def inside(case: Any, params: Any) -> str:
        return against_differences(_draw(row, case, rng), params, 2)

    def at_kink(case: Any, params: Any, kink: Any) -> str:
        return against_differences(_at_kink(row, case, kink, rng), params, 1)

    def dtypes(case: Any, params: Any) -> str:
        return _dtypes_kept(row, _draw(row, case, rng), params)

    def traced(case: Any, params: Any) -> str:
        return _same_traced(row, _draw(row, case, rng), params)

    for case, params in op.cases:
        if params.get("dtype") != float32:  # too narrow for differences
            yield from [partial(inside, case, params)] * points
        yield partial(dtypes, case, params)
        yield partial(traced, case, params)
    for kink in row.kinks:
        for case, params in op.cases:
            if not any(0 in s for s in case if isinstance(s, tuple)):
                yield partial(at_kink, case, params, kink)


def _interval(row: Row, k: int) -> Interval:
    return row.on[k] if len(row.on) > 1 else row.on[0]


def _draw(row: Row, case: Any, rng: np.random.Generator) -> list[Array]:
    """Inputs of the case's shapes from the row's domains; arrays in the case stand as they are."""
    out = []
    for k, entry in enumerate(case):
        if isinstance(entry, np.ndarray):
            out.append(entry.copy())
        elif row.op.arguments[0] == "condition" and k == 0:
            out.append(rng.uniform(size=entry) < 0.5)
        else:
            domain = _interval(row, k)
            x = rng.uniform(domain.low, domain.high, entry)
            if domain.mirrored:
                x = np.where(rng.uniform(size=entry) < 0.5, -x, x)
            out.append(np.asarray(x))
    return out


def _at_kink(row: Row, case: Any, kink: Any, rng: np.random.Generator) -> list[Array]:
    """Inputs with one element (of each) moved to the special point."""
    values = kink if isinstance(kink, tuple) else (kink,) * len(case)
    out = _draw(row, case, rng)
    for x, value in zip(out, values, strict=True):
        x.reshape(-1)[0] = value
    return out


def _dtypes_kept(row: Row, inputs: list[Array], params: Any) -> str:
    """In float32 and bfloat16 the result is what the shape rule says, and the rules run.

    The sweep itself refuses a cotangent that is not like its input.
    """
    op: Operation = row.op
    for dtype in (float32, bfloat16):
        tensors = [Tensor(x.astype(dtype) if is_ieee_floating(x.dtype) else x) for x in inputs]
        results, pull = pullback(op.name, lambda ts: [op(*ts, **params)], tensors)
        expected, got = op.infer(*tensors, **params), (results[0].shape, results[0].dtype)
        if got != expected:
            return f"the result is {got[1]}{got[0]} where the shape rule says {expected}"
        pull([creation.ones_like(r) for r in results])
    return ""


def _same_traced(row: Row, inputs: list[Array], params: Any) -> str:
    """Traced, the rule makes a legal graph that computes what it computes eagerly."""
    op: Operation = row.op

    def cotangents(tensors: list[Tensor]) -> list[Tensor]:
        results, pull = pullback(op.name, lambda ts: [op(*ts, **params)], tensors)
        return [g for g in pull([creation.ones_like(r) for r in results]) if g is not None]

    eager = cotangents([Tensor(x) for x in inputs])
    graph = record(cotangents, [(x.shape, x.dtype, False) for x in inputs]).graph
    verify(graph)
    with np.errstate(all="ignore"):
        traced = graph_evaluation.run(graph, inputs)
    for g, value in zip(eager, traced, strict=True):
        if not np.array_equal(g.numpy(), value, equal_nan=True):
            return f"traced, a cotangent is {value.tolist()}, eagerly {g.tolist()}"
    return ""
