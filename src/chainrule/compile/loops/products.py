"""Matrix products of a loop with the same matrix at each step: one for all steps, or one per step.

One product before the loop reads the matrix once, but writes its result to memory, from which the
loop reads it. With more than a few rows per step the loop is faster if it multiplies itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ... import ops
from ...graph import Graph, Node, topological
from ..rewriting import apply, item, with_inputs
from .lifting import AllSteps, behind_views, may_stack, size
from .loop import Input, Loop, change_loops, items

# Products of few rows with many columns are done before the loop. Measured for LSTMs of 256 units
# on one thread (AVX2), the time of a step with products before the loop, relative to inside: 0.98
# with 1 row of 64 columns, 0.83 with 1 of 256; but 1.04 with 4 of 64, 1.02 with 8 of 256, 1.07 with
# 32 of 64, 1.02 with 32 of 512.
COLUMNS_PER_ROW = 64


def products_before(graph: Graph) -> Graph:
    """[x₁; x₂; …] W before the loop instead of xₜ W at each step, if steps have few rows.

    The products whose rows depend on xs and constants alone, and the elementwise operations that
    follow, such as a bias. What they give is an x of the loop, if `may_stack` allows that.
    """
    return change_loops(graph, _with_products_before)


def products_inside(graph: Graph) -> Graph:
    """xₜ W + b at each step instead of [x₁; x₂; …] W + b before the loop, if steps have many rows.

    Only the loop reads these products, which are an x; the rows become one instead.
    """
    users = Counter(i for node in graph.nodes for i in node.inputs)
    users.update(graph.outputs)
    return change_loops(graph, lambda loop, read: _with_products_inside(loop, read, users))


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
            if _is_product(node, steps) and _has_few_rows(node, steps):
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


def _has_few_rows(product: Node, steps: AllSteps) -> bool:
    rows = product.shape[-1 if steps.is_fixed(product.inputs[0]) else -2]
    return product.inputs[0].shape[-1] >= COLUMNS_PER_ROW * rows


class _Projection(NamedTuple):
    """xs of a loop that are products of rows with a matrix, plus a vector (None: none)."""

    rows: Node
    matrix: Node
    bias: Node | None


def _with_products_inside(
    loop: Loop, read: Collection[int], users: Counter[Node]
) -> Mapping[int, Node] | None:
    first, leaves = len(loop.scan.inputs) - len(loop.xs), dict[Node, Node]()
    for x, before in zip(list(loop.xs), loop.scan.inputs[first:], strict=True):
        projection = _projection(before, x.outside, users)
        if projection is None:
            continue
        rows, matrix, bias = projection
        row = Node(None, (), {}, rows.shape[1:], rows.dtype)
        loop.xs[loop.xs.index(x)] = Input(rows, row)
        product = apply(ops.matmul, row, _inside(loop, matrix), source=x.outside.source)
        if bias is not None:
            wide = _inside(loop, bias)
            wide = apply(ops.broadcast_to, wide, source=x.outside.source, shape=product.shape)
            product = apply(ops.add, product, wide, source=x.outside.source)
        leaves[x.inside] = product
    if not leaves:
        return None
    loop.replace(leaves)
    return items(loop.node(), read)


def _inside(loop: Loop, value: Node) -> Node:
    """A constant of the loop, views of it inside."""
    if value.op in (ops.permute_dims, ops.reshape):
        return with_inputs(value, (_inside(loop, value.inputs[0]),))
    loop.constants.append(Input(value, Node(None, (), {}, value.shape, value.dtype)))
    return loop.constants[-1].inside


def _projection(old: Node, new: Node, users: Counter[Node]) -> _Projection | None:
    """What xs are products of, with many rows per step.

    old, new   the xs in the graph before this pass, where `users` counts, and now
    """
    bias = None
    if old.op is ops.add and users[old] == 1 and new.inputs[1].op is ops.broadcast_to:
        (bias,) = new.inputs[1].inputs
        if bias.shape[:-1] != (1,) * (len(bias.shape) - 1):
            return None
        bias = apply(ops.reshape, bias, source=new.source, shape=bias.shape[1:])
        old, new = old.inputs[0], new.inputs[0]
    if old.op is not ops.reshape or users[old] != 1 or len(old.shape) != 3:
        return None
    old, new, shape = old.inputs[0], new.inputs[0], new.shape
    if old.op is not ops.matmul or users[old] != 1 or len(old.shape) != 2:
        return None
    rows, matrix = new.inputs
    if rows.op is ops.reshape:
        (rows,) = rows.inputs
    if rows.shape[:-1] != shape[:-1] or rows.shape[-1] >= COLUMNS_PER_ROW * shape[1]:
        return None
    return _Projection(rows, matrix, bias)


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
    new = sorted({behind_views(n) for n in needed} - there, key=lambda n: n.serial)
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
