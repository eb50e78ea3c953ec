"""From a program to groups: buffers that one loop writes, in the order of the program.

Stored elementwise buffers of one shape that read or write the same arrays become one *group*:
Adam's two means and the new parameter, say, read each array once. What only its own group needs
then is not stored any more. A matrix product takes along the elementwise group that uses it first,
where that can be computed from the product's vectors while they are in registers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .... import ops
from ....dtypes import float32, is_half
from ...program import Program
from .. import formulas
from ..processor import Target
from .blocking import AT_ONCE
from .buffers import Buffer, Storage
from .kinds import CUMULATIVE, ELEMENTWISE, MATMUL, NUMPY, TAKE, Kind, loop_of
from .matmul import blocking_of
from .views import contiguous, joint_stride

MOST = 8  # buffers that one loop writes
PLAIN = 1.25  # how much more work a product may be that is finished in registers


@dataclass(frozen=True, eq=False)
class Group:
    """A loop that is one function.

    writes   the buffers it writes, in this order
    main     the one that it is made for: of a product, the product, which need not be stored
    reads    the stored buffers it reads, and whether row k of what it writes needs row k alone
    work     nanoseconds of one thread, about
    fails    it may: an index outside its axis, a divisor of 0, an error of NumPy
    """

    kind: Kind
    writes: tuple[int, ...]
    main: int
    reads: Mapping[int, bool]
    work: float
    fails: bool


@dataclass(frozen=True)
class _Draft:
    """A group before all is known."""

    kind: Kind
    writes: tuple[int, ...]
    main: int


def grouped(
    program: Program, storage: Storage, target: Target
) -> tuple[Storage, tuple[Group, ...]]:
    """The groups of a program, and what is still stored."""
    drafts = _joined(program, storage)
    storage, drafts = _without_inner_results(drafts, program, storage)
    storage, drafts = _with_lookups(drafts, program, storage)
    storage, drafts = _with_epilogues(drafts, program, storage, target)
    return storage, tuple(_complete(draft, storage) for draft in drafts)


def _complete(draft: _Draft, storage: Storage) -> Group:
    reads: dict[int, bool] = {}
    for b in draft.writes:
        for r, own_row in storage.rows_read(b).items():
            reads[r] = own_row and reads.get(r, True)
    computed = (storage.buffers[r] for b in draft.writes for r in storage.computed(b))
    fails = any(buffer.kind is not None and buffer.kind.fails(buffer) for buffer in computed)
    work = draft.kind.work(draft.main, draft.writes, storage)
    return Group(draft.kind, draft.writes, draft.main, reads, work, fails)


def _joined(program: Program, storage: Storage) -> list[_Draft]:
    """Stored buffers in order; elementwise ones join the earliest loop that they can.

    One of several results joins the loop that makes them.
    """
    kinds: list[Kind] = []
    writes: list[list[int]] = []
    writer: dict[int, int] = {}  # which group writes a buffer
    touched: list[set[int]] = []  # by group: what it reads or writes at its own index
    open_loops: dict[tuple[int, ...], list[int]] = {}  # by shape: groups that others may join
    for kernel in program.kernels:
        b = kernel.writes
        if b not in storage.stored:
            continue
        shape, kind = storage.buffers[b].shape, loop_of(storage.kind(b))
        pointwise = kind is ELEMENTWISE
        first, own = 0, {b}
        for r, same in storage.reads(b).items():
            if same and storage.buffers[r].shape == shape:
                own.add(r)
            if r in writer:
                joins = same and pointwise and kinds[writer[r]] is ELEMENTWISE
                first = max(first, writer[r] + (not joins))
        place = -1
        if storage.kernel(b).op is ops.item and kind is not NUMPY:
            place = writer[storage.kernel(b).reads[0]]
        elif pointwise:
            places = open_loops.setdefault(shape, [])
            place = next((g for g in places if g >= first and touched[g] & own), -1)
        if place < 0:
            place = len(kinds)
            kinds.append(kind)
            writes.append([])
            touched.append(set())
            if pointwise:
                places.append(place)
        writes[place].append(b)
        touched[place] |= own
        writer[b] = place
        if pointwise and len(writes[place]) == MOST:
            places.remove(place)
    return [_Draft(kind, tuple(bs), bs[0]) for kind, bs in zip(kinds, writes, strict=True)]


def _without_inner_results(
    drafts: Sequence[_Draft], program: Program, storage: Storage
) -> tuple[Storage, list[_Draft]]:
    """What nothing but its own loop uses, at its own index, need not be stored."""
    outside = set(program.outputs)
    for draft in drafts:
        for b in draft.writes:
            reads = storage.reads(b).items()
            outside.update(r for r, same in reads if not same or r not in draft.writes)
    inside: set[int] = set()
    for draft in drafts:
        if draft.kind is ELEMENTWISE:
            own = (b for b in draft.writes if storage.kind(b) is ELEMENTWISE)
            inside.update(b for b in own if b not in outside)
    written = [tuple(b for b in draft.writes if b not in inside) for draft in drafts]
    left = [
        _Draft(draft.kind, writes, writes[0])
        for draft, writes in zip(drafts, written, strict=True)
        if writes
    ]
    return replace(storage, stored=frozenset(storage.stored - inside)), left


def _with_lookups(
    drafts: Sequence[_Draft], program: Program, storage: Storage
) -> tuple[Storage, list[_Draft]]:
    """A lookup that one later loop alone uses, each element once, is done there.

    Not in a loop that replaces an input: that may be written over only where nothing can fail.
    """
    users: dict[int, list[_Draft]] = {}
    own: dict[int, bool] = {}
    for draft in drafts:
        for b in draft.writes:
            for r, same in storage.reads(b).items():
                if storage.buffers[r].kind is TAKE:
                    users.setdefault(r, []).append(draft)
                    alike = storage.buffers[r].shape == storage.buffers[b].shape
                    own[r] = same and alike and own.get(r, True)
    staying = {*program.outputs, *(new for new, _ in program.updates)}
    inside: set[int] = set()
    for draft in drafts:
        (b, *others), user = draft.writes, users.get(draft.main, [draft])[0]
        if others or b in staying or storage.buffers[b].kind is not TAKE or user is draft:
            continue
        summed = user.kind is CUMULATIVE and storage.kernel(user.main).reads[0] == b
        once = summed or (user.kind is ELEMENTWISE and own[b])
        if once and staying.isdisjoint(user.writes) and all(other is user for other in users[b]):
            inside.add(b)
    left = [draft for draft in drafts if draft.main not in inside]
    return replace(storage, stored=frozenset(storage.stored - inside)), left


def _with_epilogues(
    drafts: Sequence[_Draft], program: Program, storage: Storage, target: Target
) -> tuple[Storage, list[_Draft]]:
    """Products take along the elementwise group that uses them first, where that can be done."""
    drafts = list(drafts)
    replacing = {new for new, _ in program.updates}
    writer = {b: k for k, draft in enumerate(drafts) for b in draft.writes}
    reads = {b: storage.reads(b) for draft in drafts for b in draft.writes}
    users: dict[int, list[int]] = {}  # groups that read a product
    for k, draft in enumerate(drafts):
        for r in dict.fromkeys(r for b in draft.writes for r in reads[b]):
            if r in writer and drafts[writer[r]].kind.finishes:
                users.setdefault(r, []).append(k)
    gone: set[int] = set()
    for b, (first, *others) in users.items():
        draft, own = drafts[first], drafts[writer[b]]
        if draft.kind is not ELEMENTWISE or first in gone:  # another product has taken it
            continue
        if not replacing.isdisjoint(draft.writes) or own.writes != (b,):
            continue
        if not _is_epilogue(b, draft.writes, storage, target):
            continue
        alone = not others and b not in program.outputs
        operands = {writer[r] for w in draft.writes for r in reads[w] if r in writer and r != b}
        if not alone and max(operands, default=-1) > writer[b]:
            continue  # it would come before what it needs
        if alone:
            storage = replace(storage, stored=storage.stored - {b})
        place = first if alone else writer[b]
        writes = draft.writes if alone else (b, *draft.writes)
        gone |= {first, writer[b]} - {place}
        drafts[place] = _Draft(own.kind, writes, b)
        writer |= dict.fromkeys(writes, place)
    return storage, [draft for k, draft in enumerate(drafts) if k not in gone]


def _is_epilogue(b: int, writes: Sequence[int], storage: Storage, target: Target) -> bool:
    """Whether a group can be done in the registers of product b, without making it much slower."""
    if storage.kind(b) is not MATMUL:
        return _fits_vectors(b, writes, storage)
    shape = storage.buffers[b].shape
    inner = storage.buffers[storage.kernel(b).reads[0]].shape[-1]
    if math.prod(shape[:-2]) != 1 or inner > AT_ONCE or not _fits_vectors(b, writes, storage):
        return False
    finished = blocking_of(b, storage, target, plain=True)
    return finished.cost <= PLAIN * blocking_of(b, storage, target).cost


def _fits_vectors(product: int, writes: Iterable[int], storage: Storage) -> bool:
    """Whether an elementwise group can be computed from the product's vectors.

    Its arrays may have more axes than the product: those before the last are the product's rows.
    """
    shape, dtype = storage.buffers[product].shape, storage.buffers[product].dtype
    rows, columns = math.prod(shape[:-1]), shape[-1]
    writes = frozenset(writes)
    waiting, seen = [*writes], set(writes)
    while waiting:
        b = waiting.pop()
        buffer = storage.buffers[b]
        alike = buffer.dtype in (dtype, bool) or (dtype == float32 and is_half(buffer.dtype))
        if (math.prod(buffer.shape[:-1]), *buffer.shape[-1:]) != (rows, columns) or not alike:
            return False
        if b == product or (b in storage.stored and b not in writes):
            continue
        if buffer.map is not None:
            source = storage.strided(b)
            if source == (product, contiguous(buffer.shape), 0):
                continue  # the product itself, its rows on several axes
            own = source is not None and source[0] in (product, *writes)
            if source is None or own or source[1][-1] not in (0, 1):
                return False  # what is being computed is not there to be looked at
            if joint_stride(buffer.shape[:-1], source[1][:-1]) is None:
                return False
            continue
        row = formulas.FORMULAS.get(buffer.op) if buffer.op is not None else None
        if row is None or not (row.vectors or _casts_halves(buffer)):
            return False
        new = set(buffer.reads) - seen
        waiting += new
        seen |= new
    return True


def _casts_halves(buffer: Buffer) -> bool:
    """Whether it is a cast between 16 bits and float32, which is the same for vectors."""
    if buffer.kernel is None or buffer.op is not ops.astype:
        return False
    kinds = (buffer.dtype, buffer.kernel.node.inputs[0].dtype)
    return any(map(is_half, kinds)) and all(d == float32 or is_half(d) for d in kinds)


def replacing_last(groups: Sequence[Group], program: Program) -> list[list[Group]]:
    """The groups in three parts: those that write what replaces an input come after all others.

    With them those that need it; what none of them needs comes last of all: others may fail, and
    nothing may be written over before.
    """
    late: list[Group] = []
    after = {new for new, _ in program.updates}
    for group in groups:
        if not after.isdisjoint(group.writes) or not after.isdisjoint(group.reads):
            late.append(group)
            after.update(group.writes)
    needed = {b for group in late for b in group.reads if b not in group.writes}
    last = {group for group in late if needed.isdisjoint(group.writes)}
    return [
        [group for group in groups if group not in late],
        [group for group in late if group not in last],
        [group for group in late if group in last],
    ]
