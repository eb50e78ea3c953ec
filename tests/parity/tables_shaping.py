"""Cases of the functions that move elements about."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from parity_harness import Case, real, rows, with_inf, with_nan

import chainrule as cr

F = torch.nn.functional


def _torch_pads(widths: tuple[tuple[int, int], ...]) -> list[int]:
    """PyTorch counts pads from the last axis."""
    return [n for pair in reversed(widths) for n in pair]


def _mirrored(x: torch.Tensor, widths: tuple[tuple[int, int], ...], mode: str) -> torch.Tensor:
    """PyTorch pads by reflection only the last 1 to 3 axes of a batch of channels."""
    return F.pad(x[None, None], _torch_pads(widths), mode)[0, 0]


def arranging() -> Iterator[Case]:
    for shape, target in [
        ((2, 6), (3, 4)),
        ((2, 6), (-1,)),
        ((2, 6), (2, 1, -1)),
        ((1, 1), ()),
        ((), (1, 1)),
        ((0, 3), (3, 0)),
        ((0, 3), (0, 5)),
        ((2, 3, 4), (6, -1)),
        ((4,), (4,)),
        ((2, 2), (1, 4, 1)),
    ]:
        yield from rows("reshape", cr.reshape, torch.reshape, [shape], [(target,)])
    for shape, axes in [
        ((2, 3), (1, 0)),
        ((2, 3, 4), (2, 0, 1)),
        ((2, 3, 4), (0, 2, 1)),
        ((2, 3, 4), (-1, 0, 1)),
        ((2, 0, 3), (1, 2, 0)),
        ((3,), (0,)),
        ((), ()),
        ((2, 1, 3, 2), (3, 1, 0, 2)),
    ]:
        yield from rows("permute_dims", cr.permute_dims, torch.permute, [shape], [(axes,)])
    yield from rows(
        "matrix_transpose", cr.matrix_transpose, lambda x: x.mT, [(2, 3), (2, 3, 4), (0, 2), (1, 1)]
    )
    yield from rows(
        "transpose", cr.transpose, torch.permute, [(2, 3, 4)], [((1, 2, 0),), ((0, 2, 1),)]
    )
    yield from rows(
        "transpose",
        lambda x: cr.transpose(x),
        lambda x: x.permute(*reversed(range(x.ndim))),
        [(2, 3, 4), (2, 3), (3,)],
        note="all",
    )
    yield from rows("mT", lambda x: x.mT, lambda x: x.mT, [(2, 3), (2, 3, 4)])
    moves = [(0, 2), (-1, 0), (1, 1), ((0, 1), (2, 0)), ((0, 1, 2), (1, 2, 0))]
    yield from rows("moveaxis", cr.moveaxis, torch.moveaxis, [(2, 3, 4)], moves)
    yield from rows(
        "expand_dims",
        lambda x, a: cr.expand_dims(x, axis=a),
        torch.unsqueeze,
        [(), (3,), (2, 3), (0,)],
        [(0,), (-1,)],
    )
    for shape, axis in [
        ((1, 3), 0),
        ((2, 1, 3, 1), 1),
        ((2, 1, 3, 1), (1, 3)),
        ((1,), -1),
        ((0, 1), 1),
    ]:
        yield from rows("squeeze", cr.squeeze, torch.squeeze, [shape], [(axis,)])
    yield from rows(
        "squeeze-all", lambda x: cr.squeeze(x), torch.squeeze, [(1, 3, 1), (1, 1), (2,)]
    )
    yield from rows(
        "flatten",
        cr.flatten,
        torch.flatten,
        [(2, 3, 4), (2, 0, 1)],
        [(), (1,), (0, 1), (-2,), (1, 1)],
    )
    for shape, target in [
        ((3,), (2, 3)),
        ((2, 1), (2, 4)),
        ((), (2, 2)),
        ((1, 3, 1), (2, 3, 4)),
        ((1,), (0,)),
        ((2, 3), (2, 3)),
        ((1, 1), (3, 1, 2)),
        ((0, 1), (0, 3)),
    ]:
        yield from rows("broadcast_to", cr.broadcast_to, torch.broadcast_to, [shape], [(target,)])
    yield from rows(
        "broadcast_arrays",
        lambda *xs: cr.broadcast_arrays(*xs),
        lambda *xs: torch.broadcast_tensors(*xs),
        [((3, 1), (1, 2)), ((2,), (), (3, 1))],
    )
    for shape, axis in [((2, 3), None), ((2, 3), 0), ((2, 3, 2), (0, 2)), ((4,), -1), ((0, 2), 0)]:
        yield from rows(
            "flip",
            lambda x, a: cr.flip(x, axis=a),
            lambda x, a: torch.flip(x, list(range(x.ndim)) if a is None else _several(a)),
            [shape],
            [(axis,)],
        )
    for shape, shift, axis in [
        ((5,), 2, 0),
        ((5,), -1, 0),
        ((2, 3), 1, None),
        ((2, 3), 7, 1),
        ((3, 4), (1, -2), (0, 1)),
        ((3,), 0, 0),
        ((2, 3), -4, None),
        ((0,), 1, 0),
    ]:
        yield from rows(
            "roll", lambda x, s, a: cr.roll(x, s, axis=a), torch.roll, [shape], [(shift, axis)]
        )


def _several(axis: int | tuple[int, ...]) -> tuple[int, ...]:
    return axis if isinstance(axis, tuple) else (axis,)


def repeating() -> Iterator[Case]:
    for shape, times in [
        ((3,), (2,)),
        ((2, 3), (2, 1)),
        ((2, 3), (2,)),
        ((2,), (3, 2)),
        ((2, 2), (0, 1)),
        ((), (3,)),
        ((2, 1), (1, 3)),
    ]:
        yield from rows("tile", cr.tile, torch.tile, [shape], [(times,)])
    for shape, times, axis in [
        ((3,), 2, 0),
        ((2, 3), 3, 1),
        ((2, 3), 2, None),
        ((2, 3), 0, 0),
        ((2, 0), 2, 1),
    ]:
        yield from rows(
            "repeat",
            lambda x, n, a: cr.repeat(x, n, axis=a),
            torch.repeat_interleave,
            [shape],
            [(times, axis)],
        )
    for shape, counts, axis in [((3,), (1, 0, 2), 0), ((2, 3), (2, 0, 1), 1), ((2, 2), (0, 0), 0)]:
        yield from rows(
            "repeat-each",
            lambda x, n, a: cr.repeat(x, cr.Tensor(list(n)), axis=a),
            lambda x, n, a: torch.repeat_interleave(x, torch.tensor(n), a),
            [shape],
            [(counts, axis)],
        )


def joining() -> Iterator[Case]:
    for shapes, axis in [
        (((2, 3), (2, 1)), 1),
        (((2, 3), (1, 3), (4, 3)), 0),
        (((2, 0), (2, 2)), -1),
        (((3,),), 0),
        (((0,), (2,), (0,)), 0),
        (((2, 1, 3), (2, 2, 3)), -2),
    ]:
        yield from rows(
            "concat",
            lambda *xs: cr.concat(xs[:-1], axis=xs[-1]),
            lambda *xs: torch.concat(xs[:-1], dim=xs[-1]),
            [shapes],
            [(axis,)],
        )
    for shapes, axis in [
        (((2, 3), (2, 3)), 0),
        (((2, 3), (2, 3)), -1),
        (((), (), ()), 0),
        (((3,),), 1),
        (((0, 2), (0, 2)), 1),
    ]:
        yield from rows(
            "stack",
            lambda *xs: cr.stack(xs[:-1], axis=xs[-1]),
            lambda *xs: torch.stack(xs[:-1], dim=xs[-1]),
            [shapes],
            [(axis,)],
        )
    yield from rows(
        "concat-same",
        lambda x: cr.concat([x, x * 2, x]),
        lambda x: torch.concat([x, x * 2, x]),
        [(2, 3), (1,)],
    )
    yield from rows(
        "unstack",
        lambda x, a: cr.unstack(x, axis=a),
        torch.unbind,
        [(2, 3), (3, 1, 2)],
        [(0,), (1,), (-1,)],
    )
    for shape, sections, axis in [
        ((6,), 3, 0),
        ((2, 4), 2, 1),
        ((6,), [1, 4], 0),
        ((3, 5), [0, 2, 2], 1),
        ((4, 2), 1, 0),
    ]:
        yield from rows("split", cr.split, torch.tensor_split, [shape], [(sections, axis)])


def padding() -> Iterator[Case]:
    for shape, widths, value in [
        ((3,), ((1, 2),), 0.0),
        ((2, 3), ((0, 1), (2, 0)), 0.0),
        ((2, 3), ((1, 1), (1, 1)), 2.5),
        ((0, 2), ((1, 0), (0, 1)), 0.0),
        ((2, 1, 2), ((0, 0), (1, 1), (0, 3)), -1.0),
        ((2,), ((0, 0),), 0.0),
        ((2,), ((1, 0),), float("inf")),
    ]:
        yield from rows(
            "pad-constant",
            lambda x, w, v: cr.pad(x, w, value=v),
            lambda x, w, v: F.pad(x, _torch_pads(w), value=v),
            [shape],
            [(widths, value)],
        )
    for mode, name in [("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")]:
        for shape, widths in [
            ((4,), ((2, 3),)),
            ((4,), ((0, 1),)),
            ((3, 4), ((1, 2), (3, 0))),
            ((2, 3, 2), ((1, 1), (2, 0), (0, 1))),
            ((2, 3), ((0, 0), (2, 2))),
        ]:
            yield from rows(
                f"pad-{mode}",
                lambda x, w, m=mode: cr.pad(x, w, m),
                lambda x, w, m=name: _mirrored(x, w, m),
                [shape],
                [(widths,)],
            )
    yield from rows(
        "pad-edge",
        lambda x, w: cr.pad(x, w, "edge"),
        lambda x, w: _mirrored(x, w, "replicate"),
        [(1,)],
        [(((3, 4),),)],
    )


def triangles() -> Iterator[Case]:
    for shape in [(3, 3), (2, 4), (4, 2), (2, 3, 3), (1, 1), (0, 3)]:
        yield from rows(
            "diagonal",
            lambda x, k: cr.diagonal(x, offset=k),
            lambda x, k: torch.diagonal(x, k, -2, -1),
            [shape],
            [(0,), (1,), (-1,)],
        )
        for ours, theirs in [(cr.tril, torch.tril), (cr.triu, torch.triu)]:
            yield from rows(
                ours.__name__, lambda x, k, f=ours: f(x, k=k), theirs, [shape], [(0,), (1,), (-2,)]
            )
    for domain, note in ((with_inf, "inf"), (with_nan, "nan")):
        yield from rows("tril", lambda x: cr.tril(x), torch.tril, [(4, 4)], on=domain, note=note)
        yield from rows("diff", lambda x: cr.diff(x), torch.diff, [(6,)], on=domain, note=note)
    yield from rows(
        "diff",
        lambda x, n, a: cr.diff(x, n=n, axis=a),
        torch.diff,
        [(5, 4)],
        [(1, 0), (1, 1), (2, -1), (3, 0), (0, 0)],
    )
    for ends in (("prepend",), ("append",), ("prepend", "append")):
        yield from rows(
            "diff-ends",
            lambda x, *more, k=ends: cr.diff(x, **dict(zip(k, more, strict=True))),
            lambda x, *more, k=ends: torch.diff(x, **dict(zip(k, more, strict=True))),
            [((2, 4), *((2, 1) for _ in ends))],
            note="-".join(ends),
        )
    yield from rows(
        "meshgrid",
        lambda x, y: cr.meshgrid(x, y, indexing="ij"),
        lambda x, y: torch.meshgrid(x, y, indexing="ij"),
        [((2,), (3,))],
    )
    yield from rows("clone", lambda x: x.clone() * x, lambda x: x.clone() * x, [(2, 3)])
    yield from rows("detach", lambda x: x.detach() * x, lambda x: x.detach() * x, [(2, 3)])
    yield from rows(
        "stop_gradient",
        lambda x: cr.stop_gradient(x * x) * x,
        lambda x: (x * x).detach() * x,
        [(2, 3), ()],
    )
    yield from rows(
        "astype-float64",
        lambda x: cr.astype(x, cr.float64) * x,
        lambda x: x.to(torch.float64) * x,
        [(2, 3)],
        on=real,
    )


def cases() -> Iterator[Case]:
    """All of them."""
    for table in (arranging, repeating, joining, padding, triangles):
        yield from table()
