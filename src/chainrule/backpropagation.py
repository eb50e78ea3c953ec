"""The reverse sweep: a graph goes in, the graph of its derivatives comes out.

From the outputs' cotangents, each node passes its inputs their share by its operation's row in
`derivatives.py`; where a value was used more than once the shares add up. The sweep goes through
the nodes in reverse order, with no recursion, and is independent of what it calculates with:
`tensor_of` turns a node into a tensor, and the rules' operators do the rest. Recorded, its result
can be differentiated again; unrecorded, it is plain arithmetic.

What `where` has not chosen gets the cotangent 0, and stays at 0 through the elementwise operations
that it came from, though their derivatives may be infinite there: 0 · inf would be NaN. Such a
cotangent carries its mask as far as that, and is set to 0 again there, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from . import ops
from .derivative_rows import TensorOf
from .errors import ChainruleError, GradientError
from .graph import RELEASED, Node, spec_text, topological
from .handle import Handle
from .sparse import RowSparse
from .trace import state

_POINTWISE = {op for op in ops.TABLE.values() if op.kind == "elementwise"} | {
    ops.negative,
    ops.add,
    ops.subtract,
    ops.multiply,
    ops.astype,
    ops.alias,
    ops.where,
}


class _Mask(NamedTuple):
    """Where a cotangent is 0: at each element that one of the conditions has not chosen.

    conditions   by identity, and by whether the elements where it is true are the chosen ones
    clean        it is 0 there; otherwise it may be NaN, from 0 · inf
    """

    conditions: dict[tuple[int, bool], Any]
    clean: bool


class Retain:
    """Among a computed node's hooks: keep the gradient in this tensor (a weak reference)."""

    __slots__ = ("owner",)

    def __init__(self, owner: Any) -> None:
        self.owner = owner


def retained(node: Node) -> Retain | None:
    """The request to keep a computed node's gradient, if there is one."""
    return next((h for h in node.hooks or () if type(h) is Retain), None)


def sweep(
    cotangents: Mapping[Node, Any],
    tensor_of: TensorOf,
    wrt: Sequence[Node] | None = None,
    release: bool = False,
    released: set[Node] | None = None,
) -> dict[Node, Any]:
    """The cotangents of the leaves (or of the nodes `wrt`), from those of the outputs.

    A leaf that nothing reaches has no entry. A computed node whose gradient is retained has one.

    release    drop the values that nodes have saved, once they have been used
    released   of a trace, which saves nothing: the nodes that would have been released
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
    results: dict[Node, Any] = {}
    inside = set(order)
    masks: dict[Node, _Mask] = {}  # of the pending cotangents
    watcher = None if state.trace is None else state.trace.watcher
    observer = state.observer
    if watcher is not None:
        watcher.sweep_began(cotangents)
    for node in reversed(order):
        g = pending.pop(node, None)
        if g is None:
            continue
        mask = masks.pop(node, None)
        if mask and (node.op not in _POINTWISE or node.hooks or node in wanted):
            g = _cleared(g, mask)
            mask = _Mask(mask.conditions, True) if node.op in _POINTWISE else None
        if node.hooks:
            for hook in node.hooks:
                if type(hook) is not Retain:
                    before, g = g, _hooked(hook, g, node)
                    mask = mask if g is before else None
        if watcher is not None:
            watcher.reached(node, g)
        if node in wanted:
            results[node] = g
            if wrt is None and node.is_leaf:
                continue
        if node.op is None:
            continue
        if node.inputs is RELEASED or (released is not None and node in released):
            raise released_error(node)
        if type(g) is RowSparse:
            g = g.to_dense()
        if node.op is ops.item:
            _to_item(pending, node, g)
            continue
        if node.op.joint is not None:
            shares = node.op.joint(g, node, tensor_of)
        else:
            shares = [
                pull(g, node, tensor_of) if pull is not None and i in inside else None
                for pull, i in zip(node.op.pulls, node.inputs, strict=True)
            ]
        if watcher is not None:
            watcher.pulled(node, shares)
        if observer is not None:
            observer.pulled(node, g, shares)
        inputs = node.inputs
        if release and node.op.saves:
            if released is not None:
                released.add(node)
            else:
                node.inputs, node.value = RELEASED, None
        for k, (i, share) in enumerate(zip(inputs, shares, strict=True)):
            if share is None or i not in inside:
                continue
            if not isinstance(share, (Handle, RowSparse)):
                raise _malformed(node, k, i, type(share).__name__)
            if share.shape != i.shape or share.dtype != i.dtype:
                raise _malformed(node, k, i, spec_text(share))
            passed = (
                _passed(mask, node, inputs, k, tensor_of) if mask or node.op is ops.where else None
            )
            if i in pending:
                share, passed = _sum(pending[i], masks.pop(i, None), share, passed)
            pending[i] = share
            if passed:
                masks[i] = passed
    if watcher is not None:
        watcher.sweep_ended()
    return results


def _passed(
    mask: _Mask | None, node: Node, inputs: Sequence[Node], k: int, tensor_of: TensorOf
) -> _Mask:
    """The mask of an operation's k-th input."""
    conditions, clean = mask or ({}, True)
    if node.op is ops.where:
        chooses = inputs[0]
        same = id(chooses if chooses.value is None else chooses.value)
        return _Mask({**conditions, (same, k == 1): tensor_of(chooses)}, clean)
    linear = node.op is not None and node.op.kind == "linear"  # 0 stays 0
    return _Mask(conditions, clean and linear)


