"""What a parity case is, and how chainrule's derivatives are compared with PyTorch's.

With fixed random cotangents u and v a case compares three levels:

    value     f(x)
    first     ∂⟨u, f(x)⟩/∂x for every float input x
    second    ∂⟨v, first⟩/∂(u, x): the gradient of the gradient, in u too, so that the backward
              pass of an operation that is linear in x is differentiated as well
"""

from __future__ import annotations

import functools
import itertools
import operator
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import chainrule as cr

torch.set_num_threads(1)  # the arrays are small, and sums keep one order

Function = Callable[..., Any]
Maker = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

RTOL = 1e-9  # the tolerance of the whole suite
ATOL = 1e-12  # for what cancels: sums of numbers of size 1 that come out near 0
LEVELS = ("value", "first", "second")


# ── where inputs are drawn from ──────────────────────────────────────────────────────────────────


def real(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """0.1 ≤ |x| ≤ 2: either sign, and not at the kink 0."""
    return rng.uniform(0.1, 2.0, shape) * rng.choice([-1.0, 1.0], shape)


def within(low: float, high: float) -> Maker:
    """Uniform in an interval."""
    return lambda rng, shape: rng.uniform(low, high, shape)


positive = within(0.2, 2.0)
unit = within(-0.9, 0.9)
above_one = within(1.2, 3.0)


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """No two equal, the nearest 0.1 apart, none a whole number."""
    n = int(np.prod(shape))
    return (rng.permutation(n).reshape(shape) - n / 2) * 0.1 + 0.03


def ties(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Few different values, so that many are equal."""
    return rng.integers(-1, 2, shape).astype(np.float64)


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Every element 0."""
    return np.zeros(shape)


def some_zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A third of the elements 0."""
    return np.where(rng.random(shape) < 1 / 3, 0.0, real(rng, shape))


def with_nan(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """About a fifth of the elements NaN."""
    return np.where(rng.random(shape) < 0.2, np.nan, distinct(rng, shape))


def with_inf(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """About a fifth of the elements inf, as many -inf."""
    p = rng.random(shape)
    return np.select([p < 0.2, p > 0.8], [np.inf, -np.inf], distinct(rng, shape))


def constant(*values: Any) -> list[Maker]:
    """Exactly these arrays, whatever the shape and the generator."""
    return [lambda rng, shape, v=v: np.array(v, np.float64).reshape(shape) for v in values]


# ── cases ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    """One comparison: two functions of the same arrays."""

    id: str
    operation: str
    ours: Function
    theirs: Function
    shapes: tuple[tuple[int, ...], ...]
    makers: tuple[Maker, ...]
    ones: bool = False  # cotangents of 1 instead of random ones
    levels: tuple[str, ...] = LEVELS  # those that PyTorch defines
    args: tuple[Any, ...] = ()  # what was handed to the functions after the tensors

    def rng(self, purpose: str) -> np.random.Generator:
        """The same numbers in every run, others for every case and purpose."""
        return np.random.default_rng(zlib.crc32(f"{self.id} {purpose}".encode()))

    def inputs(self) -> list[np.ndarray]:
        """The arrays that both functions get."""
        rng = self.rng("x")
        makers = self.makers * (len(self.shapes) // len(self.makers))
        return [make(rng, shape) for make, shape in zip(makers, self.shapes, strict=True)]

    def cotangents(self, purpose: str, like: Iterable[np.ndarray]) -> list[np.ndarray]:
        """One array for each, of its shape."""
        rng = self.rng(purpose)
        return [np.ones(a.shape) if self.ones else rng.uniform(0.5, 1.5, a.shape) for a in like]


def rows(
    operation: str,
    ours: Function,
    theirs: Function,
    shapes: Sequence[Any],
    args: Sequence[tuple[Any, ...]] = ((),),
    on: Maker | Sequence[Maker] = real,
    note: str = "",
    levels: tuple[str, ...] = LEVELS,
) -> Iterator[Case]:
    """A case for each of the shapes and arguments.

    shapes   for one input a shape, for several a tuple of shapes
    args     positional arguments, handed to both functions after the tensors
    on       the domain of each input, or one for all
    note     told apart in the id
    """
    makers = tuple(on) if isinstance(on, (list, tuple)) else (on,)
    for given, more in itertools.product(shapes, args):
        each = given if given and isinstance(given[0], tuple) else (given,)
        parts = [_shape_text(each), *(_text(a) for a in more), *([note] if note else [])]
        yield Case(
            f"{operation}[{' '.join(parts)}]",
            operation,
            _bound(ours, more),
            _bound(theirs, more),
            each,
            makers,
            levels=levels,
            args=more,
        )


def points(
    operation: str,
    ours: Function,
    theirs: Function,
    places: Iterable[Any],
    levels: tuple[str, ...] = LEVELS,
) -> Iterator[Case]:
    """A case of scalars for each place (a number, or one for each input), with u = v = 1."""
    for place in places:
        numbers = place if isinstance(place, tuple) else (place,)
        yield Case(
            f"{operation}@{','.join(_text(p) for p in numbers)}",
            operation,
            ours,
            theirs,
            ((),) * len(numbers),
            tuple(constant(*numbers)),
            ones=True,
            levels=levels,
        )


def _bound(f: Function, more: tuple[Any, ...]) -> Function:
    return (lambda *xs: f(*xs, *more)) if more else f


def _shape_text(each: Iterable[tuple[int, ...]]) -> str:
    return ",".join("x".join(map(str, s)) or "scalar" for s in each)


def _text(value: Any) -> str:
    """Short, and without what a test id may not hold."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, slice):
        return ":".join("" if p is None else str(p) for p in (value.start, value.stop, value.step))
    if isinstance(value, (tuple, list)):
        return f"({','.join(map(_text, value))})"
    if isinstance(value, np.ndarray):
        return f"{value.dtype.kind}{_text(value.tolist())}"
    return "..." if value is Ellipsis else str(value)


# ── the two sides ────────────────────────────────────────────────────────────────────────────────

Levels = dict[str, list[np.ndarray]]


def as_list(out: Any) -> list[Any]:
    """Several results, or one, as a list."""
    return list(out) if isinstance(out, (tuple, list)) else [out]


def gradient(f: Function, count: int) -> Function:
    """(cotangents, inputs) ↦ the gradients of ⟨u, f(x)⟩, by chainrule."""

    def first(*tensors: Any) -> tuple[Any, ...]:
        us, xs = tensors[:count], tensors[count:]
        _, back = cr.vjp(lambda *xs: tuple(as_list(f(*xs))), *xs)
        return tuple(back(tuple(us)))

    return first


def by_chainrule(case: Case) -> Levels:
    """The three levels, by functional transforms."""
    xs = [cr.Tensor(a) for a in case.inputs()]
    value = [y.numpy() for y in as_list(case.ours(*xs))]
    us = [cr.Tensor(u) for u in case.cotangents("u", value)]
    first, back = cr.vjp(gradient(case.ours, len(us)), *us, *xs)
    vs = tuple(cr.Tensor(v) for v in case.cotangents("v", [x.numpy() for x in xs]))
    second = back(vs)
    return {
        "value": value,
        "first": [g.numpy() for g in first],
        "second": [g.numpy() for g in second],
    }


def by_backward(case: Case) -> Levels:
    """The three levels by `backward`, twice."""
    xs = [cr.Tensor(a, requires_grad=True) for a in case.inputs()]
    ys = as_list(case.ours(*xs))
    value = [y.numpy() for y in ys]
    us = [cr.Tensor(u, requires_grad=True) for u in case.cotangents("u", value)]
    weighted = [cr.sum(u * y) for u, y in zip(us, ys, strict=True)]
    functools.reduce(operator.add, weighted).backward(create_graph=True)
    first = [_dense(x) for x in xs]
    vs = case.cotangents("v", first)
    total = cr.Tensor(0.0, dtype=cr.float64)
    for v, x in zip(vs, xs, strict=True):
        if x.grad is not None:
            total = total + cr.sum(cr.Tensor(v) * _gradient_of(x))
    for t in (*us, *xs):
        t.grad = None
    if total.requires_grad:
        total.backward()
    return {"value": value, "first": first, "second": [_dense(t) for t in (*us, *xs)]}


def _gradient_of(x: cr.Tensor) -> Any:
    return x.grad.to_dense() if isinstance(x.grad, cr.RowSparse) else x.grad


def _dense(x: cr.Tensor) -> np.ndarray:
    return np.zeros(x.shape) if x.grad is None else _gradient_of(x).numpy()


def by_torch(case: Case, levels: Sequence[str] = LEVELS, theirs: Function | None = None) -> Levels:
    """The same by PyTorch's double backward, of another function where one is given."""
    f = case.theirs if theirs is None else theirs
    xs = [torch.tensor(a, requires_grad=True) for a in case.inputs()]
    ys = as_list(f(*xs))
    value = [y.numpy(force=True) for y in ys]
    out = {"value": value}
    if "first" not in levels:
        return out
    us = [torch.tensor(u, requires_grad=True) for u in case.cotangents("u", value)]
    first = _pull(ys, us, xs, create_graph=True)
    out["first"] = [g.numpy(force=True) for g in first]
    if "second" in levels:
        vs = [torch.tensor(v) for v in case.cotangents("v", [x.numpy(force=True) for x in xs])]
        out["second"] = [g.numpy(force=True) for g in _pull(first, vs, [*us, *xs])]
    return out


def _pull(ys: Any, us: Any, xs: Any, create_graph: bool = False) -> list[Any]:
    """torch.autograd.grad, with zeros for what does not depend on xs."""
    pairs = [(y, u) for y, u in zip(ys, us, strict=True) if y.requires_grad]
    if not pairs:
        return [torch.zeros_like(x) for x in xs]
    return list(
        torch.autograd.grad(
            [y for y, _ in pairs],
            xs,
            [u for _, u in pairs],
            create_graph=create_graph,
            allow_unused=True,
            materialize_grads=True,
        )
    )


# ── comparing ────────────────────────────────────────────────────────────────────────────────────


def assert_close(got: list[np.ndarray], wanted: list[np.ndarray], what: str) -> None:
    """Shapes and dtypes, places of NaN and inf, and values to the suite's tolerance."""
    assert [(g.shape, g.dtype) for g in got] == [(w.shape, w.dtype) for w in wanted], what
    for k, (g, w) in enumerate(zip(got, wanted, strict=True)):
        np.testing.assert_allclose(
            g, w, rtol=RTOL, atol=ATOL, equal_nan=True, err_msg=f"{what}, number {k}"
        )


def assert_same_bits(got: list[np.ndarray], wanted: list[np.ndarray], what: str) -> None:
    """Equal to the last bit, but for the bits of a NaN."""
    assert [g.shape for g in got] == [w.shape for w in wanted], what
    for k, (g, w) in enumerate(zip(got, wanted, strict=True)):
        np.testing.assert_array_equal(g, w, err_msg=f"{what}, number {k}")
        there = ~np.isnan(w)
        signs = np.signbit(g)[there], np.signbit(w)[there]
        np.testing.assert_array_equal(*signs, err_msg=f"{what}, sign of number {k}")


def differing(ours: Levels, theirs: Levels) -> str | None:
    """The first level at which the two differ."""
    for level, wanted in theirs.items():
        try:
            assert_close(ours[level], wanted, level)
        except AssertionError:
            return level
    return None
