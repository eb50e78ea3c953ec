"""Loops.

Their derivative stands here and not in the table, because the derivative of a graph is a graph that
the reverse sweep makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops, tree
from ..derivative_rows import Row, install
from ..dtypes import is_floating
from ..errors import ArgumentError, GradientError, ShapeError, user_line
from ..graph import Graph, spec_text
from ..hints import explain_arguments
from ..recording import pullback, record_inner, replay, write_back
from ..tensor import Tensor, as_tensor
from ..trace import state
from .control import bind_tuple, checkpoint, spec, with_zeros


@explain_arguments
def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """A loop that carries state: `carry, y = f(carry, x)` for each x along the first axis of xs.

    init, xs   a tensor, or nested lists, tuples and dicts of tensors
    length     how often, where xs is None
    reverse    go from the last x to the first; the ys keep the places of their xs
    returns    the last carry, and the ys stacked along a new first axis

    The body is recorded once, so compiling takes no longer for a longer loop; it must give a carry
    of the same shapes and dtypes. Its derivative is a scan in the other direction.

    checkpoint_every   k: save only each k-th carry for the derivative, and compute the steps in
                       between again, one time more. T steps then need memory for T / k carries and
                       for all that k steps save, instead of all that T steps save; least at k ≈ √T.
    """
    if not callable(f):
        raise ArgumentError(
            "scan",
            f"got a body of type {type(f).__name__}",
            "expected a function of the carry and of one x",
            "scan(lambda carry, x: (carry + x, carry), init, xs)",
            user_line(),
        )
    length = None if length is None else _whole("length", length, 0)
    if checkpoint_every is not None:
        every = _whole("checkpoint_every", checkpoint_every, 1)
        return _in_chunks(f, init, xs, length, reverse, every)
    first, carry_tree = tree.flatten(init)
    rows, rows_tree = tree.flatten(xs)
    carry = [as_tensor(c) for c in first]
    stacked = [as_tensor(x) for x in rows]
    length = _length(stacked, length)
    ys_tree: Any = None

    def body(tensors: list[Tensor]) -> list[Tensor]:
        nonlocal ys_tree
        state_in = tree.unflatten(carry_tree, tensors[: len(carry)])
        result = f(state_in, tree.unflatten(rows_tree, tensors[len(carry) :]))
        several = isinstance(result, (tuple, list))
        if not several or len(result) != 2:
            got = f"{len(result)} values" if several else f"a {type(result).__name__}"
            raise ArgumentError(
                "scan",
                f"the body gave {got}",
                "expected two results: the new carry and the value to stack",
                "return (carry, y), with None for y if nothing is to be stacked",
                user_line(),
            )
        state_out, y = result
        leaves = tree.leaves_like(carry_tree, state_out)
        out = [as_tensor(t) for t in (tree.flatten(state_out)[0] if leaves is None else leaves)]
        if leaves is None or [(t.shape, t.dtype) for t in out] != [
            (c.shape, c.dtype) for c in carry
        ]:
            raise ShapeError(
                "scan",
                f"the body gave the carry {', '.join(spec_text(t) for t in out)}",
                f"expected {', '.join(spec_text(c) for c in carry)}, like the first",
                "pass an init of the shape and dtype that the body returns",
                user_line(),
            )
        ys, ys_tree = tree.flatten(y)
        return out + [as_tensor(t) for t in ys]

    specs = [spec(c) for c in carry] + [spec(x, x.shape[1:]) for x in stacked]
    recorded = record_inner("scan", body, specs)
    graph, results = recorded.graph, recorded.results
    nodes = graph.inputs
    n = len(carry)
    reads = [
        (owner, node)
        for (owner, _), node in zip(recorded.reads, nodes[n + len(stacked) :], strict=True)
    ]
    # A tensor that the body assigns (the random state, say) is carried from step to step.
    written = [(o, node) for o, node in reads if any(o is w for w in recorded.writes)]
    consts = [(o, node) for o, node in reads if not any(o is w for w in recorded.writes)]
    last = {id(w): g for w, g in zip(recorded.writes, graph.outputs[results:], strict=True)}
    carry_in = [*nodes[:n], *(node for _, node in written)]
    carry_out = [*graph.outputs[:n], *(last[id(o)] for o, _ in written)]
    ys_out = list(graph.outputs[n:results])
    inputs = [*(o for o, _ in consts), *carry, *(o for o, _ in written), *stacked]
    if state.grad and any(t.requires_grad for t in inputs):
        ys_out += carry_in  # what the derivative needs: the incoming carry of each step
    whole = Graph(
        [*(node for _, node in consts), *carry_in, *nodes[n : n + len(stacked)]],
        [*carry_out, *ys_out],
    )
    outs = bind_tuple(
        ops.scan,
        inputs,
        graph=whole,
        length=length,
        consts=len(consts),
        carries=len(carry_in),
        reverse=reverse,
    )
    for (owner, _), value in zip(written, outs[n:], strict=False):
        write_back(owner, value)
    ys = outs[len(carry_in) : len(carry_in) + results - n]
    return tree.unflatten(carry_tree, outs[:n]), tree.unflatten(ys_tree, ys)


def _in_chunks(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None,
    reverse: bool,
    every: int,
) -> tuple[Any, Any]:
    """A scan over chunks of `every` steps, each a scan that is computed again; then the rest."""
    leaves, xs_tree = tree.flatten(xs)
    stacked = [as_tensor(x) for x in leaves]
    length = _length(stacked, length)
    chunks, rest = divmod(length, every)
    start = rest if reverse else 0  # of the chunks, which come first

    def part(first: int, count: int, *sizes: int) -> Any:
        """That many rows of each x, cut into chunks of these sizes."""
        return tree.unflatten(xs_tree, [_rows(x, first, count, sizes) for x in stacked])

    def chunk(steps: int) -> Callable[[Any, Any], tuple[Any, Any]]:
        return checkpoint(lambda carry, rows: scan(f, carry, rows, steps, reverse))

    carry, ys = scan(
        chunk(every), init, part(start, chunks * every, chunks, every), chunks, reverse
    )
    whole, ys_tree = tree.flatten(ys)
    whole = [ops.reshape(y, shape=(chunks * every, *y.shape[2:])) for y in whole]
    if rest:
        carry, ys = chunk(rest)(carry, part(0 if reverse else length - rest, rest, rest))
        last = tree.flatten(ys)[0]
        pairs = zip(last, whole, strict=True) if reverse else zip(whole, last, strict=True)
        whole = [ops.concat(*pair, axis=0) for pair in pairs]
    return carry, tree.unflatten(ys_tree, whole)


def _rows(x: Tensor, first: int, count: int, sizes: tuple[int, ...]) -> Tensor:
    """That many rows of x, the first axis split into these sizes."""
    rest = x.shape[1:]
    start, stop, step = (first, *(0,) * len(rest)), (first + count, *rest), (1,) * len(x.shape)
    part = ops.slice(x, start=start, stop=stop, step=step)
    out: Tensor = ops.reshape(part, shape=(*sizes, *rest))
    return out


def _whole(name: str, value: Any, least: int) -> int:
    """A setting as an int; raises for what is not a whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ArgumentError(
            "scan",
            f"got {name}={value!r}",
            f"expected a whole number from {least} on, or None",
            "the square root of the number of steps needs the least memory"
            if least
            else "leave it out where there are xs",
            user_line(),
        )
    return int(value)


