"""Random numbers that belong to rows of data, whatever batches the rows are in."""

from __future__ import annotations

import numpy as np

from ..graph import Array
from ..numerics import philox

_KEY = 0xA06E_2B5D_93C1_7F48  # separates these numbers from others of the same seed
_BLOCKS = 1 << 20  # of four words, for each row


class Draws:
    """The random numbers of some rows in an epoch: Philox4x32-10, counted by row, epoch and stream.

    rows     numbers of the rows in the data: int64 (n,)
    stream   separates what is drawn for one purpose from what is drawn for another
    """

    def __init__(self, seed: int, epoch: int, rows: Array, stream: int = 0) -> None:
        self.rows = np.asarray(rows)
        self._key, self._epoch, self._stream = int(seed) ^ _KEY, epoch, stream

    def words(self, count: int) -> Array:
        """The first words of each row: uint32 (n, count)."""
        blocks = np.arange(-(-count // 4), dtype=np.uint64)
        counter = (self.rows.astype(np.uint64)[:, None] * np.uint64(_BLOCKS) + blocks).ravel()
        low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
        epoch, stream = (np.full_like(counter, n) for n in (self._epoch, self._stream))
        words = philox(
            counter & low, counter >> half, epoch, stream, self._key & 0xFFFFFFFF, self._key >> 32
        )
        rows = np.stack(words, -1).reshape(len(self.rows), 4 * len(blocks))
        return rows[:, :count].astype(np.uint32)

    def uniform(self, count: int) -> Array:
        """The first numbers of each row, evenly on [0, 1): float32 (n, count)."""
        return (self.words(count) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
