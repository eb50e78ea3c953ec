"""Buffers of a program as the native backend sees them, and which of them are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .... import ops
from ....dtypes import is_half
from ....graph import Dtype, Operation, Shape
from ...program import Kernel
from .views import IndexMap, contiguous, first_axis

if TYPE_CHECKING:
    from .kinds import Kind
    from .stages import Plan

Known = TypeVar("Known")


@dataclass(frozen=True)
class Buffer:
    """A buffer: its shape, dtype, and the kernel that makes it (None: an input or a constant).

    kind   how the kernel does that
    map    of a view: where it reads its source
    body   of a loop with a body: the plan of that

    A kernel with several results makes memory that it needs itself, in bytes; the results are
    buffers of their own, which `item` kernels make.
    """

    shape: Shape
    dtype: Dtype
    kernel: Kernel | None = None
    kind: Kind | None = None
    map: IndexMap | None = None
    body: Plan | None = None

    @property
    def op(self) -> Operation | None:
        """The operation that makes it."""
        return None if self.kernel is None else self.kernel.op

    def at_own_index(self, operand: int) -> bool:
        """Whether element k of it needs element k of that operand alone."""
        copy = self.map is not None and self.map.changes_nothing
        return copy or (self.kind is not None and self.kind.at_own_index(operand))

    @property
    def from_half(self) -> bool:
        """Whether it is float16 or bfloat16 in a wider dtype."""
        if self.kernel is None or self.kernel.op is not ops.astype:
            return False
        return self.dtype.itemsize > 2 and is_half(self.kernel.node.inputs[0].dtype)

    @property
    def reads(self) -> tuple[int, ...]:
        """The buffers that it is made from."""
        return () if self.kernel is None else self.kernel.reads


@dataclass(frozen=True)
class Storage:
    """All buffers by number, and which of them are stored; the others are computed where used.

    in_loop   they are those of a loop's body
    """

    buffers: Mapping[int, Buffer]
    stored: AbstractSet[int]
    in_loop: bool = False
    _reads: dict[int, dict[int, bool]] = field(default_factory=dict, init=False, repr=False)

    def kernel(self, b: int) -> Kernel:
        """The kernel that makes a buffer."""
        kernel = self.buffers[b].kernel
        assert kernel is not None
        return kernel

    def kind(self, b: int) -> Kind:
        """How a buffer is made."""
        kind = self.buffers[b].kind
        assert kind is not None
        return kind

    def reads(self, b: int) -> Mapping[int, bool]:
        """The stored buffers that computing b reads, and whether at its own index alone."""
        known = self._reads.get(b)
        if known is not None:
            return known

        def inputs(b: int, same: bool) -> list[tuple[int, bool]]:
            buffer = self.buffers[b]
            own = [same and buffer.at_own_index(k) for k in (0, 1)]
            return [(r, own[k > 0]) for k, r in enumerate(buffer.reads)]

        at_own_index: dict[int, bool] = {}
        for r, same in self.reached(b, True, inputs):
            at_own_index[r] = same and at_own_index.get(r, True)
        self._reads[b] = at_own_index
        return at_own_index

    def rows_read(self, b: int) -> dict[int, bool]:
        """The stored buffers that b is computed from, and whether row k of b reads row k alone.

        A row is an index of the first axis that is not of size 1.
        """
        shape = self.buffers[b].shape
        first = first_axis(shape)
        rows = shape[first] if first is not None else 0

        def inputs(b: int, axis: int | None) -> list[tuple[int, int | None]]:
            buffer = self.buffers[b]
            if buffer.kind is None or axis is None:
                return [(r, None) for r in buffer.reads]
            return list(zip(buffer.reads, buffer.kind.rows(buffer, axis), strict=True))

        own_rows: dict[int, bool] = {}
        for r, axis in self.reached(b, first, inputs):
            shape = self.buffers[r].shape
            own = axis is not None and axis == first_axis(shape) and shape[axis] == rows
            own_rows[r] = own and own_rows.get(r, True)
        return own_rows

    def reached(
        self, b: int, known: Known, inputs: Callable[[int, Known], list[tuple[int, Known]]]
    ) -> Iterator[tuple[int, Known]]:
        """The stored buffers that computing b reads, each with what is known of it.

        inputs   from a buffer and what is known of it to those that it is computed from
        """
        waiting = inputs(b, known)
        seen: set[tuple[int, Known]] = set()
        for at in waiting:  # which grows
            if at in seen:
                continue
            seen.add(at)
            if at[0] in self.stored:
                yield at
            else:
                waiting += inputs(*at)

    def computed(self, b: int) -> Iterator[int]:
        """The buffer, and those that are computed where it is."""
        waiting, seen = [b], {b}
        while waiting:
            r = waiting.pop()
            yield r
            inner = {r for r in self.buffers[r].reads if r not in self.stored} - seen
            waiting += inner
            seen |= inner

    def base(self, b: int) -> int:
        """The buffer that views alone lead to."""
        while b not in self.stored and self.buffers[b].map is not None:
            b = self.buffers[b].reads[0]
        return b

    def strided(self, b: int) -> tuple[int, tuple[int, ...], int] | None:
        """A buffer as (stored buffer, strides in elements, offset), if views alone lead to one."""
        if b in self.stored:
            return b, contiguous(self.buffers[b].shape), 0
        return self.strided_source(b)

    def strided_source(self, b: int) -> tuple[int, tuple[int, ...], int] | None:
        """The same of a view, which may be stored itself."""
        buffer = self.buffers[b]
        base = None if buffer.map is None else self.strided(buffer.reads[0])
        if base is None or buffer.map is None:
            return None
        source, strides, offset = base
        through = buffer.map.strides(strides)
        return None if through is None else (source, through[0], offset + through[1])
