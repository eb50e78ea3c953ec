"""Loop nests in LLVM IR: elementwise expressions and reductions over the buffers of a plan.

An expression is emitted where it is used: `value(b, index)` is the element of a buffer at an index,
loaded if the buffer is stored and computed otherwise. Views change the index. LLVM vectorises the
innermost loop; the functions of `mathematics` have no branches, so they vectorise with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from .... import ops
from ...program import Kernel
from ..elementwise import ELEMENTWISE, I8, I64, in_memory
from ..plan.blocking import up
from ..plan.groups import Plan
from ..plan.storage import Value, contiguous, divides
from ..plan.threads import UNIT, Group, loop_shape
from ..sizes import size_of

POINTER = ir.PointerType()
Index = tuple[Any, ...]  # a value or a Python number for each axis
LINE = 64  # bytes that processors hand to each other at once
SHORT = 8  # turns of an innermost loop that is written out: the loop around it is vectorised


class Loops:
    """The body of one function: its builder, the pointers of the stored buffers, the loops."""

    def __init__(
        self,
        plan: Plan,
        function: ir.Function,
        pointers: dict[int, ir.Value],
        group: Group,
        part: tuple[ir.Value, ir.Value] | None = None,
    ) -> None:
        self.plan, self.pointers, self.function = plan, pointers, function
        self.part, self.unit, self.cut = part, group.unit, group.axis
        self._wrong: ir.Value | None = None  # whether an index was outside, a divisor 0
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self._known: dict[Any, ir.Value] = {}

    # ── loops ────────────────────────────────────────────────────────────────────────────────────

    def loop(self, count: int, body: Callable[[ir.Value], None], cut: bool = False) -> None:
        """body(0), …, body(count - 1); with `cut`, those of this thread's part alone."""
        if count == 0:
            return
        first, end = I64(0), I64(count)
        if cut and self.part is not None:
            first, end = self.own(count)
        self.turns(first, end, body)

    def own(self, count: int) -> tuple[ir.Value, ir.Value]:
        """Where this thread's part of a count begins and ends."""
        assert self.part is not None
        b = self.builder
        first, end = (b.mul(x, I64(self.unit)) for x in self.part)
        return first, b.select(b.icmp_unsigned("<", end, I64(count)), end, I64(count))

    def turns(self, first: ir.Value, end: ir.Value, body: Callable[[ir.Value], None]) -> None:
        """body(first), …, body(end - 1)."""
        b = self.builder
        before = b.block
        inside, after = (self.function.append_basic_block(n) for n in ("loop", "after"))
        if isinstance(end, ir.Constant):  # there is one at least
            b.branch(inside)
        else:
            b.cbranch(b.icmp_unsigned("<", first, end), inside, after)
        b.position_at_end(inside)
        k = b.phi(I64)
        k.add_incoming(first, before)
        body(k)
        following = b.add(k, I64(1), flags=("nuw", "nsw"))
        k.add_incoming(following, b.block)
        b.cbranch(b.icmp_unsigned("<", following, end), inside, after)
        b.position_at_end(after)

    def nest(
        self, shape: Sequence[int], body: Callable[[Index], None], cut: int | None = None
    ) -> None:
        """body for each index of the shape, the last axis innermost; axes of size 1 are 0.

        cut   the axis of which this thread does its part
        """
        index: list[Any] = []
        long = [a for a, n in enumerate(shape) if n != 1]
        last, inside = long[-1] if long else 0, len(long) > 1

        def enter(axis: int) -> None:
            if axis == len(shape):
                self.elsewhere()
                body(tuple(index))
                return
            if shape[axis] == 1:
                index.append(0)
                enter(axis + 1)
                index.pop()
                return

            def inner(k: Any) -> None:
                index.append(k)
                enter(axis + 1)
                index.pop()

            if axis == last and axis != cut and shape[axis] <= SHORT and inside:
                for k in range(shape[axis]):
                    inner(k)
            else:
                self.loop(shape[axis], inner, axis == cut)

        if all(shape):
            enter(0)

    # ── groups ───────────────────────────────────────────────────────────────────────────────────

    def elementwise(self, group: Group) -> None:
        """One loop nest that writes all buffers of the group."""
        shape = loop_shape(self.plan, group)
        homes = map(self.plan.home, group.writes)
        over = [b for b in homes if b not in group.writes and self.plan.values[b].kernel is None]

        def body(index: Index) -> None:
            for b in over:  # before anything is written there
                self.value(b, index)
            for b in group.writes:
                found = self._computed(b, index)
                self._known[b, index] = found
                home = self.plan.home(b)
                if home in over and self.plan.values[b].dtype.kind == "f":
                    found = self._ended(found, self.value(home, index))
                self._store(b, index, found)

        for b in group.claims:
            self._claim(b, group.rows)
        self.nest(shape, body, self.cut)

    def _ended(self, new: ir.Value, old: ir.Value) -> ir.Value:
        """The value that takes an old one's place; zero where it shrinks and is a denormal.

        A running mean of what has become zero would be the smallest denormal for ever: times 0.9
        and rounded, that is itself; and each step would take the time that denormals take.
        """
        b, kind = self.builder, new.type
        magnitude = b.module.declare_intrinsic("llvm.fabs", [kind])
        both = ir.FunctionType(kind, [kind, kind])
        signed = b.module.declare_intrinsic("llvm.copysign", [kind], both)
        size, before = b.call(magnitude, [new]), b.call(magnitude, [old])
        least = np.finfo(np.float32 if kind == ir.FloatType() else np.float64).tiny
        small = b.fcmp_ordered("<", size, ir.Constant(kind, float(least)))
        ended = b.and_(small, b.fcmp_ordered("<=", size, before))
        return b.select(ended, b.call(signed, [ir.Constant(kind, 0.0), new]), new)

    def _claim(self, b: int, rows: int) -> None:
        """Ask for the lines of this thread's rows of an array, to be written.

        Another processor has read them. Otherwise each would be waited for where it is written.
        """
        assert self.part is not None
        builder, value, i32 = self.builder, self.plan.values[b], ir.IntType(32)
        lines = up(UNIT * size_of(value) // rows, LINE)  # of a unit
        kind = ir.FunctionType(ir.VoidType(), [POINTER, i32, i32, i32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [POINTER], kind)
        first, end = (builder.mul(x, I64(lines)) for x in self.part)

        def ask(k: ir.Value) -> None:
            at = builder.gep(self.pointers[b], [builder.mul(k, I64(LINE))], source_etype=I8)
            builder.call(prefetch, [at, i32(1), i32(3), i32(1)])  # to write, and keep, data

        self.turns(first, end, ask)

    def scatter(self, b: int) -> None:
        """Zeros, and each update added at its index, in order."""
        kernel = self._kernel(b)
        updates, indices = kernel.reads
        axis, wide = kernel.params["axis"], len(self.plan.values[indices].shape)
        kind = in_memory(self.plan.values[b].dtype)
        zero = ir.Constant(kind, 0.0 if self.plan.values[b].dtype.kind == "f" else 0)
        self.nest(self.plan.values[b].shape, lambda index: self.store_raw(b, index, zero))
        real = self.plan.values[b].dtype.kind == "f"

        def one(index: Index) -> None:
            row = self._checked(indices, index[axis : axis + wide], kernel.params["size"])
            place = (*index[:axis], row, *index[axis + wide :])
            before, new = self.load_raw(b, place), self.value(updates, index)
            total = self.builder.fadd(before, new) if real else self.builder.add(before, new)
            self.store_raw(b, place, total)

        self.nest(self.plan.values[updates].shape, one)

    def concat(self, b: int) -> None:
        """Each part copied to its place."""
        kernel = self._kernel(b)
        axis, at = kernel.params["axis"], 0
        for r in kernel.reads:
            shape = self.plan.values[r].shape

            def one(index: Index, r: int = r, at: int = at) -> None:
                place = list(index)
                place[axis] = self.weighted((index[axis], 1), (at, 1))
                self._store(b, tuple(place), self.value(r, index))

            self.nest(shape, one)
            at += shape[axis]

    def pad(self, b: int) -> None:
        """Zeros, and the source at its place."""
        kernel = self._kernel(b)
        low, interior = kernel.params["low"], kernel.params["interior"]
        dtype = self.plan.values[b].dtype
        zero = ir.Constant(in_memory(dtype), 0.0 if dtype.kind == "f" else 0)
        self.nest(self.plan.values[b].shape, lambda index: self.store_raw(b, index, zero))

        def one(index: Index) -> None:
            place = tuple(
                self.weighted((i, k + 1), (lo, 1))
                for i, k, lo in zip(index, interior, low, strict=True)
            )
            self._store(b, place, self.value(kernel.reads[0], index))

        self.nest(self.plan.values[kernel.reads[0]].shape, one)

    def random(self, b: int) -> None:
        """Philox4x32-10, four words a block: see `numerics.random_bits`."""
        state = self._kernel(b).reads[0]
        count = math.prod(self.plan.values[b].shape)
        builder = self.builder
        seed, draw = (self.load_raw(state, (k,)) for k in range(2))
        low, half = I64(0xFFFFFFFF), I64(32)

        def words(block: ir.Value) -> list[ir.Value]:
            c = [builder.and_(block, low), builder.lshr(block, half)]
            c += [builder.and_(draw, low), builder.lshr(draw, half)]
            k0, k1 = builder.and_(seed, low), builder.lshr(seed, half)
            for _ in range(10):
                p0, p1 = (
                    builder.mul(I64(m), x) for m, x in ((0xD2511F53, c[0]), (0xCD9E8D57, c[2]))
                )
                c = [
                    builder.xor(builder.xor(builder.lshr(p1, half), c[1]), k0),
                    builder.and_(p1, low),
                    builder.xor(builder.xor(builder.lshr(p0, half), c[3]), k1),
                    builder.and_(p0, low),
                ]
                k0 = builder.and_(builder.add(k0, I64(0x9E3779B9)), low)
                k1 = builder.and_(builder.add(k1, I64(0xBB67AE85)), low)
            return [builder.trunc(x, ir.IntType(32)) for x in c]

        def put(block: ir.Value, many: int) -> None:
            for k, word in enumerate(words(block)[:many]):
                place = builder.add(builder.mul(block, I64(4)), I64(k))
                at = builder.gep(self.pointers[b], [place], source_etype=ir.IntType(32))
                builder.store(word, at)

        self.loop(count // 4, lambda block: put(block, 4), cut=True)
        if not count % 4:
            return
        if self.part is None:
            put(I64(count // 4), count % 4)
        else:  # whoever does the last unit
            units = up(up(count, 4), self.unit)
            with builder.if_then(builder.icmp_unsigned("==", self.part[1], I64(units))):
                put(I64(count // 4), count % 4)

    # ── elements ─────────────────────────────────────────────────────────────────────────────────

    def elsewhere(self) -> None:
        """Another element is being computed: what has been so far is not there any more."""
        self._known.clear()

    def value(self, b: int, index: Index) -> ir.Value:
        """The element of a buffer at an index, in a register: bools are one bit."""
        found = self._known.get((b, index))
        if found is None:
            stored = b in self.plan.stored
            found = self._load(b, index) if stored else self._computed(b, index)
            self._known[b, index] = found
        return found

    def _computed(self, b: int, index: Index) -> ir.Value:
        value = self.plan.values[b]
        kernel = value.kernel
        assert kernel is not None
        if value.kind == "view":
            return self.value(kernel.reads[0], self._through(b, value, index))
        if kernel.op is ops.checked_index:
            from_0 = kernel.params.get("refusal") is not None
            return self._checked(kernel.reads[0], index, kernel.params["size"], from_0)
        if kernel.op is ops.take:
            source, indices = kernel.reads
            axis, wide = kernel.params["axis"], len(self.plan.values[indices].shape)
            size = self.plan.values[source].shape[axis]
            row = self._checked(indices, index[axis : axis + wide], size)
            return self.value(source, (*index[:axis], row, *index[axis + wide :]))
        inputs = [self.value(r, index) for r in kernel.reads]
        kinds = [self.plan.values[r].dtype for r in kernel.reads]
        if divides(value):
            divisor = inputs[1]
            self._note(self.builder.icmp_unsigned("==", divisor, ir.Constant(divisor.type, 0)))
        return ELEMENTWISE[kernel.op][1](self.builder, inputs, kinds, value.dtype)

    def _checked(self, indices: int, index: Index, size: int, from_0: bool = False) -> ir.Value:
        """An index from 0, counted from the end if below; outside it is 0 and the status is set.

        Of an unsigned one nothing is below 0: 2⁶⁴ - 1 is outside.

        from_0   below 0 is outside
        """
        b, found = self.builder, self.value(indices, index)
        dtype = self.plan.values[indices].dtype
        if dtype.itemsize < 8:
            found = (b.sext if dtype.kind == "i" else b.zext)(found, I64)
        if not from_0 and dtype.kind == "i":
            below = b.icmp_signed("<", found, I64(0))
            found = b.select(below, b.add(found, I64(size)), found)
        wrong = b.icmp_unsigned(">=", found, I64(size))
        self._note(wrong)
        return b.select(wrong, I64(0), found)

    def _note(self, wrong: ir.Value) -> None:
        """The step has failed if this is so."""
        b = self.builder
        if self._wrong is None:
            with b.goto_entry_block():
                self._wrong = b.alloca(I64)
                b.store(I64(0), self._wrong)
        b.store(b.or_(b.load(self._wrong, typ=I64), b.zext(wrong, I64)), self._wrong)

    def end(self) -> None:
        """Return, and set the status if something was wrong: whichever thread it was."""
        b = self.builder
        if self._wrong is not None:
            wrong = b.load(self._wrong, typ=I64)
            with b.if_then(b.icmp_unsigned("!=", wrong, I64(0))):
                b.store(I64(1), self.pointers[self.plan.status])
        b.ret_void()

    def _kernel(self, b: int) -> Kernel:
        kernel = self.plan.values[b].kernel
        assert kernel is not None
        return kernel

    def _through(self, b: int, value: Value, index: Index) -> Index:
        """The index in a view's source."""
        kernel = value.kernel
        assert kernel is not None
        shape = self.plan.values[kernel.reads[0]].shape
        params = kernel.params
        if kernel.op is ops.broadcast_to:
            return tuple(0 if n == 1 else i for n, i in zip(shape, index, strict=True))
        if kernel.op is ops.permute_dims:
            places = dict(zip(params["axes"], index, strict=True))
            return tuple(places[a] for a in range(len(shape)))
        if kernel.op is ops.slice:
            return tuple(
                self.weighted((i, step), (start, 1))
                for i, start, step in zip(index, params["start"], params["step"], strict=True)
            )
        if kernel.op is ops.flip:
            return tuple(
                self.weighted((shape[a] - 1, 1), (i, -1)) if a in params["axis"] else i
                for a, i in enumerate(index)
            )
        if kernel.op is ops.reshape:
            return self._reshaped(shape, value.shape, index)
        return index

    def _reshaped(self, to: Sequence[int], shape: Sequence[int], index: Index) -> Index:
        kept = [i for n, i in zip(shape, index, strict=True) if n != 1]
        if [n for n in to if n != 1] == [n for n in shape if n != 1]:
            rest = iter(kept)
            return tuple(0 if n == 1 else next(rest) for n in to)
        place = self.weighted(*zip(index, contiguous(tuple(shape)), strict=True))
        b, out = self.builder, []
        for n, stride in zip(to, contiguous(tuple(to)), strict=True):
            if n == 1 or isinstance(place, int):
                out.append(0 if n == 1 else place // stride % n)
                continue
            part = b.udiv(place, I64(stride)) if stride > 1 else place
            out.append(b.urem(part, I64(n)))
        return tuple(out)

    def weighted(self, *terms: tuple[Any, int]) -> Any:
        """∑ value · factor, with what is known now folded."""
        constant, total = 0, None
        for value, factor in terms:
            if isinstance(value, int):
                constant += value * factor
                continue
            part = value if factor == 1 else self.builder.mul(value, I64(factor))
            total = part if total is None else self.builder.add(total, part)
        if total is None:
            return constant
        return self.builder.add(total, I64(constant)) if constant else total

    def _address(self, b: int, index: Index) -> ir.Value:
        value = self.plan.values[b]
        place = self.weighted(*zip(index, contiguous(value.shape), strict=True))
        place = I64(place) if isinstance(place, int) else place
        return self.builder.gep(self.pointers[b], [place], source_etype=in_memory(value.dtype))

    def load_raw(self, b: int, index: Index) -> ir.Value:
        dtype = in_memory(self.plan.values[b].dtype)
        return self.builder.load(self._address(b, index), typ=dtype)

    def store_raw(self, b: int, index: Index, value: ir.Value) -> None:
        self.builder.store(value, self._address(b, index))

    def _load(self, b: int, index: Index) -> ir.Value:
        found = self.load_raw(b, index)
        if self.plan.values[b].dtype.kind == "b":
            return self.builder.icmp_unsigned("!=", found, I8(0))
        return found

    def widened(self, value: ir.Value, b: int) -> ir.Value:
        bools = self.plan.values[b].dtype.kind == "b"
        return self.builder.zext(value, I8) if bools else value

    def _store(self, b: int, index: Index, value: ir.Value) -> None:
        self.store_raw(b, index, self.widened(value, b))

    def element(self, b: int, offset: int) -> ir.Value:
        """The address of an element, counted from the start of a stored buffer."""
        kind = in_memory(self.plan.values[b].dtype)
        return self.builder.gep(self.pointers[b], [I64(offset)], source_etype=kind)
