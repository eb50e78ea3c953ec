"""Attention and its derivative: how their operands lie in memory, and the blocks they are cut into.

A block is some queries by some keys, for one batch and head; nothing larger than a block of scores
is stored. Vectors lie along the queries, so that maxima and sums over keys need no exchange between
lanes, and keys and values are read where they are. `emit/attention.py` emits the code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from .... import ops
from ....graph import Dtype
from ...program import Kernel
from ..alignment import rounded
from ..processor import Target
from .blocking import Blocking, Contraction, choose, up
from .buffers import Storage
from .cuts import WHOLE, WORTH_CUTTING, Cut

QUERIES, MOST_KEYS = 32, 64  # of a block
# Of a causal one: smaller blocks compute less beyond the diagonal. Of few keys all is near it.
QUERIES_CAUSAL, MOST_KEYS_CAUSAL, FEW_KEYS = 16, 32, 256
FOR_EACH = 0.35  # nanoseconds for the exponential of a score, about


@dataclass(frozen=True)
class HeadsOperand:
    """An operand in memory: elements from one batch, position, head, element to the next."""

    buffer: int
    offset: int
    batch: int
    position: int
    head: int
    element: int


@dataclass(frozen=True)
class Mask:
    """A mask in memory: elements from one batch, head, query, key to the next; 0: one for all."""

    buffer: int
    offset: int
    batch: int
    head: int
    query: int
    key: int


def heads_operand(storage: Storage, b: int) -> HeadsOperand | None:
    """A query, key, value or cotangent; None if its elements are not neighbours in memory."""
    source = storage.strided(b)
    if source is None:
        return None
    stored, strides, offset = source
    shape = storage.buffers[b].shape
    if strides[3] != 1 and shape[3] > 1:
        return None
    return HeadsOperand(stored, offset, *strides)


def mask(storage: Storage, b: int) -> Mask | None:
    """A mask; None if it must be stored: pairs whose keys are not neighbours in memory."""
    source = storage.strided(b)
    if source is None:
        return None
    stored, strides, offset = source
    sizes = storage.buffers[b].shape
    n, h, t, s = (0 if size == 1 else stride for size, stride in zip(sizes, strides, strict=True))
    if t and s not in (0, 1):
        return None
    return Mask(stored, offset, n, h, t, s)


def first_mask(kernel: Kernel) -> int:
    """The position of the first mask among a kernel's operands."""
    return 3 if kernel.op is ops.attention else 6


def operands_to_store(kernel: Kernel, storage: Storage) -> list[int]:
    """What has to be an array: an operand, or what it is a view of where that is enough."""
    if kernel.op is ops.item:
        return []
    masks = first_mask(kernel)
    to_store = []
    for k, b in enumerate(kernel.reads):

        def lies(storage: Storage, b: int = b, k: int = k) -> object:
            return (mask if k >= masks else heads_operand)(storage, b)

        if lies(storage) is None:
            base = b
            while storage.buffers[base].map is not None and base not in storage.stored:
                base = storage.buffers[base].reads[0]
            there = replace(storage, stored=storage.stored | {base})
            to_store.append(b if lies(there) is None else base)
    return to_store


