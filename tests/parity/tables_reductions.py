"""Cases of the functions that reduce, run along or order an axis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from parity_harness import (
    Case,
    distinct,
    real,
    rows,
    some_zeros,
    ties,
    with_inf,
    with_nan,
    within,
    zeros,
)

import chainrule as cr

inf = math.inf

# shape, axis
AXES: list[tuple[tuple[int, ...], Any]] = [
    ((), None),
    ((4,), None),
    ((4,), 0),
    ((1,), 0),
    ((2, 3), None),
    ((2, 3), 0),
    ((2, 3), -1),
    ((2, 3), (0, 1)),
    ((2, 3, 2), 1),
    ((2, 3, 2), (0, 2)),
    ((1, 4), 0),
    ((0, 3), 1),
    ((3, 1, 2), 1),
]
EMPTY: list[tuple[tuple[int, ...], Any]] = [((0,), None), ((0, 3), 0), ((2, 0), 1), ((0, 3), None)]


def _all(x: torch.Tensor, axis: Any) -> tuple[int, ...]:
    """Axes as PyTorch's reductions want them."""
    if axis is None:
        return tuple(range(x.ndim))
    return axis if isinstance(axis, tuple) else (axis,)


def torch_prod(x: torch.Tensor, axis: Any, keep: bool) -> torch.Tensor:
    """PyTorch multiplies along one axis, so several go one after another."""
    for a in sorted((a % x.ndim for a in _all(x, axis)), reverse=True):
        x = torch.prod(x, a, keepdim=keep)
    return x


def torch_norm(x: torch.Tensor, axis: Any, keep: bool, order: float) -> torch.Tensor:
    """The vector norm."""
    return torch.linalg.vector_norm(x, order, _all(x, axis) or None, keep)


# name, ours (x, axis, keepdims), theirs, domain, whether an empty axis is allowed
REDUCTIONS: list[tuple[str, Any, Any, Any, bool]] = [
    ("sum", cr.sum, lambda x, a, k: torch.sum(x, _all(x, a), keepdim=k), real, True),
    ("mean", cr.mean, lambda x, a, k: torch.mean(x, _all(x, a), keepdim=k), real, True),
    ("prod", cr.prod, torch_prod, real, True),
    ("max", cr.max, lambda x, a, k: torch.amax(x, _all(x, a), keepdim=k), distinct, False),
    ("min", cr.min, lambda x, a, k: torch.amin(x, _all(x, a), keepdim=k), distinct, False),
    (
        "logsumexp",
        cr.logsumexp,
        lambda x, a, k: torch.logsumexp(x, _all(x, a), keepdim=k),
        real,
        False,
    ),
]


def _axis(f: Any) -> Any:
    return lambda x, a, k: f(x, axis=a, keepdims=k)


def reductions() -> Iterator[Case]:
    for name, ours, theirs, domain, empty in REDUCTIONS:
        for shape, axis in AXES + (EMPTY if empty else []):
            for keep in (False, True):
                yield from rows(name, _axis(ours), theirs, [shape], [(axis, keep)], on=domain)
        for special in (with_nan, with_inf, ties, zeros, some_zeros):
            for axis in (None, 0, 1):
                yield from rows(
                    name,
                    _axis(ours),
                    theirs,
                    [(3, 4)],
                    [(axis, False)],
                    on=special,
                    note=special.__name__,
                )


def zeros_at(*places: int) -> Any:
    """1, 2, 3 … with 0 at the places."""

    def maker(rng: Any, shape: Any) -> Any:
        x = real(rng, shape)
        x.reshape(-1)[list(places)] = 0.0
        return x

    return maker


def products_with_zeros() -> Iterator[Case]:
    for places in [(0,), (3,), (1, 2), (0, 3), (0, 1, 2, 3)]:
        note = f"0at{''.join(map(str, places))}"
        yield from rows(
            "prod-zeros",
            cr.prod,
            torch.prod,
            [(4,), (2, 2), (2, 3)],
            on=zeros_at(*places),
            note=note,
        )
        yield from rows(
            "prod-zeros-axis",
            lambda x, a: cr.prod(x, axis=a),
            torch.prod,
            [(2, 3)],
            [(0,), (1,)],
            on=zeros_at(*places),
            note=note,
        )
        yield from rows(
            "cumulative_prod-zeros",
            lambda x, a: cr.cumulative_prod(x, axis=a),
            torch.cumprod,
            [(4,), (2, 3)],
            [(0,)],
            on=zeros_at(*places),
            note=note,
        )


def spreads() -> Iterator[Case]:
    places = [
        ((4,), None),
        ((4,), 0),
        ((2, 3), None),
        ((2, 3), 0),
        ((2, 3), -1),
        ((2, 3, 2), (0, 2)),
        ((0, 3), 1),
        ((5, 1, 2), 0),
    ]
    for name in ("var", "std"):
        ours, theirs = getattr(cr, name), getattr(torch, name)
        for shape, axis in places:
            for correction in (0.0, 1.0):
                for keep in (False, True):
                    yield from rows(
                        name,
                        lambda x, a, c, k, f=ours: f(x, axis=a, correction=c, keepdims=k),
                        lambda x, a, c, k, f=theirs: f(x, _all(x, a), correction=c, keepdim=k),
                        [shape],
                        [(axis, correction, keep)],
                    )
        for special in (with_nan, with_inf, zeros):
            yield from rows(
                name,
                lambda x, f=ours: f(x, axis=1),
                lambda x, f=theirs: f(x, 1, correction=0),
                [(2, 5)],
                on=special,
                note=special.__name__,
            )