def _length(stacked: Sequence[Tensor], length: int | None) -> int:
    sizes = {x.shape[0] if x.shape else None for x in stacked} | ({length} - {None})
    if len(sizes) != 1 or None in sizes:
        raise ShapeError(
            "scan",
            f"got lengths {sorted(map(str, sizes))}",
            "expected one length for all xs",
            "slice them to a common first axis, or pass length= without xs",
            user_line(),
        )
    (size,) = sizes
    assert size is not None
    return size


def scan_derivative(
    g: list[Any],
    xs: list[Tensor],
    y: tuple[Tensor, ...],
    graph: Graph,
    length: int,
    consts: int,
    carries: int,
    reverse: bool,
) -> list[Any]:
    """The loop in reverse: its carry is the forward carry's cotangent, and the constants' sums.

    Each step has what its forward step had (the incoming carry was stacked by the forward loop)
    and applies the body's own derivative.
    """
    outs = len(y) - carries
    if outs < carries:
        raise GradientError(
            "scan",
            "got a loop that was not recorded for gradients",
            "expected requires_grad before the loop",
            "set requires_grad=True before the loop runs",
        )
    fixed, rows, history = xs[:consts], xs[consts + carries :], list(y[outs:])
    above = with_zeros(g[:carries], y[:carries])
    dys = [(k, d) for k, d in enumerate(g[carries:]) if d is not None]
    floats = [is_floating(t.dtype) for t in xs]

    def body(carry: Any, x: Any) -> Any:
        later, sums = carry
        before, row, parts = x
        filled = iter(later)
        seeds = [next(filled) if is_floating(c.dtype) else None for c in history]
        reached = dict(zip((k for k, _ in dys), parts, strict=True))
        seeds += [reached.get(k) for k in range(len(y) - carries)]
        inputs = [*fixed, *before, *row]
        _, pull = pullback("scan", lambda ts: replay(graph, ts), inputs)
        shares = pull(seeds)
        filled_shares = [
            s if s is not None else t._full(t.shape, 0.0)
            for s, t, f in zip(shares, inputs, floats, strict=True)
            if f
        ]
        a = sum(floats[:consts])
        b = a + sum(floats[consts : consts + carries])
        new_sums = [s + d for s, d in zip(sums, filled_shares[:a], strict=True)]
        return (filled_shares[a:b], new_sums), filled_shares[b:]

    start = [t for t in above if t is not None]
    zeros = [t._full(t.shape, 0.0) for t, f in zip(fixed, floats, strict=False) if f]
    (dcarry, sums), drows = scan(
        body,
        (start, zeros),
        (history, rows, [d for _, d in dys]),
        length=length,
        reverse=not reverse,
    )
    cotangents = iter([*sums, *dcarry, *drows])
    return [next(cotangents) if f else None for f in floats]


install(Row(ops.scan, joint=scan_derivative))
