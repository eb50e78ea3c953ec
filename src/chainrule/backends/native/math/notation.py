"""A notation for formulas in LLVM IR: `Value` with operators, and exact sums and products.

Straight-line code only: selects, bit casts, whole-number arithmetic, and fused multiply-adds where
the processor has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from llvmlite import ir

from ..ir_types import F32, F64, I32, I64, shaped

INF, NAN = float("inf"), float("nan")

Operand: TypeAlias = "Value | float"  # a number is a constant of the other operand's type


def _operator(real: str, whole: str, reflected: bool = False) -> Callable[[Value, Operand], Value]:
    def method(self: Value, other: Operand) -> Value:
        pair = (self.like(other).ir, self.ir) if reflected else (self.ir, self.like(other).ir)
        return self.make(getattr(self.builder, real if self.real else whole)(*pair))

    return method


def _comparison(sign: str) -> Callable[[Value, Operand], Value]:
    def method(self: Value, other: Operand) -> Value:
        compare = self.builder.fcmp_ordered if self.real else self.builder.icmp_unsigned
        return self.make(compare(sign, self.ir, self.like(other).ir))

    return method


class Value:
    """An LLVM value in formulas. Whole numbers are unsigned and wrap; NaN compares false."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value, fused: bool) -> None:
        self.builder, self.ir, self.fused = builder, value, fused
        kind = value.type.element if isinstance(value.type, ir.VectorType) else value.type
        self.real = kind in (F32, F64)
        self.double = kind in (F64, I64)

    __add__, __radd__ = _operator("fadd", "add"), _operator("fadd", "add")
    __sub__, __rsub__ = _operator("fsub", "sub"), _operator("fsub", "sub", True)
    __mul__, __rmul__ = _operator("fmul", "mul"), _operator("fmul", "mul")
    __truediv__, __rtruediv__ = _operator("fdiv", "udiv"), _operator("fdiv", "udiv", True)
    __and__, __or__ = _operator("", "and_"), _operator("", "or_")
    __lshift__, __rshift__ = _operator("", "shl"), _operator("", "lshr")
    __lt__, __le__ = _comparison("<"), _comparison("<=")
    __gt__, __ge__ = _comparison(">"), _comparison(">=")
    equals = _comparison("==")

    def __neg__(self) -> Value:
        return self.make(self.builder.fneg(self.ir))

    def __invert__(self) -> Value:
        return self.make(self.builder.not_(self.ir))

    def make(self, value: ir.Value) -> Value:
        return Value(self.builder, value, self.fused)

    def like(self, other: Operand) -> Value:
        """A constant of the same type; a value is returned as it is."""
        if isinstance(other, Value):
            return other
        number, kind = float(other) if self.real else int(other), self.ir.type
        return self.make(kind([number] * kind.count if isinstance(kind, ir.VectorType) else number))

    def intrinsic(self, name: str, *others: Operand) -> Value:
        values = [self.ir, *(self.like(other).ir for other in others)]
        kind, module = self.ir.type, self.builder.module
        several = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
        full = f"llvm.{name}.{several}f{64 if self.double else 32}"
        function = module.globals.get(full) or ir.Function(
            module, ir.FunctionType(kind, [v.type for v in values]), full
        )
        return self.make(self.builder.call(function, values))

    def fma(self, factor: Operand, term: Operand) -> Value:
        """self · factor + term, rounded once where that is one instruction."""
        return self.intrinsic("fmuladd", factor, term)

    def abs(self) -> Value:
        return self.intrinsic("fabs")

    def sqrt(self) -> Value:
        return self.intrinsic("sqrt")

    def rint(self) -> Value:
        return self.intrinsic("rint")

    def signed(self, other: Value) -> Value:
        """The magnitude of self with the sign of other."""
        return self.intrinsic("copysign", other)

    def bits(self) -> Value:
        return self.make(self._as(I64 if self.double else I32))

    def float(self) -> Value:
        """The number that has these bits."""
        return self.make(self._as(F64 if self.double else F32))

    def _as(self, kind: ir.Type) -> ir.Value:
        return self.builder.bitcast(self.ir, shaped(kind, self.ir.type))

    def widened(self) -> Value:
        return self if self.double else self.make(self.builder.fpext(self.ir, F64))

    def narrowed(self) -> Value:
        return self.make(self.builder.fptrunc(self.ir, F32))

    def polynomial(self, coefficients: Sequence[Operand]) -> Value:
        """Horner's rule."""
        total = self.like(coefficients[0])
        for c in coefficients[1:]:
            total = total.fma(self, c)
        return total


def where(condition: Value, yes: Operand, no: Operand) -> Value:
    value = yes if isinstance(yes, Value) else no
    assert isinstance(value, Value), "one of the two has the type"
    return value.make(value.builder.select(condition.ir, value.like(yes).ir, value.like(no).ir))


def two_sum(a: Value, b: Operand) -> tuple[Value, Value]:
    """a + b rounded, and exactly what that lost (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Value, b: Operand) -> tuple[Value, Value]:
    """a · b rounded, and exactly what that lost (by FMA, or by Dekker's halves)."""
    b = a.like(b)
    total = a * b
    if a.fused:
        return total, a.intrinsic("fma", b, -total)
    (ah, al), (bh, bl) = halves(a), halves(b)
    return total, ((ah * bh - total) + ah * bl + al * bh) + al * bl


def halves(x: Value) -> tuple[Value, Value]:
    """x rounded to half its bits, and the rest, which fits into the other half with its sign."""
    last = 1 << (27 if x.double else 12)
    high = (x.bits() + last // 2 & -last).float()
    return high, x - high
