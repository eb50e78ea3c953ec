"""Batches of sequences of similar length, padded to a few lengths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import ArgumentError, user_line
from ..graph import Array
from .loader import DataLoader, order
from .sequences import pad


class BucketLoader(DataLoader):
    """Batches ((x, lengths), y) of sequences of different lengths, for `fit`.

    sequences    N arrays (Tₖ,) or (Tₖ, C)
    y            (N, …) a target per sequence
    batch_size   sequences per batch; the last one may have fewer
    buckets      at most this number of lengths is padded to, so that a compiled step is compiled a
                 few times and little is computed on padding
    shuffle      a new order in each epoch, from the seed, within buckets and of the batches; False:
                 from the shortest to the longest
    value        the padding
    x, lengths   (n, T) or (n, T, C), where T is the batch's bucket, and int64 (n,)
    """

    def __init__(
        self,
        sequences: Iterable[Any],
        y: Any,
        batch_size: int = 32,
        *,
        buckets: int = 4,
        shuffle: bool = True,
        seed: int = 0,
        value: Any = 0,
    ) -> None:
        padded, lengths = pad(sequences, value=value)
        if buckets < 1:
            raise ArgumentError(
                "BucketLoader",
                f"got {buckets} buckets",
                "expected 1 or more",
                "buckets=4",
                user_line(),
            )
        super().__init__(((padded, lengths), y), batch_size, shuffle, seed=seed)
        ends = np.arange(1, buckets + 1) * self.samples // buckets  # of rows sorted by length
        self.bounds = np.unique(np.sort(lengths)[np.maximum(ends, 1) - 1])
        self._lengths = lengths
        self._bucket = np.searchsorted(self.bounds, lengths)

    def order(self, epoch: int) -> Array:
        """The rows of that epoch in order: int64 (samples,), bucket by bucket in each batch.

        The few rows that fill no batch are the last one, and come from another place each epoch.
        """
        if not self.shuffle:
            return np.argsort(self._lengths, kind="stable")
        rows = order(self.samples, self.seed, epoch)
        rows = rows[np.argsort(self._bucket[rows], kind="stable")]
        whole, rest = divmod(self.samples, self.batch_size)
        batches = order(whole + (rest > 0), self.seed, epoch)
        start = int(batches[0]) * self.batch_size
        last = slice(start, start + rest)
        some = np.delete(rows, last).reshape(whole, self.batch_size)
        return np.concatenate([*some[order(whole, self.seed + 1, epoch)], rows[last]])

    def rows(self, order: Array | None, first: int, count: int) -> list[Array]:
        order = self.order(0) if order is None else order
        x, *others = super().rows(order, first, count)
        return [x[:, : self._bound(order, first)], *others]

    def alike(self, order: Array | None, first: int) -> int:
        order = self.order(0) if order is None else order
        count, whole = 0, super().alike(order, first)
        while count < whole and self._bound(order, first + count) == self._bound(order, first):
            count += 1
        return count

    def _bound(self, order: Array, batch: int) -> int:
        """The length that a batch is padded to; of a last one with fewer rows, the largest."""
        if batch == self.samples // self.batch_size:
            return int(self.bounds[-1])
        part = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return int(self.bounds[self._bucket[part].max()])

    def __repr__(self) -> str:
        bounds = ", ".join(map(str, self.bounds))
        return f"BucketLoader({self.samples} sequences, padded to {bounds} steps)"
