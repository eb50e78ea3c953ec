"""Bytes: of a buffer, of a cache line, of a page."""

from __future__ import annotations

import math

from ...graph import Spec

ALIGNED = 64  # bytes: a cache line, and the widest vector
# Processors read ahead, but not into the next page: so what a thread is at does not move into the
# cache of another one that comes to the end of its part, or of an array that lies before.
PAGE = 4096


def size_of(value: Spec) -> int:
    """Bytes."""
    return math.prod(value.shape) * int(value.dtype.itemsize)


def rounded(size: int) -> int:
    """Up to whole cache lines; never nothing."""
    return max(1, -(-size // ALIGNED)) * ALIGNED
