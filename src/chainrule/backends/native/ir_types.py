"""LLVM's types, and how elements of a dtype are stored."""

from __future__ import annotations

from llvmlite import ir

from ...dtypes import is_floating, is_half
from ...graph import Dtype

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
HALF, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
POINTER, VOID = ir.PointerType(), ir.VoidType()


def shaped(kind: ir.Type, other: ir.Type) -> ir.Type:
    """A type of numbers, or that of vectors of them as long as another one's."""
    return ir.VectorType(kind, other.count) if isinstance(other, ir.VectorType) else kind


def in_memory(dtype: Dtype) -> ir.Type:
    """How an element is stored: bools as a byte, float16 and bfloat16 as their bits."""
    if is_floating(dtype) and not is_half(dtype):
        return F64 if dtype.itemsize == 8 else F32
    return ir.IntType(8 * dtype.itemsize)
