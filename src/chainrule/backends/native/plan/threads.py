"""How groups are shared out among threads, and where these must meet.

A group is cut along the rows of what it writes: its first axis that is not of size 1. A unit is
UNIT of them, whatever the rows hold, so the same thread does the same rows of every buffer with as
many. Then a chain of layers needs no meeting at all: row by row, a product, its bias and activation
read what this very thread has written. Threads meet where a group reads, or writes over, what
another thread may have to do with.

All that follows from shapes alone: results do not depend on how many threads there are.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .... import ops
from . import blocking
from .blocking import up
from .storage import Storage, Value

UNIT = 16  # rows: a vectorised loop over everything would begin a vector there
BLOCK = 1024  # elements, where rows are no measure
FIRST, ANY = 0, -1
WORTH = 40_000.0  # nanoseconds that a native call should take to be shared out
LONG = 100_000.0  # nanoseconds of a product from which on it is cut as it is fastest
LARGE = 3000.0  # nanoseconds that a product which cannot be cut by rows should take
SHORT = 20_000.0  # mean of a call's groups, below which they are put in order to meet seldom
SLACK = 1.6  # how much more work a product by rows may be than the best way


@dataclass(eq=False)
class Group:
    """Loops that are one function: elementwise buffers of one shape, or one of something else.

    product  the buffer of a matrix product: what else is written is computed from it in registers
    fails   it may: it runs in NumPy, or looks up an index
    work    nanoseconds of one thread, about
    axis    of the loops, the one that is cut
    units   how many parts threads may do, of `unit` elements of that axis
    rows    how many rows there are, where a unit is UNIT of them: 0 otherwise
    reads   the stored buffers it reads, and whether row r of what it writes needs their row r alone
    meets   the threads meet before it
    claims  of the memory that it writes over, what other threads have read before
    """

    kind: str  # elementwise, reduction, matmul, scatter, concat, random or numpy
    writes: list[int] = field(default_factory=list)
    product: int = -1
    fails: bool = False
    work: float = 0.0
    axis: int = -1
    units: int = 1
    unit: int = 1
    rows: int = 0
    reads: dict[int, bool] = field(default_factory=dict)
    meets: bool = False
    claims: list[int] = field(default_factory=list)

    def who(self, aligned: bool) -> int:
        """Who touches a buffer: the first thread, each its own of so many rows, or any."""
        return FIRST if self.units == 1 else self.rows if self.rows and aligned else ANY


def runs(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """The groups that are one native call, in turn; one in NumPy stands alone."""
    for native, part in itertools.groupby(groups, lambda g: g.kind != "numpy"):
        together = [*part]
        yield from [together] if native else ([g] for g in together)


# ── how loops run ────────────────────────────────────────────────────────────────────────────────


def flat(store: Storage, b: int, shape: tuple[int, ...], top: bool) -> bool:
    """Whether a buffer of the shape can be computed in one loop over all its elements.

    top   it is written here, so its own kernel counts
    """
    value = store.values[b]
    if b in store.stored and not top:
        return value.shape == shape
    kernel = value.kernel
    if kernel is None or value.shape != shape:
        return False
    if kernel.op is ops.broadcast_to:
        return math.prod(store.values[kernel.reads[0]].shape) == 1
    reads = dict.fromkeys(kernel.reads)
    return value.kind == "elementwise" and all(flat(store, r, shape, False) for r in reads)


def loop_shape(store: Storage, group: Group) -> tuple[int, ...]:
    """The shape that the loops of an elementwise group run over: flat where that is the same."""
    shape = store.values[group.writes[0]].shape
    if len(shape) > 1 and all(flat(store, b, shape, True) for b in group.writes):
        return (*(1,) * (len(shape) - 1), math.prod(shape))
    return shape


def reduced_axes(store: Storage, b: int) -> tuple[list[int], list[int]]:
    """The axes that a reduction takes away, and those that stay; none of size 1."""
    kernel = store.values[b].kernel
    assert kernel is not None
    shape = store.values[kernel.reads[-1]].shape
    axes = [a for a in kernel.params["axis"] if shape[a] != 1]
    return axes, [a for a in range(len(shape)) if a not in axes and shape[a] != 1]


def by_rows(axes: list[int], kept: list[int]) -> bool:
    """Whether a reduction keeps a running value in a register: it takes the last axes away."""
    return not kept or min(axes, default=0) > max(kept)


def product(store: Storage, group: Group, target: blocking.Target) -> blocking.Plan:
    """How the matrix product of a group is cut: by rows, if the group is."""
    value = store.values[group.product]
    kernel = value.kernel
    assert kernel is not None
    left, right = (store.operand(r, kernel) for r in kernel.reads)
    assert left is not None
    assert right is not None
    m, n, k = value.shape[-2], value.shape[-1], store.values[kernel.reads[0]].shape[-1]
    batches = math.prod(value.shape[:-2])
    spec = blocking.Contraction(m, n, k, batches, value.dtype.name, left[2], right[2])
    unit, plain = UNIT if group.rows else 0, group.writes != [group.product]
    return blocking.plan(dataclasses.replace(spec, unit=unit, plain=plain), target)


# ── parts of a group ─────────────────────────────────────────────────────────────────────────────


def share_out(groups: Sequence[Group], store: Storage, target: blocking.Target) -> None:
    """Cut the groups of each native call that is long enough; say what each reads."""
    for part in runs(groups):
        for group in part:
            group.work = _work(group, store)
        if sum(g.work for g in part) >= WORTH:
            for group in part:
                if group.kind == "matmul":
                    _cut_product(group, store, target)
                elif group.kind in ("elementwise", "reduction", "random"):
                    _cut_loops(group, store)
        for group in part:
            for b in group.writes:
                for r, aligned in _rows_read(b, store).items():
                    group.reads[r] = aligned and group.reads.get(r, True)


def _work(group: Group, store: Storage) -> float:
    if group.kind == "numpy":
        return 0.0
    value = store.values[group.writes[0]]
    size = math.prod(value.shape)
    if group.kind == "matmul":
        return size * store.values[store.values[group.product].reads[0]].shape[-1] / 60
    if group.kind == "reduction":
        return math.prod(store.values[value.reads[-1]].shape) * 0.15
    each = {"elementwise": 0.15 * len(group.writes), "random": 0.6}
    return size * each.get(group.kind, 1.0)


def _cut_product(group: Group, store: Storage, target: blocking.Target) -> None:
    """By rows, if that does not cost much; as it is fastest otherwise."""
    free = product(store, group, target)
    shape = store.values[group.writes[0]].shape
    if shape[-2] >= 2 * UNIT and math.prod(shape[:-2]) == 1 and group.work < LONG:
        group.rows = shape[-2]
        cut = product(store, group, target)
        if cut.cost <= SLACK * free.cost:
            group.units = cut.tiles
            return
        group.rows = 0
    if group.work >= LARGE:
        group.units = free.tiles


def _cut_loops(group: Group, store: Storage) -> None:
    """Units of whole rows, if there are as many as make two; else of what there is more of."""
    shape = store.values[group.writes[0]].shape
    first = next((a for a, n in enumerate(shape) if n != 1), -1)
    axis = next((a for a, n in enumerate(shape) if n >= 2 * UNIT), -1)
    if not math.prod(shape):
        return
    if axis < 0:
        if not shape or group.work < LARGE:
            return
        axis = max(range(len(shape)), key=shape.__getitem__)
        if group.kind == "reduction" and axis > min(
            reduced_axes(store, group.writes[0])[0], default=axis
        ):
            return  # a few columns: each thread would read all of the rows
    group.rows = shape[axis] if axis == first and shape[axis] >= 2 * UNIT else 0
    group.unit = UNIT if shape[axis] >= 2 * UNIT else 1
    group.axis = axis
    extent = shape[axis]
    flattened = group.kind == "elementwise" and loop_shape(store, group) != shape
    if flattened or group.kind == "random":
        group.axis = len(shape) - 1
        extent = math.prod(shape)
        group.unit = UNIT * math.prod(shape[axis + 1 :]) if group.rows else BLOCK
    if group.kind == "random":  # its loop does four at a time
        extent, group.unit = up(extent, 4), group.unit // 4
    group.units = up(extent, group.unit)


def _rows_read(b: int, store: Storage) -> dict[int, bool]:
    """The stored buffers that computing b reads, and whether each row of b reads that row alone.

    A row is an index of the first axis that is not of size 1.
    """
    shape = store.values[b].shape
    first = _row_axis(shape)
    rows = shape[first] if first is not None else 0
    found: dict[int, bool] = {}
    for r, axis in store.reached(b, first, lambda b, axis: _inputs(store.values[b], axis, store)):
        shape = store.values[r].shape
        aligned = axis is not None and axis == _row_axis(shape) and shape[axis] == rows
        found[r] = aligned and found.get(r, True)
    return found


def _row_axis(shape: Sequence[int]) -> int | None:
    return next((a for a, n in enumerate(shape) if n != 1), None)


def _inputs(value: Value, axis: int | None, store: Storage) -> list[tuple[int, int | None]]:
    """What a buffer is computed from, and which axis of that its own axis is."""
    kernel = value.kernel
    if kernel is None or axis is None:
        return [(r, None) for r in value.reads]
    if value.kind == "elementwise":
        return [(r, axis) for r in kernel.reads]
    shape = store.values[kernel.reads[0]].shape
    if value.kind == "view":
        return [(kernel.reads[0], _axis_before(value, shape, axis))]
    if value.kind == "reduction":
        return [(r, axis if axis not in kernel.params["axis"] else None) for r in kernel.reads]
    if value.kind == "matmul" and axis == len(value.shape) - 2:
        return [(kernel.reads[0], axis), (kernel.reads[1], None)]
    return [(r, None) for r in kernel.reads]


def _axis_before(value: Value, shape: tuple[int, ...], axis: int) -> int | None:
    """The axis of a view's source that one of its own is."""
    assert value.kernel is not None
    op, params, size = value.kernel.op, value.kernel.params, value.shape[axis]
    if op is ops.permute_dims:
        return int(params["axes"][axis])
    if op is ops.reshape:
        found = _row_axis(shape)
        return (
            found
            if axis == _row_axis(value.shape) and (found is not None and shape[found] == size)
            else None
        )
    if op is ops.flip and axis in params["axis"]:
        return None
    if op is ops.slice and (params["start"][axis], params["step"][axis]) != (0, 1):
        return None
    return axis if shape[axis] == size else None