def _cleared(g: Any, mask: _Mask | None, but: AbstractSet[tuple[int, bool]] = frozenset()) -> Any:
    """Set to 0 again where the mask says so, except for these of its conditions."""
    if mask is None or mask.clean:
        return g
    for key, condition in mask.conditions.items():
        if key not in but:
            g = ops.where(condition, g, 0.0) if key[1] else ops.where(condition, 0.0, g)
    return g


def _sum(a: Any, of_a: _Mask | None, b: Any, of_b: _Mask | None) -> tuple[Any, _Mask | None]:
    """a + b, with the conditions that both have."""
    both: dict[tuple[int, bool], Any] = {}  # in the order of a, so that every process has the same
    if of_a and of_b:
        both = {key: c for key, c in of_a.conditions.items() if key in of_b.conditions}
    out = _cleared(a, of_a, both.keys()) + _cleared(b, of_b, both.keys())
    if not (both and of_a and of_b):
        return out, None
    return out, _Mask(both, of_a.clean and of_b.clean)


def released_error(node: Node) -> GradientError:
    """The error for a node that an earlier sweep has released."""
    return GradientError(
        "backward",
        f"got a graph through {node!r}, which an earlier backward() has used and released",
        "expected a graph that still has its saved values",
        "call the earlier one with retain_graph=True, or compute the loss again",
        node.source,
    )


def _to_item(pending: dict[Node, Any], node: Node, g: Any) -> None:
    """Pass the cotangent of one output to the node that has several."""
    whole, k = node.inputs[0], node.params["index"]
    parts = pending.setdefault(whole, [None] * len(whole.dtype))
    parts[k] = g if parts[k] is None else parts[k] + g


def _hooked(hook: Any, g: Any, node: Node) -> Any:
    out = hook(g._new_handle())
    if out is None:
        return g
    if not isinstance(out, (Handle, RowSparse)):
        raise GradientError(
            "hook",
            f"got {type(out).__name__} from a gradient hook",
            f"expected {spec_text(g)}",
            "return a gradient like the argument, or None to leave it",
            node.source,
        )
    if out.shape != g.shape or out.dtype != g.dtype:
        raise GradientError(
            "hook",
            f"got {spec_text(out)} from a gradient hook",
            f"expected {spec_text(g)}",
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
        f"expected {spec_text(i)}, like the input",
        "fix the rule",
        node.source,
    )
