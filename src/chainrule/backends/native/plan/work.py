"""How long a loop takes: nanoseconds of one thread, about. It decides which loops threads share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .buffers import Storage


def nothing(main: int, writes: Sequence[int], storage: Storage) -> float:
    return 0.0


def moving(main: int, writes: Sequence[int], storage: Storage) -> float:
    return float(math.prod(storage.buffers[main].shape))


def random(main: int, writes: Sequence[int], storage: Storage) -> float:
    return math.prod(storage.buffers[main].shape) * 0.6


def elementwise(main: int, writes: Sequence[int], storage: Storage) -> float:
    return math.prod(storage.buffers[main].shape) * (0.15 * len(writes))


def reduction(main: int, writes: Sequence[int], storage: Storage) -> float:
    return math.prod(storage.buffers[storage.kernel(main).reads[-1]].shape) * 0.15


def rows_put(main: int, writes: Sequence[int], storage: Storage) -> float:
    """Of the rows that are put: usually the table is not copied."""
    return float(math.prod(storage.buffers[storage.kernel(main).reads[2]].shape))


def pooling(main: int, writes: Sequence[int], storage: Storage) -> float:
    kernel = storage.kernel(main)
    windows = math.prod(storage.buffers[writes[-1]].shape)
    return 0.1 * windows * math.prod(kernel.params["window"])


def folding(main: int, writes: Sequence[int], storage: Storage) -> float:
    return 0.3 * math.prod(storage.kernel(main).node.inputs[0].shape)


def cumulative(main: int, writes: Sequence[int], storage: Storage) -> float:
    return math.prod(storage.buffers[main].shape) * 0.5


def sorting(main: int, writes: Sequence[int], storage: Storage) -> float:
    return math.prod(storage.buffers[main].shape) * 8.0


def product(main: int, writes: Sequence[int], storage: Storage) -> float:
    left = storage.buffers[storage.kernel(main).reads[0]]
    return math.prod(storage.buffers[main].shape) * left.shape[-1] / 60
