"""How many samples the data are, and whether the loss is their mean; means: read from the graph.

Samples are rows of the data. They are followed through the pass to what adds them up; data whose
rows are mixed on the way, such as the words of one sentence, are one sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..compile.rewriting import number
from ..graph import Node, Shape
from .derivation import MOVES, Derivation

Axis = tuple[int, int]  # of a node: its place, and how many elements on the next sample is
Axes = dict[Node, list[Axis]]
Mean = tuple[Node, Shape]  # a tensor, and the axes that it is the mean over


@dataclass(frozen=True)
class Samples:
    """The samples of a derivation, and the loss as factor · a sum.

    rows     the data that have a row for each sample
    count    of samples; 0 if the data have no rows that are samples
    terms    how many numbers the sum adds up
    factor   of the sum
    """

    rows: list[Node]
    count: int
    terms: int
    factor: float

    @property
    def kind(self) -> str:
        """What the loss is of several samples: "mean", "sum", or "" if it is something else."""
        if self.count < 2 or self.terms % self.count:
            return ""
        if np.isclose(abs(self.factor) * self.terms, 1):
            return "mean"
        return "sum" if np.isclose(abs(self.factor), 1) else ""


def samples_of(derivation: Derivation) -> Samples:
    """The samples of a derivation.

    A single list of numbers is one sample; in tables, lists beside them are for labels.
    """
    terms, factor = _last_sum(derivation)
    data = [n for n, i in derivation.inputs.items() if i.kind == "data" and n.shape]
    tables = [n for n in data if len(n.shape) > 1] or (data if len(data) > 1 else [])
    for count in sorted({n.shape[0] for n in tables} - {0}, reverse=True):
        if all(_are_added_up(n, derivation.forward) for n in tables if n.shape[0] == count):
            return Samples([n for n in data if n.shape[0] == count], count, terms, factor)
    return Samples([], 0, terms, factor)


def _are_added_up(rows: Node, forward: Sequence[Node]) -> bool:
    """Whether a sum adds up what rows give, each by itself; of a single row there is no sum."""
    if rows.shape[0] == 1:
        return True
    axes = followed([rows], forward)
    sums = [n for n in forward if n.op is ops.sum]
    return all(len(of) < 2 for of in axes.values()) and any(
        k in node.params["axis"] for node in sums for k, _ in axes.get(node.inputs[0], ())
    )


def followed(rows: Sequence[Node], order: Iterable[Node]) -> Axes:
    """The axes along which the rows of these data are, in nodes in this order."""
    count = rows[0].shape[0]
    return _followed({node: [(0, 1)] for node in rows}, order, count)


def _followed(start: Mapping[Node, list[Axis]], order: Iterable[Node], count: int) -> Axes:
    axes, results = dict(start), dict[Node, list[list[Axis]]]()
    for node in order:
        if isinstance(node.dtype, tuple):
            results[node] = _of_results(node, axes, count)
        elif node.op is ops.item:
            of = results.get(node.inputs[0])
            axes[node] = of[node.params["index"]] if of else []
        elif node not in axes:
            every = (_passed(node, i, axes.get(i, ()), count) for i in node.inputs)
            axes[node] = sorted({axis for some in every for axis in some})
    return axes


def _of_results(node: Node, axes: Axes, count: int) -> list[list[Axis]]:
    """The axes of each result of an operation that has several; along time a loop adds one."""
    graph, params = node.params.get("graph"), node.params
    outer = [axes.get(i, []) for i in node.inputs]
    if graph is None:
        sizes = {(a, i.shape[a[0]]) for i, of in zip(node.inputs, outer, strict=True) for a in of}
        return [
            sorted(a for a, n in sizes if shape[a[0] : a[0] + 1] == (n,)) for shape in node.shape
        ]
    before, after = len(node.inputs), len(node.shape)
    if node.op is ops.scan:
        before, after = params["consts"] + params["carries"], params["carries"]
    inside = [of if j < before else [(k - 1, n) for k, n in of if k] for j, of in enumerate(outer)]
    inner = _followed(dict(zip(graph.inputs, inside, strict=True)), graph.nodes, count)
    ends = [inner.get(n, []) for n in graph.outputs]
    return [of if j < after else [(k + 1, n) for k, n in of] for j, of in enumerate(ends)]


def _passed(node: Node, i: Node, axes: Sequence[Axis], count: int) -> list[Axis]:
    """The axes of a node that are axes of its input."""
    if node.op is ops.permute_dims:
        return [(node.params["axes"].index(k), n) for k, n in axes]
    if node.op is ops.matmul:
        last = len(i.shape) - 1
        return [(k, n) for k, n in axes if k != (last if i is node.inputs[0] else last - 1)]
    if node.op is ops.reshape:
        return [new for axis in axes for new in _reshaped(axis, i.shape, node.shape, count)]
    if node.op in (ops.convolution, ops.take):
        return [(k, n) for k, n in axes if k == 0 and node.shape[:1] == i.shape[:1]]
    if node.op is ops.convolution_weight or len(i.shape) != len(node.shape):
        return []
    return [(k, n) for k, n in axes if i.shape[k] == node.shape[k]]


def _reshaped(axis: Axis, old: Shape, new: Shape, count: int) -> list[Axis]:
    """The axis of another shape that has all of it, alone or with others; none if it is cut."""
    if 0 in old:
        return []
    step = axis[1] * math.prod(old[axis[0] + 1 :])  # in elements of the whole
    for k, size in enumerate(new):
        behind = math.prod(new[k + 1 :])
        if step % behind == 0 and size % (count * (step // behind)) == 0:
            return [(k, step // behind)]
    return []


def mean_of(node: Node) -> Mean | None:
    """What a node is the mean of: a sum that is divided by the number of its terms."""
    if node.op is not ops.divide:
        return None
    total, divisor = node.inputs
    while total.op is ops.reshape:
        (total,) = total.inputs
    if total.op is not ops.sum:
        return None
    (x,), axes = total.inputs, total.params["axis"]
    return (x, axes) if number(divisor) == math.prod(x.shape[k] for k in axes) else None


def _last_sum(derivation: Derivation) -> tuple[int, float]:
    """The loss as a multiple of a sum: of how many numbers, and the factor."""
    node, scale = derivation.loss, 1.0
    while node.op is not None:
        first, *others = node.inputs
        if node.op is ops.multiply and first not in derivation.moving:
            first, others = others[0], [first]
        if node.op is ops.sum and math.prod(first.shape) > 1:
            return math.prod(first.shape), scale
        if node.op is ops.negative:
            scale = -scale
        elif node.op in (ops.multiply, ops.divide) and others[0] not in derivation.moving:
            factor = np.asarray(derivation.value(others[0]), "f8")
            if factor.size != 1 or not factor.item():
                break
            scale = scale * factor.item() if node.op is ops.multiply else scale / factor.item()
        elif node.op not in (*MOVES, ops.sum):
            break
        node = first
    return 1, scale
