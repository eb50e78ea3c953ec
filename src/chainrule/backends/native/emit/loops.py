"""The body of one function: its loops, and the elements of buffers that they compute.

An expression is emitted where it is used: `value(b, index)` is the element of a buffer at an index,
loaded if the buffer is stored and computed otherwise. Views change the index. LLVM vectorises the
innermost loop; the functions of `math/` have no branches, so they vectorise with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llvmlite import ir

from .... import ops
from ....dtypes import is_boolean, is_signed
from ..alignment import ALIGNED, size_of
from ..formulas import FORMULAS
from ..ir_types import I8, I64, VOID, in_memory
from ..plan import lookups
from ..plan.kinds import divides
from ..plan.stages import Plan
from ..plan.threads import Task
from ..plan.views import Axis, IndexMap, contiguous, segments
from . import builder

Index = tuple[Any, ...]  # a value or a Python number for each axis
AHEAD = 12  # rows that are on their way while one is used
MOST_AHEAD = 512  # bytes of each: a processor reads on by itself
WRITTEN_OUT = 8  # turns of an innermost loop that is written out: the loop around it is vectorised


class Loops:
    """One function while it is emitted.

    part     from which to which unit of the task it does; None: all of it
    scratch  memory that is its caller's alone
    """

    def __init__(
        self,
        plan: Plan,
        task: Task,
        function: ir.Function,
        pointers: Mapping[int, ir.Value],
        scratch: ir.Value,
        part: tuple[ir.Value, ir.Value] | None,
    ) -> None:
        self.plan, self.task, self.function = plan, task, function
        self.storage, self.buffers = plan.storage, plan.storage.buffers
        self.pointers, self.scratch, self.part = pointers, scratch, part
        self._wrong: ir.Value | None = None  # whether an index was outside, a divisor 0
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self._computed: dict[
            tuple[int, Index], ir.Value
        ] = {}  # of the element that is computed now

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
        first, end = (b.mul(x, I64(self.task.cut.unit)) for x in self.part)
        return first, b.select(b.icmp_unsigned("<", end, I64(count)), end, I64(count))

    def turns(self, first: ir.Value, end: ir.Value, body: Callable[[ir.Value], None]) -> None:
        """body(first), …, body(end - 1)."""
        with builder.turns(self.builder, first, end) as k:
            body(k)

    def nest(
        self,
        shape: Sequence[int],
        body: Callable[[Index], None],
        cut: int | None = None,
        before_rows: Callable[[Index], None] | None = None,
    ) -> None:
        """body for each index of the shape, the last axis innermost; axes of size 1 are 0.

        cut           the axis of which this thread does its part
        before_rows   for each index of all axes but the last
        """
        index: list[Any] = []
        long = [a for a, n in enumerate(shape) if n != 1]
        last, inside = long[-1] if long else 0, len(long) > 1

        def enter(axis: int) -> None:
            if axis == len(shape):
                self.elsewhere()
                body(tuple(index))
                return
            if axis == len(shape) - 1 and before_rows is not None:
                before_rows(tuple(index))
            if shape[axis] == 1:
                index.append(0)
                enter(axis + 1)
                index.pop()
                return

            def inner(k: Any) -> None:
                index.append(k)
                enter(axis + 1)
                index.pop()

            if axis == last and axis != cut and shape[axis] <= WRITTEN_OUT and inside:
                for k in range(shape[axis]):
                    inner(k)
            else:
                self.loop(shape[axis], inner, axis == cut)

        if all(shape):
            enter(0)

    # ── elements ─────────────────────────────────────────────────────────────────────────────────

    def elsewhere(self) -> None:
        """Another element is being computed: what has been so far is not there any more."""
        self._computed.clear()

    def value(self, b: int, index: Index) -> ir.Value:
        """The element of a buffer at an index, in a register: bools are one bit."""
        value = self._computed.get((b, index))
        if value is None:
            stored = b in self.storage.stored
            value = self._load(b, self._terms(b, index)) if stored else self.computed(b, index)
            self.remember(b, index, value)
        return value

    def remember(self, b: int, index: Index, value: ir.Value) -> None:
        """Until `elsewhere` this is the buffer's element at the index."""
        self._computed[b, index] = value

    def computed(self, b: int, index: Index) -> ir.Value:
        """The element, computed from others."""
        buffer, kernel = self.buffers[b], self.storage.kernel(b)
        if buffer.map is not None:
            lies = self.storage.strided_source(b) if buffer.map.axes is None else None
            if lies is not None:  # without dividing a place into indices
                source, strides, offset = lies
                return self._load(source, (*zip(index, strides, strict=True), (offset, 1)))
            return self.value(kernel.reads[0], self._through(buffer.map, index))
        if kernel.op is ops.checked_index:
            from_0 = kernel.params.get("refusal") is not None
            return self.checked(kernel.reads[0], index, kernel.params["size"], from_0)
        if kernel.op is ops.take:
            source, indices = kernel.reads
            axis, wide = kernel.params["axis"], len(self.buffers[indices].shape)
            size = self.buffers[source].shape[axis]
            own = index[axis : axis + wide]
            sure = lookups.is_sure(kernel)
            row = self.value(indices, own) if sure else self.checked(indices, own, size)
            return self.value(source, (*index[:axis], row, *index[axis + wide :]))
        operands = [self.value(r, index) for r in kernel.reads]
        dtypes = [self.buffers[r].dtype for r in kernel.reads]
        if divides(buffer):
            divisor = operands[1]
            self._note(self.builder.icmp_unsigned("==", divisor, ir.Constant(divisor.type, 0)))
        return FORMULAS[kernel.op].emit(self.builder, operands, dtypes, buffer.dtype)

    def checked(self, indices: int, index: Index, size: int, from_0: bool = False) -> ir.Value:
        """An index from 0, counted from the end if below; outside it is 0 and the status is set.

        Of an unsigned one nothing is below 0: 2⁶⁴ - 1 is outside.

        from_0   below 0 is outside
        """
        b, place = self.builder, self.value(indices, index)
        dtype = self.buffers[indices].dtype
        if dtype.itemsize < 8:
            place = (b.sext if is_signed(dtype) else b.zext)(place, I64)
        if not from_0 and is_signed(dtype):
            below = b.icmp_signed("<", place, I64(0))
            place = b.select(below, b.add(place, I64(size)), place)
        wrong = b.icmp_unsigned(">=", place, I64(size))
        self._note(wrong)
        return b.select(wrong, I64(0), place)

    def _note(self, wrong: ir.Value) -> None:
        """The step has failed if this is so."""
        b = self.builder
        if self._wrong is None:
            with b.goto_entry_block():
                self._wrong = b.alloca(I64)
                b.store(I64(0), self._wrong)
        b.store(b.or_(b.load(self._wrong, typ=I64), b.zext(wrong, I64)), self._wrong)

    def apart(
        self,
        name: str,
        arguments: Sequence[ir.Value],
        body: Callable[[Loops], Callable[..., None]],
    ) -> None:
        """Call body(its loops)(*arguments) as a function of its own, with the loops of scalars.

        For a function of vectors, which LLVM does not look for loops to vectorise in.
        """
        own = [*dict.fromkeys(self.pointers.values()), self.scratch]
        whole = f"{self.function.name}.{name}"
        kind = ir.FunctionType(VOID, [x.type for x in (*own, *arguments)])
        function = ir.Function(self.function.module.program, kind, whole)
        for argument in function.args[: len(own)]:
            argument.add_attribute("noalias")
        inside = dict(zip(own, function.args, strict=False))
        pointers = {b: inside[pointer] for b, pointer in self.pointers.items()}
        loops = Loops(self.plan, self.task, function, pointers, inside[self.scratch], None)
        body(loops)(*function.args[len(own) :])
        loops.end()
        known = builder.known_in(self.function.module, function)
        self.builder.call(known, [*own, *arguments])

    def end(self) -> None:
        """Return, and set the status if something was wrong: whichever thread it was."""
        b = self.builder
        if self._wrong is not None:
            wrong = b.load(self._wrong, typ=I64)
            with b.if_then(b.icmp_unsigned("!=", wrong, I64(0))):
                b.store(I64(1), self.pointers[self.plan.status])
        b.ret_void()

    def _through(self, lies: IndexMap, index: Index) -> Index:
        """The index in a view's source."""
        if lies.axes is None:
            return self._renumbered(lies, index)
        places = []
        for axis in lies.axes:
            if axis.of is None:
                places.append(axis.offset)
            elif axis == Axis(axis.of):
                places.append(index[axis.of])
            else:
                terms = [(index[of], factor) for of, factor in axis.terms]
                places.append(self.weighted(*terms, (axis.offset, 1)))
        return tuple(places)

    def _renumbered(self, lies: IndexMap, index: Index) -> Index:
        """The index of the element with the same place in row-major order.

        Axes that are split or merged concern each other alone: others keep their index.
        """
        b, out = self.builder, []
        for view, source in segments(lies.view, lies.source):
            if len(view) == len(source) == 1:
                out.append(index[view[0]])
                continue
            shape = [lies.view[a] for a in view]
            place = self.weighted(*zip([index[a] for a in view], contiguous(shape), strict=True))
            shape = [lies.source[a] for a in source]
            for k, (n, stride) in enumerate(zip(shape, contiguous(shape), strict=True)):
                if n == 1 or isinstance(place, int):
                    out.append(0 if n == 1 else place // stride % n)
                    continue
                part = b.udiv(place, I64(stride)) if stride > 1 else place
                out.append(part if k == 0 else b.urem(part, I64(n)))
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
        return self._place(b, self._terms(b, index))

    def _terms(self, b: int, index: Index) -> Iterable[tuple[Any, int]]:
        return zip(index, contiguous(self.buffers[b].shape), strict=True)

    def _place(self, b: int, terms: Iterable[tuple[Any, int]]) -> ir.Value:
        """The address of an element of a stored buffer: ∑ index · stride, in elements."""
        place = self.weighted(*terms)
        place = I64(place) if isinstance(place, int) else place
        kind = in_memory(self.buffers[b].dtype)
        return self.builder.gep(self.pointers[b], [place], source_etype=kind)

    def load_raw(self, b: int, index: Index) -> ir.Value:
        dtype = in_memory(self.buffers[b].dtype)
        return self.builder.load(self._address(b, index), typ=dtype)

    def store_raw(self, b: int, index: Index, value: ir.Value) -> None:
        self.builder.store(value, self._address(b, index))

    def _load(self, b: int, terms: Iterable[tuple[Any, int]]) -> ir.Value:
        """The element at ∑ index · stride of a stored buffer."""
        dtype = self.buffers[b].dtype
        value = self.builder.load(self._place(b, terms), typ=in_memory(dtype))
        if is_boolean(dtype):
            return self.builder.icmp_unsigned("!=", value, I8(0))
        return value

    def widened(self, value: ir.Value, b: int) -> ir.Value:
        bools = is_boolean(self.buffers[b].dtype)
        return self.builder.zext(value, I8) if bools else value

    def store(self, b: int, index: Index, value: ir.Value) -> None:
        self.store_raw(b, index, self.widened(value, b))

    def zero(self, b: int) -> ir.Constant:
        """Of the type in which a buffer's elements are stored."""
        kind = in_memory(self.buffers[b].dtype)
        return ir.Constant(kind, 0 if isinstance(kind, ir.IntType) else 0.0)

    def later(self, k: ir.Value, count: int) -> ir.Value:
        """The place a few turns after k, or the last one of all."""
        b = self.builder
        after = b.add(k, I64(AHEAD))
        return b.select(b.icmp_unsigned("<", after, I64(count)), after, I64(count - 1))

    def row_number(self, rows: int, index: Index) -> ir.Value:
        """An element of a buffer of row numbers, as it is, in 64 bits."""
        self.elsewhere()
        row, dtype = self.value(rows, index), self.buffers[rows].dtype
        if dtype.itemsize == 8:
            return row
        return (self.builder.sext if is_signed(dtype) else self.builder.zext)(row, I64)

    def ask_for_row(self, b: int, row: ir.Value, write: bool) -> None:
        """Have a row of a stored buffer on its way: rows that are looked up lie far apart.

        Short rows are not worth the instructions.
        """
        whole = self.buffers[b]
        size = size_of(whole) // max(1, whole.shape[0])
        if size < ALIGNED:
            return
        for line in range(0, min(size, MOST_AHEAD), ALIGNED):
            place = self.builder.add(self.builder.mul(row, I64(size)), I64(line))
            at = self.builder.gep(self.pointers[b], [place], source_etype=I8)
            builder.prefetch(self.builder, at, write)

    def element(self, b: int, offset: int) -> ir.Value:
        """The address of an element, counted from the start of a stored buffer."""
        kind = in_memory(self.buffers[b].dtype)
        return self.builder.gep(self.pointers[b], [I64(offset)], source_etype=kind)
