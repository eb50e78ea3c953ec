"""LLVM's types, and how elements of a dtype are stored."""

from __future__ import annotations

from llvmlite import ir

from ...dtypes import is_floating
from ...graph import Dtype

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()
POINTER, VOID = ir.PointerType(), ir.VoidType()


def in_memory(dtype: Dtype) -> ir.Type:
    """How an element is stored: bools as a byte."""
    if is_floating(dtype):
        return F64 if dtype.itemsize == 8 else F32
    return ir.IntType(8 * dtype.itemsize)
