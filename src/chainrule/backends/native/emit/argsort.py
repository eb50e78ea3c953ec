"""argsort: the positions that put the elements along an axis in order, equals in that of the index.

Each element becomes an unsigned *key* that is in the same order: -0 is 0, NaN comes last; from the
largest to the smallest, all bits of the keys are turned. In a short row each position is the number
of elements that come before (nothing is guessed, so vectors do it). A longer one is sorted by one
byte of the keys after the other, from the lowest: those of equal bytes stay in order.
"""

from __future__ import annotations

import itertools

from llvmlite import ir

from ....dtypes import is_floating, is_signed
from ..ir_types import I8, I64
from . import builder
from .loops import Loops
from .running_tiles import TiledNest

PAIRED = 16  # elements of a row, up to which each pair is compared in registers
COUNTED = 128  # up to which positions are counted in memory
DIGITS = 256  # values of a byte


def emit(loops: Loops) -> None:
    """The positions, as int64."""
    b = loops.task.group.main
    shape, axis = loops.buffers[b].shape, loops.storage.kernel(b).params["axis"]
    if not all(shape):
        return
    nest, size = _SortingNest(loops, b, axis), shape[axis]
    counted = nest.by_pairs if size <= PAIRED else nest.by_rank
    row = counted if size <= COUNTED else nest.by_digits
    nest.each_row([a for a, n in enumerate(shape) if n != 1 and a != axis], row)


