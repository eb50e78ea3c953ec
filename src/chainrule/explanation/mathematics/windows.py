"""What an element is made of that is read from windows: convolutions, pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ... import ops
from ...graph import Node, Shape
from .algebra import mul, reduced, total
from .expression import At, Expr, Index, Place
from .fractions import ZERO
from .places import at_index, part, place
from .reader import Places, Reader


def convolution(e: Reader, node: Node, at: Places) -> Expr | None:
    """Σ over window and channels: x[n, s·i + d·k − p, c] w[k, c, o]."""
    p, (x, w) = node.params, node.inputs
    n = len(p["stride"])
    row, *position, out = at
    channel = Index(w.shape[n])
    read = _window(e, p, x, position, w.shape[:n])
    if read is None:
        return None
    group = part(out, w.shape[-1] // p["groups"], p["groups"])
    places, window, moved = read
    left = _padded(e, p, x, (row, *places, place([(at_index(channel), 1), (group, w.shape[n])])))
    return _sum(mul(left, e.at(w, (*moved, at_index(channel), out))), [channel, *reversed(window)])


def convolution_weight(e: Reader, node: Node, at: Places) -> Expr | None:
    """Σ over samples and positions: x[n, s·i + d·k − p, c] z[n, i, o]."""
    p, (x, z) = node.params, node.inputs
    n = len(p["stride"])
    *window, channel, out = at
    row = Index(z.shape[0], (z, 0) in e.rows)
    turned = {**p, "stride": p["kernel_dilation"], "kernel_dilation": p["stride"]}
    read = _window(e, turned, x, window, z.shape[1 : n + 1])
    if read is None:
        return None
    places, position, moved = read
    group = part(out, node.shape[-1] // p["groups"], p["groups"])
    channel = place([(channel, 1), (group, node.shape[n])])
    left = _padded(e, p, x, (at_index(row), *places, channel))
    return _sum(mul(left, e.at(z, (at_index(row), *moved, out))), [*reversed(position), row])


def _window(
    e: Reader, p: Mapping[str, Any], x: Node, at: Sequence[Place], sizes: Shape
) -> tuple[list[Place], list[Index], list[Place]] | None:
    """Where a window of these sizes reads the input: places there, indices, places in the window.

    Of an input with zeros between its elements the indices are those of the input.
    """
    dilation = p["input_dilation"]
    if any(d > 1 and k != 1 for d, k in zip(dilation, p["kernel_dilation"], strict=True)):
        return None
    places, indices, moved = [], [], []
    for k, d in enumerate(dilation):
        stride, step, low = p["stride"][k], p["kernel_dilation"][k], p["padding"][k][0]
        index = Index(sizes[k] if d == 1 else x.shape[k + 1])
        here = at_index(index)
        indices.append(index)
        read = place([(at[k], stride), (here, step)], -low)  # s·i + d·k − p
        places.append(read if d == 1 else here)
        moved.append(here if d == 1 else place([(here, d), (at[k], -stride)], low))
    return places, indices, moved


def _padded(e: Reader, p: Mapping[str, Any], x: Node, at: Places) -> Expr:
    """An element of the input, or 0 outside of it, as is said of tensors with a name."""
    out = e.at(x, at)
    if _outside(p["padding"]) and not isinstance(out, At):
        e.wanted[x] = None
    return out


def _sum(body: Expr, indices: Sequence[Index]) -> Expr:
    for i in indices:
        body = total(i, body)
    return body


def _outside(padding: Sequence[tuple[int, int]]) -> bool:
    return any(low > 0 or high > 0 for low, high in padding)


def unfold(e: Reader, node: Node, at: Places) -> Expr:
    n = len(node.params["window"])
    stride, dilation = node.params["stride"], node.params["dilation"]
    read = [place([(at[k + 1], stride[k]), (at[n + 1 + k], dilation[k])]) for k in range(n)]
    return e.at(node.inputs[0], (at[0], *read, at[-1]))


def pooled(e: Reader, node: Node, at: Places) -> Expr | None:
    """Of a window, without padding: the maximum, or its place, counted in rows."""
    (whole,) = node.inputs
    p = whole.params
    if whole.op is not ops.max_pool or _outside(p["padding"]):
        return None
    window = p["window"]
    if node.params["index"]:
        if node not in e.views:
            e.wanted[node] = None
            return ZERO
        kind, indices = "argmax", [Index(math.prod(window))]
        inside = [
            part(at_index(indices[0]), math.prod(window[k + 1 :]), n) for k, n in enumerate(window)
        ]
    else:
        kind, indices = "max", [Index(n) for n in window]
        inside = [at_index(i) for i in indices]
    read = [
        place([(at[k + 1], p["stride"][k]), (i, p["dilation"][k])]) for k, i in enumerate(inside)
    ]
    out = e.at(whole.inputs[0], (at[0], *read, at[-1]))
    for i in reversed(indices):
        out = reduced(kind, i, out)
    return out
