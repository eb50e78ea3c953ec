"""Epilogues: what is done with a matrix product while it is still in registers.

A layer's bias, activation and the mask of its derivative are elementwise in the product. Done here
they cost no pass over memory, and the product itself need not be stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from ....dtypes import is_boolean
from ....graph import Dtype
from ..formulas import FORMULAS
from ..ir_types import I8, I32, I64, in_memory
from ..plan.views import joint_stride
from . import builder
from .loops import Loops


@dataclass(frozen=True)
class _Place:
    """Where a vector begins, and how many of its lanes are elements."""

    row: ir.Value
    column: ir.Value
    count: int


class Epilogue:
    """Stores what a group writes, from one vector of its product."""

    def __init__(self, loops: Loops, lanes: int) -> None:
        self._group, self._pointers = loops.task.group, loops.pointers
        self._storage, self._buffers = loops.storage, loops.buffers
        self._b, self._lanes = loops.builder, lanes

    def __call__(self, vector: ir.Value, row: ir.Value, column: ir.Value, count: int) -> None:
        """vector   the product from (row, column) on, of which `count` elements are there"""
        place = _Place(row, column, count)
        known = {self._group.main: vector}
        for b in self._group.writes:
            value = self._value(b, known, place, written=True)
            buffer = self._buffers[b]
            if is_boolean(buffer.dtype):
                value = self._b.zext(value, ir.VectorType(I8, self._lanes))
            at = self._at(b, 0, (buffer.shape[-1], 1), place)
            builder.store_lanes(self._b, value, at, buffer.dtype.itemsize, count)

    def _value(
        self, b: int, known: dict[int, ir.Value], place: _Place, written: bool = False
    ) -> ir.Value:
        """The vector of a buffer; of one that is written, from what it is computed from."""
        if b in known:
            return known[b]
        buffer = self._buffers[b]
        if buffer.map is not None and self._storage.base(b) == self._group.main:
            known[b] = known[self._group.main]
        elif buffer.map is not None or (b in self._storage.stored and not written):
            known[b] = self._loaded(b, place)
        else:
            operands = [self._value(r, known, place) for r in buffer.reads]
            dtypes = [self._buffers[r].dtype for r in buffer.reads]
            formula = FORMULAS[self._storage.kernel(b).op]
            known[b] = formula.emit(self._b, operands, dtypes, buffer.dtype)
        return known[b]

    def _loaded(self, b: int, place: _Place) -> ir.Value:
        lies = self._storage.strided(b)
        assert lies is not None
        source, strides, offset = lies
        dtype = self._buffers[b].dtype
        row = joint_stride(self._buffers[b].shape[:-1], strides[:-1])
        assert row is not None
        at = self._at(source, offset, (row, strides[-1]), place)
        if strides[-1] == 1:
            vector = builder.load_lanes(
                self._b, at, self._vector(dtype), dtype.itemsize, place.count
            )
        else:
            one = self._b.load(at, typ=in_memory(dtype))
            kind = self._vector(dtype)
            first = self._b.insert_element(ir.Constant(kind, ir.Undefined), one, I32(0))
            mask = ir.VectorType(I32, self._lanes)([0] * self._lanes)
            vector = self._b.shuffle_vector(first, first, mask)
        if is_boolean(dtype):
            return self._b.icmp_unsigned("!=", vector, vector.type([0] * self._lanes))
        return vector

    def _vector(self, dtype: Dtype) -> ir.VectorType:
        return ir.VectorType(in_memory(dtype), self._lanes)

    def _at(self, b: int, offset: int, strides: tuple[int, ...], place: _Place) -> ir.Value:
        b_ = self._b
        row, column = b_.mul(place.row, I64(strides[0])), b_.mul(place.column, I64(strides[1]))
        at = b_.add(b_.add(row, column), I64(offset))
        kind = in_memory(self._buffers[b].dtype)
        return b_.gep(self._pointers[b], [at], source_etype=kind)
