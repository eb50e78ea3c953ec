"""Carries that only add up: their sum over all steps is computed after the loop, at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ... import ops
from ...dtypes import is_floating
from ...graph import Dtype, Graph, Node
from ..rewriting import apply, item
from .lifting import AllSteps, behind_views, may_stack, merged
from .loop import Carry, Loop, change_loops

# f(a) + f(b) = f(a + b)
ADDITIVE = {
    ops.reshape,
    ops.permute_dims,
    ops.broadcast_to,
    ops.slice,
    ops.pad,
    ops.flip,
    ops.negative,
    ops.sum,
    ops.astype,
}


@dataclass(frozen=True)
class Share:
    """What a step adds: a matrix product or a sum over axes, and what is made of it.

    core    the product or the sum
    after   the nodes from the one that reads the core to the one that is added
    wide    the dtype in which to multiply and add
    """

    core: Node
    after: tuple[Node, ...]
    wide: Dtype


def totals(graph: Graph) -> Graph:
    """∑ₜ Aₜ Bₜ = [A₁ A₂ …] [B₁; B₂; …]: one product after the loop instead of one per step.

    So are the gradients of weights summed up: a carry to which each step adds a matrix product, or
    a sum over axes, and that nothing else reads. The factors are stacked, if `may_stack` allows
    it; the terms of a sum only where they are stacked anyway. Fewer numbers are rounded on the way
    than in a loop, and the terms are added in another order.
    """
    return change_loops(graph, _without_totals)


def _without_totals(loop: Loop, read: Collection[int]) -> Mapping[int, Node] | None:
    count, steps = len(loop.carries), AllSteps(loop)
    carries = dict(enumerate(loop.carries))
    users = Counter(i for n in loop.body().nodes for i in n.inputs)
    users.update(loop.body().outputs)
    shares: dict[int, list[Share]] = {}
    for kind in (ops.matmul, ops.sum):  # products first: a sum may be of what they stack
        for k, carry in carries.items():
            added = None if k in shares else _shares(carry, users)
            if added and any(s.core.op is kind for s in added) and _stack(loop, added, steps):
                shares[k] = added
    if not shares:
        return None
    loop.carries = [c for k, c in carries.items() if k not in shares]
    results: dict[int, Node] = {}
    if loop.carries or loop.ys:
        scan = loop.node()
        first = len(loop.carries)
        steps.is_stacked({y: item(scan, first + k) for k, y in enumerate(loop.ys)})
        places = {id(c): k for k, c in enumerate(loop.carries)}
        for k in read:
            if k >= count:
                results[k] = item(scan, first + k - count)
            elif k not in shares:
                results[k] = item(scan, places[id(carries[k])])
    for k, added in shares.items():
        total = carries[k].first
        for share in added:
            total = apply(ops.add, total, _total(share, steps), source=loop.scan.source)
        results[k] = total
    return results


def _shares(carry: Carry, users: Counter[Node]) -> list[Share] | None:
    """What each step adds to a carry that is nothing but a sum; None of others."""
    node = carry.after
    if node.op is not ops.add or carry.before not in node.inputs or not is_floating(node.dtype):
        return None
    if users[carry.before] != 1 or users[node] != 1:
        return None
    terms = [i for i in node.inputs if i is not carry.before]
    for term in terms:
        if term.op is ops.add:
            terms += term.inputs
    shares = [_share(term) for term in terms if term.op is not ops.add]
    return None if None in shares else [s for s in shares if s is not None]


def _share(term: Node) -> Share | None:
    after: list[Node] = []
    node, wide, last_sum = term, term.dtype, 0
    while node.op in ADDITIVE:
        if node.op is ops.astype:
            narrows = node.inputs[0].dtype.itemsize > node.dtype.itemsize
            if narrows or not is_floating(node.inputs[0].dtype):
                break
        after.append(node)
        if node.op is ops.sum:
            last_sum = len(after)
        (node,) = node.inputs
    if node.op is ops.matmul:
        return Share(node, tuple(reversed(after)), wide)
    if last_sum:
        return Share(after[last_sum - 1], tuple(reversed(after[: last_sum - 1])), wide)
    return None


def _stack(loop: Loop, shares: list[Share], steps: AllSteps) -> bool:
    """Stack what these shares are computed from, if that is allowed."""
    there = {*(x.inside for x in loop.xs), *loop.ys}
    new: dict[Node, None] = {}
    for share in shares:
        for node in share.core.inputs:
            root = _root(node, there)
            if steps.is_fixed(node) or (share.core.op is ops.sum and root not in there):
                return False
            if root not in there:
                new[root] = None
    if not may_stack(loop, new):
        return False
    loop.ys += new
    return True


def _root(node: Node, there: Collection[Node]) -> Node:
    """What is stacked already of which the node is a view, or what to stack for it."""
    root = node
    while root not in there and root.op in (ops.reshape, ops.permute_dims, ops.slice, ops.flip):
        (root,) = root.inputs
    return root if root in there else behind_views(node)


def _total(share: Share, steps: AllSteps) -> Node:
    """The sum of a share over all steps."""
    core, source = share.core, share.core.source
    inputs = [steps.of(i) for i in core.inputs]
    if core.dtype != share.wide:
        inputs = [apply(ops.astype, i, source=source, dtype=share.wide) for i in inputs]
    if core.op is ops.matmul:
        last = len(core.shape)  # axes: steps, batch …, rows, columns
        batch = [*range(1, last - 1)]
        rows = merged(inputs[0], [*batch, last - 1, 0, last], last - 1)
        columns = merged(inputs[1], [*batch, 0, last - 1, last], last - 2)
        total = apply(ops.matmul, rows, columns, source=source)
    else:
        axes = (0, *(a + 1 for a in core.params["axis"]))
        total = apply(ops.sum, inputs[0], source=source, axis=axes)
        total = apply(ops.reshape, total, source=source, shape=core.shape)
    for node in share.after:
        if node.op is not ops.astype:
            assert node.op is not None
            total = apply(node.op, total, source=node.source, **node.params)
    return total
