"""Recomputation and custom derivatives.

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
from ..errors import ArgumentError, GradientError, user_line
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


def spec(x: Tensor, shape: Any = None) -> tuple[Any, Any, bool]:
    grad = state.grad and is_floating(x.dtype)
    return (x.shape if shape is None else shape, x.dtype, grad)


def bind_tuple(op: Operation, inputs: Sequence[Tensor], **params: Any) -> tuple[Tensor, ...]:
    first = inputs[0] if inputs else make(np.zeros(()))
    out: tuple[Tensor, ...] = first._bind(op, tuple(inputs), params)
    return out


def with_zeros(cotangents: Sequence[Any], like: Sequence[Tensor]) -> list[Any]:
    """The cotangents, zeros where there is none; None for results that have no derivative."""
    return [
        None if not is_floating(t.dtype) else t._full(t.shape, 0.0) if g is None else g
        for g, t in zip(cotangents, like, strict=True)
    ]


def call_derivative(g: list[Any], xs: list[Tensor], graph: Graph) -> list[Any]:
    """Run the graph again, this time recorded, and pull the cotangents back through it."""
    results, pull = pullback("checkpoint", lambda ts: replay(graph, ts), xs)
    return pull(with_zeros(g, results))


def custom_derivative(
    g: list[Any], xs: list[Tensor], y: tuple[Tensor, ...], vjp: Any, trees: Any
) -> list[Any]:
    """The function's own rule; captured tensors require no gradient."""
    args_tree, out_tree, count = trees
    full, outs, inputs = (
        [t if t is None else t._new_handle() for t in ts]
        for ts in (with_zeros(g, y), y, xs[:count])
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

    recorded = record_inner(op.name, body, [spec(t) for t in tensors])
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
    outs = bind_tuple(op, inputs, graph=recorded.graph, **params)
    for owner, value in zip(recorded.writes, outs[recorded.results :], strict=True):
        write_back(owner, value)
    return tree.unflatten(out_tree, outs[: recorded.results])


def _parts(args: tuple[Any, ...]) -> list[list[Any]]:
    return [tree.flatten(a)[0] for a in args]
