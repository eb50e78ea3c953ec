"""Rows of Adam and AdamW brought up to date: where the dense optimizer would have them by now.

A row without a gradient still moves in the dense optimizer: i steps after its last one, at step t,

    m = β₁ⁱ m₀,  v = β₂ⁱ v₀,  w ← w (1 - lr · weight_decay) - uᵢ,
    uᵢ = lr β₁ⁱ m₀ / (1 - β₁ᵗ⁺ⁱ) / (√v₀ β₂^(i/2) / √(1 - β₂ᵗ⁺ⁱ) + ε).

With q = 1 - lr · weight_decay its *drift* is all that it would still move without a gradient:

    Φ(t) = ∑ q⁻ⁱ uᵢ  over i ≥ 1,    so    w(t + Δ) = q^Δ (w(t) - Φ(t)) + Φ(t + Δ).

The drift of a row's last step is kept with it; that of today follows from m and v. The sum falls as
(β₁ / √β₂)ⁱ: `later_steps` gives it by some 20 terms, Gauss's quadrature of blocks that double in
length, off by less than 10⁻⁵ of the drift for all v, ε and t (for lr · weight_decay up to 0.01).

This is exact while the learning rate stays the same. Steps that a row skips while it changes are
taken at the rate of the row's last step.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .. import ops
from ..broadcasting import cast
from ..dtypes import float64
from ..errors import ArgumentError
from ..functions import creation, elementwise, indexing, reductions, shaping
from ..functions.elementwise import where
from ..graph import Array
from ..sparse import READERS
from ..tensor import Tensor, make, no_grad
from ..trace import outside
from .group import Group

MEANS = ("exp_avg", "exp_avg_sq")
ROW_STATE = ("drift", "last_step", "last_rate")  # as the parameter, then a number for each row
EXACT = 4  # first steps that are terms of their own
PER_BLOCK = 3  # terms for each block of later steps
LEAST = 1e-9  # of the first term: no later step counts
AT_ONCE = 1 << 16  # elements that `all_rows` brings up to date together


@functools.lru_cache(16)
def later_steps(b1: float, b2: float) -> tuple[Array, Array]:
    """Steps i and weights such that ∑ f(i) over i = 1, 2, … is ∑ weight · f(step).

    f   (β₁ / √β₂)ⁱ times what is smooth in i
    """
    fall = b1 / math.sqrt(b2) if b2 else math.inf
    if not fall < 1:
        raise ArgumentError(
            "Adam",
            f"got betas ({b1}, {b2}) with catch_up",
            "expected the first below the square root of the second",
            "(0.9, 0.999) is usual",
        )
    if not b1:
        return np.ones(1), np.zeros(1)
    count = max(2 * EXACT, math.ceil(math.log(LEAST) / math.log(fall)))
    steps, weights = [np.arange(1.0, EXACT + 1)], [np.ones(EXACT)]
    begin = EXACT
    while begin < count:
        end = count if count < 3 * begin else 2 * begin
        block = np.arange(begin + 1.0, end + 1)
        chosen, parts = _gauss(block, fall ** (block - block[0]))
        steps.append(chosen)
        weights.append(parts / fall ** (chosen - block[0]))
        begin = end
    return np.concatenate(steps), np.concatenate(weights)


def _gauss(places: Array, measure: Array) -> tuple[Array, Array]:
    """Gauss's quadrature of a sum over some places: PER_BLOCK of them, and their weights.

    The eigenvalues of the Jacobi matrix, by Lanczos (Golub and Welsch, 1969).
    """
    vector = np.sqrt(measure / measure.sum())
    basis = np.zeros((0, places.size))
    jacobi = np.zeros((PER_BLOCK, PER_BLOCK))
    for k in range(PER_BLOCK):
        basis = np.vstack([basis, vector])
        jacobi[k, k] = vector @ (places * vector)
        rest = places * vector
        for _ in range(2):
            rest = rest - basis.T @ (basis @ rest)
        size = np.linalg.norm(rest)
        if k + 1 < PER_BLOCK:
            jacobi[k, k + 1] = jacobi[k + 1, k] = size
        vector = rest / size
    values, vectors = np.linalg.eigh(jacobi)
    return values, vectors[0] ** 2 * measure.sum()


def remaining(group: Group, m: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """Φ(t) / lr of the rows whose means at step t are m and v."""
    terms = (-1, *(1,) * m.ndim)  # the terms of the sum along a first axis
    steps, weights = (make(x.reshape(terms)) for x in later_steps(*group.fixed("betas")))
    b1, b2 = (group.scalar("betas", k) for k in range(2))
    shares = weights * b1**steps / (1 - b1 ** (t + steps))
    if group.on("weight_decay"):
        shares = shares / (1 - group.scalar("lr") * group.scalar("weight_decay")) ** steps
    roots = b2 ** (0.5 * steps) / elementwise.sqrt(1 - b2 ** (t + steps))
    shares, roots, eps = (cast(x, m.dtype) for x in (shares, roots, group.scalar("eps")))
    total = reductions.sum(shares / (elementwise.sqrt(v) * roots + eps), axis=0)
    return where(m == 0, 0.0, m * total)


def caught_up(
    group: Group, p: Tensor, s: Mapping[str, Tensor], now: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The values of some rows at step `now`, and their means and drift then."""

    def per_row(x: Tensor) -> Tensor:
        return shaping.reshape(cast(x, p.dtype), (-1, *(1,) * (p.ndim - 1)))

    skipped, rate = now - s["last_step"], s["last_rate"]
    m = s["exp_avg"] * per_row(group.scalar("betas", 0) ** skipped)
    v = s["exp_avg_sq"] * per_row(group.scalar("betas", 1) ** skipped)
    drift = per_row(rate) * remaining(group, m, v, now)
    resting = p - s["drift"]
    if group.on("weight_decay"):
        resting = resting * per_row((1 - rate * group.scalar("weight_decay")) ** skipped)
    current = shaping.reshape(skipped == 0, (-1, *(1,) * (p.ndim - 1)))
    new = where(current, p, resting + drift)
    drift = where(current, s["drift"], drift)
    return new, {"exp_avg": m, "exp_avg_sq": v, "drift": drift}


