"""Results of loops that nothing reads, and what only they need; loops of no step, or of one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from ... import ops
from ...graph import Graph, Node, topological
from ..rewriting import apply, inlined, item, number
from .loop import Input, Loop, change_loops, taken_apart


def unroll(graph: Graph) -> Graph:
    """A loop of no step is its first carries; of one step, what its body does."""

    def change(loop: Loop, read: Collection[int]) -> Mapping[int, Node] | None:
        if loop.length > 1:
            return None
        source = loop.scan.source
        if not loop.length:
            shapes, dtypes = loop.scan.shape, loop.scan.dtype
            results = [c.first for c in loop.carries]
            for k in range(len(results), len(shapes)):
                results.append(_empty(shapes[k], dtypes[k]))
            return dict(enumerate(results))
        rows = [apply(ops.reshape, x.outside, source=source, shape=x.inside.shape) for x in loop.xs]
        outside = [c.outside for c in loop.constants] + [c.first for c in loop.carries] + rows
        results = inlined(loop.body(), outside)
        for k in range(len(loop.carries), len(results)):
            y = results[k]
            results[k] = apply(ops.reshape, y, source=source, shape=(1, *y.shape))
        return dict(enumerate(results))

    return change_loops(graph, change)


def _empty(shape: Any, dtype: Any) -> Node:
    return Node(None, (), {}, shape, dtype, np.empty(shape, dtype))


def unused(graph: Graph) -> Graph:
    """Loops without results that nothing reads, and without what only these need.

    A carry is needed if its last value is read, or if something that is needed depends on it; ys
    that are read, likewise what they depend on. A value that goes in twice goes in once, a node
    that is stacked twice is stacked once. A carry that no step changes is a constant, and so is an
    x whose rows are all the same; a y that is a row of an x is that x.
    """
    wanted = _wanted(graph)
    return change_loops(graph, lambda loop, _: _reduced(loop, wanted[loop.scan]))


def _wanted(graph: Graph) -> dict[Node, set[int]]:
    """Which results of each scan the graph's outputs need.

    Unlike the results that are read, not those that are read by what is not needed.
    """
    wanted: dict[Node, set[int]] = {}
    needed = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node not in needed and node.op is not ops.scan:
            continue
        if node.op is ops.item and node.inputs[0].op is ops.scan:
            wanted.setdefault(node.inputs[0], set()).add(node.params["index"])
        elif node.op is ops.scan:
            loop = taken_apart(node)
            leaves = _leaves(loop, wanted.setdefault(node, set()))
            needed.update(i.outside for i in loop.constants + loop.xs if i.inside in leaves)
            needed.update(c.first for c in loop.carries if c.before in leaves)
        else:
            needed.update(node.inputs)
    return wanted


def _leaves(loop: Loop, wanted: Collection[int]) -> set[Node]:
    """The leaves of the body that these results depend on, and those of carries among them."""
    ends = [*(c.after for c in loop.carries), *loop.ys]
    carried = {k for k in wanted if k < len(loop.carries)}
    while True:
        reached = set(topological([ends[k] for k in {*wanted, *carried}]))
        more = {k for k, c in enumerate(loop.carries) if c.before in reached} - carried
        if not more:
            break
        carried |= more
    reached.update(loop.carries[k].before for k in carried)
    return reached


def _reduced(loop: Loop, wanted: Collection[int]) -> Mapping[int, Node] | None:
    """The results that are wanted, of a loop that does no more than these need."""
    size, count = _size(loop), len(loop.carries)
    results = {}
    for k in wanted:
        outside = _outside(loop, k)
        if outside is not None:
            results[k] = outside
    last = {k: loop.carries[k] for k in wanted if k < count and k not in results}
    stacked = [k for k in sorted(wanted) if k >= count and k not in results]
    leaves = _leaves(loop, [*last, *stacked])
    carries = [c for c in loop.carries if c.before in leaves]
    constants = [c for c in loop.constants if c.inside in leaves]
    constants += [Input(c.first, c.before) for c in carries if c.after is c.before]
    xs = []
    for x in loop.xs:
        if x.inside in leaves:
            row = _row_of_all(x)
            if row is None:
                xs.append(x)
            else:
                constants.append(Input(row, x.inside))
    replaced: dict[Node, Node] = {}
    loop.constants, loop.xs = _once(constants, replaced), _once(xs, replaced)
    loop.carries = [c for c in carries if c.after is not c.before]
    loop.ys = [loop.ys[k - count] for k in stacked]
    if replaced:
        loop.replace(replaced)
    ys = dict(zip(stacked, loop.ys, strict=True))
    loop.ys = list(dict.fromkeys(loop.ys))
    if _size(loop) == size and not replaced:
        return None
    if last or stacked:
        scan = loop.node()
        for k, carry in last.items():
            results[k] = item(scan, next(i for i, c in enumerate(loop.carries) if c is carry))
        for k, y in ys.items():
            results[k] = item(scan, len(loop.carries) + loop.ys.index(y))
    return results


def _size(loop: Loop) -> tuple[int, ...]:
    return len(loop.constants), len(loop.carries), len(loop.xs), len(loop.ys)


def _row_of_all(x: Input) -> Node | None:
    """The row of an x that has the same at each step; None of others."""
    whole = x.outside
    if whole.op is not ops.broadcast_to or whole.inputs[0].shape[0] != 1:
        return None
    (first,) = whole.inputs
    if first.value is None:
        one = apply(ops.reshape, first, source=whole.source, shape=first.shape[1:])
    else:
        value = first.value.reshape(first.shape[1:])
        one = Node(None, (), {}, value.shape, value.dtype, value)
    return apply(ops.broadcast_to, one, source=whole.source, shape=x.inside.shape)


def _once(inputs: Iterable[Input], replaced: dict[Node, Node]) -> list[Input]:
    """The inputs that differ; what stands for the others in the body goes to `replaced`."""
    known: dict[Node, Input] = {}
    for i in inputs:
        if i.outside in known:
            replaced[i.inside] = known[i.outside].inside
            continue
        value = number(i.outside)
        if value is None:
            known[i.outside] = i
            continue
        shape = i.inside.shape
        one = np.full((1,) * len(shape), value, i.inside.dtype)
        constant = Node(None, (), {}, one.shape, one.dtype, one)
        replaced[i.inside] = apply(ops.broadcast_to, constant, source=None, shape=shape)
    return list(known.values())


def _outside(loop: Loop, k: int) -> Node | None:
    """The k-th result, if it needs no loop: what no step changes, and the rows of an x."""
    if k < len(loop.carries):
        carry = loop.carries[k]
        return carry.first if carry.after is carry.before else None
    y = loop.ys[k - len(loop.carries)]
    for x in loop.xs:
        if y is x.inside:
            return x.outside
    fixed = {c.inside: c.outside for c in loop.constants}
    fixed |= {c.before: c.first for c in loop.carries if c.after is c.before}
    value = fixed.get(y, y)
    if value is y and y.value is None:
        return None
    source = loop.scan.source
    one = apply(ops.reshape, value, source=source, shape=(1, *value.shape))
    return apply(ops.broadcast_to, one, source=source, shape=(loop.length, *value.shape))
