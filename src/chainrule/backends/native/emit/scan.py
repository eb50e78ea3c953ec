"""Loops with a body: a turn calls the body's driver with this thread's own table of pointers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llvmlite import ir

from ....graph import Array
from ..alignment import ALIGNED, size_of
from ..ir_types import I8, I64, POINTER
from ..plan.bodies import turns_of
from ..plan.threads import meet_between_turns
from . import builder, driver, module
from .loops import Loops


def emit(loops: Loops) -> None:
    """All turns; each thread does its part of each."""
    _Scan(loops).emit()


class _Scan:
    """One scan while it is emitted."""

    def __init__(self, loops: Loops) -> None:
        self._loops, self._b = loops, loops.builder
        self._main = loops.task.group.main
        self._turns = turns_of(self._main, loops.storage)
        self._results = {
            int(loops.storage.kernel(b).params["index"]): loops.pointers[b]
            for b in loops.task.writes
            if b != self._main
        }

    def emit(self) -> None:
        loops, b, turns = self._loops, self._b, self._turns
        thread, threads = loops.part or (I64(0), I64(1))
        if turns.length == 0:
            self._copy_first_carries(thread)
            return
        run = module.emit_body(b.module, turns.body, loops.function.name)
        barrier = loops.pointers[loops.plan.barrier]
        scratch = self._moved(loops.scratch, I64(turns.table_bytes))
        self._place_what_stays()
        moves = [*self._place_rows()]
        sums = self._place_carries()
        meet = loops.part is not None and meet_between_turns(turns.body, turns.carried)
        with builder.turns(b, I64(0), I64(turns.length)):
            b.call(run, [loops.scratch, scratch, thread, threads, barrier])
            if meet:
                b.call(driver.barrier_of(b.module, loops.plan.target), [barrier, threads])
            for place, step in moves:
                self._put(place, b.add(self._get(place), I64(step)))
            for into, out, both in sums:
                written = self._get(out)
                self._put(into, written)
                self._put(out, b.sub(both, written))

    # ── this thread's table ──────────────────────────────────────────────────────────────────────

    def _at(self, place: int) -> ir.Value:
        return self._b.gep(self._loops.scratch, [I64(place)], source_etype=POINTER)

    def _get(self, place: int) -> ir.Value:
        return self._b.load(self._at(place), typ=I64)

    def _put(self, place: int, value: ir.Value) -> None:
        self._b.store(value, self._at(place))

    def _number(self, pointer: ir.Value) -> ir.Value:
        return self._b.ptrtoint(pointer, I64)

    def _moved(self, pointer: ir.Value, distance: ir.Value) -> ir.Value:
        return self._b.gep(pointer, [distance], source_etype=I8)

    def _beside(self, offset: int) -> ir.Value:
        """A place in the memory that the threads share."""
        return self._moved(self._loops.pointers[self._main], I64(offset))

    def _operand(self, k: int) -> ir.Value:
        return self._loops.pointers[self._turns.kernel.reads[k]]

    def _place_what_stays(self) -> None:
        """Constants, the body's own constants, its arena, the status and the barrier."""
        loops, turns = self._loops, self._turns
        body = turns.body
        for k in range(turns.constants):
            self._put(k, self._operand(k))
        for k, value in enumerate(body.program.constants, body.program.inputs):
            name = f"{loops.function.name}.constant{k}"
            self._put(k, _array_in_code(self._b.module, name, value))
        for k, offset in body.arena.offsets.items():
            self._put(k, self._beside(offset))
        self._put(body.status, loops.pointers[loops.plan.status])
        self._put(body.barrier, loops.pointers[loops.plan.barrier])

    def _place_rows(self) -> Iterator[tuple[int, int]]:
        """The first rows that go in and that are stacked: their places, and bytes to the next."""
        turns, program = self._turns, self._turns.body.program
        for k in range(turns.constants + turns.carries, program.inputs):
            size = size_of(program.arguments[k])
            yield k, self._place_row(k, self._operand(k), size)
        for k in range(turns.carries, len(program.outputs)):
            place, size = program.outputs[k], turns.row_bytes[k]
            if k in self._results:
                yield place, self._place_row(place, self._results[k], size)
            else:
                self._put(place, self._beside(turns.offsets[k][0]))

    def _place_row(self, place: int, whole: ir.Value, size: int) -> int:
        turns = self._turns
        backwards = bool(turns.kernel.params["reverse"])
        self._put(place, self._moved(whole, I64((turns.length - 1) * size if backwards else 0)))
        return -size if backwards else size

    def _place_carries(self) -> list[tuple[int, int, ir.Value]]:
        """The first carries go in from where they are, and then from two places in turn.

        The last turn writes into the result. Returned are places of the table (in, out), and the
        sum of the two addresses.
        """
        b, turns, places = self._b, self._turns, []
        for k, (into, out) in enumerate(turns.carried.items()):
            one, other = (self._beside(offset) for offset in turns.offsets[k])
            last = self._results.get(k, other)
            both = b.add(self._number(one), self._number(last))
            self._put(into, self._operand(into))
            self._put(out, last if turns.length % 2 else one)
            places.append((into, out, both))
        return places

    def _copy_first_carries(self, thread: ir.Value) -> None:
        """Of no turns, the carries come out as they went in."""
        b, turns = self._b, self._turns
        with b.if_then(b.icmp_unsigned("==", thread, I64(0))):
            for k, goal in self._results.items():
                if k < turns.carries:
                    source, size = self._operand(turns.constants + k), turns.row_bytes[k]
                    copied: Sequence[Any] = (goal, source, I64(size), ir.IntType(1)(0))
                    builder.call_intrinsic(b, "memcpy.p0.p0.i64", ir.VoidType(), *copied)


def _array_in_code(where: ir.Module, name: str, value: Array) -> ir.GlobalVariable:
    """An array that the code holds."""
    data = bytearray(value.tobytes())
    constant = driver.global_constant(where, name, ir.ArrayType(I8, len(data)), data)
    constant.align = ALIGNED
    return constant
