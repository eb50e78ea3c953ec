"""The instructions on vectors that matrix products and convolutions are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from ..ir_types import F32, F64, I32, I64
from . import builder

Values = list[ir.Value]


@dataclass(frozen=True)
class Matrix:
    """A matrix in memory, and the elements from one row, one column to the next."""

    pointer: ir.Value
    row: int
    column: int


class Vectors:
    """The instructions that the parts of a product are made of.

    lanes, itemsize   elements of a vector, and bytes of each
    """

    def __init__(self, b: ir.IRBuilder, lanes: int, itemsize: int) -> None:
        self.b, self.lanes, self.itemsize = b, lanes, itemsize
        self.scalar = F32 if itemsize == 4 else F64
        self.vector = ir.VectorType(self.scalar, lanes)
        self.zero = self.vector([0.0] * lanes)

    # Control

    def loop(
        self,
        start: ir.Value,
        stop: ir.Value,
        step: int,
        body: Callable[..., Values | None],
        carried: Sequence[ir.Value] = (),
    ) -> Values:
        """See `builder.carrying`; what is known to be one turn is no loop."""
        known = isinstance(start, ir.Constant) and isinstance(stop, ir.Constant)
        if known and start.constant < stop.constant <= start.constant + step:
            return [*(body(start, *carried) or ())]
        return builder.carrying(self.b, start, stop, step, body, carried)

    def pieces(
        self,
        start: ir.Value,
        stop: ir.Value,
        extent: int,
        size: int,
        body: Callable[[ir.Value, int], None],
    ) -> None:
        """body(offset, size) for whole pieces in start..stop, then for the rest of `extent`."""
        rest = extent % size
        if extent == size and all(isinstance(x, ir.Constant) for x in (start, stop)):
            body(start, size)
            return
        at_end = self.b.icmp_signed("==", stop, I64(extent))
        whole = self.b.select(at_end, I64(extent - rest), stop)
        if extent >= size:
            self.loop(start, whole, size, lambda at: body(at, size))
        if rest:
            with self.b.if_then(at_end):
                body(I64(extent - rest), rest)

    def least(self, value: ir.Value, most: int) -> ir.Value:
        """The value, or `most` if that is less."""
        return self.b.select(self.b.icmp_signed("<", value, I64(most)), value, I64(most))

    def most(self, value: ir.Value, least: int) -> ir.Value:
        """The value, or `least` if that is more."""
        return self.b.select(self.b.icmp_signed(">", value, I64(least)), value, I64(least))

    # Memory

    def corner(self, view: Matrix, i: ir.Value, j: ir.Value) -> Matrix:
        """The part of a matrix from row i and column j on."""
        return replace(view, pointer=self.at(view.pointer, (i, view.row), (j, view.column)))

    def at(self, pointer: ir.Value, *terms: tuple[ir.Value | int, int]) -> ir.Value:
        """pointer + Σ index · stride, in elements."""
        for index, stride in terms:
            step = I64(index * stride) if isinstance(index, int) else self.b.mul(index, I64(stride))
            if index != 0 and stride != 0:
                pointer = self.b.gep(pointer, [step], source_etype=self.scalar)
        return pointer

    def intrinsic(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        """Call llvm.<name> for this plan's vectors."""
        return builder.call_intrinsic(
            self.b, f"{name}.v{self.lanes}f{8 * self.itemsize}", result, *arguments
        )

    def load(self, pointer: ir.Value, count: int) -> ir.Value:
        """The first `count` lanes from memory, zeros after them."""
        return builder.load_lanes(self.b, pointer, self.vector, self.itemsize, count)

    def store(self, value: ir.Value, pointer: ir.Value, count: int) -> None:
        """The first `count` lanes to memory."""
        builder.store_lanes(self.b, value, pointer, self.itemsize, count)

    def copy(self, source: ir.Value, goal: ir.Value, count: int) -> None:
        """`count` contiguous elements."""
        for j in range(0, count, self.lanes):
            value = self.load(self.at(source, (j, 1)), count - j)
            self.store(value, self.at(goal, (j, 1)), count - j)

    def clear(self, goal: ir.Value, count: int) -> None:
        """Zeros for `count` contiguous elements."""
        if count:
            self.pieces(
                I64(0),
                I64(count),
                count,
                self.lanes,
                lambda k, wide: self.store(self.zero, self.at(goal, (k, 1)), wide),
            )

    def element(self, pointer: ir.Value) -> ir.Value:
        return self.b.load(pointer, typ=self.scalar, align=self.itemsize)

    def load_rows(self, c: Matrix, rows: int, count: int) -> Values:
        """`count` columns of C, a vector a row, whether C is stored by rows or by columns."""
        if c.column == 1:
            return [self.load(self.at(c.pointer, (i, c.row)), count) for i in range(rows)]
        result: Values = []
        for i in range(0, rows, self.lanes):
            at = [self.at(c.pointer, (i, 1), (x, c.column)) for x in range(count)]
            result += self.transpose([self.load(pointer, rows - i) for pointer in at])
        return result[:rows]

    def store_rows(self, values: Values, c: Matrix, count: int) -> None:
        """The reverse of `load_rows`."""
        if c.column == 1:
            for i, value in enumerate(values):
                self.store(value, self.at(c.pointer, (i, c.row)), count)
            return
        for i in range(0, len(values), self.lanes):
            for x, value in enumerate(self.transpose(values[i : i + self.lanes])[:count]):
                at = self.at(c.pointer, (i, 1), (x, c.column))
                self.store(value, at, len(values) - i)

    # Vectors

    def shuffle(self, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
        return self.b.shuffle_vector(x, y, ir.VectorType(I32, self.lanes)(lanes))

    def added(self, before: ir.Value, value: ir.Value, fresh: ir.Value | bool) -> ir.Value:
        """before + value; the value alone where it is the first."""
        total = self.b.fadd(before, value)
        return total if fresh is False else self.b.select(fresh, value, total)

    def splat(self, scalar: ir.Value) -> ir.Value:
        first = self.b.insert_element(self.zero, scalar, I32(0))
        return self.shuffle(first, first, [0] * self.lanes)

    def interleave(self, rows: Values) -> Values:
        """Row i with row i + half, lane by lane: two rows, of their lower and upper lanes."""
        half = len(rows) // 2
        low = [i // 2 + self.lanes * (i % 2) for i in range(self.lanes)]
        high = [i + self.lanes // 2 for i in low]
        pairs = zip(rows[:half], rows[half:], strict=True)
        return [self.shuffle(x, y, order) for x, y in pairs for order in (low, high)]

    def transpose(self, rows: Values) -> Values:
        """Up to lanes rows, padded to a square. Each round moves the top bit of the row's number
        into the lane's number, and one bit back."""
        rows = rows + [self.zero] * (self.lanes - len(rows))
        for _ in range(self.lanes.bit_length() - 1):
            rows = self.interleave(rows)
        return rows

    def sums(self, rows: Values) -> ir.Value:
        """One vector: in lane r the sum of row r, upper half on lower half again and again."""
        rows = rows + [self.zero] * (self.lanes - len(rows))
        while len(rows) > 1:
            mixed = self.interleave(rows)
            rows = [self.b.fadd(x, y) for x, y in zip(mixed[::2], mixed[1::2], strict=True)]
        return rows[0]
