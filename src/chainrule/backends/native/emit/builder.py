"""What all emitters share: loops, declared functions, access to the first lanes of a vector."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from llvmlite import ir

from ..ir_types import I1, I32, I64, POINTER, VOID

Carried = list[ir.Value]


def position_type(size: int) -> ir.IntType:
    """The type of positions along an axis of this size: 64 bits where 32 are too few."""
    return I64 if size >= 1 << 31 else I32


@contextlib.contextmanager
def turns(b: ir.IRBuilder, first: ir.Value, end: ir.Value) -> Iterator[ir.Value]:
    """The body for first, …, end - 1, tested after each turn; and before, if it may have none."""
    before = b.block
    constant = isinstance(first, ir.Constant) and isinstance(end, ir.Constant)
    inside, after = (b.function.append_basic_block(name) for name in ("loop", "after"))
    if constant and first.constant < end.constant:
        b.branch(inside)
    else:
        b.cbranch(b.icmp_unsigned("<", first, end), inside, after)
    b.position_at_end(inside)
    k = b.phi(I64)
    k.add_incoming(first, before)
    yield k
    following = b.add(k, I64(1), flags=("nuw", "nsw"))
    k.add_incoming(following, b.block)
    b.cbranch(b.icmp_unsigned("<", following, end), inside, after)
    b.position_at_end(after)


def carrying(
    b: ir.IRBuilder,
    start: ir.Value,
    stop: ir.Value,
    step: int,
    body: Callable[..., Carried | None],
    carried: Sequence[ir.Value] = (),
) -> Carried:
    """for i in range(start, stop, step): carried = body(i, *carried); tested before each turn."""
    entry = b.block
    head, inside, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    index, *phis = [b.phi(value.type) for value in (start, *carried)]
    b.cbranch(b.icmp_signed("<", index, stop), inside, after)
    b.position_at_end(inside)
    results = [*(body(index, *phis) or ())]
    results.insert(0, b.add(index, I64(step)))
    for phi, first, later in zip([index, *phis], [start, *carried], results, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(later, b.block)
    b.branch(head)
    b.position_at_end(after)
    return phis


def known_in(module: ir.Module, function: ir.Function) -> ir.Function:
    """The function itself, or its declaration in another module."""
    if function.module is module:
        return function
    return ir.Function(module, function.function_type, function.name)


def call_intrinsic(b: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    """Call the function llvm.<name>, declared once; the name says its types."""
    full = f"llvm.{name}"
    kind = ir.FunctionType(result, [x.type for x in arguments])
    return b.call(b.module.globals.get(full) or ir.Function(b.module, kind, full), arguments)


def prefetch(b: ir.IRBuilder, at: ir.Value, write: bool) -> None:
    """Ask for a cache line, to be read or written. Any address will do."""
    kind = ir.FunctionType(VOID, [POINTER, I32, I32, I32])
    function = b.module.declare_intrinsic("llvm.prefetch", [POINTER], kind)
    b.call(function, [at, I32(int(write)), I32(3), I32(1)])  # to keep, data


def load_lanes(
    b: ir.IRBuilder, pointer: ir.Value, kind: ir.VectorType, align: int, count: int
) -> ir.Value:
    """The first `count` lanes from memory, zeros after them."""
    if count >= kind.count:
        return b.load(pointer, typ=kind, align=align)
    rest = _zero(kind)
    name = f"masked.load.{_suffix(kind)}"
    return call_intrinsic(b, name, kind, pointer, I32(align), _first(kind, count), rest)


def store_lanes(
    b: ir.IRBuilder, value: ir.Value, pointer: ir.Value, align: int, count: int
) -> None:
    """The first `count` lanes to memory.

    Without AVX-512, whose vectors are longer, in pieces of 2ⁿ lanes: AMD's processors take many
    cycles for a masked store.

    One lane of less than 32 bits is stored alone: LLVM 22 makes a store of 32 bits of a masked one
    of a truncated vector (AVX-512), which writes over the next element.
    """
    if count >= value.type.count:
        b.store(value, pointer, align=align)
        return
    if count == 1 and align < 4:
        b.store(b.extract_element(value, I32(0)), pointer, align=align)
        return
    if value.type.count * align <= 32:
        _store_pieces(b, value, pointer, align, count)
        return
    name = f"masked.store.{_suffix(value.type)}"
    call_intrinsic(b, name, VOID, value, pointer, I32(align), _first(value.type, count))


def _store_pieces(
    b: ir.IRBuilder, value: ir.Value, pointer: ir.Value, align: int, count: int
) -> None:
    element, first = value.type.element, 0
    for size in (8, 4, 2, 1):
        if not count & size:
            continue
        lanes = ir.VectorType(I32, size)(list(range(first, first + size)))
        piece = b.shuffle_vector(value, value, lanes)
        b.store(piece, b.gep(pointer, [I32(first)], source_etype=element), align=align)
        first += size


def _zero(kind: ir.VectorType) -> ir.Constant:
    whole = isinstance(kind.element, ir.IntType)
    return kind([0 if whole else 0.0] * kind.count)


def _first(kind: ir.VectorType, count: int) -> ir.Constant:
    return ir.VectorType(I1, kind.count)([lane < count for lane in range(kind.count)])


def _suffix(kind: ir.VectorType) -> str:
    if isinstance(kind.element, ir.IntType):
        return f"v{kind.count}i{kind.element.width}"
    return f"v{kind.count}f{64 if isinstance(kind.element, ir.DoubleType) else 32}"
