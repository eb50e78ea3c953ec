"""A program that runs: its memory, the table of pointers, the native calls and NumPy in between."""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...graph import Array, spec_text
from ...numerics import failure
from .. import reference
from ..program import Kernel, Program
from . import team
from .memory import Arena, address, aligned, array_of, expect_room, size_of
from .module import Native, Segment
from .plan import Plan
from .sharing import product
from .target import Library, Target


class Runner:
    """Inputs are placed, the program runs, outputs are read.

    A buffer that replaces an input (`Program.updates`) is found in that input's own array, which is
    written over: `place` such an input as an array that nobody else sees. The others are read only.
    """

    def __init__(
        self, program: Program, made: Plan, segments: list[Segment], arena: Arena,
        library: Library | None, target: Target, rewritten: Sequence[Kernel],
        llvm: Callable[[], str],
    ) -> None:  # fmt: skip
        self._rewritten, self.llvm = rewritten, llvm
        self.program, self._plan, self._library = program, made, library
        self.arena_bytes, self._offsets = arena.size, arena.offsets
        self._table = np.zeros(program.buffers + 1 + len(made.staged), np.uint64)
        self._base = address(self._table)
        self._status = ctypes.c_int64(0)
        self._table[made.status] = ctypes.addressof(self._status)
        self._arrays: dict[int, Array] = {}
        for b, constant in enumerate(program.constants, program.inputs):
            self.place(b, constant)
        self.replaces = dict(program.updates)  # output buffer -> input
        by_numpy = {s.writes for s in segments if isinstance(s, Kernel)}
        computed = [b for b in dict.fromkeys(program.outputs) if made.values[b].kernel is not None]
        self.fresh = [b for b in computed if b not in made.in_place and b not in by_numpy]
        expect_room(arena.size + sum(size_of(made.values[b]) for b in self.fresh))
        self._arena = aligned(arena.size)
        first = address(self._arena)
        for b, offset in arena.offsets.items():
            value = made.values[b]
            whole = self._arena[offset : offset + value.dtype.itemsize * int(np.prod(value.shape))]
            self._arrays[b] = whole.view(value.dtype).reshape(value.shape)
            self._table[b] = first + offset
        for b in made.staged.values():
            self.place(b, array_of(made.values[b]))
        cuts = [
            product(made, g, target).scratch_bytes
            for g in made.groups if g.kind == "matmul"
        ]  # fmt: skip
        self._stride = max(cuts, default=0)
        shared = any(g.units > 1 for g in made.groups)
        self._scratch = aligned(self._stride * (team.threads() if shared else 1))
        self._barrier = aligned(1024)
        self._pace = team.Pace()
        self._calls = [self._call(s) for s in segments]
        self._whole = segments[0] if len(segments) == 1 else None

    def _call(self, segment: Segment) -> Callable[[], Any]:
        """What runs a segment."""
        if isinstance(segment, Kernel):
            return lambda: self._in_numpy(segment)
        assert self._library is not None
        return self._native(segment, self._library.address(segment.name), self._base)

    def _native(
        self, segment: Native, driver: int, table: int, times: int = 1
    ) -> Callable[[], Any]:
        """A call of a driver, by all threads if there is enough to do for a segment's groups."""
        scratch = address(self._scratch)
        alone = team.alone(driver, table, scratch, address(self._barrier))
        groups = [self._plan.groups[k] for k in segment.groups]
        if team.threads() == 1 or not any(g.units > 1 for g in groups):
            return alone
        stride, work = self._stride, times * sum(g.work for g in groups)

        def shared() -> None:
            began, together = time.perf_counter(), self._pace.choose()
            if not together or not team.team().run(driver, table, scratch, stride, work):
                alone()
            self._pace.note(together, (time.perf_counter() - began) / times)

        return shared

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        """What was rewritten; the groups in order: what is written where, by what, from what."""
        made = self._plan
        yield f"native({len(made.groups)} groups, arena of {self.arena_bytes} bytes):"
        for kernel in self._rewritten:
            yield f"  rewritten {kernel}"
        for k, group in enumerate(made.groups):
            writes = ", ".join(
                f"b{b}: {spec_text(made.values[b])}"
                + (f" over b{made.in_place[b]}" if b in made.in_place else "")
                + (f" at {self._offsets[b]}" if b in self._offsets else "")
                for b in group.writes
            )
            cut = f", {group.units} parts" if group.units > 1 else ""
            inputs = ", ".join(f"b{r}" for r in group.reads if r not in group.writes)
            if group.meets:
                yield "  threads meet"
            yield f"  g{k} {group.kind}{cut}: {writes} from {inputs}"
        for new, old in made.commits:
            yield f"  copy b{new} to b{old}"

    def value_of(self, b: int) -> Any:
        """Shape and dtype of a buffer."""
        return self._plan.values[b]

    def place(self, b: int, array: Array) -> None:
        """From now on the buffer is this array."""
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array).reshape(array.shape)
        self._arrays[b] = array
        self._table[b] = array.__array_interface__["data"][0]

    def new(self, b: int) -> Array:
        """An array for a buffer, of unknown contents."""
        return array_of(self._plan.values[b])

    def held(self, b: int) -> Array:
        """The array that is in a buffer's place."""
        return self._arrays[b]

    def found(self, b: int) -> Array:
        """The array of a buffer, or of the input that it has replaced."""
        return self._arrays[self.replaces.get(b, b)]

    def run(self) -> None:
        """Do the program once, on the arrays in place. If it fails, no input has been changed."""
        for call in self._calls:
            call()
            if self._status.value:
                self._explain()

    def _explain(self) -> None:
        """An index was outside its axis: NumPy's meaning of the program says which, and where."""
        self._status.value = 0
        reference.build(self.program)([self._arrays[k] for k in range(self.program.inputs)])

    @property
    def repeats(self) -> bool:
        """Whether the whole program is one native call, so that `repeat` can be used."""
        return isinstance(self._whole, Native)

    def repeat(self, count: int, moving: Mapping[int, Array]) -> None:
        """Do the program so many times, the k-th time on the k-th part of each moving buffer.

        moving   buffer -> an array whose first axis is `count` times that of the buffer, or which
                 has one axis more: inputs to be read, outputs to be written
        """
        assert self._library is not None
        assert isinstance(self._whole, Native)
        moves = [(b, array.nbytes // count) for b, array in moving.items()]
        driver = self._library.address(self._whole.name)
        job = np.array(
            [driver, self._base, count, ctypes.addressof(self._status), len(moves),
             *itertools.chain.from_iterable(moves)], np.uint64,
        )  # fmt: skip
        for b, array in moving.items():
            self._table[b] = address(array)
        try:
            self._native(self._whole, team.repeat(), address(job), count)()
        finally:
            for b in moving:
                self._table[b] = address(self._arrays[b])
        if self._status.value:
            failed = int(job[2]) - 1
            for b in moving:
                if b < self.program.inputs:
                    part = moving[b].reshape(count, -1)[failed]
                    self.place(b, part.reshape(self._arrays[b].shape))
            self._explain()

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Inputs to outputs; nothing that was passed is changed."""
        written = set(self.replaces.values())
        for b, array in enumerate(arrays):
            if b in written:
                own = self.new(b)
                own[...] = array
                array = own
            self.place(b, array)
        for b in self.fresh:
            self.place(b, np.empty(self.value_of(b).shape, self.value_of(b).dtype))
        self.run()
        return [self.found(b) for b in self.program.outputs]

    def _in_numpy(self, kernel: Kernel) -> None:
        try:
            with np.errstate(all="ignore"):
                inputs = [self._arrays[r] for r in kernel.reads]
                found = kernel.op.evaluate(*inputs, **kernel.params)
        except Exception as error:
            raise failure(kernel.node, error) from None
        if isinstance(found, tuple):
            self._arrays[kernel.writes] = found  # type: ignore[assignment]
            return
        found = np.asarray(found)
        if found.base is not None or any(found is i for i in inputs):
            found = found.copy()  # it may be a view of memory that is used again
        self.place(kernel.writes, found)
