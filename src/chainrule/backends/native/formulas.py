"""The table of elementwise operations: what each is in LLVM IR (bools are one bit)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from ... import ops
from ...dtypes import bfloat16, float32, float64, is_half
from ...graph import Dtype, Operation
from .ir_types import in_memory
from .math import elementary, halves
from .math.notation import Value

Emit = Callable[[ir.IRBuilder, list[ir.Value], list[Dtype], Dtype], ir.Value]


def _formula(name: str) -> Emit:
    def emit(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
        return elementary.emit_function(b, name, *xs)

    return emit


def _intrinsic(name: str) -> Emit:
    def emit(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
        kind = ir.FunctionType(xs[0].type, [x.type for x in xs])
        function = b.module.declare_intrinsic(f"llvm.{name}", [xs[0].type], kind)
        return b.call(function, xs)

    return emit


def _arithmetic(real: str, whole: str) -> Emit:
    def emit(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
        return getattr(b, real if kinds[0].kind == "f" else whole)(*xs)

    return emit


def _multiply(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    return b.fmul(*xs, flags=(_FUSABLE,)) if kinds[0].kind == "f" else b.mul(*xs)


_FUSABLE = "contract"  # of a product, which `_sum` looks for; a sum never has it


def _sum(real: str, whole: str) -> Emit:
    """x ± y, fused with a product where there is one.

    LLVM would fuse them by itself, but not alike in a vectorised loop and in what remains of it:
    then the bits of an element would depend on the part of the loop that a thread does.
    """
    subtracts = real == "fsub"

    def emit(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
        if kinds[0].kind != "f":
            return getattr(b, whole)(*xs)
        x, y = xs
        if _may_fuse(x):
            term = b.fneg(y) if subtracts else y
            left, right = x.operands
            return multiply_add(b, left, right, term)
        if _may_fuse(y):
            left, right = y.operands
            factor = b.fneg(left) if subtracts else left
            return multiply_add(b, factor, right, x)
        return getattr(b, real)(*xs)

    return emit


def multiply_add(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """x · y + z, rounded once where that is one instruction."""
    factor, other, term = (Value(b, v, fused=True) for v in (x, y, z))
    return factor.fma(other, term).ir


def _may_fuse(x: ir.Value) -> bool:
    return isinstance(x, ir.Instruction) and x.opname == "fmul" and _FUSABLE in x.flags


def _compare(sign: str) -> Emit:
    def emit(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
        if kinds[0].kind == "f":
            unordered = sign == "!="
            return (b.fcmp_unordered if unordered else b.fcmp_ordered)(sign, *xs)
        signed = kinds[0].kind == "i"
        return (b.icmp_signed if signed else b.icmp_unsigned)(sign, *xs)

    return emit


def _negative(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    return b.fneg(xs[0]) if kinds[0].kind == "f" else b.neg(xs[0])


def _square(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    x = xs[0]
    return _multiply(b, [x, x], kinds, to)


def _beyond(sign: str) -> Emit:
    def emit(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
        x, y = xs
        keep = _compare(sign)(b, xs, kinds, to)
        if kinds[0].kind == "f":
            keep = b.or_(keep, b.fcmp_unordered("uno", x, x))
        return b.select(keep, x, y)

    return emit


def _sign(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    x = xs[0]
    zero, one = ir.Constant(x.type, 0.0), ir.Constant(x.type, 1.0)
    below = b.select(b.fcmp_ordered("<", x, zero), b.fneg(one), b.fadd(x, zero))
    return b.select(b.fcmp_ordered(">", x, zero), one, below)


def _logaddexp(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    """The larger one + log1p(exp(-|x - y|)); of two equal ones, infinities too, x + log 2."""
    x, y = xs
    distance = b.fsub(x, y)
    beyond = b.fcmp_ordered(">", distance, ir.Constant(x.type, 0.0))
    less = b.select(beyond, b.fneg(distance), distance)
    rest = elementary.emit_function(b, "log1p", elementary.emit_function(b, "exp", less))
    result = b.fadd(b.select(beyond, x, y), rest)
    twice = b.fadd(x, ir.Constant(x.type, math.log(2)))
    return b.select(b.fcmp_ordered("==", x, y), twice, result)


def _hypot(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    """large · √(1 + (small / large)²): no square overflows."""
    absolute = _intrinsic("fabs")
    x, y = (absolute(b, [v], kinds, to) for v in xs)
    zero, one, inf = (ir.Constant(x.type, v) for v in (0.0, 1.0, math.inf))
    beyond = b.fcmp_ordered(">", x, y)
    large, small = b.select(beyond, x, y), b.select(beyond, y, x)
    ratio = b.fdiv(small, large)
    root = _intrinsic("sqrt")(b, [b.fadd(one, b.fmul(ratio, ratio))], kinds, to)
    result = b.select(b.fcmp_ordered("==", large, zero), b.fadd(large, small), b.fmul(large, root))
    infinite = b.or_(b.fcmp_ordered("==", x, inf), b.fcmp_ordered("==", y, inf))
    return b.select(infinite, inf, result)


def _shift(name: str) -> Emit:
    """By the width or more: nothing is left but the sign."""

    def emit(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
        x, by = xs
        width = x.type.width
        fits = b.icmp_unsigned("<", by, ir.Constant(by.type, width))
        if name == "shl" or kinds[0].kind == "u":
            safe = b.select(fits, by, ir.Constant(by.type, 0))
            shifted = b.shl(x, safe) if name == "shl" else b.lshr(x, safe)
            return b.select(fits, shifted, ir.Constant(x.type, 0))
        return b.ashr(x, b.select(fits, by, ir.Constant(by.type, width - 1)))

    return emit


def _whole(of: str) -> Emit:
    """Quotient or remainder of whole numbers, rounded down; by 0 it is 0, and the step fails."""

    def emit(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
        x, y = xs
        zero, one = ir.Constant(x.type, 0), ir.Constant(x.type, 1)
        none = b.icmp_unsigned("==", y, zero)
        if kinds[0].kind == "u":
            safe = b.select(none, one, y)
            result = b.udiv(x, safe) if of == "quotient" else b.urem(x, safe)
            return b.select(none, zero, result)
        minus = ir.Constant(x.type, -1)
        turned = b.icmp_signed("==", y, minus)  # the least number by -1 would trap
        safe = b.select(b.or_(none, turned), one, y)
        quotient, rest = b.sdiv(x, safe), b.srem(x, safe)
        below = b.and_(b.icmp_signed("!=", rest, zero), b.icmp_signed("<", b.xor(rest, safe), zero))
        if of == "quotient":
            result = b.select(below, b.sub(quotient, one), quotient)
            result = b.select(turned, b.neg(x), result)
        else:
            result = b.select(b.or_(turned, none), zero, b.select(below, b.add(rest, safe), rest))
        return b.select(none, zero, result)

    return emit


def _nextafter(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    """Read as whole numbers, magnitudes that follow each other differ by 1."""
    kind = ir.IntType(8 * to.itemsize)
    infinity = int(np.array(math.inf, to).view(f"u{to.itemsize}"))
    inf, quiet, sign = kind(infinity), kind(infinity >> 1 & ~infinity), kind(1 << kind.width - 1)
    x, y = (b.bitcast(v, kind) for v in xs)
    size, other = b.and_(x, b.not_(sign)), b.and_(y, b.not_(sign))
    away = b.and_(b.icmp_signed(">=", b.xor(x, y), kind(0)), b.icmp_unsigned(">", other, size))
    following = b.select(away, b.add(x, kind(1)), b.sub(x, kind(1)))
    smallest = b.or_(b.and_(y, sign), kind(1))
    following = b.select(b.icmp_unsigned("==", size, kind(0)), smallest, following)
    zeros = b.icmp_unsigned("==", b.or_(size, other), kind(0))
    following = b.select(b.or_(b.icmp_unsigned("==", x, y), zeros), y, following)
    for v, magnitude in ((y, other), (x, size)):
        following = b.select(b.icmp_unsigned(">", magnitude, inf), b.or_(v, quiet), following)
    return b.bitcast(following, xs[0].type)


def _where(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    return b.select(*xs)


def _invert(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    return b.not_(xs[0])


def _astype(b: ir.IRBuilder, xs: list[ir.Value], kinds: list[Dtype], to: Dtype) -> ir.Value:
    x, source = xs[0], kinds[0]
    if source == to:
        return x
    if is_half(source):
        single = halves.to_single(b, x, source)
        return _astype(b, [single], [float32], to)
    if is_half(to):
        twice = source != float64 or to == bfloat16  # as NumPy and ml_dtypes do
        single = _astype(b, xs, kinds, float32) if twice else halves.single_to_round(b, x)
        return halves.from_single(b, single, to)
    if to.kind == "b":
        zero = ir.Constant(x.type, 0)
        return (
            b.fcmp_unordered("!=", x, zero)
            if source.kind == "f"
            else (b.icmp_unsigned("!=", x, zero))
        )
    wanted = in_memory(to)
    if to.kind == "f":
        if source.kind == "f" and to.itemsize == source.itemsize:
            return x
        if source.kind == "f":
            return (b.fpext if to.itemsize > source.itemsize else b.fptrunc)(x, wanted)
        return (b.sitofp if source.kind == "i" else b.uitofp)(x, wanted)
    if source.kind != "b" and to.itemsize == source.itemsize:
        return x
    if source.kind == "b" or to.itemsize > source.itemsize:
        return (b.sext if source.kind == "i" else b.zext)(x, wanted)
    return b.trunc(x, wanted)


@dataclass(frozen=True)
class Formula:
    """An elementwise operation.

    dtypes    the letters of the dtypes that its operands may have: f, i, u, b, h (of 16 bits)
    emit      (builder, operands, their dtypes, the result's dtype) -> the result
    vectors   whether its code is the same for vectors as for elements
    """

    dtypes: str
    emit: Emit
    vectors: bool = False


FORMULAS: dict[Operation, Formula] = {
    ops.negative: Formula("fi", _negative, vectors=True),
    ops.abs: Formula("f", _intrinsic("fabs")),
    ops.square: Formula("fiu", _square, vectors=True),
    ops.sqrt: Formula("f", _intrinsic("sqrt")),
    ops.add: Formula("fiu", _sum("fadd", "add"), vectors=True),
    ops.subtract: Formula("fiu", _sum("fsub", "sub"), vectors=True),
    ops.multiply: Formula("fiu", _multiply, vectors=True),
    ops.divide: Formula("f", _arithmetic("fdiv", ""), vectors=True),
    ops.maximum: Formula("fiu", _beyond(">="), vectors=True),
    ops.minimum: Formula("fiu", _beyond("<="), vectors=True),
    ops.copysign: Formula("f", _intrinsic("copysign")),
    ops.sign: Formula("f", _sign),
    ops.floor: Formula("f", _intrinsic("floor")),
    ops.ceil: Formula("f", _intrinsic("ceil")),
    ops.trunc: Formula("f", _intrinsic("trunc")),
    ops.round: Formula("f", _intrinsic("rint")),
    ops.equal: Formula("fiub", _compare("=="), vectors=True),
    ops.not_equal: Formula("fiub", _compare("!="), vectors=True),
    ops.less: Formula("fiu", _compare("<"), vectors=True),
    ops.less_equal: Formula("fiu", _compare("<="), vectors=True),
    ops.bitwise_and: Formula("iub", _arithmetic("", "and_"), vectors=True),
    ops.bitwise_invert: Formula("iub", _invert, vectors=True),
    ops.bitwise_or: Formula("iub", _arithmetic("", "or_"), vectors=True),
    ops.bitwise_xor: Formula("iub", _arithmetic("", "xor")),
    ops.bitwise_left_shift: Formula("iu", _shift("shl")),
    ops.bitwise_right_shift: Formula("iu", _shift("shr")),
    ops.remainder: Formula("iu", _whole("remainder")),
    ops.floor_divide: Formula("iu", _whole("quotient")),
    ops.where: Formula("fiubh", _where, vectors=True),
    ops.astype: Formula("fiubh", _astype),
    ops.logaddexp: Formula("f", _logaddexp),
    ops.hypot: Formula("f", _hypot),
    ops.nextafter: Formula("fh", _nextafter),
}
FORMULAS |= {
    ops.TABLE[name]: Formula("f", _formula(name))
    for name in elementary.FUNCTIONS
    if name in ops.TABLE and ops.TABLE[name] not in FORMULAS
}
