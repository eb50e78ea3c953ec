"""Compiled convolutions and pooling against PyTorch in float64: values and derivatives.

Compiling takes far longer than computing, so one compiled function does several cases.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from parity_harness import Case, Levels, as_list, assert_close, by_torch, gradient, rows, ties
from tables_contractions import our_convolution, torch_convolution, torch_lp_pool, torch_sum_pool

import chainrule as cr
from chainrule import nn
from chainrule.functions.contractions import convolution_transpose

F = torch.nn.functional
AT_ONCE = 12  # cases of one compiled function

# channels of a group, outputs, groups
CHANNELS = [
    (1, 1, 1),
    (3, 16, 1),
    (5, 3, 1),
    (16, 17, 1),
    (17, 5, 1),
    (32, 40, 1),
    (40, 32, 1),
    (1, 4, 4),
    (1, 6, 3),
    (1, 16, 16),
    (1, 34, 17),
    (3, 4, 2),
    (2, 40, 4),
    (5, 2, 2),
    (32, 34, 2),
]

# batch, size, kernel, stride, padding, dilation
WINDOWS: list[tuple[int, tuple[int, ...], tuple[int, ...], Any, Any, Any]] = [
    (1, (11,), (3,), 1, 1, 1),
    (2, (37,), (4,), 2, ((2, 1),), 1),
    (3, (23,), (3,), 1, ((0, 4),), 3),
    (5, (9,), (9,), 1, 0, 1),
    (2, (16,), (1,), 1, 0, 1),
    (1, (13,), (2,), 5, 0, 1),
    (4, (12,), (3,), 2, ((-2, 3),), 2),
    (1, (6, 7), (3, 3), 1, 1, 1),
    (3, (9, 5), (2, 3), (2, 1), ((1, 0), (2, 1)), 1),
    (2, (7, 8), (3, 2), 1, ((2, -1), (-1, 3)), (1, 2)),
    (1, (5, 6), (5, 6), 1, 0, 1),
    (5, (5, 5), (1, 1), 1, 0, 1),
    (2, (8, 3), (3, 2), (3, 4), 1, (2, 1)),
    (1, (19, 17), (3, 3), 1, 1, 1),
    (1, (3, 4, 5), (3, 2, 3), 1, 1, 1),
    (2, (5, 4, 3), (2, 1, 2), (2, 1, 2), ((0, 1), (1, 0), (-1, 2)), (1, 1, 2)),
    (1, (2, 3, 2), (2, 3, 2), 1, 0, 1),
]

# batch, size, kernel, stride, padding, output_padding, dilation, channels, outputs / groups, groups
TRANSPOSED: list[
    tuple[int, tuple[int, ...], tuple[int, ...], Any, Any, Any, Any, int, int, int]
] = [
    (2, (7,), (3,), 1, 0, 0, 1, 5, 17, 1),
    (1, (6,), (4,), 2, 1, 0, 1, 16, 3, 1),
    (3, (5,), (3,), 3, 2, 2, 1, 3, 16, 1),
    (1, (9,), (2,), 4, 0, 3, 1, 4, 1, 4),
    (2, (5,), (3,), 2, 1, 1, 2, 6, 2, 2),
    (1, (4,), (5,), 1, 3, 0, 2, 1, 1, 1),
    (2, (4, 5), (2, 2), 2, 0, 0, 1, 17, 32, 1),
    (1, (3, 4), (3, 3), 2, 1, 1, 1, 8, 5, 1),
    (1, (3, 3), (4, 3), (2, 3), (1, 0), (0, 2), (1, 2), 6, 3, 2),
    (2, (3, 2), (3, 2), (3, 1), 0, (1, 0), 1, 16, 1, 16),
    (1, (4, 4), (1, 1), 2, 0, 1, 1, 3, 3, 1),
    (1, (2, 3, 2), (2, 3, 2), 2, 0, 1, 1, 3, 5, 1),
    (2, (2, 2, 3), (3, 2, 2), (1, 2, 2), (1, 0, 1), 0, 1, 4, 1, 4),
]


def torch_transposed(
    x: Any, w: Any, stride: Any, padding: Any, more: Any, dilation: Any, groups: int
) -> Any:
    n = x.ndim - 2
    f = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
    kernel = w.permute(n + 1, n, *range(n)).contiguous()
    out = f(x.movedim(-1, 1).contiguous(), kernel, None, stride, padding, more, groups, dilation)
    return out.movedim(1, -1)


def our_transposed(
    x: Any, w: Any, stride: Any, padding: Any, more: Any, dilation: Any, groups: int
) -> Any:
    return convolution_transpose(
        x,
        w,
        stride=stride,
        padding=padding,
        output_padding=more,
        kernel_dilation=dilation,
        groups=groups,
    )


def convolutions() -> Iterator[Case]:
    for (batch, size, kernel, *how), (inner, outputs, groups) in itertools.product(
        WINDOWS, CHANNELS
    ):
        x, w = (batch, *size, inner * groups), (*kernel, inner, outputs)
        name = f"convolution{len(size)}d"
        yield from rows(name, our_convolution, torch_convolution, [(x, w)], [(*how, groups)])


def random_convolutions(count: int) -> Iterator[Case]:
    """Sizes, strides, dilations, paddings that no table lists."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        n = int(rng.integers(1, 4))
        inner, outputs, groups = CHANNELS[rng.integers(len(CHANNELS))]
        kernel, stride, dilation = (
            tuple(map(int, rng.choice(values, n)))
            for values in ([1, 2, 3, 5], [1, 2, 3], [1, 1, 2])
        )
        padding = tuple((int(a), int(b)) for a, b in rng.integers(-1, 4, (n, 2)))
        size = tuple(
            dilation[k] * (kernel[k] - 1) + 3 + int(rng.integers(0, (25, 9, 4)[n - 1]))
            for k in range(n)
        )
        x, w = (int(rng.integers(1, 6)), *size, inner * groups), (*kernel, inner, outputs)
        how = stride, padding, dilation, groups
        yield from rows("random", our_convolution, torch_convolution, [(x, w)], [how])


