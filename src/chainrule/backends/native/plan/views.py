"""Views: where an array that only rearranges another one reads it.

One type, `IndexMap`, says so for reshape, permute_dims, broadcast_to, slice, flip, alias and
unfold. All that needs to know how a view maps indices asks it: which buffers are strided, which
rows a thread reads, in which order a sum is read, and the code that computes an address.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .... import ops
from ....graph import Shape
from ...program import Kernel


@dataclass(frozen=True)
class Axis:
    """The index on an axis of the source: factor · i + offset.

    of    the axis of the view whose index i is; None: the index is `offset` for all of the view
    also  one more axis of the view and its factor, whose product is added: the place in a window
    """

    of: int | None
    factor: int = 1
    offset: int = 0
    also: tuple[int, int] | None = None

    @property
    def terms(self) -> list[tuple[int, int]]:
        """(axis of the view, factor) of each index that is added."""
        own = [] if self.of is None else [(self.of, self.factor)]
        return own if self.also is None else [*own, self.also]


@dataclass(frozen=True)
class IndexMap:
    """From an index of a view to the index of its source that is read.

    axes   one per axis of the source; None: the element with the same place in row-major order
    """

    view: Shape
    source: Shape
    axes: tuple[Axis, ...] | None

    def strides(self, source: Sequence[int]) -> tuple[tuple[int, ...], int] | None:
        """The view's strides, and where it begins, from the strides of its source.

        None if it has none: it runs backwards, or rearranges what does not lie row by row.
        """
        if self.axes is None:
            rows = tuple(source) == contiguous(self.source)
            return (contiguous(self.view), 0) if rows else None
        if any(axis.factor < 0 for axis in self.axes):
            return None
        strides, begin = [0] * len(self.view), 0
        for axis, stride in zip(self.axes, source, strict=True):
            begin += axis.offset * stride
            for of, factor in axis.terms:
                strides[of] += factor * stride
        return tuple(strides), begin

    def source_axis(self, axis: int) -> int | None:
        """The axis of the source that is read at the view's own index on an axis, if there is."""
        if self.axes is None:
            first = first_axis(self.source)
            alike = first is not None and self.source[first] == self.view[axis]
            return first if axis == first_axis(self.view) and alike else None
        for k, at in enumerate(self.axes):
            if at == Axis(axis) and self.source[k] == self.view[axis]:
                return k
        return None

    @property
    def changes_nothing(self) -> bool:
        """Whether each element of the view has the same index in the source."""
        return self.view == self.source and self.axes == (*map(Axis, range(len(self.view))),)

    @property
    def stretches(self) -> bool:
        """Whether it has more elements than its source (or none)."""
        return math.prod(self.view) != math.prod(self.source)

    @property
    def keeps_neighbours(self) -> bool:
        """Whether neighbours along the view's last axis are neighbours, or one, in the source."""
        if self.axes is None:
            return [n for n in self.view if n != 1][-1:] == [n for n in self.source if n != 1][-1:]
        if any(axis.factor < 0 for axis in self.axes):
            return False
        last = len(self.view) - 1
        return all(
            axis.factor == 1 and all(later.of is None for later in self.axes[k + 1 :])
            for k, axis in enumerate(self.axes)
            if axis.of is not None and axis.of == last
        )


def index_map(kernel: Kernel) -> IndexMap:
    """The map of a kernel that is a view."""
    view, source = kernel.node.shape, kernel.node.inputs[0].shape
    return IndexMap(view, source, _AXES[kernel.op](kernel, view, source))


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a row-major array, in elements."""
    return tuple(math.prod(shape[a + 1 :]) for a in range(len(shape)))


def segments(one: Shape, other: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes of two shapes that have the same elements, in order."""
    runs: list[tuple[list[int], list[int]]] = []
    i = k = 0
    while i < len(one) or k < len(other):
        first: list[int] = []
        second: list[int] = []
        a = b = 1
        while not (first or second) or a != b:
            if k == len(other) or (i < len(one) and a <= b):
                first.append(i)
                a, i = a * one[i], i + 1
            else:
                second.append(k)
                b, k = b * other[k], k + 1
        runs.append((first, second))
    return runs


def joint_stride(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """The stride of some axes as one; None if their elements do not lie evenly."""
    axes = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    even = all(s == n * t for (_, s), (n, t) in itertools.pairwise(axes))
    return None if not even else axes[-1][1] if axes else 0


def first_axis(shape: Sequence[int]) -> int | None:
    """The first axis that is not of size 1: its indices are what is called rows."""
    return next((a for a, n in enumerate(shape) if n != 1), None)


def _axes_alike(kernel: Kernel, view: Shape, source: Shape) -> tuple[Axis, ...]:
    return tuple(map(Axis, range(len(source))))


def _axes_permuted(kernel: Kernel, view: Shape, source: Shape) -> tuple[Axis, ...]:
    axes = kernel.params["axes"]
    return tuple(Axis(axes.index(a)) for a in range(len(source)))


def _axes_broadcast(kernel: Kernel, view: Shape, source: Shape) -> tuple[Axis, ...]:
    return tuple(Axis(None if n == 1 else a) for a, n in enumerate(source))


def _axes_of_windows(kernel: Kernel, view: Shape, source: Shape) -> tuple[Axis, ...]:
    params, n = kernel.params, len(source) - 2
    sizes = zip(params["stride"], params["dilation"], strict=True)
    windows = (Axis(1 + k, s, also=(1 + n + k, d)) for k, (s, d) in enumerate(sizes))
    return Axis(0), *windows, Axis(2 * n + 1)


def _axes_sliced(kernel: Kernel, view: Shape, source: Shape) -> tuple[Axis, ...]:
    pairs = zip(kernel.params["start"], kernel.params["step"], strict=True)
    return tuple(Axis(a, step, start) for a, (start, step) in enumerate(pairs))


def _axes_flipped(kernel: Kernel, view: Shape, source: Shape) -> tuple[Axis, ...]:
    turned = kernel.params["axis"]
    return tuple(Axis(a, -1, n - 1) if a in turned else Axis(a) for a, n in enumerate(source))


def _axes_reshaped(kernel: Kernel, view: Shape, source: Shape) -> tuple[Axis, ...] | None:
    """Sizes of 1 come and go; otherwise elements keep their place alone."""
    if [n for n in source if n != 1] != [n for n in view if n != 1]:
        return None
    rest = iter([a for a, n in enumerate(view) if n != 1])
    return tuple(Axis(None if n == 1 else next(rest)) for n in source)


_AXES = {
    ops.alias: _axes_alike,
    ops.broadcast_to: _axes_broadcast,
    ops.flip: _axes_flipped,
    ops.permute_dims: _axes_permuted,
    ops.reshape: _axes_reshaped,
    ops.slice: _axes_sliced,
    ops.unfold: _axes_of_windows,
}
VIEWS = frozenset(_AXES)