@dataclass(frozen=True)
class Attention:
    """An attention, where its operands lie, and how it is cut.

    n, h, t, s, d, e   batches, heads, queries, keys; elements of a key and of a value
    queries, keys      in a block
    """

    kernel: Kernel
    target: Target
    query: HeadsOperand
    key: HeadsOperand
    value: HeadsOperand
    masks: tuple[Mask, ...]
    queries: int
    keys: int

    @cached_property
    def sizes(self) -> tuple[int, int, int, int, int, int]:
        first = first_mask(self.kernel) - 3
        query, key, value = self.kernel.node.inputs[first : first + 3]
        (n, t, h, d), s, e = query.shape, key.shape[1], value.shape[3]
        return n, h, t, s, d, e

    @property
    def causal(self) -> bool:
        causal: bool = self.kernel.params["causal"]
        return causal

    @property
    def scale(self) -> float:
        return float(self.kernel.params["scale"])

    @property
    def dtype(self) -> Dtype:
        dtype: Dtype = self.kernel.node.inputs[0].dtype
        return dtype

    @property
    def lanes(self) -> int:
        return self.target.lanes(8 * self.dtype.itemsize)

    @property
    def rows(self) -> int:
        """Blocks of queries."""
        return up(self.sizes[2], self.queries)

    @property
    def last_queries(self) -> int:
        """Queries in the last block, if it is not full; else 0."""
        return self.sizes[2] % self.queries

    @property
    def last_keys(self) -> int:
        """Keys in the last block, if it is not full; else 0."""
        return self.sizes[3] % self.keys

    @property
    def units(self) -> int:
        """The parts that threads share: a block of queries each."""
        n, h, *_ = self.sizes
        return n * h * self.rows

    def scores(self, keys: int) -> Blocking:
        """sᵀ = k qᵀ: keys by queries."""
        _, _, _, _, d, _ = self.sizes
        left, right = (self.key.position, 1), (self.queries, 1)
        return self._product(keys, self.queries, d, left, right, False)

    def results(self, keys: int) -> Blocking:
        """yᵀ += vᵀ pᵀ: elements of a value by queries."""
        *_, e = self.sizes
        left, right = (1, self.value.position), (self.queries, 1)
        return self._product(e, self.queries, keys, left, right, self.several)

    @property
    def several(self) -> bool:
        """Whether there are several blocks of keys."""
        return self.sizes[3] > self.keys

    def _product(
        self,
        m: int,
        n: int,
        k: int,
        left: tuple[int, int],
        right: tuple[int, int],
        accumulate: bool = True,
    ) -> Blocking:
        """left, right   elements from one row, one column to the next"""
        a, b = (0, *left), (0, *right)
        return choose(Contraction(m, n, k, 1, self.dtype.name, a, b, accumulate), self.target)

    @property
    def key_counts(self) -> list[int]:
        """The sizes that blocks have along the keys."""
        full = [self.keys] if self.sizes[3] >= self.keys else []
        return full + ([self.last_keys] if self.last_keys else [])

    @property
    def products(self) -> list[Blocking]:
        return [p for k in self.key_counts for p in (self.scores(k), self.results(k))]

    @property
    def rooms(self) -> dict[str, int]:
        """Arrays in a thread's scratch memory: elements by name.

        Matrices with queries along their rows: the queries, scores, results, each mask; and for
        each query the maximum and the sum so far.
        """
        *_, d, e = self.sizes
        rooms = {"query": d, "scores": self.keys, "results": e, "top": 1, "total": 1}
        rooms |= {f"mask{k}": self.keys for k in range(len(self.masks))}
        return {name: size * self.queries for name, size in rooms.items()}

    @cached_property
    def places(self) -> dict[str, int]:
        """Where the rooms begin in scratch memory, and last what a product needs; in bytes."""
        places, at = {}, 0
        for name, size in self.rooms.items():
            places[name] = at
            at += rounded(size * self.dtype.itemsize)
        return places | {"product": at}

    @property
    def scratch_bytes(self) -> int:
        return self.places["product"] + max((p.scratch_bytes for p in self.products), default=0)