def transposed() -> Iterator[Case]:
    for batch, size, kernel, *how, channels, wide, groups in TRANSPOSED:
        shapes = (batch, *size, channels), (*kernel, wide, channels)
        yield from rows("transposed", our_transposed, torch_transposed, [shapes], [(*how, groups)])


# ── pooling ──────────────────────────────────────────────────────────────────────────────────────

# shape, window, stride, padding, dilation
POOLS: list[tuple[tuple[int, ...], Any, Any, Any, Any]] = [
    ((2, 12, 5), 3, 3, 0, 1),
    ((1, 13, 17), 3, 2, 1, 1),
    ((3, 29, 1), 4, 1, 2, 2),
    ((2, 7, 3), 7, 1, 3, 1),
    ((1, 9, 16), 1, 4, 0, 1),
    ((5, 11, 3), 2, 5, 1, 3),
    ((2, 6, 8, 3), 2, 2, 0, 1),
    ((1, 7, 9, 17), 3, 2, 1, 1),
    ((2, 8, 6, 5), (2, 3), (1, 2), (0, 1), (3, 1)),
    ((1, 5, 6, 16), (5, 6), 1, 0, 1),
    ((3, 9, 4, 1), (3, 2), (4, 1), (1, 1), 1),
    ((1, 4, 4, 6, 3), 2, 2, 0, 1),
    ((2, 5, 3, 4, 2), (3, 2, 2), (2, 1, 3), (1, 0, 1), (1, 2, 1)),
]
# shape, sizes of the result
ADAPTIVE: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((2, 12, 5), (4,)),
    ((1, 17, 3), (5,)),
    ((2, 5, 7, 3), (5, 2)),
    ((1, 6, 9, 2), (4, 3)),
    ((2, 7, 5, 17), (3, 4)),
    ((1, 4, 5, 7, 2), (3, 5, 2)),
]


def torch_pool(x: Any, kind: str, *how: Any) -> Any:
    """PyTorch's function for as many sizes, of channels that stand last."""
    return getattr(F, f"{kind}_pool{x.ndim - 2}d")(x.movedim(-1, 1), *how).movedim(1, -1)


def our_max(x: Any, kind: str, window: Any, stride: Any, padding: Any, gap: Any, ceil: bool) -> Any:
    return cr.max_pool(x, window, stride=stride, padding=padding, dilation=gap, ceil_mode=ceil)


def our_avg(
    x: Any, kind: str, window: Any, stride: Any, padding: Any, ceil: bool, include: bool
) -> Any:
    how = {"stride": stride, "padding": padding, "ceil_mode": ceil}
    return cr.avg_pool(x, window, count_include_pad=include, **how)


