"""Which row of the batch an element is computed from: the rows are changed, and it is computed
again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import ops
from ..dtypes import is_floating
from ..errors import ChainruleError
from ..graph import Array, Node
from .origin import Element
from .replay import replayed


def sample_of(element: Element, data: Sequence[Node]) -> int | None:
    """The one row of the data that the element depends on; None if it is none, or several.

    Rows are along the first axis of the first of the data; of data that a loop goes through as it
    is, along the second, and the first is time.
    """
    outermost = element.frame
    while outermost.outer is not None:
        outermost = outermost.outer
    inputs = {n: v for n, v in outermost.values.items() if n.op is None and n.value is None}
    scanned = _scanned(outermost.values, inputs)
    axes = {n: int(n in scanned) for n in data if inputs[n].ndim > int(n in scanned)}
    if not axes:
        return None
    first = next(iter(axes))
    count = inputs[first].shape[axes[first]]
    axes = {n: a for n, a in axes.items() if inputs[n].shape[a] == count}
    before = element.array[element.index].tobytes()

    def depends(low: int, high: int) -> bool:
        changed = {n: _changed(inputs[n], a, low, high) for n, a in axes.items()}
        try:
            frame = replayed({**inputs, **changed}).at(element.path)
            again = Element(frame, element.node, element.index, element.item)
            return bool(again.array[again.index].tobytes() != before)
        except ChainruleError:  # an index out of range, say
            return True

    low, high = 0, count
    if not count or not depends(low, high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        lower, upper = depends(low, middle), depends(middle, high)
        if lower == upper:
            return None
        low, high = (low, middle) if lower else (middle, high)
    return low


def _changed(x: Array, axis: int, low: int, high: int) -> Array:
    """NaN in these rows of floats; of others, the row after each."""
    out = x.copy()
    rows = (slice(None),) * axis + (slice(low, high),)
    out[rows] = np.nan if is_floating(x.dtype) else np.roll(x, -1, axis)[rows]
    return out


def _scanned(nodes: Sequence[Node] | dict[Node, Array], inputs: dict[Node, Array]) -> set[Node]:
    """The inputs through which a loop goes along their first axis."""
    return {
        i
        for node in nodes
        if node.op is ops.scan
        for i in node.inputs[node.params["consts"] + node.params["carries"] :]
        if i in inputs
    }
