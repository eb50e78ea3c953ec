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
from ....graph_evaluation import failure
from ....memory import expect_room
from ... import reference
from ...program import Kernel, Program
from ..alignment import size_of
from ..object_code import Library
from . import team
from .arrays import address, aligned, array_of
from .schedule import Call, Schedule

if TYPE_CHECKING:
    from ..compilation import Compilation


class Runner:
    """Inputs are placed, the program runs, outputs are read.

    A buffer that replaces an input (`Program.updates`) is found in that input's own array, which is
    written over: `place` such an input as an array without another use. The others are read only.
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
        barrier = status + 1
        self._table = np.zeros(barrier + 1 + len(schedule.staged), np.uint64)
        self._base = address(self._table)
        self._status = ctypes.c_int64(0)
        self._table[status] = ctypes.addressof(self._status)
        self._arrays: dict[int, Array] = {}
        for b, constant in enumerate(program.constants, program.inputs):
            self._specs[b] = constant
            self.place(b, constant)
        self.outputs = program.outputs
        self.outputs_lost_on_failure = schedule.early
        self.updates = dict(program.updates)  # output -> the input that it replaces
        self.runs_begun = 0
        by_numpy = {program.kernels[call.kernel].writes for call in schedule.calls if not call.name}
        first_result = program.inputs + len(program.constants)
        elsewhere = by_numpy.union(schedule.in_place, range(first_result))
        self.outputs_to_place = [b for b in dict.fromkeys(program.outputs) if b not in elsewhere]
        expect_room(
            "compile",
            "a step that needs for itself",
            schedule.arena + sum(size_of(self._specs[b]) for b in self.outputs_to_place),
            "use a smaller batch, or do it in pieces (accumulate=… of fit)",
        )
        self._arena = aligned(schedule.arena)
        first = address(self._arena)
        for b, offset in schedule.offsets:
            self._table[b] = first + offset
            spec = self._specs[b]
            if isinstance(spec.dtype, tuple):  # the memory of a loop with several results
                continue
            whole = self._arena[offset : offset + size_of(spec)]
            self._arrays[b] = whole.view(spec.dtype).reshape(spec.shape)
        for own, b in schedule.staged:
            self.place(own, self.new_array(b))
        self._stride = schedule.scratch
        shared = any(call.shared for call in schedule.calls)
        self._scratch = aligned(self._stride * (team.threads() if shared else 1))
        self._barrier = aligned(1024)
        self._table[barrier] = address(self._barrier)
        self._pace = team.Pace()
        self._calls = [self._call(call) for call in schedule.calls]
        self._whole = schedule.calls[0] if len(schedule.calls) == 1 else None

    def _call(self, call: Call) -> Callable[[], Any]:
        """The function that runs a call."""
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

    @property
    def memory(self) -> Runner:
        """Itself: it keeps its arrays."""
        return self

    def text(self, stage: str) -> str:
        """Its plan, or the LLVM IR of its native calls."""
        planned = self.planned()
        return planned.llvm() if stage == "llvm" else str(planned)

    @property
    def arena_bytes(self) -> int:
        """Of the memory for what is needed inside a step only."""
        return int(self._arena.nbytes)

    def spec(self, b: int) -> Spec:
        """As `ResidentMemory.spec`."""
        return self._specs[b]

    def place(self, b: int, array: Array) -> None:
        """As `ResidentMemory.place`."""
        if not array.flags.c_contiguous:
            array = np.ascontiguousarray(array).reshape(array.shape)
        self._arrays[b] = array
        self._table[b] = array.__array_interface__["data"][0]

    def new_array(self, b: int) -> Array:
        """As `ResidentMemory.new_array`."""
        return array_of(self._specs[b])

    def array(self, b: int) -> Array:
        """As `ResidentMemory.array`."""
        return self._arrays[b]

    def result(self, b: int) -> Array:
        """As `ResidentMemory.result`."""
        return self._arrays[self.updates.get(b, b)]

    def run(self) -> None:
        """As `ResidentMemory.run`."""
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
            "expected whole numbers that do not depend on the last bit of a real number",
            "compute them in whole numbers, or stay away from the bounds",
        )

    @property
    def can_repeat(self) -> bool:
        """Whether the whole program is one native call."""
        return self._whole is not None and self._whole.name != ""

    def repeat(self, count: int, moving: Mapping[int, Array]) -> None:
        """As `ResidentMemory.repeat`."""
        assert self._library is not None
        assert self._whole is not None
        self.runs_begun = 0
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
            self.runs_begun = int(job[2])
            for b in moving:
                self._table[b] = address(self._arrays[b])
        if self._status.value:
            failed = self.runs_begun - 1
            for b in moving:
                if b < self.program.inputs:
                    part = moving[b].reshape(count, -1)[failed]
                    self.place(b, part.reshape(self._arrays[b].shape))
            self._explain()

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """Inputs to outputs; nothing that was passed is changed."""
        written = set(self.updates.values())
        for b, array in enumerate(arrays):
            if b in written:
                own = self.new_array(b)
                own[...] = array
                array = own
            self.place(b, array)
        for b in self.outputs_to_place:
            self.place(b, np.empty(self.spec(b).shape, self.spec(b).dtype))
        self.run()
        return [self.result(b) for b in self.outputs]

    def _in_numpy(self, kernel: Kernel) -> None:
        try:
            with np.errstate(all="ignore"):
                inputs = [self._arrays[r] for r in kernel.reads]
                result = kernel.op.evaluate(*inputs, **kernel.params)
        except Exception as error:
            raise failure(kernel.node, error) from None
        if isinstance(result, tuple):
            self._arrays[kernel.writes] = result  # type: ignore[assignment]
            return
        result = np.asarray(result)
        if result.base is not None or any(result is i for i in inputs):
            result = result.copy()  # it may be a view of memory that is used again
        self.place(kernel.writes, result)
