"""Loops, recomputation and custom derivatives.

Their derivatives stand here and not in the table, because the derivative of a graph is a graph
that the reverse sweep makes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops, tree
from ..derivative_rows import Row, install
from ..dtypes import is_floating
from ..errors import ArgumentError, GradientError, ShapeError, user_line
from ..graph import Graph, Operation, spec_text, topological
from ..recording import pullback, record_inner, replay, write_back
from ..sparse import RowSparse
from ..tensor import Tensor, as_tensor, make
from ..trace import state
from ..wrapping import Transformed


def stop_gradient(x: Any, /) -> Tensor:
    """x, through which no gradient flows back."""
    out: Tensor = ops.stop_gradient(as_tensor(x))
    return out


def _spec(x: Tensor, shape: Any = None) -> tuple[Any, Any, bool]:
    grad = state.grad and is_floating(x.dtype)
    return (x.shape if shape is None else shape, x.dtype, grad)


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """A loop that carries state: `carry, y = f(carry, x)` for each x along the first axis of xs.

    init, xs   a tensor, or nested lists, tuples and dicts of tensors
    length     how often, where xs is None
    reverse    go from the last x to the first; the ys keep the places of their xs
    returns    the last carry, and the ys stacked along a new first axis

    The body is recorded once, so compiling takes no longer for a longer loop; it must give a carry
    of the same shapes and dtypes. Its derivative is a scan in the other direction.
    """
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

    specs = [_spec(c) for c in carry] + [_spec(x, x.shape[1:]) for x in stacked]
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
    outs = _bind_tuple(
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


def _bind_tuple(op: Operation, inputs: Sequence[Tensor], **params: Any) -> tuple[Tensor, ...]:
    first = inputs[0] if inputs else make(np.zeros(()))
    out: tuple[Tensor, ...] = first._bind(op, tuple(inputs), params)
    return out


def _filled(cotangents: Sequence[Any], like: Sequence[Tensor]) -> list[Any]:
    """The cotangents, zeros where there is none; None for results that have no derivative."""
    return [
        None if not is_floating(t.dtype) else t._full(t.shape, 0.0) if g is None else g
        for g, t in zip(cotangents, like, strict=True)
    ]


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
    above = _filled(g[:carries], y[:carries])
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


def call_derivative(g: list[Any], xs: list[Tensor], graph: Graph) -> list[Any]:
    """Run the graph again, this time recorded, and pull the cotangents back through it."""
    results, pull = pullback("checkpoint", lambda ts: replay(graph, ts), xs)
    return pull(_filled(g, results))


def custom_derivative(
    g: list[Any], xs: list[Tensor], y: tuple[Tensor, ...], vjp: Any, trees: Any
) -> list[Any]:
    """The function's own rule; captured tensors require no gradient."""
    args_tree, out_tree, count = trees
    full, outs, inputs = (
        [t if t is None else t._new_handle() for t in ts] for ts in (_filled(g, y), y, xs[:count])
    )
    args = tree.unflatten(args_tree, inputs)
    needs = tree.unflatten(out_tree, full), tree.unflatten(out_tree, outs), *args
    _expect_takes(vjp, needs)
    shares = vjp(*needs)
    if not isinstance(shares, tuple) or len(shares) != len(args):
        raise GradientError(
            "custom_vjp",
            f"its rule gave {type(shares).__name__}",
            f"expected a tuple of {len(args)} cotangents, one per argument",
            "fix the rule: return (g * …,) with None where the derivative is zero",
            user_line(),
        )
    out: list[Any] = []
    for k, (share, arg) in enumerate(zip(shares, args, strict=True)):
        leaves, arg_tree = tree.flatten(arg)
        parts = [None] * len(leaves) if share is None else tree.leaves_like(arg_tree, share)
        if parts is None:
            parts = tree.flatten(share)[0]
            raise _bad_share(k, f"{len(parts)} cotangents", f"{len(leaves)}, one per tensor in it")
        for part, leaf in zip(parts, leaves, strict=True):
            if part is None:
                continue
            if not isinstance(part, (Tensor, RowSparse)):
                raise _bad_share(k, type(part).__name__, "a tensor, or None where it is zero")
            if (part.shape, part.dtype) != (leaf.shape, leaf.dtype):
                raise _bad_share(k, spec_text(part), f"{spec_text(leaf)}, like the argument")
        out += parts
    return [*out, *[None] * (len(xs) - count)]