def norms() -> Iterator[Case]:
    for order in (1, 2, 3, 1.5, inf):
        domain = distinct if order == inf else real
        for shape, axis in [
            ((4,), None),
            ((2, 3), None),
            ((2, 3), 0),
            ((2, 3), -1),
            ((2, 3, 2), (0, 2)),
            ((1,), 0),
            ((), None),
            ((3, 1), 1),
        ]:
            for keep in (False, True):
                yield from rows(
                    "norm",
                    lambda x, a, k, p: cr.norm(x, ord=p, axis=a, keepdims=k),
                    torch_norm,
                    [shape],
                    [(axis, keep, order)],
                    on=domain,
                )
        for special in (zeros, some_zeros, with_nan, with_inf):
            yield from rows(
                "norm",
                lambda x, a, k, p: cr.norm(x, ord=p, axis=a, keepdims=k),
                torch_norm,
                [(3, 4)],
                [(1, False, order)],
                on=special,
                note=special.__name__,
            )
    yield from rows("norm", lambda x: cr.norm(x), torch.linalg.vector_norm, [(0,)], note="empty")


def softmaxes() -> Iterator[Case]:
    for name in ("softmax", "log_softmax"):
        ours, theirs = getattr(cr, name), getattr(torch, name)
        for shape, axis in [
            ((4,), 0),
            ((2, 3), 0),
            ((2, 3), 1),
            ((2, 3, 2), 1),
            ((1,), 0),
            ((2, 1), 1),
            ((0, 3), 1),
            ((2, 3, 4), -1),
        ]:
            yield from rows(name, lambda x, a, f=ours: f(x, axis=a), theirs, [shape], [(axis,)])
        specials = {
            "ties": ties,
            "with_nan": with_nan,
            "with_inf": with_inf,
            "large": within(500, 1000),
            "small": within(-1000, -500),
        }
        for note, special in specials.items():
            yield from rows(
                name,
                lambda x, f=ours: f(x, axis=-1),
                lambda x, f=theirs: f(x, -1),
                [(3, 5), (4,)],
                on=special,
                note=note,
            )


def running() -> Iterator[Case]:
    for name, other in [("cumulative_sum", torch.cumsum), ("cumulative_prod", torch.cumprod)]:
        ours = getattr(cr, name)
        for shape, axis in [
            ((4,), 0),
            ((1,), 0),
            ((0,), 0),
            ((2, 3), 0),
            ((2, 3), 1),
            ((2, 3, 2), 1),
            ((3, 0), 0),
            ((2, 1, 3), 1),
            ((7, 2), -2),
        ]:
            yield from rows(name, lambda x, a, f=ours: f(x, axis=a), other, [shape], [(axis,)])
            yield from rows(
                f"{name}-initial",
                lambda x, a, f=ours: f(x, axis=a, include_initial=True),
                lambda x, a, f=other, n=name: torch.cat(
                    [torch.full_like(x.sum(a, keepdim=True), float(n.endswith("prod"))), f(x, a)], a
                ),
                [shape],
                [(axis,)],
            )
        for special in (zeros, some_zeros, with_nan, with_inf):
            yield from rows(
                name,
                lambda x, a, f=ours: f(x, axis=a),
                other,
                [(4, 3), (5, 2)],
                [(0,), (1,)],
                on=special,
                note=special.__name__,
            )


def ordering() -> Iterator[Case]:
    for shape, axis in [
        ((5,), 0),
        ((1,), 0),
        ((3, 4), 0),
        ((3, 4), -1),
        ((2, 3, 4), 1),
        ((0, 3), 1),
        ((3, 0), 1),
    ]:
        for down in (False, True):
            for domain in (distinct, ties, with_nan, with_inf):
                yield from rows(
                    "sort",
                    lambda x, a, d: cr.sort(x, axis=a, descending=d),
                    lambda x, a, d: torch.sort(x, dim=a, descending=d, stable=True)[0],
                    [shape],
                    [(axis, down)],
                    on=domain,
                    note=domain.__name__,
                )
    for shape, axis in [((5,), 0), ((3, 4), 0), ((3, 4), -1), ((2, 3, 4), 1)]:
        for k in (0, 1, 3):
            for largest in (True, False):
                yield from rows(
                    "top_k",
                    lambda x, k, a, b: cr.top_k(x, k, axis=a, largest=b)[0],
                    lambda x, k, a, b: torch.topk(x, k, a, b, True)[0],
                    [shape],
                    [(k, axis, largest)],
                    on=distinct,
                )
    for domain in (with_nan, with_inf):
        yield from rows(
            "top_k",
            lambda x: cr.top_k(x, 3, axis=1)[0],
            lambda x: torch.topk(x, 3, 1)[0],
            [(3, 5)],
            on=domain,
            note=domain.__name__,
            levels=("value",),
        )
    yield from rows(
        "argmax-value",
        lambda x: cr.take_along_axis(x, cr.argmax(x, axis=1, keepdims=True), axis=1),
        lambda x: torch.take_along_dim(x, torch.argmax(x, 1, True), 1),
        [(3, 4)],
        on=distinct,
    )
    yield from rows(
        "max-torch-dim",
        lambda x, a: cr.max(x, axis=a),
        lambda x, a: torch.max(x, a)[0],
        [(3, 4)],
        [(0,), (1,)],
        on=distinct,
    )
    yield from rows(
        "max-torch-dim-ties",
        lambda x, a: cr.max(x, axis=a),
        lambda x, a: torch.max(x, a)[0],
        [(6, 4)],
        [(0,)],
        on=ties,
    )


def cases() -> Iterator[Case]:
    """All of them."""
    for table in (reductions, products_with_zeros, spreads, norms, softmaxes, running, ordering):
        yield from table()
