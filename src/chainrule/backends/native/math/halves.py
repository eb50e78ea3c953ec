"""float16 and bfloat16 to float32 and back. In registers, as in memory, they are 16 bits.

Rounding is to nearest, ties to even; denormals are numbers; NaN becomes a quiet NaN. float16 takes
an instruction where the processor has one, else whole-number arithmetic, as bfloat16 does, so that
all of it becomes vectors.
"""

from __future__ import annotations

from llvmlite import ir

from ....dtypes import bfloat16
from ....graph import Dtype
from ..ir_types import F32, HALF, I16, I32, shaped
from .notation import Value, where

_INFINITY, _SIGN, _QUIET = 0x7F800000, 0x80000000, 0x400000


def to_single(b: ir.IRBuilder, bits: ir.Value, dtype: Dtype) -> ir.Value:
    """The float32 that is equal to a number of 16 bits."""
    if dtype != bfloat16 and b.module.converts_halves:
        return b.fpext(b.bitcast(bits, shaped(HALF, bits.type)), shaped(F32, bits.type))
    x = Value(b, b.zext(bits, shaped(I32, bits.type)), b.module.fused)
    return (_from_bfloat16(x) if dtype == bfloat16 else _from_float16(x)).ir


def from_single(b: ir.IRBuilder, number: ir.Value, dtype: Dtype) -> ir.Value:
    """The bits of the number of 16 bits next to a float32."""
    kind = shaped(I16, number.type)
    if dtype != bfloat16 and b.module.converts_halves:
        return b.bitcast(b.fptrunc(number, shaped(HALF, number.type)), kind)
    x = Value(b, number, b.module.fused)
    return b.trunc((_to_bfloat16(x) if dtype == bfloat16 else _to_float16(x)).ir, kind)


def single_to_round(b: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """A float32 that rounds to the same float16 as a float64: to odd, so nothing is rounded twice.

    Towards 0, and the last bit is 1 where that lost something (Boldo and Melquiond 2008).
    """
    x = Value(b, number, b.module.fused)
    near = x.narrowed()
    back = near.widened()
    bits = where(back.abs() > x.abs(), near.bits() - 1, near.bits())
    exact = back.equals(x) | ~x.equals(x)
    return where(exact, near.bits(), bits | 1).float().ir


def _from_bfloat16(x: Value) -> Value:
    return (x << 16).float()


def _to_bfloat16(x: Value) -> Value:
    bits = x.bits()
    near = bits + 0x7FFF + (bits >> 16 & 1)
    return where(x.equals(x), near, bits & _SIGN | _INFINITY | _QUIET) >> 16


def _from_float16(x: Value) -> Value:
    """The exponent is 112 more; a denormal is a difference of two normal numbers."""
    size = (x & 0x7FFF) << 13
    normal = size + (112 << 23)
    denormal = ((size + (113 << 23)).float() - 2.0**-14).bits()
    unbounded = where(size > 0x1F << 23, size | _QUIET, size) | _INFINITY
    bits = where(size < 1 << 23, denormal, where(size < 0x1F << 23, normal, unbounded))
    return (bits | (x & 0x8000) << 16).float()


def _to_float16(x: Value) -> Value:
    """Adding ½ to a denormal rounds it, and leaves it in the last bits."""
    bits = x.bits()
    size = bits & ~bits.like(_SIGN)
    normal = size - (112 << 23) + 0xFFF + (size >> 13 & 1) >> 13
    denormal = (size.float() + 0.5).bits() - (126 << 23)
    unbounded = where(size > _INFINITY, size >> 13 & 0x1FF | 0x7E00, 0x7C00)
    near = where(size < 113 << 23, denormal, where(size < 143 << 23, normal, unbounded))
    return near | (bits & _SIGN) >> 16
