"""Matrix products of a loop with the same matrix at each step: one product for all steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ... import ops
from ...graph import Graph, Node, topological
from ..rewriting import item
from .lifting import AllSteps, may_stack, size
from .loop import Input, Loop, change_loops, items


def products_before(graph: Graph) -> Graph:
    """[x₁; x₂; …] W before the loop instead of xₜ W at each step.

    The products whose rows depend on xs and constants alone, and the elementwise operations that
    follow, such as a bias. What they give is an x of the loop, if `may_stack` allows that.
    """
    return change_loops(graph, _with_products_before)


def products_after(graph: Graph) -> Graph:
    """[h₁; h₂; …] W after the loop instead of hₜ W at each step.

    The products that only ys depend on, and what is computed from them: the loop stacks what they
    are computed from, if `may_stack` allows that.
    """
    return change_loops(graph, _with_products_after)


def _is_product(node: Node, steps: AllSteps) -> bool:
    """Whether it is a matrix product with a matrix that is the same at each step."""
    return node.op is ops.matmul and sum(map(steps.is_fixed, node.inputs)) == 1


def _with_products_before(loop: Loop, read: Collection[int]) -> Mapping[int, Node] | None:
    steps, body = AllSteps(loop), loop.body()
    early = {x.inside for x in loop.xs}  # they depend on xs and constants alone
    products, moving = set[Node](), set[Node]()
    for node in body.nodes:
        if node.op is None or steps.is_fixed(node) or not steps.has_rule(node):
            continue
        if all(i in early or steps.is_fixed(i) for i in node.inputs):
            early.add(node)
            if _is_product(node, steps):
                products.add(node)
            elif not any(i in moving and node.op in ops.POINTWISE for i in node.inputs):
                continue
            moving.add(node)
    if not products:
        return None
    ends = min(_ends(loop, moving), _ends(loop, products), key=lambda nodes: sum(map(size, nodes)))
    if not ends or not may_stack(loop, ends):
        return None
    leaves = {n: Node(None, (), {}, n.shape, n.dtype) for n in ends}
    loop.xs += [Input(steps.of(n), leaf) for n, leaf in leaves.items()]
    loop.replace(leaves)
    return items(loop.node(), read)


def _ends(loop: Loop, moving: Collection[Node]) -> list[Node]:
    """Those of the moving nodes that others, or the loop's results, need."""
    body = loop.body()
    ends = {i for n in body.nodes if n not in moving for i in n.inputs if i in moving}
    ends |= {o for o in body.outputs if o in moving}
    return sorted(ends, key=lambda n: n.serial)


def _with_products_after(loop: Loop, read: Collection[int]) -> Mapping[int, Node] | None:
    steps, body, count = AllSteps(loop), loop.body(), len(loop.carries)
    carried = set(topological([c.after for c in loop.carries]))
    moving: set[Node] = set()
    for node in body.nodes:
        if node.op is None or node in carried or steps.is_fixed(node):
            continue
        if _is_product(node, steps) or any(i in moving for i in node.inputs):
            if not steps.has_rule(node):
                return None
            moving.add(node)
    gone = [y for y in loop.ys if y in moving]
    if not gone:
        return None
    there = {*(x.inside for x in loop.xs), *loop.ys}
    needed = {i for n in moving for i in n.inputs if i not in moving and not steps.is_fixed(i)}
    new = sorted({_source(n) for n in needed} - there, key=lambda n: n.serial)
    if not may_stack(loop, new, gone):
        return None
    ys = dict(enumerate(loop.ys, count))
    loop.ys = [*(y for y in loop.ys if y not in moving), *new]
    results: dict[int, Node] = {}
    if loop.carries or loop.ys:
        scan = loop.node()
        steps.is_stacked({y: item(scan, count + k) for k, y in enumerate(loop.ys)})
        results |= {k: item(scan, k) for k in read if k < count}
    return results | {k: steps.of(ys[k]) for k in read if k >= count}


def _source(node: Node) -> Node:
    """What to stack for a node: what it is a view of."""
    while node.op in (ops.reshape, ops.permute_dims):
        (node,) = node.inputs
    return node