class _SortingNest(TiledNest):
    """The sorting of one row after the other, in scratch memory: see `Kind.scratch`."""

    def __init__(self, loops: Loops, b: int, axis: int) -> None:
        super().__init__(loops, loops.buffers[b].shape, [])
        kernel = loops.storage.kernel(b)
        self._to, (self._source,), self._axis = b, kernel.reads, axis
        self._size, self._descending = self._shape[axis], kernel.params["descending"]
        self._dtype = loops.buffers[self._source].dtype
        self._key = ir.IntType(8 * self._dtype.itemsize)
        self._number = builder.position_type(self._size)
        places = [
            self._b.gep(loops.scratch, [I64(8 * self._size * k)], source_etype=I8) for k in range(5)
        ]
        self._keys, self._numbers, self._counts = places[:2], places[2:4], places[4]

    def by_pairs(self) -> None:
        """By rank, in registers: each pair is compared once."""
        b, number, last = self._b, self._number, self._size - 1
        keys = [self._key_at(I64(i)) for i in range(self._size)]
        ranks: list[ir.Value] = [number(last - i) for i in range(self._size)]  # if all were after
        for i, k in itertools.combinations(range(self._size), 2):
            first = b.zext(b.icmp_unsigned("<=", keys[i], keys[k]), number)
            ranks[i], ranks[k] = b.sub(ranks[i], first), b.add(ranks[k], first)
        for i, rank in enumerate(ranks):
            self._store(rank, I64(i))

    def by_rank(self) -> None:
        """Each element at the place that is the number of those before it."""
        b, loop, size = self._b, self._loops.loop, self._size
        keys, ranks = self._keys[0], self._numbers[0]
        self._make_keys()

        def clear(i: ir.Value) -> None:
            self._save(ranks, i, self._number(0))

        def count(k: ir.Value) -> None:
            key, number = self._load(keys, k, self._key), self._numbered(k)

            def compare(i: ir.Value) -> None:
                own, rank = self._load(keys, i, self._key), self._load(ranks, i, self._number)
                earlier = b.icmp_unsigned("<", number, self._numbered(i))
                equal = b.and_(b.icmp_unsigned("==", key, own), earlier)
                before = b.or_(b.icmp_unsigned("<", key, own), equal)
                self._save(ranks, i, b.add(rank, b.zext(before, self._number)))

            loop(size, compare)

        loop(size, clear)
        loop(size, count)
        loop(size, lambda i: self._store(self._load(ranks, i, self._number), i))

    def by_digits(self) -> None:
        """By each byte of the keys in turn."""
        self._make_keys()
        for digit in range(self._dtype.itemsize):
            self._sort_by(digit)

    def _sort_by(self, digit: int) -> None:
        """From one array of keys and numbers to the other, or to the result."""
        b, loop = self._b, self._loops.loop
        here, there = (0, 1) if digit % 2 == 0 else (1, 0)
        last = digit == self._dtype.itemsize - 1

        def digit_of(key: ir.Value) -> ir.Value:
            value = b.and_(b.lshr(key, self._key(8 * digit)), self._key(DIGITS - 1))
            return value if self._key == I64 else b.zext(value, I64)

        def clear(d: ir.Value) -> None:
            self._save(self._counts, d, self._number(0))

        def count(k: ir.Value) -> None:
            self._take_place(digit_of(self._load(self._keys[here], k, self._key)))

        def begin(d: ir.Value, total: ir.Value) -> list[ir.Value]:
            own = self._load(self._counts, d, self._number)
            self._save(self._counts, d, total)
            return [b.add(total, own)]

        def move(k: ir.Value) -> None:
            key = self._load(self._keys[here], k, self._key)
            number = (
                self._load(self._numbers[here], k, self._number) if digit else self._numbered(k)
            )
            place = self._take_place(digit_of(key))
            if last:
                self._store(place, number)
                return
            self._save(self._keys[there], place, key)
            self._save(self._numbers[there], place, number)

        loop(DIGITS, clear)
        loop(self._size, count)
        builder.carrying(b, I64(0), I64(DIGITS), 1, begin, [self._number(0)])
        loop(self._size, move)

    def _take_place(self, d: ir.Value) -> ir.Value:
        """The count of a digit, which then is one more."""
        place = self._load(self._counts, d, self._number)
        self._save(self._counts, d, self._b.add(place, self._number(1)))
        return place

    # Keys

    def _make_keys(self) -> None:
        """Of a row."""
        self._loops.loop(self._size, lambda k: self._save(self._keys[0], k, self._key_at(k)))

    def _key_at(self, k: ir.Value) -> ir.Value:
        self._loops.elsewhere()
        self._index[self._axis] = k
        value = self._loops.value(self._source, self.index)
        del self._index[self._axis]
        return self._key_of(value)

    def _key_of(self, value: ir.Value) -> ir.Value:
        b, key = self._b, self._key
        sign, ones = key(1 << (key.width - 1)), key(-1)
        bits = self._loops.widened(value, self._source)
        if is_floating(self._dtype):
            bits = b.bitcast(value, key)
            # Below 0 all bits are turned, else the sign.
            bits = b.xor(bits, b.or_(b.ashr(bits, key(key.width - 1)), sign))
            bits = b.select(b.fcmp_ordered("==", value, value.type(0.0)), sign, bits)
            bits = b.select(b.fcmp_unordered("uno", value, value), ones, bits)
        elif is_signed(self._dtype):
            bits = b.xor(bits, sign)
        return b.xor(bits, ones) if self._descending else bits

    # Memory

    def _numbered(self, k: ir.Value) -> ir.Value:
        return k if self._number == I64 else self._b.trunc(k, self._number)

    def _load(self, array: ir.Value, k: ir.Value, kind: ir.Type) -> ir.Value:
        return self._b.load(self._b.gep(array, [k], source_etype=kind), typ=kind)

    def _save(self, array: ir.Value, k: ir.Value, value: ir.Value) -> None:
        self._b.store(value, self._b.gep(array, [k], source_etype=value.type))

    def _store(self, place: ir.Value, number: ir.Value) -> None:
        """The number of an element, at its place in the result."""
        place, number = (x if x.type == I64 else self._b.zext(x, I64) for x in (place, number))
        self._index[self._axis] = place
        self._loops.store_raw(self._to, self.index, number)
        del self._index[self._axis]