def _expect_takes(vjp: Any, needs: tuple[Any, ...]) -> None:
    """Raise if the rule does not take its arguments."""
    try:
        signature = inspect.signature(vjp)
    except (TypeError, ValueError):  # of a builtin: its call raises
        return
    try:
        signature.bind(*needs)
    except TypeError as error:
        names = "g, y, " + ", ".join(f"x{k}" for k in range(len(needs) - 2))
        raise GradientError(
            "custom_vjp",
            f"got the rule {getattr(vjp, '__name__', 'vjp')}{signature}: {error}",
            "expected a rule of the cotangent, the result and each argument with tensors",
            f"def rule({names}): …",
            user_line(),
        ) from None


def _bad_share(k: int, got: str, needed: str) -> GradientError:
    return GradientError(
        "custom_vjp",
        f"its rule gave {got} for argument {k} (of those with tensors)",
        f"expected {needed}",
        "fix the rule",
        user_line(),
    )


install(Row(ops.scan, joint=scan_derivative))
install(Row(ops.call, joint=call_derivative))
install(Row(ops.custom, joint=custom_derivative))


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f, of which only the inputs are saved for the backward pass, which computes f again.

    Memory for time: the values between f's inputs and its results are not stored.
    """

    return Transformed(f, _checkpointed)


def _checkpointed(f: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    return _as_one_node(ops.call, f, args, settings)


def custom_vjp(f: Callable[..., Any], vjp: Callable[..., Any]) -> Callable[..., Any]:
    """f with a custom derivative.

    vjp(g, y, *args) gets the cotangent of the result, the result and the arguments, and returns a
    tuple with the cotangent of each argument (None where it is zero). A tensor that requires a
    gradient must be an argument: f may not use one from outside. Arguments that are no tensors or
    arrays (and named ones) are constants, and not passed to the rule. f is written with chainrule's
    functions; for NumPy inside use cr.defop.
    """
    for what, value in (("f", f), ("vjp", vjp)):
        if not callable(value):
            raise ArgumentError(
                "custom_vjp",
                f"got {type(value).__name__} for {what}",
                "expected a function",
                "cr.custom_vjp(f, lambda g, y, x: (g * …,))",
                user_line(),
            )
    return Transformed(f, _with_rule, vjp)


def _with_rule(
    f: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any], vjp: Callable[..., Any]
) -> Any:
    return _as_one_node(ops.custom, f, args, settings, vjp=vjp)


def _as_one_node(
    op: Operation,
    f: Callable[..., Any],
    args: tuple[Any, ...],
    settings: dict[str, Any],
    **params: Any,
) -> Any:
    """Trace f on its tensors; other arguments, and named ones, are constants of the graph."""
    leaves, args_tree = tree.flatten(args)
    varying = [isinstance(x, (Tensor, np.ndarray)) for x in leaves]
    tensors = [as_tensor(x) for x, varies in zip(leaves, varying, strict=True) if varies]
    out_tree: Any = None

    def filled(inner: Sequence[Any]) -> Any:
        traced = iter(inner)
        values = (next(traced) if v else x for x, v in zip(leaves, varying, strict=True))
        return tree.unflatten(args_tree, list(values))

    def body(inner: list[Tensor]) -> list[Tensor]:
        nonlocal out_tree
        out, out_tree = tree.flatten(f(*filled(inner), **settings))
        return [as_tensor(t) for t in out]

    recorded = record_inner(op.name, body, [_spec(t) for t in tensors])
    inputs = [*tensors, *(owner for owner, _ in recorded.reads)]
    if params:
        reached = set(topological(recorded.graph.outputs, only_grad=True))  # not what is detached
        captured = recorded.graph.inputs[len(tensors) :]
        for (owner, _), node in zip(recorded.reads, captured, strict=True):
            if state.grad and node in reached:
                raise GradientError(
                    "custom_vjp",
                    f"got a function that uses {spec_text(owner)} from outside, which requires a "
                    "gradient",
                    "expected no such tensor: the rule gives gradients only to arguments",
                    "pass it as an argument, or use it detached: w.detach()",
                    user_line(),
                )
        passed = tuple(
            a
            for a, inner in zip(args, _parts(args), strict=True)
            if any(isinstance(x, (Tensor, np.ndarray)) for x in inner)
        )
        params["trees"] = (tree.flatten(passed)[1], out_tree, len(tensors))
    outs = _bind_tuple(op, inputs, graph=recorded.graph, **params)
    for owner, value in zip(recorded.writes, outs[recorded.results :], strict=True):
        write_back(owner, value)
    return tree.unflatten(out_tree, outs[: recorded.results])


def _parts(args: tuple[Any, ...]) -> list[list[Any]]:
    return [tree.flatten(a)[0] for a in args]
