"""Cases of reading and assigning parts, and of gathering and scattering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from parity_harness import Case, real, rows

import chainrule as cr

F = torch.nn.functional
S = slice
N: Any = None


def array(*values: Any) -> np.ndarray:
    """Index arrays of whole numbers, or masks of bools."""
    return np.array(values)


def ours(key: Any) -> Any:
    """The key as chainrule takes it: arrays become tensors."""
    parts = key if isinstance(key, tuple) else (key,)
    made = tuple(cr.Tensor(k) if isinstance(k, np.ndarray) else k for k in parts)
    return made if isinstance(key, tuple) else made[0]


def upward(x: Any, key: Any) -> tuple[Any, Any]:
    """PyTorch has no negative steps: the axis turned round, and the step turned round with it."""
    parts = list(key) if isinstance(key, tuple) else [key]
    axis = 0
    for k, e in enumerate(parts):
        if isinstance(e, slice) and (e.step or 1) < 0:
            chosen = list(range(x.shape[axis]))[e]
            x = torch.index_select(x, axis, torch.tensor(chosen, dtype=torch.int64))
            parts[k] = slice(None)
        axis += e is not None
    made = [torch.tensor(e) if isinstance(e, np.ndarray) else e for e in parts]
    return x, tuple(made) if isinstance(key, tuple) else made[0]


def torch_read(x: Any, key: Any) -> Any:
    x, made = upward(x, key)
    return x[made]


BASIC: list[tuple[tuple[int, ...], list[Any]]] = [
    (
        (5,),
        [
            0,
            -1,
            S(1, 4),
            S(N, N, 2),
            S(N, N, -1),
            S(4, 1, -2),
            S(-3, N),
            S(2, 2),
            S(1, 99),
            N,
            ...,
            S(5, N),
            S(-1, -6, -1),
        ],
    ),
    (
        (3, 4),
        [
            1,
            (1, 2),
            (S(N), 0),
            (S(N, N, -1), S(N, N, -1)),
            (S(0, 2), S(1, N, 2)),
            (..., -1),
            (N, 1),
            (S(N), N, S(N)),
            (..., N),
            (S(2, 0, -1), 1),
            (S(1, 1), S(N)),
            (0, ...),
        ],
    ),
    (
        (2, 3, 4),
        [
            (..., 0),
            (S(N), 1),
            (1, S(N), S(N, N, 3)),
            (0, 1, 2),
            (S(N), S(N, N, -2), N, 3),
            (N, ..., N),
            (),
        ],
    ),
    ((), [..., N, ()]),
    ((0, 3), [S(N), (S(N), 1), (S(N), S(N, N, -1))]),
]

ADVANCED: list[tuple[tuple[int, ...], list[Any]]] = [
    (
        (5,),
        [
            array(3, 0, 3),
            array(-1, 1),
            array([0, 1], [4, 4]),
            np.zeros(0, np.int64),
            array(True, False, True, True, False),
            np.zeros(5, bool),
            np.array(2),
        ],
    ),
    (
        (3, 4),
        [
            array(2, 0),
            (array(0, 2), array(1, 1)),
            (S(N), array(3, 3, 0)),
            (array([0], [2]), array(1, 3)),
            (S(1, N), array(0, -1)),
            (array(0, 1), S(N, N, 2)),
            (N, array(1, 2)),
            (..., array(0, 1)),
            array(True, False, True),
            (S(N), array(True, False, False, True)),
            np.arange(12).reshape(3, 4) % 5 == 0,
            (array(True, False, True), array(0, 3)),
            (array(1, 1, 1), 0),
            (array(0, 1), N),
        ],
    ),
    (
        (2, 3, 4),
        [
            (array(0, 1), S(N), array(1, 3)),
            (S(N), array(0, 2), array(1, 1)),
            (array(0, 0), array(1, 2), array(3, 3)),
            (S(N), array([0, 1], [2, 2])),
            (array(1, 0), ..., S(N, N, -1)),
            (array(1, 0), S(0, 2), 1),
            (S(N), array(2, 0), S(1, 3)),
            (..., array(0, 1), array(2, 2)),
            np.arange(6).reshape(2, 3) % 2 == 0,
            (0, array(1, 2)),
            (array(0, 1), N, array(1, 2)),
            (S(N), np.arange(12).reshape(3, 4) % 4 == 1),
        ],
    ),
    ((0, 3), [np.zeros(0, np.int64), (S(N), array(0, 2))]),
]


def reading() -> Iterator[Case]:
    for name, table in (("index-basic", BASIC), ("index-advanced", ADVANCED)):
        for shape, keys in table:
            for key in keys:
                yield from rows(name, lambda x, k: x[ours(k)], torch_read, [shape], [(key,)])
    yield from rows(
        "index-int-apart",
        lambda x, k: x[ours(k)],
        torch_read,
        [(2, 3, 4)],
        [((0, S(N), array(1, 3)),)],
    )
    yield from rows("index-by-value", lambda x: x[x > 0], lambda x: x[x > 0], [(6,), (3, 4)])
    yield from rows(
        "index-twice",
        lambda x: x[1:][::-1] * x[0],
        lambda x: torch.flip(x[1:], [0]) * x[0],
        [(4,), (3, 2)],
    )


def our_assign(x: Any, v: Any, key: Any) -> Any:
    y = x.clone()
    y[ours(key)] = v
    return y * x


def torch_assign(x: Any, v: Any, key: Any) -> Any:
    """Negative steps by positions: a step below 0 is the same places in another order."""
    y = x.clone()
    parts = list(key) if isinstance(key, tuple) else [key]
    axis = 0
    for k, e in enumerate(parts):
        if isinstance(e, slice) and (e.step or 1) < 0:
            parts[k] = torch.tensor(list(range(x.shape[axis]))[e])
        elif isinstance(e, np.ndarray):
            parts[k] = torch.tensor(e)
        axis += e is not None
    y[tuple(parts) if isinstance(key, tuple) else parts[0]] = v
    return y * x


# x, v, key
ASSIGNMENTS: list[tuple[tuple[int, ...], tuple[int, ...], Any]] = [
    ((4,), (), 1),
    ((4,), (), S(N)),
    ((4,), (2,), S(1, 3)),
    ((4,), (2,), S(N, N, 2)),
    ((4,), (4,), S(N, N, -1)),
    ((4,), (2,), S(3, N, -2)),
    ((4,), (1,), S(0, 2)),
    ((4,), (), ...),
    ((4,), (0,), S(2, 2)),
    ((3, 4), (4,), 1),
    ((3, 4), (), (1, 2)),
    ((3, 4), (3,), (S(N), 0)),
    ((3, 4), (2, 2), (S(0, 2), S(N, N, 3))),
    ((3, 4), (4,), S(1, N)),
    ((3, 4), (3, 1), S(N)),
    ((2, 3, 4), (4,), (..., 1, S(N))),
    ((2, 3, 4), (2, 1, 4), S(N)),
    ((5,), (3,), array(4, 0, 2)),
    ((5,), (), array(1, 3)),
    ((5,), (2,), array(-1, 0)),
    ((3, 4), (2, 4), array(2, 0)),
    ((3, 4), (2,), (array(0, 2), array(1, 3))),
    ((3, 4), (3, 2), (S(N), array(3, 0))),
    ((3, 4), (4,), array(0, 1)),
    ((5,), (), array(True, False, True, False, False)),
    ((5,), (2,), array(True, False, True, False, False)),
    ((3, 4), (), np.arange(12).reshape(3, 4) % 5 == 0),
    ((3, 4), (3,), np.arange(12).reshape(3, 4) % 5 == 0),
    ((3, 4), (4,), array(True, False, True)),
    ((2, 3, 4), (2, 2), (array(0, 1), S(0, 2), array(1, 3))),
    ((3, 4), (2,), (1, array(0, 3))),
    ((3,), (3,), np.zeros(3, bool) | True),
]


def assigning() -> Iterator[Case]:
    for x, v, key in ASSIGNMENTS:
        yield from rows("assign", our_assign, torch_assign, [(x, v)], [(key,)])
    yield from rows(
        "assign-number",
        lambda x, k: our_assign(x, 2.5, k),
        lambda x, k: torch_assign(x, 2.5, k),
        [(3, 4)],
        [(1,), ((S(N), S(N, N, 2)),), (array(0, 2),)],
    )
    yield from rows(
        "assign-repeated", our_assign, torch_assign, [((5,), (3,))], [(array(1, 4, 1),)]
    )
    yield from rows("assign-add", _our_add, _torch_add, [((4,), (2,))])
    yield from rows("assign-self", _our_shift, _torch_shift, [(4,), (3, 2)])


def _our_add(x: Any, v: Any) -> Any:
    y = x.clone()
    y[1:3] += v
    y *= x
    return y


def _torch_add(x: Any, v: Any) -> Any:
    y = x.clone()
    y[1:3] += v
    return y * x


def _our_shift(x: Any) -> Any:
    y = x * x
    y[1:] = y[:-1] * x[1:]
    return y


def _torch_shift(x: Any) -> Any:
    y = x * x
    return torch.cat([y[:1], y[:-1] * x[1:]])


def _torch_take(x: Any, at: np.ndarray, axis: int | None) -> Any:
    if axis is None:
        return x.reshape(-1)[torch.tensor(at)]
    return x[(slice(None),) * (axis % x.ndim) + (torch.tensor(at),)]


def gathering() -> Iterator[Case]:
    for shape, at, axis in [
        ((5,), array(0, 3, 3), 0),
        ((5,), array(-1), None),
        ((3, 4), array(2, 0), 0),
        ((3, 4), array(1, 1, 1, 3), 1),
        ((3, 4), array(-2), -1),
        ((3, 4), array([0, 1], [2, 2]), 0),
        ((3, 4), array([0, 1], [2, 2]), 1),
        ((2, 3, 4), array(2, 0, 2), 1),
        ((3, 4), np.array(1), 0),
        ((3, 4), np.zeros(0, np.int64), 1),
        ((3, 4), array(5, 11), None),
        ((1,), array(0, 0), 0),
        ((2, 0), array(1, 0), 0),
    ]:
        yield from rows(
            "take",
            lambda x, i, a: cr.take(x, cr.Tensor(i), axis=a),
            _torch_take,
            [shape],
            [(at, axis)],
        )
    for at in (array(0, 2, 2), array([1, 1], [3, 0])):
        yield from rows(
            "take-embedding",
            lambda x, i: cr.take(x, cr.Tensor(i), axis=0),
            lambda x, i: F.embedding(torch.tensor(i), x),
            [(4, 3)],
            [(at,)],
        )
    for shape, at, axis in [
        ((4,), array(3, 0, 0), 0),
        ((2, 3), array([0, 2], [1, 1]), 1),
        ((2, 3), array([1, 0, 1]), 0),
        ((2, 3, 2), np.zeros((2, 1, 2), np.int64), 1),
        ((2, 3), array([2], [0]), -1),
        ((2, 3), np.zeros((2, 0), np.int64), 1),
    ]:
        yield from rows(
            "take_along_axis",
            lambda x, i, a: cr.take_along_axis(x, cr.Tensor(i), axis=a),
            lambda x, i, a: torch.take_along_dim(x, torch.tensor(i), a),
            [shape],
            [(at, axis)],
        )
        yield from rows(
            "gather",
            lambda x, i, a: cr.gather(x, a, cr.Tensor(i)),
            lambda x, i, a: torch.gather(x, a, torch.tensor(i)),
            [shape],
            [(at, axis)],
        )
    for shape, at, axis, size in [
        ((3,), array(0, 2, 2), 0, 4),
        ((3, 2), array(1, 1, 0), 0, 3),
        ((2, 3), array(0, 4, 0), 1, 5),
        ((2, 2, 3), array(1, 0), 1, 2),
        ((0, 2), np.zeros(0, np.int64), 0, 3),
    ]:
        yield from rows(
            "scatter_add",
            lambda x, i, a, n: cr.scatter_add(x, cr.Tensor(i), size=n, axis=a),
            lambda x, i, a, n: torch.zeros(
                [n if k == a else m for k, m in enumerate(x.shape)], dtype=x.dtype
            ).index_add(a, torch.tensor(i), x),
            [shape],
            [(at, axis, size)],
        )
    yield from rows(
        "scatter_add-2d",
        lambda x: cr.scatter_add(x, cr.Tensor([[0, 2], [2, 1]]), size=3, axis=0),
        lambda x: torch.zeros(3, 2, dtype=x.dtype).index_add(
            0, torch.tensor([0, 2, 2, 1]), x.reshape(4, 2)
        ),
        [(2, 2, 2)],
        on=real,
    )


def cases() -> Iterator[Case]:
    """All of them."""
    for table in (reading, assigning, gathering):
        yield from table()