class CatchUp:
    """What a step does around `Optimizer._update`: before it rows are brought up to date.

    before   the number of steps before this one
    """

    def __init__(self, group: Group, before: Tensor) -> None:
        self._group, self._before = group, before

    def current(self, p: Tensor, s: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The values and the means that some rows have before the step."""
        return caught_up(self._group, p, s, self._before)

    def after(self, s: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of the rows after it."""
        group, m, t = self._group, s["exp_avg"], s["step"]
        rate = group.scalar("lr")
        drift = cast(rate, m.dtype) * remaining(group, m, s["exp_avg_sq"], t)
        return {"drift": drift, "last_step": _each(t, m), "last_rate": _each(rate, m)}


def _each(number: Tensor, rows: Tensor) -> Tensor:
    return shaping.broadcast_to(shaping.reshape(number, (1,)), rows.shape[:1])


def begin(group: Group, state: dict[str, Tensor]) -> None:
    """Add the state of rows: all have had all steps so far."""
    with outside(), no_grad():
        m, v, t = (make(_values(state[k])) for k in ("exp_avg", "exp_avg_sq", "step"))
        drift = creation.zeros_like(m)
        rate, count = float(group["lr"]), float(t.item())
        if count:
            means = {"exp_avg": m, "exp_avg_sq": v}
            parts = [remaining(group, m, v, t) * rate for m, v in _parts(means)]
            drift = shaping.concat(parts, axis=0) if parts else drift
        state["drift"] = drift
        state["last_step"] = creation.full(m.shape[:1], count, dtype=float64)
        state["last_rate"] = creation.full(m.shape[:1], rate, dtype=float64)


def all_rows(group: Group, p: Tensor, state: dict[str, Tensor]) -> None:
    """Bring a whole table up to date, some rows at a time."""
    now = state["step"].detach()
    own = {k: state[k] for k in (*MEANS, *ROW_STATE)}
    names, done = [*own], []
    for values, *rest in _parts({"": p.detach(), **own}):
        new, s = caught_up(group, values, dict(zip(names, rest, strict=True)), now)
        done.append((new, *s.values()))
    if not done:
        return
    columns = [shaping.concat([*column], axis=0) for column in zip(*done, strict=True)]
    for t, new in zip((p, *(state[k] for k in s)), columns, strict=True):
        t._assign(new)
    state["last_step"]._assign(_each(now, p))


def register(optimizer: Any, group: Group) -> None:
    """Let lookups in the parameters of a group find their rows up to date.

    optimizer   an `Optimizer`; it is not kept alive by that
    """
    owner = weakref.ref(optimizer)
    for name, p in zip(group.names, group.params, strict=True):
        if p.ndim:
            READERS[id(p)] = functools.partial(_read, owner, name)
            weakref.finalize(p, READERS.pop, id(p), None)


def _read(owner: Any, name: str, x: Tensor, indices: Tensor) -> Tensor | None:
    """The rows at the indices as they are by now; None if the optimizer is gone."""
    optimizer = owner()
    if optimizer is None:
        return None
    with no_grad():
        group, state = optimizer.group_of(name), optimizer.state[name]
        if "drift" not in state:
            begin(group, state)
        flat = shaping.reshape(indices, (indices.size,))
        own = {k: ops.take(state[k], flat, axis=0) for k in (*MEANS, *ROW_STATE)}
        now = state["step"].detach()
        rows, _ = caught_up(group, ops.take(x.detach(), flat, axis=0), own, now)
        return shaping.reshape(rows, (*indices.shape, *x.shape[1:]))


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[list[Tensor]]:
    """The same rows of all, some at a time."""
    rows, *sizes = next(iter(tensors.values())).shape
    count = max(1, AT_ONCE // max(1, math.prod(sizes)))
    for first in range(0, rows, count):
        yield [indexing.getitem(t, slice(first, first + count)) for t in tensors.values()]


def _values(t: Tensor) -> Array:
    value: Array | None = t._value
    assert value is not None
    return value