@dataclass(frozen=True)
class AttentionDerivative(Attention):
    """The derivative of an attention; its parts are whole heads, over whose queries it adds up.

    g                  the cotangent of the result
    delta, logsumexp   one number for each query
    """

    g: HeadsOperand
    delta: HeadsOperand
    logsumexp: HeadsOperand

    @property
    def units(self) -> int:
        n, h, *_ = self.sizes
        return n * h

    def above(self, keys: int) -> Blocking:
        """v gᵀ: keys by queries."""
        *_, e = self.sizes
        left, right = (self.value.position, 1), (self.queries, 1)
        return self._product(keys, self.queries, e, left, right, False)

    def d_rows(self, keys: int, elements: int) -> Blocking:
        """dv += pᵀ g or dk += dsᵀ q: keys by elements."""
        left, right = (self.queries, 1), (elements, 1)
        return self._product(keys, elements, self.queries, left, right)

    def d_query(self, keys: int) -> Blocking:
        """dq += ds k: queries by elements."""
        *_, d, _ = self.sizes
        left, right = (1, self.queries), (self.key.position, 1)
        return self._product(self.queries, d, keys, left, right)

    @property
    def products(self) -> list[Blocking]:
        *_, d, e = self.sizes
        return [
            product
            for k in self.key_counts
            for product in (
                self.scores(k),
                self.above(k),
                self.d_rows(k, e),
                self.d_rows(k, d),
                self.d_query(k),
            )
        ]

    @property
    def rooms(self) -> dict[str, int]:
        """Beside the queries and scores: what comes from above, and the sums of a head."""
        _, _, _, s, d, e = self.sizes
        rooms = {"query": d, "query_rows": d, "g": e, "g_rows": e, "d_query": d}
        rooms |= {"scores": self.keys, "above": self.keys, "logsumexp": 1, "delta": 1}
        rooms |= {f"mask{k}": self.keys for k in range(len(self.masks))}
        by_query = {name: size * self.queries for name, size in rooms.items()}
        return by_query | {"d_key": s * d, "d_value": s * e}


def attention_of(kernel: Kernel, storage: Storage, target: Target) -> Attention:
    """The attention, or derivative of one, that a kernel is."""
    first = first_mask(kernel)
    operands = [heads_operand(storage, b) for b in kernel.reads[:first]]
    *saved, query, key, value = [o for o in operands if o is not None]
    masks = tuple(m for m in (mask(storage, b) for b in kernel.reads[first:]) if m is not None)
    queries, keys = kernel.node.inputs[first - 3 : first - 1]
    lanes = target.lanes(8 * queries.dtype.itemsize)
    wide, most = QUERIES, MOST_KEYS
    if kernel.params["causal"]:
        wide, most = QUERIES_CAUSAL, MOST_KEYS_CAUSAL
        most = most // 2 if keys.shape[1] <= FEW_KEYS else most
    wide = up(min(wide, max(queries.shape[1], 1)), lanes) * lanes
    high = _even(keys.shape[1], most)
    if not saved:
        return Attention(kernel, target, query, key, value, masks, wide, high)
    return AttentionDerivative(kernel, target, query, key, value, masks, wide, high, *saved)


def _even(size: int, most: int) -> int:
    """A block's share of a size: a divisor of it near `most`, if there is one."""
    if size <= most:
        return max(size, 1)
    return next((k for k in range(most, most // 2, -1) if size % k == 0), most)


def attention_made(main: int, storage: Storage, target: Target) -> Attention:
    """The attention of a buffer."""
    return attention_of(storage.kernel(main), storage, target)


def work_of_attention(main: int, writes: Sequence[int], storage: Storage) -> float:
    """Nanoseconds of one thread, about."""
    kernel = storage.kernel(main)
    query, key, value = kernel.node.inputs[first_mask(kernel) - 3 : first_mask(kernel)]
    pairs = math.prod(query.shape[:3]) * key.shape[1] * (0.6 if kernel.params["causal"] else 1.0)
    products = 1.0 if kernel.op is ops.attention else 2.5
    return pairs * (products * (query.shape[3] + value.shape[3]) / 60 + FOR_EACH)


def cut_attention(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By blocks of queries, or heads."""
    return Cut(attention_made(main, storage, target).units) if work >= WORTH_CUTTING else WHOLE


def scratch_of_attention(
    main: int, writes: Sequence[int], cut: Cut, storage: Storage, target: Target
) -> int:
    return attention_made(main, storage, target).scratch_bytes
