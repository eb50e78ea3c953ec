"""A program that runs: its memory, the table of pointers, the native calls and NumPy in between."""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import RangeError
from ....graph import Array, Spec
from ....numerics import failure
from ... import reference
from ...program import Kernel, Program
from ..object_code import Library
from ..sizes import size_of
from . import team
from .arrays import address, aligned, array_of, expect_room
from .schedule import Call, Schedule

if TYPE_CHECKING:
    from ..compilation import Compilation


class Runner:
    """Inputs are placed, the program runs, outputs are read.

    A buffer that replaces an input (`Program.updates`) is found in that input's own array, which is
    written over: `place` such an input as an array that nobody else sees. The others are read only.
    """

    def __init__(
        self,
        program: Program,
        schedule: Schedule,
        library: Library | None,
        planned: Callable[[], Compilation],
    ) -> None:
        self.program, self.planned, self._library = program, planned, library
        self._specs: dict[int, Spec] = dict(enumerate(program.arguments))
        self._specs |= {k.writes: k.node for k in program.kernels}
        status = program.buffers
        self._table = np.zeros(status + 1 + len(schedule.staged), np.uint64)
        self._base = address(self._table)
        self._status = ctypes.c_int64(0)
        self._table[status] = ctypes.addressof(self._status)
        self._arrays: dict[int, Array] = {}
        for b, constant in enumerate(program.constants, program.inputs):
            self._specs[b] = constant
            self.place(b, constant)
        self.early = schedule.early
        self.replaces = dict(program.updates)  # output buffer -> input
        self.begun = 0  # steps of the last `repeat`
        by_numpy = {program.kernels[call.kernel].writes for call in schedule.calls if not call.name}
        given = program.inputs + len(program.constants)
        elsewhere = by_numpy.union(schedule.in_place, range(given))
        self.fresh = [b for b in dict.fromkeys(program.outputs) if b not in elsewhere]
        expect_room(schedule.arena + sum(size_of(self._specs[b]) for b in self.fresh))
        self._arena = aligned(schedule.arena)
        first = address(self._arena)
        for b, offset in schedule.offsets:
            spec = self._specs[b]
            whole = self._arena[offset : offset + size_of(spec)]
            self._arrays[b] = whole.view(spec.dtype).reshape(spec.shape)
            self._table[b] = first + offset
        for own, b in schedule.staged:
            self.place(own, self.new(b))
        self._stride = schedule.scratch
        shared = any(call.shared for call in schedule.calls)
        self._scratch = aligned(self._stride * (team.threads() if shared else 1))
        self._barrier = aligned(1024)
        self._pace = team.Pace()
        self._calls = [self._call(call) for call in schedule.calls]
        self._whole = schedule.calls[0] if len(schedule.calls) == 1 else None

    def _call(self, call: Call) -> Callable[[], Any]:
        """What does a call."""
        if not call.name:
            kernel = self.program.kernels[call.kernel]
            return lambda: self._in_numpy(kernel)
        assert self._library is not None
        return self._native(call, self._library.address(call.name), self._base)

    def _native(self, call: Call, driver: int, table: int, times: int = 1) -> Callable[[], Any]:
        """A driver, run by all threads if there is enough to do in a call."""
        scratch = address(self._scratch)
        alone = team.alone(driver, table, scratch, address(self._barrier))
        if team.threads() == 1 or not call.shared:
            return alone
        stride, work = self._stride, times * call.work

        def shared() -> None:
            began, together = time.perf_counter(), self._pace.choose()
            if not together or not team.team().run(driver, table, scratch, stride, work):
                alone()
            self._pace.note(together, (time.perf_counter() - began) / times)

        return shared

    def __str__(self) -> str:
        return str(self.planned())

    def llvm(self) -> str:
        """The LLVM IR of its native calls."""
        return self.planned().llvm()

    @property
    def arena_bytes(self) -> int:
        """Of the memory for what is needed inside a step only."""
        return int(self._arena.nbytes)

    def value_of(self, b: int) -> Any:
        """Shape and dtype of a buffer."""
        return self._specs[b]

    def place(self, b: int, array: Array) -> None:
        """From now on the buffer is this array."""
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array).reshape(array.shape)
        self._arrays[b] = array
        self._table[b] = array.__array_interface__["data"][0]

    def new(self, b: int) -> Array:
        """An array for a buffer, of unknown contents."""
        return array_of(self._specs[b])

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
        """An index was outside its axis, or a whole number was divided by 0: NumPy says where."""
        self._status.value = 0
        reference.build(self.program)([self._arrays[k] for k in range(self.program.inputs)])
        raise RangeError(
            "compile",
            "got an index outside its axis, or a divisor of 0, but by NumPy's rounding it is not",
            "whole numbers that do not hang on the last bit of a real number",
            "compute them in whole numbers, or keep away from the edge",
        )

    @property
    def repeats(self) -> bool:
        """Whether the whole program is one native call, so that `repeat` can be used."""
        return self._whole is not None and self._whole.name != ""

    def repeat(self, count: int, moving: Mapping[int, Array]) -> None:
        """Do the program so many times, the k-th time on the k-th part of each moving buffer.

        moving   buffer -> an array whose first axis is `count` times that of the buffer, or which
                 has one axis more: inputs to be read, outputs to be written
        """
        assert self._library is not None
        assert self._whole is not None
        self.begun = 0
        moves = [(b, array.nbytes // count) for b, array in moving.items()]
        driver = self._library.address(self._whole.name)
        job = np.array(
            [
                driver,
                self._base,
                count,
                ctypes.addressof(self._status),
                len(moves),
                *itertools.chain.from_iterable(moves),
            ],
            np.uint64,
        )
        for b, array in moving.items():
            self._table[b] = address(array)
        try:
            self._native(self._whole, team.repeat(), address(job), count)()
        finally:
            self.begun = int(job[2])
            for b in moving:
                self._table[b] = address(self._arrays[b])
        if self._status.value:
            failed = self.begun - 1
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
