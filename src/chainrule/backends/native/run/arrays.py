"""Arrays on cache lines and pages of their own, and where they are."""

from __future__ import annotations

import contextlib
import mmap
import sys

import numpy as np

from ....graph import Array, Spec
from ..alignment import ALIGNED, PAGE, rounded, size_of

HUGE_PAGE = 1 << 21
HUGE_FROM = 1 << 23  # bytes from which on an array is on huge pages


def aligned(size: int) -> Array:
    """`size` zero bytes that begin on a cache line; on a page, if they fill one.

    Many are on huge pages, if the system has some: rows of a large table that are looked up lie far
    apart, and a processor knows the addresses of some 2000 pages.
    """
    to = HUGE_PAGE if size >= HUGE_FROM else PAGE if size >= PAGE else ALIGNED
    if size >= HUGE_FROM and sys.platform == "linux":
        pages = mmap.mmap(-1, size + to, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # not every kernel has them
            pages.madvise(mmap.MADV_HUGEPAGE)
        raw = np.frombuffer(pages, np.uint8)
    else:
        raw = np.zeros(size + to, np.uint8)
    start = -raw.ctypes.data % to
    return raw[start : start + size]


def array_of(value: Spec) -> Array:
    """A new array for a buffer, on a cache line of its own."""
    part = aligned(rounded(size_of(value)))[: size_of(value)]
    return part.view(value.dtype).reshape(value.shape)


def address(array: Array) -> int:
    """Where an array begins."""
    place: int = array.__array_interface__["data"][0]
    return place
