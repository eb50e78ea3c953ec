"""The reverse sweep: a graph goes in, the graph of its derivatives comes out.

From the outputs' cotangents, each node hands its inputs their share by its operation's row in
`derivatives.py`; where a value was used more than once the shares add up. The sweep goes through
the nodes in reverse order, with no recursion, and does not know what it calculates with: it gets
nodes to hold on to (`hold`), and the rules' operators do the rest. Recorded, its result can be
differentiated again; unrecorded, it is plain arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import ops
from .errors import ChainruleError, GradientError
from .graph import RELEASED, Node, spec_text, topological
from .rows import Hold
from .sparse import RowSparse


class Retain:
    """Stands among a computed node's hooks: the gradient is kept for this tensor (held weakly)."""

    __slots__ = ("owner",)

    def __init__(self, owner: Any) -> None:
        self.owner = owner


def retained(node: Node) -> Retain | None:
    """What keeps a computed node's gradient, if something does."""
    return next((h for h in node.hooks or () if type(h) is Retain), None)


def sweep(
    cotangents: Mapping[Node, Any], hold: Hold, wrt: Sequence[Node] | None = None,
    release: bool = False, released: set[Node] | None = None,
) -> dict[Node, Any]:  # fmt: skip
    """The cotangents of the leaves (or of the nodes `wrt`), from those of the outputs.

    A leaf that nothing reaches has no entry. A computed node whose gradient is retained has one.

    release    give up what the nodes keep, once it has been used
    released   of a trace, which keeps nothing: the nodes that would have been released
    """
    order = topological(cotangents, only_grad=True)
    ends = [n for n in order if n.is_leaf or (n.hooks and retained(n))] if wrt is None else wrt
    wanted = set(ends)
    if wrt is not None:
        active = set(wanted)
        for node in order:
            if node not in active and any(i in active for i in node.inputs):
                active.add(node)
        order = [n for n in order if n in active]
    pending: dict[Node, Any] = dict(cotangents)
    found: dict[Node, Any] = {}
    inside = set(order)
    for node in reversed(order):
        g = pending.pop(node, None)
        if g is None:
            continue
        if node.hooks:
            for hook in node.hooks:
                if type(hook) is not Retain:
                    g = _hooked(hook, g, node)
        if node in wanted:
            found[node] = g
            if wrt is None and node.is_leaf:
                continue
        if node.op is None:
            continue
        if node.inputs is RELEASED or (released is not None and node in released):
            raise spent(node)
        if type(g) is RowSparse:
            g = g.to_dense()
        if node.op is ops.item:
            _to_item(pending, node, g)
            continue
        if node.op.joint is not None:
            shares = node.op.joint(g, node, hold)
        else:
            shares = [
                pull(g, node, hold) if pull is not None and i in inside else None
                for pull, i in zip(node.op.pulls, node.inputs, strict=True)
            ]
        inputs = node.inputs
        if release and node.op.keeps:
            if released is not None:
                released.add(node)
            else:
                node.inputs, node.value = RELEASED, None
        for i, share in zip(inputs, shares, strict=True):
            if share is None or i not in inside:
                continue
            if not hasattr(share, "_twin"):
                raise _malformed(node, inputs.index(i), i, type(share).__name__)
            if share.shape != i.shape or share.dtype != i.dtype:
                raise _malformed(node, inputs.index(i), i, spec_text(share))
            before = pending.get(i)
            pending[i] = share if before is None else before + share
    return found


def spent(node: Node) -> GradientError:
    """The error for a node that an earlier sweep has released."""
    return GradientError(
        "backward",
        f"got a graph through {node!r}, which an earlier backward() has used and released",
        "the values that it kept",
        "call the earlier one with retain_graph=True, or compute the loss again",
        node.source,
    )


def _to_item(pending: dict[Node, Any], node: Node, g: Any) -> None:
    """Hand the cotangent of one output to the node that has several."""
    whole, k = node.inputs[0], node.params["index"]
    parts = pending.setdefault(whole, [None] * len(whole.dtype))
    parts[k] = g if parts[k] is None else parts[k] + g


def _hooked(hook: Any, g: Any, node: Node) -> Any:
    out = hook(g._twin())
    if out is None:
        return g
    if not hasattr(out, "_twin"):
        raise GradientError(
            "hook",
            f"got {type(out).__name__} from a gradient hook",
            f"{spec_text(g)} is needed",
            "return a gradient like the one given, or None to leave it",
            node.source,
        )
    if out.shape != g.shape or out.dtype != g.dtype:
        raise GradientError(
            "hook",
            f"got {spec_text(out)} from a gradient hook",
            f"{spec_text(g)} is needed",
            "return a gradient of the same shape and dtype, or None to leave it",
            node.source,
        )
    return out


def _malformed(node: Node, k: int, i: Node, got: str) -> ChainruleError:
    assert node.op is not None
    by = node.op.arguments[k] if node.op.joint is None else "its inputs"
    return GradientError(
        node.op.name,
        f"its rule for {by} gave a cotangent {got}",
        f"{spec_text(i)} is needed, like the input",
        "mend the rule",
        node.source,
    )
