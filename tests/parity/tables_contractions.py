"""Cases of sums of products and of what slides a window."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from parity_harness import Case, distinct, rows, some_zeros, ties, with_inf, with_nan

import chainrule as cr

F = torch.nn.functional


def products() -> Iterator[Case]:
    shapes = [
        ((3,), (3,)),
        ((1,), (1,)),
        ((0,), (0,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 4)),
        ((1, 1), (1, 1)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 2)),
        ((2, 3), (3, 0)),
        ((2, 2, 3), (2, 3, 2)),
        ((2, 2, 3), (3, 4)),
        ((2, 3), (2, 3, 2)),
        ((2, 2, 3), (3,)),
        ((3,), (2, 3, 2)),
        ((2, 1, 2, 3), (3, 3, 2)),
        ((1, 2, 3), (4, 3, 1)),
        ((0, 2, 3), (3, 2)),
        ((2, 1, 1, 2), (1, 3, 2, 1)),
        ((2, 3, 1, 4), (4, 2)),
    ]
    yield from rows("matmul", cr.matmul, torch.matmul, shapes)
    yield from rows("x@y", lambda x, y: x @ y, lambda x, y: x @ y, shapes[4:6])
    yield from rows("x@x.T", lambda x: x @ x.T, lambda x: x @ x.T, [(2, 3), (3, 1)])
    for special in (with_nan, with_inf, some_zeros):
        yield from rows(
            "matmul",
            cr.matmul,
            torch.matmul,
            [((2, 3), (3, 2)), ((3,), (3,))],
            on=special,
            note=special.__name__,
        )
    yield from rows("dot", cr.dot, torch.dot, [((3,), (3,)), ((0,), (0,))])
    yield from rows("outer", cr.outer, torch.outer, [((3,), (2,)), ((1,), (0,))])
    for shapes_, axis in [
        (((3,), (3,)), -1),
        (((2, 3), (2, 3)), -1),
        (((2, 3), (3,)), -1),
        (((2, 3, 2), (2, 3, 2)), -2),
        (((2, 1, 3), (4, 3)), -1),
    ]:
        yield from rows(
            "vecdot",
            lambda x, y, a: cr.vecdot(x, y, axis=a),
            lambda x, y, a: torch.linalg.vecdot(x, y, dim=a),
            [shapes_],
            [(axis,)],
        )
    for shapes_, axes in [
        (((2, 3), (3, 4)), 1),
        (((2, 3), (4,)), 0),
        (((2, 3, 4), (3, 4, 2)), 2),
        (((2, 3), (2, 3)), 2),
        (((2, 3, 4), (4, 2, 5)), ([0, 2], [1, 0])),
        (((2, 3), (3, 2)), ([0], [1])),
        (((2, 3), (4, 3)), ([-1], [-1])),
        (((), ()), 0),
        (((2, 0), (0, 3)), 1),
    ]:
        yield from rows(
            "tensordot",
            lambda x, y, a: cr.tensordot(x, y, axes=a),
            lambda x, y, a: torch.tensordot(x, y, a),
            [shapes_],
            [(axes,)],
        )


EINSUMS: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    ("ij->ji", ((2, 3),)),
    ("ij->", ((2, 3),)),
    ("ij->j", ((2, 3),)),
    ("ii->i", ((3, 3),)),
    ("ii", ((3, 3),)),
    ("iij->j", ((2, 2, 3),)),
    ("ijj->ij", ((2, 3, 3),)),
    ("i->i", ((3,),)),
    ("ba", ((2, 3),)),
    ("...ij->...ji", ((2, 3, 4),)),
    ("...i->...", ((2, 3),)),
    ("i,i->", ((3,), (3,))),
    ("i,i", ((3,), (3,))),
    ("i,j->ij", ((3,), (2,))),
    ("i,j->ji", ((3,), (2,))),
    ("ij,jk->ik", ((2, 3), (3, 4))),
    ("ij,jk", ((2, 3), (3, 4))),
    ("ij,kj->ik", ((2, 3), (4, 3))),
    ("ij,ij->", ((2, 3), (2, 3))),
    ("ij,ij->ij", ((2, 3), (2, 3))),
    ("ij,j->ij", ((2, 3), (3,))),
    ("ij,i->j", ((2, 3), (2,))),
    ("ij,->ij", ((2, 3), ())),
    ("bij,bjk->bik", ((2, 2, 3), (2, 3, 2))),
    ("bij,jk->bik", ((2, 2, 3), (3, 2))),
    ("bhqd,bhkd->bhqk", ((2, 1, 3, 2), (2, 1, 2, 2))),
    ("bqhd,bkhd->bhqk", ((1, 3, 2, 2),) * 2),
    ("...ij,...jk->...ik", ((2, 2, 3), (3, 2))),
    ("...ij,...jk->...ik", ((2, 1, 2, 3), (4, 3, 2))),
    ("i...,j...->ij...", ((2, 3), (4, 3))),
    ("ijk,jil->kl", ((2, 3, 4), (3, 2, 2))),
    ("ij,kl->", ((2, 3), (2, 2))),
    ("ij,k->j", ((2, 3), (4,))),
    ("ii,ij->j", ((2, 2), (2, 3))),
    ("ij,jk,kl->il", ((2, 3), (3, 2), (2, 4))),
    ("a,a,a->a", ((3,), (3,), (3,))),
    ("i,j,k->kji", ((2,), (3,), (2,))),
    ("bi,ijk,bk->bj", ((2, 3), (3, 2, 2), (2, 2))),
    ("ij,jk,ki->", ((2, 3), (3, 2), (2, 2))),
    ("ij,jk->ik", ((0, 3), (3, 2))),
    ("ij,jk->ik", ((2, 0), (0, 3))),
    ("ij,jk->ik", ((1, 1), (1, 1))),
    ("i,i->i", ((1,), (1,))),
]


def einsums() -> Iterator[Case]:
    for equation, shapes in EINSUMS:
        yield from rows(
            "einsum",
            lambda *xs, e=equation: cr.einsum(e, *xs),
            lambda *xs, e=equation: torch.einsum(e, *xs),
            [shapes],
            note=equation,
        )


# ── convolution ──────────────────────────────────────────────────────────────────────────────────


def torch_convolution(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """Channels moved to PyTorch's places and back."""
    n = x.ndim - 2
    f = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    if isinstance(padding, tuple) and isinstance(padding[0], tuple):
        pads = [p for pair in reversed(padding) for p in pair]
        x, padding = F.pad(x, [0, 0, *pads]), 0
    kernel = w.permute(n + 1, n, *range(n)).contiguous()
    out = f(x.movedim(-1, 1).contiguous(), kernel, None, stride, padding, dilation, groups)
    return out.movedim(1, -1)


