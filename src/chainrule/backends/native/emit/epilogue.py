"""Epilogues: what is done with a matrix product while it is still in registers.

A layer's bias, activation and the mask of its derivative are elementwise in the product. Done here
they cost no pass over memory, and the product itself need not be stored.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..elementwise import ELEMENTWISE, I8, I64, in_memory
from ..plan.storage import VIEWS, Storage
from ..plan.threads import Group


class Epilogue:
    """Stores what a group writes, from one vector of its product."""

    def __init__(
        self,
        plan: Storage,
        group: Group,
        pointers: dict[int, ir.Value],
        builder: ir.IRBuilder,
        lanes: int,
    ) -> None:
        self._plan, self._group, self._pointers = plan, group, pointers
        self._b, self._lanes = builder, lanes

    def __call__(self, vector: ir.Value, row: ir.Value, column: ir.Value, count: int) -> None:
        """vector   the product from (row, column) on, of which `count` elements are there"""
        known = {self._group.product: vector}
        for b in self._group.writes:
            value = self._value(b, known, (row, column, count), top=True)
            dtype = self._plan.values[b].dtype
            if dtype.kind == "b":
                value = self._b.zext(value, ir.VectorType(I8, self._lanes))
            strides = (self._plan.values[b].shape[-1], 1)
            self._access("store", self._at(b, 0, strides, row, column), dtype, count, value)

    def _value(
        self, b: int, known: dict[int, ir.Value], place: tuple[Any, ...], top: bool = False
    ) -> ir.Value:
        if b in known:
            return known[b]
        value = self._plan.values[b]
        if value.op in VIEWS or (b in self._plan.stored and not top):
            found = self._loaded(b, place)
        else:
            inputs = [self._value(r, known, place) for r in value.reads]
            kinds = [self._plan.values[r].dtype for r in value.reads]
            found = ELEMENTWISE[value.op][1](self._b, inputs, kinds, value.dtype)
        known[b] = found
        return found

    def _loaded(self, b: int, place: tuple[Any, ...]) -> ir.Value:
        row, column, count = place
        found = self._plan.strided(b)
        assert found is not None
        source, strides, offset = found
        dtype = self._plan.values[b].dtype
        at = self._at(
            source, offset, strides[-2:] if len(strides) > 1 else (0, *strides), row, column
        )
        if strides[-1] == 1:
            vector = self._access("load", at, dtype, count)
        else:
            one = self._b.load(at, typ=in_memory(dtype))
            kind = ir.VectorType(one.type, self._lanes)
            first = self._b.insert_element(ir.Constant(kind, ir.Undefined), one, ir.IntType(32)(0))
            mask = ir.VectorType(ir.IntType(32), self._lanes)([0] * self._lanes)
            vector = self._b.shuffle_vector(first, first, mask)
        if dtype.kind == "b":
            return self._b.icmp_unsigned("!=", vector, vector.type([0] * self._lanes))
        return vector

    def _at(
        self, b: int, offset: int, strides: tuple[int, ...], row: ir.Value, column: ir.Value
    ) -> ir.Value:
        builder = self._b
        place = builder.add(builder.mul(row, I64(strides[0])), builder.mul(column, I64(strides[1])))
        kind = in_memory(self._plan.values[b].dtype)
        return builder.gep(self._pointers[b], [builder.add(place, I64(offset))], source_etype=kind)

    def _access(
        self, what: str, at: ir.Value, dtype: Any, count: int, value: ir.Value | None = None
    ) -> Any:
        """Load or store the first `count` elements of a vector."""
        builder, element = self._b, in_memory(dtype)
        kind = ir.VectorType(element, self._lanes)
        if count >= self._lanes:
            if value is None:
                return builder.load(at, typ=kind, align=dtype.itemsize)
            return builder.store(value, at, align=dtype.itemsize)
        align = ir.IntType(32)(dtype.itemsize)
        mask = ir.VectorType(ir.IntType(1), self._lanes)([k < count for k in range(self._lanes)])
        rest = kind([0.0 if dtype.kind == "f" else 0] * self._lanes)
        given = [at, align, mask, rest] if value is None else [value, at, align, mask]
        returns = kind if value is None else ir.VoidType()
        letter = "f" if dtype.kind == "f" else "i"
        name = f"llvm.masked.{what}.v{self._lanes}{letter}{8 * dtype.itemsize}"
        declared = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(returns, [x.type for x in given]), name
        )
        return builder.call(declared, given)