# ── where threads meet ───────────────────────────────────────────────────────────────────────────


class _Phase:
    """What has been read and written since the threads last met, and by whom."""

    def __init__(self, home: Callable[[int], int] = lambda b: b) -> None:
        self._home = home
        self._read: dict[int, set[int]] = {}
        self._written: dict[int, set[int]] = {}

    def clashes(self, group: Group) -> bool:
        """Whether it needs, or would spoil, what another thread may still be at."""
        for r, aligned in group.reads.items():
            r = self._home(r)
            if r in self._written and not self._alone(group.who(aligned), self._written[r]):
                return True
        who = group.who(True)
        for b in map(self._home, group.writes):
            if not self._alone(who, self._written.get(b, set()) | self._read.get(b, set())):
                return True
        return False

    @staticmethod
    def _alone(who: int, others: set[int]) -> bool:
        return not others or (who != ANY and others == {who})

    def add(self, group: Group) -> None:
        for r, aligned in group.reads.items():
            self._read.setdefault(self._home(r), set()).add(group.who(aligned))
        for b in group.writes:
            self._written.setdefault(self._home(b), set()).add(group.who(True))

    def end(self) -> None:
        self._read.clear()
        self._written.clear()


def ordered(groups: Sequence[Group]) -> list[Group]:
    """The groups in an order in which threads seldom meet, where groups are short."""
    found: list[Group] = []
    for part in runs(groups):
        shared = any(g.units > 1 for g in part)
        short = sum(g.work for g in part) < SHORT * len(part)
        found += _seldom_meeting(part) if shared and short else part
    return found


