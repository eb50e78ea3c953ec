"""Matrices that a loop multiplies by in each turn, packed once before the loop.

The part of each row of a large matrix that a block of a product reads lies far from that of the
next row: the block pays for sets of the cache, or it copies all of it into a panel first. The
weights of a recurrent layer would be copied again in each turn. Here they are an array
(panels, k, columns) that views, a pad and a copy make of the matrix, and the product in the loop is
`packed_matmul`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

from .... import ops
from ....dtypes import float32, float64
from ....graph import Array, Graph, Node, Operation, ShapeRule, Spec
from ...program import Kernel, Program, lower
from .views import VIEWS

PANEL_BYTES = 64  # of a row of a panel: a cache line
FEWEST_TURNS = 4  # of a loop, and bytes of a matrix, from which on it pays
SMALLEST = 1 << 14


def _shape(a: Spec, packed: Spec, columns: int) -> tuple[tuple[int, ...], object]:
    return (*a.shape[:-1], columns), a.dtype


def _evaluate(a: Array, packed: Array, columns: int) -> Array:
    panels, k, width = packed.shape
    matrix = packed.transpose(1, 0, 2).reshape(k, panels * width)[:, :columns]
    product: Array = ops.matmul.evaluate(a, matrix)
    return product


# a · B, where B lies in panels; `columns` of it, the others are padding.
PACKED_MATMUL = Operation("packed_matmul", "other", ShapeRule(_shape), _evaluate, ("a", "packed"))


def packed_once(program: Program) -> Program:
    """The program whose loops have the matrices that stay packed already."""
    kernels: list[Kernel] = []
    buffers = program.buffers
    for kernel in program.kernels:
        if kernel.op is ops.scan and kernel.params["length"] >= FEWEST_TURNS:
            rewrite = _Loop(kernel, buffers)
            kernels += rewrite.packing
            buffers += len(rewrite.packing)
            kernel = rewrite.kernel
        kernels.append(kernel)
    return dataclasses.replace(program, kernels=tuple(kernels), buffers=buffers)


class _Loop:
    """A loop, and the kernels that pack what it multiplies by.

    packing   those kernels, which write the buffers from `first` on
    kernel    the loop, which reads them as more constants
    """

    def __init__(self, kernel: Kernel, first: int) -> None:
        self._loop, self._next = kernel, first
        self.packing: list[Kernel] = []
        graph: Graph = kernel.params["graph"]
        count = kernel.params["consts"]
        constants = dict(zip(graph.inputs[:count], kernel.reads, strict=False))
        self._more: dict[Node, tuple[int, Node, Node]] = {}  # by matrix: buffer, outside, inside
        new: dict[Node, Node] = {node: node for node in graph.inputs}
        for node in graph.nodes:
            if node in new:
                continue
            inputs = tuple(new[i] for i in node.inputs)
            path = [*_views(node.inputs[1])] if _may_be_packed(node) else []
            if path and path[-1] in constants:
                inputs = inputs[0], self._packed(path, constants[path[-1]])
                params = {"columns": node.shape[-1]}
                new[node] = _node(PACKED_MATMUL, inputs, params, node)
            elif inputs != node.inputs and node.op is not None:
                new[node] = _node(node.op, inputs, node.params, node)
            else:
                new[node] = node
        self.kernel = self._rewritten(graph, count, [new[o] for o in graph.outputs])

    def _rewritten(self, graph: Graph, count: int, outputs: list[Node]) -> Kernel:
        kernel = self._loop
        if not self._more:
            return kernel
        buffers, outside, inside = zip(*self._more.values(), strict=True)
        inputs = [*graph.inputs[:count], *inside, *graph.inputs[count:]]
        body = Graph(inputs, outputs)
        params = {**kernel.params, "graph": body, "consts": count + len(inside)}
        of_node = kernel.node.inputs
        node = _node(ops.scan, (*of_node[:count], *outside, *of_node[count:]), params, kernel.node)
        reads = (*kernel.reads[:count], *buffers, *kernel.reads[count:])
        return Kernel(ops.scan, reads, kernel.writes, params, (), node, lower(body))

    def _packed(self, path: list[Node], source: int) -> Node:
        """The matrix at the end of views, packed: the node inside of the loop.

        path     the matrix, what it is a view of, and so on to a constant of the loop
        source   the buffer of that constant
        """
        matrix = path[0]
        if matrix not in self._more:
            width = PANEL_BYTES // matrix.dtype.itemsize
            (k, n), panels = matrix.shape, -(-matrix.shape[1] // width)
            b, outside = source, Node(None, (), {}, path[-1].shape, path[-1].dtype)
            for view in reversed(path[:-1]):
                assert view.op is not None
                b, outside = self._add(view.op, b, outside, **view.params)
            if panels * width > n:
                low, high, interior = (0, 0), (0, panels * width - n), (0, 0)
                b, outside = self._add(ops.pad, b, outside, low=low, high=high, interior=interior)
            b, outside = self._add(ops.reshape, b, outside, shape=(k, panels, width))
            b, outside = self._add(ops.permute_dims, b, outside, axes=(1, 0, 2))
            inside = Node(None, (), {}, outside.shape, outside.dtype)
            self._more[matrix] = b, outside, inside
        return self._more[matrix][2]

    def _add(self, op: Operation, b: int, source: Node, **params: object) -> tuple[int, Node]:
        """One more kernel outside of the loop: what it writes."""
        shape, dtype = op.infer(source, **params)
        node = Node(op, (source,), params, shape, dtype, None, False, self._loop.node.source)
        self.packing.append(Kernel(op, (b,), self._next, params, (), node))
        self._next += 1
        return self._next - 1, node


def _node(
    op: Operation, inputs: tuple[Node, ...], params: Mapping[str, object], like: Node
) -> Node:
    return Node(op, inputs, params, like.shape, like.dtype, None, False, like.source)


def _may_be_packed(node: Node) -> bool:
    """Whether it is a product by a matrix that is large enough."""
    if node.op is not ops.matmul or node.dtype not in (float32, float64):
        return False
    left, right = node.inputs
    large = math.prod(right.shape) * right.dtype.itemsize >= SMALLEST
    return len(left.shape) == len(right.shape) == 2 and large and min(node.shape) > 0


def _views(node: Node) -> Iterator[Node]:
    """The node, and what it is a view of, and so on."""
    yield node
    while node.op in VIEWS:
        (node,) = node.inputs
        yield node
