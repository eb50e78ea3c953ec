"""How a loop is cut into parts that threads share.

A loop is cut along the rows of what it writes: its first axis that is not of size 1. A unit is UNIT
of them, whatever the rows contain, so the same thread does the same rows of every buffer with the
same number of rows. A chain of layers then needs no meeting at all: row by row, a product, its bias
and activation read what this very thread has written.

All that follows from shapes alone: results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..processor import Target
from .blocking import Blocking, up
from .buffers import Storage
from .loop_nests import loop_shape, reduced_axes
from .matmul import blocking_of
from .views import first_axis

UNIT = 16  # rows: a vectorised loop over everything would begin a vector there
FLAT_UNIT = 1024  # elements, where rows are no measure
FASTEST_FROM = 100_000.0  # nanoseconds of a product from which on it is cut as it is fastest
WORTH_CUTTING = 3000.0  # nanoseconds that a loop which cannot be cut by rows should take
SLACK = 1.6  # how much more work a product by rows may be than the best way
SLACK_IN_LOOP = 1.25  # the same of longer ones in a loop's body, whose rows then stay with a thread
WORDS = 4  # random words per turn of their loop


@dataclass(frozen=True)
class Cut:
    """units parts, each `unit` of the `extent` turns along an axis (the last one may be shorter).

    axis   of the loops; -1 where parts are no turns of a loop
    rows   the number of rows, where a unit is UNIT of them: 0 otherwise
    every  each thread does it once, and knows which of them it is
    """

    units: int = 1
    axis: int = -1
    unit: int = 1
    rows: int = 0
    extent: int = 1
    every: bool = False


WHOLE = Cut()
EVERY = Cut(every=True)


def cut_product(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By rows, if that does not cost much; as it is fastest otherwise."""
    plain = list(writes) != [main]
    fastest = blocking_of(main, storage, target, plain=plain)
    shape = storage.buffers[main].shape
    own_rows = all(storage.buffers[b].shape == shape for b in writes)
    slack = SLACK if work < FASTEST_FROM else SLACK_IN_LOOP if storage.in_loop else 0.0
    if slack and own_rows and shape[-2] >= 2 * UNIT and math.prod(shape[:-2]) == 1:
        by_rows = blocking_of(main, storage, target, unit=UNIT, plain=plain)
        if by_rows.cost <= slack * fastest.cost:
            return Cut(by_rows.tiles, rows=shape[-2])
    return Cut(fastest.tiles) if work >= WORTH_CUTTING else WHOLE


def blocking_of_cut(
    main: int, writes: Sequence[int], cut: Cut, storage: Storage, target: Target
) -> Blocking:
    """How a matrix product is blocked: by rows, if its loop is cut by rows."""
    unit, plain = UNIT if cut.rows else 0, list(writes) != [main]
    return blocking_of(main, storage, target, unit=unit, plain=plain)


def cut_elementwise(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By rows; a loop over everything by the number of elements that these rows have."""
    shape = storage.buffers[main].shape
    return _cut_axis(shape, work, flat=loop_shape(storage, writes) != shape)


def cut_images(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By rows, which are images; few of them one by one."""
    batch = storage.kernel(main).node.inputs[0].shape[0]
    if batch >= 2 * UNIT:
        return Cut(up(batch, UNIT), 0, UNIT, batch, batch)
    return Cut(batch, 0, 1, 0, batch) if work >= WORTH_CUTTING and batch > 1 else WHOLE


def cut_reduction(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By rows of the result, but for a few columns: each thread would read all of the source."""
    first = min(reduced_axes(storage, main)[0], default=None)
    return _cut_axis(storage.buffers[main].shape, work, before=first)


def cut_beside(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By rows; along another axis where it is rows that need each other."""
    shape, along = storage.buffers[main].shape, storage.kernel(main).params["axis"]
    cut = _cut_axis([1 if a == along else n for a, n in enumerate(shape)], work)
    if first_axis(shape) == cut.axis or cut == WHOLE:
        return cut
    # Threads write neighbouring columns, and processors fetch cache lines in pairs.
    unit = 2 * cut.unit if cut.unit > 1 else 1
    return replace(cut, rows=0, unit=unit, units=up(cut.extent, unit))


def cut_put_rows(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By what is put, in any order; else by rows of the table: of equal ones the last must stay."""
    kernel = storage.kernel(main)
    if kernel.params.get("distinct"):
        cut = _cut_axis(storage.buffers[kernel.reads[1]].shape, work)
        return replace(cut, axis=-1, rows=0)
    shape = storage.buffers[main].shape
    return _cut_axis(shape[:1], work) if shape[0] >= 2 * UNIT else WHOLE


def cut_random(
    main: int, writes: Sequence[int], work: float, storage: Storage, target: Target
) -> Cut:
    """By rows, in turns of WORDS elements."""
    return _cut_axis(storage.buffers[main].shape, work, flat=True, at_once=WORDS)


def _cut_axis(
    shape: Sequence[int],
    work: float,
    *,
    flat: bool = False,
    at_once: int = 1,
    before: int | None = None,
) -> Cut:
    """Units of whole rows, if there are enough for two; else of the longest axis.

    flat      one loop over all elements
    at_once   elements per turn
    before    the longest axis must not come after this one
    """
    if not math.prod(shape):
        return WHOLE
    axis = next((a for a, n in enumerate(shape) if n >= 2 * UNIT), -1)
    if axis < 0:
        if not shape or work < WORTH_CUTTING:
            return WHOLE
        axis = max(range(len(shape)), key=shape.__getitem__)
        if before is not None and axis > before:
            return WHOLE
    many = shape[axis] >= 2 * UNIT
    rows = shape[axis] if many and all(n == 1 for n in shape[:axis]) else 0
    if not flat:
        unit = UNIT if many else 1
        return Cut(up(shape[axis], unit), axis, unit, rows, shape[axis])
    unit = UNIT * math.prod(shape[axis + 1 :]) if rows else FLAT_UNIT
    turns, unit = up(math.prod(shape), at_once), unit // at_once
    return Cut(up(turns, unit), len(shape) - 1, unit, rows, turns)
