"""Cases of loops, against the same loop written out, and of functions composed of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from parity_harness import Case, distinct, positive, rows, unit

import chainrule as cr

F = torch.nn.functional


def unrolled(
    f: Callable[..., Any], init: Any, xs: Any, length: int | None = None, reverse: bool = False
) -> tuple[Any, list[Any]]:
    """scan as a Python loop: the last carry, and the ys in the order of their xs."""
    n = len(xs) if length is None else length
    carry, ys = init, [None] * n
    for t in reversed(range(n)) if reverse else range(n):
        carry, ys[t] = f(carry, None if xs is None else xs[t])
    return carry, ys


def _stack(ys: list[Any]) -> Any:
    return torch.stack(ys)


# name, body (module, carry, x, constants), shapes of init, xs and the constants
LOOPS: list[tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...]]] = [
    ("sum", lambda m, c, x: (c + x, c + x), ((), (4,))),
    ("product", lambda m, c, x: (c * x, c * x), ((2,), (3, 2))),
    ("keeps", lambda m, c, x: (c, x * x), ((2,), (3, 2))),
    ("carry-only", lambda m, c, x: (m.tanh(c + x), c), ((2,), (3, 2))),
    (
        "rnn",
        lambda m, c, x, w, b: (m.tanh(c @ w + x + b), m.sin(c)),
        ((2, 3), (4, 2, 3), (3, 3), (3,)),
    ),
    (
        "gated",
        lambda m, c, x, w: (m.sigmoid(x @ w) * c + m.exp(-x), m.sum(c * x)),
        ((3,), (5, 3), (3, 3)),
    ),
    ("one-step", lambda m, c, x: (c * m.exp(x), c), ((2,), (1, 2))),
    ("max", lambda m, c, x: (m.maximum(c, x), c), ((3,), (4, 3))),
]


def loops() -> Iterator[Case]:
    for name, body, shapes in LOOPS:
        for reverse in (False, True):
            domain = distinct if name == "max" else unit

            def ours(c: Any, xs: Any, *more: Any, f: Any = body, r: bool = reverse) -> Any:
                last, ys = cr.scan(lambda c, x: f(cr, c, x, *more), c, xs, reverse=r)
                return last, ys

            def theirs(c: Any, xs: Any, *more: Any, f: Any = body, r: bool = reverse) -> Any:
                last, ys = unrolled(lambda c, x: f(torch, c, x, *more), c, xs, reverse=r)
                return last, torch.stack(ys)

            yield from rows(
                f"scan-{name}", ours, theirs, [shapes], on=domain, note="reverse" if reverse else ""
            )
    yield from rows(
        "scan-length", _our_newton, _torch_newton, [((), ()), ((3,), (3,))], on=positive
    )
    yield from rows("scan-trees", _our_trees, _torch_trees, [((2,), (2,), (3, 2), (3,))], on=unit)
    yield from rows("scan-in-scan", _our_nested, _torch_nested, [((2,), (3, 2))], on=unit)
    for shapes, axis in [
        (((4,), (4,)), 0),
        (((1,), (1,)), 0),
        (((3, 2), (3, 2)), 0),
        (((3, 2), (3, 2)), 1),
        (((2, 3, 2), (2, 3, 2)), -2),
        (((), (4,)), 0),
        (((3, 1), (3, 2)), 0),
        (((0,), (0,)), 0),
    ]:
        yield from rows(
            "recurrence",
            lambda a, b, k: cr.recurrence(a, b, axis=k),
            _torch_recurrence,
            [shapes],
            [(axis,)],
            on=unit,
        )


def _our_newton(x: Any, a: Any) -> Any:
    return cr.scan(lambda x, _: (0.5 * (x + a / x), x), x, length=4)


def _torch_newton(x: Any, a: Any) -> Any:
    last, ys = unrolled(lambda x, _: (0.5 * (x + a / x), x), x, None, length=4)
    return last, torch.stack(ys)


def _our_trees(p: Any, q: Any, xs: Any, ts: Any) -> Any:
    def body(carry: Any, row: Any) -> Any:
        x, t = row["x"], row["t"]
        p, q = carry
        return (q * t, p + x), {"a": p * q, "b": t}

    (p, q), ys = cr.scan(body, (p, q), {"x": xs, "t": ts})
    return p, q, ys["a"], ys["b"]


def _torch_trees(p: Any, q: Any, xs: Any, ts: Any) -> Any:
    a = []
    for x, t in zip(xs, ts, strict=True):
        a.append(p * q)
        p, q = q * t, p + x
    return p, q, torch.stack(a), ts * 1


def _our_nested(c: Any, xs: Any) -> Any:
    def inner(c: Any, x: Any) -> Any:
        return c * x, c

    def outer(c: Any, x: Any) -> Any:
        last, ys = cr.scan(inner, cr.sum(c * x), x)
        return cr.sin(c) + last, ys

    return cr.scan(outer, c, xs)


def _torch_nested(c: Any, xs: Any) -> Any:
    rows_ = []
    for x in xs:
        last, ys = unrolled(lambda c, x: (c * x, c), torch.sum(c * x), x)
        rows_.append(torch.stack(ys))
        c = torch.sin(c) + last
    return c, torch.stack(rows_)


def _torch_recurrence(a: Any, b: Any, axis: int) -> Any:
    a, b = torch.broadcast_tensors(a, b)
    h, out = torch.zeros_like(b.select(axis, 0)) if b.shape[axis] else None, []
    for s, t in zip(a.unbind(axis), b.unbind(axis), strict=True):
        h = s * h + t
        out.append(h)
    return torch.stack(out, axis) if out else b * 1


def composed() -> Iterator[Case]:
    """Whole layers: derivatives through many rows at once."""
    for name, f, shapes in COMPOSED:
        yield from rows(
            f"composed-{name}",
            lambda *xs, f=f: f(cr, *xs),
            lambda *xs, f=f: f(torch, *xs),
            [shapes],
            on=unit,
        )
    f = COMPOSED[0][1]
    yield from rows(
        "checkpoint",
        lambda *xs: cr.checkpoint(lambda *xs: f(cr, *xs))(*xs),
        lambda *xs: f(torch, *xs),
        [COMPOSED[0][2]],
        on=unit,
    )
    yield from rows(
        "custom_vjp",
        _our_own_rule,
        lambda x, y: torch.sin(x) * y,
        [((), ()), ((2, 3), (2, 3))],
        on=unit,
    )
    yield from rows(
        "composed-layer-norm",
        _our_layer_norm,
        lambda x, w, b: F.layer_norm(x, (4,), w, b),
        [((3, 4), (4,), (4,))],
    )
    yield from rows(
        "composed-cross-entropy",
        _our_cross_entropy,
        lambda x: F.cross_entropy(x, torch.tensor([1, 0, 2])),
        [(3, 4)],
    )
    yield from rows(
        "composed-attention",
        _our_attention,
        F.scaled_dot_product_attention,
        [((2, 3, 4), (2, 5, 4), (2, 5, 4))],
    )


COMPOSED: list[tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...]]] = [
    ("mlp", lambda m, x, w, b, v: m.tanh(x @ w + b) @ v, ((2, 3), (3, 4), (4,), (4, 2))),
    ("shared", lambda m, x: m.exp(m.sin(x) * x) / (1 + x * x), ((2, 3),)),
    ("chain", lambda m, x: m.log(1 + m.exp(m.tanh(m.sin(m.cos(x))))), ((5,),)),
    ("outer", lambda m, x, y: m.sum(m.exp(x[:, None] * y[None, :])), ((3,), (2,))),
]


def _our_own_rule(x: Any, y: Any) -> Any:
    """sin(x) y with a rule that says what the table would."""
    product = cr.custom_vjp(
        lambda x, y: cr.sin(x) * y, lambda g, z, x, y: (g * cr.cos(x) * y, g * cr.sin(x))
    )
    return product(x, y)


def _our_layer_norm(x: Any, w: Any, b: Any) -> Any:
    centred = x - cr.mean(x, axis=-1, keepdims=True)
    return centred * cr.rsqrt(cr.var(x, axis=-1, keepdims=True) + 1e-5) * w + b


def _our_cross_entropy(x: Any) -> Any:
    return -cr.mean(cr.log_softmax(x, axis=1)[cr.Tensor([0, 1, 2]), cr.Tensor([1, 0, 2])])


def _our_attention(q: Any, k: Any, v: Any) -> Any:
    return cr.softmax(q @ k.mT / q.shape[-1] ** 0.5, axis=-1) @ v


def cases() -> Iterator[Case]:
    """All of them."""
    yield from loops()
    yield from composed()