def _seldom_meeting(groups: Sequence[Group]) -> list[Group]:
    """Whatever can be done before the threads must meet again is done first."""
    home = {b: k for k, group in enumerate(groups) for b in group.writes}
    users: list[list[int]] = [[] for _ in groups]
    waits = [0] * len(groups)
    for k, group in enumerate(groups):
        for made in {home[r] for r in group.reads if r in home} - {k}:
            users[made].append(k)
            waits[k] += 1
    ready = [k for k, n in enumerate(waits) if not n]
    later: list[int] = []
    found: list[Group] = []
    phase = _Phase()
    while ready or later:
        if not ready:
            ready, later = sorted(later), []
            phase.end()
        k = heapq.heappop(ready)
        if phase.clashes(groups[k]):
            later.append(k)
            continue
        phase.add(groups[k])
        found.append(groups[k])
        for user in users[k]:
            waits[user] -= 1
            if not waits[user]:
                heapq.heappush(ready, user)
    return found


def meet(groups: Sequence[Group], home: Callable[[int], int]) -> None:
    """Say where threads meet.

    home   the buffer in whose memory another one is: an input that is written over
    """
    for part in runs(groups):
        if not any(g.units > 1 for g in part):
            continue
        phase = _Phase(home)
        unsure = False  # something may have failed, and not all threads know
        for group in part:
            over = any(home(b) != b for b in group.writes)
            group.meets = phase.clashes(group) or (over and unsure)
            if group.meets:
                phase.end()
                unsure = False
            unsure = unsure or group.fails
            phase.add(group)


def claim(groups: Sequence[Group], home: Callable[[int], int]) -> None:
    """Say what lies in the caches of other threads too when a loop writes over it."""
    for part in runs(groups):
        others: set[int] = set()
        for group in part:
            if group.kind == "elementwise" and group.rows:
                over = {home(b) for b in group.writes} - set(group.writes)
                group.claims = sorted(over & others)
            others.update(home(r) for r, aligned in group.reads.items() if not aligned)