def our_lp(x: Any, p: float, window: Any, stride: Any, ceil: bool) -> Any:
    return cr.lp_pool(x, p, window, stride=stride, ceil_mode=ceil)


def our_sum(x: Any, window: Any, stride: Any, padding: Any) -> Any:
    return cr.sum_pool(x, window, stride=stride, padding=padding)


def our_adaptive(x: Any, kind: str, size: Any) -> Any:
    layer = {"adaptive_max": "AdaptiveMaxPool", "adaptive_avg": "AdaptiveAvgPool"}[kind]
    return getattr(nn, f"{layer}{x.ndim - 2}d")(size)(x)


def pooling() -> Iterator[Case]:
    for shape, window, stride, padding, dilation in POOLS:
        how = window, stride, padding
        most = [("max", *how, dilation, ceil) for ceil in (False, True)]
        yield from rows("max", our_max, torch_pool, [shape], most)
        yield from rows("max", our_max, torch_pool, [shape], most, on=ties, note="ties")
        if dilation == 1:
            means = [("avg", *how, *flags) for flags in itertools.product((False, True), repeat=2)]
            yield from rows("avg", our_avg, torch_pool, [shape], means)
            yield from rows("sum", our_sum, torch_sum_pool, [shape], [how])
        if (padding, dilation) == (0, 1):
            yield from rows("lp", our_lp, torch_lp_pool, [shape], [(3.0, window, stride, False)])
    for shape, size in ADAPTIVE:
        for kind in ("adaptive_max", "adaptive_avg"):
            yield from rows(kind, our_adaptive, torch_pool, [shape], [(kind, size)])


# ── compiled ─────────────────────────────────────────────────────────────────────────────────────


def together(cases: Sequence[Case], theirs: Sequence[Levels]) -> list[Levels]:
    """The levels of all cases, by one compiled function; as many of them as PyTorch's have."""
    second = "second" in theirs[0]
    arguments = []
    for case, levels in zip(cases, theirs, strict=True):
        xs = case.inputs()
        purposes = [xs, case.cotangents("u", levels["value"])]
        purposes += [case.cotangents("v", xs)] if second else []
        arguments.append([[cr.Tensor(a) for a in arrays] for arrays in purposes])

    def run(arguments: Any) -> Any:
        out = []
        for case, (xs, us, *vs) in zip(cases, arguments, strict=True):
            found = {"value": as_list(case.ours(*xs))}
            found["first"], back = cr.vjp(gradient(case.ours, len(us)), *us, *xs)
            if second:
                found["second"] = back(tuple(vs[0]))
            out.append(found)
        return out

    compiled = cr.compile(run)
    assert "numpy" not in str(compiled.plan(arguments))
    return [
        {level: [t.numpy() for t in tensors] for level, tensors in levels.items()}
        for levels in compiled(arguments)
    ]


def chunks(cases: Sequence[Case]) -> list[Any]:
    parts = [cases[k : k + AT_ONCE] for k in range(0, len(cases), AT_ONCE)]
    return [pytest.param(part, id=f"{k}, from {part[0].operation}") for k, part in enumerate(parts)]


CASES = [*convolutions(), *random_convolutions(40), *transposed(), *pooling()]


@pytest.mark.parametrize("cases", chunks(CASES))
def test_values_and_gradients_are_those_of_pytorch(cases: list[Case]) -> None:
    theirs = [by_torch(case, ("value", "first")) for case in cases]
    for case, ours, wanted in zip(cases, together(cases, theirs), theirs, strict=True):
        for level, arrays in wanted.items():
            assert_close(ours[level], arrays, f"{case.id} {level}")


@pytest.mark.parametrize("cases", chunks(CASES[:: len(CASES) // 31]))
def test_second_derivatives_are_those_of_pytorch(cases: list[Case]) -> None:
    theirs = [by_torch(case) for case in cases]
    for case, ours, wanted in zip(cases, together(cases, theirs), theirs, strict=True):
        for level, arrays in wanted.items():
            assert_close(ours[level], arrays, f"{case.id} {level}")


def test_the_cases_are_many_and_differ() -> None:
    ids = [case.id for case in CASES]
    assert len({*ids}) == len(ids) > 400