def our_convolution(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    return cr.convolution(
        x, w, stride=stride, padding=padding, kernel_dilation=dilation, groups=groups
    )


# x, w, (stride, padding, dilation, groups)
CONVOLUTIONS: list[tuple[Any, Any, tuple[Any, ...]]] = [
    ((2, 5, 2), (3, 2, 3), (1, 0, 1, 1)),
    ((1, 5, 1), (1, 1, 1), (1, 0, 1, 1)),
    ((2, 5, 2), (3, 2, 3), (2, 0, 1, 1)),
    ((2, 6, 2), (3, 2, 3), (2, 1, 1, 1)),
    ((2, 7, 2), (3, 2, 1), (3, 2, 2, 1)),
    ((1, 4, 4), (3, 2, 2), (1, 1, 1, 2)),
    ((1, 4, 3), (2, 1, 6), (1, 0, 1, 3)),
    ((2, 8, 4), (2, 2, 4), (3, 1, 3, 2)),
    ((1, 3, 2), (3, 2, 2), (1, 0, 1, 1)),
    ((1, 2, 1), (3, 1, 1), (1, 2, 1, 1)),
    ((1, 5, 2), (2, 2, 2), (1, ((1, 0),), 1, 1)),
    ((1, 5, 2), (3, 2, 2), (2, ((0, 3),), 1, 1)),
    ((2, 5, 2), (3, 2, 1), (1, "same", 1, 1)),
    ((2, 6, 2), (3, 2, 1), (1, "same", 2, 1)),
    ((2, 5, 2), (3, 2, 1), (1, "valid", 1, 1)),
    ((1, 1, 1), (1, 1, 1), (2, 0, 1, 1)),
    ((2, 4, 5, 2), (2, 3, 2, 3), (1, 0, 1, 1)),
    ((1, 4, 5, 2), (3, 3, 2, 2), (1, 1, 1, 1)),
    ((1, 5, 6, 2), (3, 2, 2, 2), ((2, 1), (1, 0), 1, 1)),
    ((1, 6, 5, 2), (2, 2, 2, 2), (1, 0, (2, 3), 1)),
    ((1, 4, 4, 4), (3, 3, 2, 4), (2, 1, 1, 2)),
    ((2, 3, 4, 3), (2, 2, 1, 3), (1, (0, 1), 1, 3)),
    ((1, 4, 4, 1), (2, 2, 1, 1), (2, 0, 1, 1)),
    ((1, 4, 3, 2), (2, 2, 2, 1), (1, ((0, 1), (2, 0)), 1, 1)),
    ((1, 5, 4, 1), (3, 3, 1, 2), (1, "same", 1, 1)),
    ((1, 4, 4, 2), (1, 1, 2, 3), (1, 0, 1, 1)),
    ((0, 4, 4, 2), (2, 2, 2, 3), (1, 0, 1, 1)),
    ((1, 3, 3, 3, 1), (2, 2, 2, 1, 2), (1, 0, 1, 1)),
    ((1, 3, 4, 3, 2), (2, 2, 1, 2, 1), ((1, 2, 1), (1, 0, 1), 1, 1)),
    ((1, 4, 4, 4, 2), (2, 2, 2, 1, 2), (2, 0, 1, 2)),
    ((1, 4, 3, 4, 1), (2, 1, 2, 1, 1), (1, 0, (2, 1, 3), 1)),
    ((2, 2, 2, 2, 1), (3, 3, 3, 1, 1), (1, 1, 1, 1)),
]


def torch_transposed(x: Any, w: Any, stride: int, padding: int) -> Any:
    """conv_transpose, with the kernel (*kernel, C, O)."""
    n = x.ndim - 2
    f = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
    kernel = w.permute(n, n + 1, *range(n)).contiguous()
    out = f(x.movedim(-1, 1).contiguous(), kernel, None, stride, padding)
    return out.movedim(1, -1)


def our_transposed(x: Any, w: Any, stride: int, padding: int) -> Any:
    """The transposed convolution: the input spread by the stride, the kernel mirrored."""
    n = x.ndim - 2
    pads = tuple((k - 1 - padding,) * 2 for k in w.shape[:n])
    return cr.convolution(x, cr.flip(w, axis=tuple(range(n))), input_dilation=stride, padding=pads)


def convolutions() -> Iterator[Case]:
    for x, w, args in CONVOLUTIONS:
        name = f"convolution{len(x) - 2}d"
        yield from rows(name, our_convolution, torch_convolution, [(x, w)], [args])
    for x, w in [
        ((1, 3, 2), (3, 2, 2)),
        ((2, 3, 2, 1), (2, 3, 1, 2)),
        ((1, 2, 2, 2, 1), (2, 2, 2, 1, 1)),
    ]:
        yield from rows(
            "convolution-transposed",
            our_transposed,
            torch_transposed,
            [(x, w)],
            [(1, 0), (2, 0), (2, 1), (3, 1)],
        )
    for special in (with_nan, some_zeros):
        yield from rows(
            "convolution1d",
            our_convolution,
            torch_convolution,
            [((1, 5, 1), (2, 1, 1))],
            [(1, 0, 1, 1)],
            on=special,
            note=special.__name__,
        )


# ── pooling ──────────────────────────────────────────────────────────────────────────────────────


def torch_max_pool(x: Any, window: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    f = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
    return f(x.movedim(-1, 1), window, stride, padding, dilation).movedim(1, -1)


def our_max_pool(x: Any, window: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    return cr.max_pool(x, window, stride=stride, padding=padding, dilation=dilation)


def torch_avg_pool(x: Any, window: Any, stride: Any, padding: Any) -> Any:
    f = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    return f(x.movedim(-1, 1), window, stride, padding).movedim(1, -1)


def torch_sum_pool(x: Any, window: Any, stride: Any, padding: Any) -> Any:
    size = window ** (x.ndim - 2) if isinstance(window, int) else math.prod(window)
    return torch_avg_pool(x, window, stride, padding) * size


def torch_windows(x: Any, window: Any, stride: Any, dilation: Any) -> Any:
    """unfold, one axis after another."""
    n = x.ndim - 2
    strides, dilations = (v if isinstance(v, tuple) else (v,) * n for v in (stride, dilation))
    for k in range(n):
        reach = (window[k] - 1) * dilations[k] + 1
        x = x.unfold(k + 1, reach, strides[k])[..., :: dilations[k]]
    return x.movedim(n + 1, -1)


def torch_fold(x: Any, size: Any, stride: Any, dilation: Any) -> Any:
    """The vector-Jacobian product of unfold."""
    n = len(size)
    there = torch.zeros((x.shape[0], *size, x.shape[-1]), dtype=x.dtype)
    window = x.shape[n + 1 : -1]
    return torch.func.vjp(lambda t: torch_windows(t, window, stride, dilation), there)[1](x)[0]


def torch_lp_pool(x: Any, p: float, window: Any, stride: Any, ceil_mode: bool) -> Any:
    f = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[x.ndim - 3]
    return f(x.movedim(-1, 1).abs(), p, window, stride, ceil_mode).movedim(1, -1)


# window, stride, padding, dilation
POOLS: list[tuple[tuple[int, ...], tuple[Any, ...]]] = [
    ((2, 6, 2), (2, None, 0, 1)),
    ((2, 6, 2), (3, 1, 0, 1)),
    ((1, 7, 1), (3, 2, 1, 1)),
    ((1, 7, 1), (2, 2, 0, 1)),
    ((1, 8, 2), (2, 1, 1, 3)),
    ((1, 3, 1), (1, 1, 0, 1)),
    ((1, 3, 1), (3, 1, 0, 1)),
    ((1, 4, 4, 2), (2, None, 0, 1)),
    ((1, 5, 4, 1), (3, 1, 1, 1)),
    ((1, 5, 6, 2), ((2, 3), (1, 2), 0, 1)),
    ((2, 5, 5, 1), (2, 2, 1, 1)),
    ((1, 6, 6, 1), (2, 1, 0, (2, 3))),
    ((1, 4, 4, 4, 1), (2, None, 0, 1)),
    ((1, 3, 4, 3, 2), (2, 1, 1, 1)),
    ((1, 4, 3, 5, 1), ((2, 1, 3), (2, 1, 1), 0, 1)),
]


def pooling() -> Iterator[Case]:
    for shape, args in POOLS:
        yield from rows("max_pool", our_max_pool, torch_max_pool, [shape], [args], on=distinct)
        if args[-1] == 1:
            for ours, theirs in [(cr.avg_pool, torch_avg_pool), (cr.sum_pool, torch_sum_pool)]:
                yield from rows(
                    ours.__name__,
                    lambda x, w, s, p, f=ours: f(x, w, stride=s, padding=p),
                    theirs,
                    [shape],
                    [args[:-1]],
                )
    yield from rows(
        "max_pool-ties",
        our_max_pool,
        torch_max_pool,
        [(1, 6, 2), (1, 4, 4, 1)],
        [(2, None, 0, 1), (3, 1, 1, 1)],
        on=ties,
    )
    yield from rows(
        "avg_pool",
        lambda x: cr.avg_pool(x, 2),
        lambda x: torch_avg_pool(x, 2, 2, 0),
        [(1, 6, 2)],
        on=with_nan,
        note="with_nan",
    )
    for shape, args in [
        ((2, 5, 2), ((3,), 1, 1)),
        ((1, 6, 1), ((2,), 2, 1)),
        ((1, 7, 2), ((3,), 1, 2)),
        ((1, 4, 5, 2), ((2, 3), 1, 1)),
        ((1, 6, 5, 1), ((2, 2), 2, 2)),
        ((1, 3, 3, 3, 1), ((2, 2, 2), 1, 1)),
    ]:
        yield from rows(
            "unfold",
            lambda x, w, s, d: cr.unfold(x, w, stride=s, dilation=d),
            torch_windows,
            [shape],
            [args],
        )
    for shape, args in [
        ((2, 3, 3, 2), ((5,), 1, 1)),
        ((1, 2, 3, 2, 2, 1), ((6, 7), (3, 2), (2, 1))),
        ((1, 2, 2, 2, 2, 1, 2, 1), ((3, 2, 3), 1, 1)),
    ]:
        yield from rows(
            "fold",
            lambda x, size, s, d: cr.fold(x, size, stride=s, dilation=d),
            torch_fold,
            [shape],
            [args],
        )
    for shape, args in [
        ((2, 7, 2), (2, 2, None, False)),
        ((2, 7, 2), (3, 3, 2, True)),
        ((1, 5, 6, 2), (1.5, (2, 3), (1, 2), False)),
    ]:
        yield from rows(
            "lp_pool",
            lambda x, p, w, s, c: cr.lp_pool(x, p, w, stride=s, ceil_mode=c),
            torch_lp_pool,
            [shape],
            [args],
        )


def cases() -> Iterator[Case]:
    """All of them."""
    for table in (products, einsums, convolutions, pooling):
        yield from table()
