"""From a program to groups: loops that are one function, in the order they run.

Stored elementwise buffers of one shape that read or write the same arrays become one *group*:
Adam's two means and the new parameter, say, read each array once. What only its own group needs
then is not stored any more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .... import ops
from ...program import Program
from . import blocking
from .blocking import Target
from .storage import VIEWS, Storage, Value, divides, storage
from .threads import Group, claim, meet, ordered, product, share_out

MOST = 8  # buffers that one loop writes
PLAIN = 1.25  # how much more work a product may be that is finished in registers

# Operations whose code is the same for vectors as for elements.
VECTORS = {
    ops.negative,
    ops.square,
    ops.add,
    ops.subtract,
    ops.multiply,
    ops.divide,
    ops.maximum,
    ops.minimum,
    ops.equal,
    ops.not_equal,
    ops.less,
    ops.less_equal,
    ops.bitwise_and,
    ops.bitwise_or,
    ops.bitwise_invert,
    ops.where,
}


@dataclass
class Plan(Storage):
    """What is stored, and the groups in the order they run.

    status    a buffer besides: not 0 when an index was outside its axis, or a divisor 0
    safe      from this group on nothing can fail: only there an input is written over
    in_place  buffers that lie in another one's memory: what is written over the input that it
              replaces, and what an output is written over
    commits   (buffer, input): copied when all else is done, for those that replace one otherwise
    staged    a place besides for inputs that replace each other, by input
    """

    groups: list[Group]
    status: int
    safe: int = 0
    in_place: dict[int, int] = field(default_factory=dict)
    commits: list[tuple[int, int]] = field(default_factory=list)
    staged: dict[int, int] = field(default_factory=dict)

    def home(self, b: int) -> int:
        """The buffer whose memory holds it."""
        return self.in_place.get(b, b)

    def buffers(self, group: Group) -> list[int]:
        """The memory that a group writes, that it reads, and the status."""
        found = dict.fromkeys(map(self.home, [*group.writes, *group.reads]))
        return [*found, self.status]


def plan(program: Program, target: Target) -> Plan:
    """Decide what is stored, which loops are one, their order, and how threads share them."""
    store = storage(program)
    groups = _groups(program, store)
    _keep_inside(groups, program, store)
    groups = _finished(groups, program, store, target)
    for group in groups:
        group.fails = _may_fail(group, store)
    share_out(groups, store, target)
    groups = [g for part in _delayed(groups, program) for g in ordered(part)]
    made = Plan(store.values, store.stored, groups, program.buffers)
    made.safe = 1 + max((k for k, g in enumerate(groups) if g.fails), default=-1)
    made.in_place = _in_place(program, made)
    made.in_place |= _outputs_over(program, made)
    made.commits = [(new, old) for new, old in program.updates if made.in_place.get(new) != old]
    goals = {old for _, old in made.commits}
    for new, _ in made.commits:
        if new in goals and new not in made.staged:
            made.staged[new] = program.buffers + 1 + len(made.staged)
            made.values[made.staged[new]] = made.values[new]
    made.values[program.buffers] = Value((), np.dtype(np.int64), None)
    meet(groups, made.home)
    claim(groups, made.home)
    return made


def _groups(program: Program, store: Storage) -> list[Group]:
    """Stored buffers in order; elementwise ones join the earliest loop that they can."""
    groups: list[Group] = []
    home: dict[int, int] = {}  # which group writes a buffer
    touched: list[set[int]] = []  # by group: what it reads or writes at its own index
    open_loops: dict[tuple[int, ...], list[int]] = {}  # by shape: groups that others may join
    for kernel in program.kernels:
        b = kernel.writes
        if b not in store.stored:
            continue
        value = store.values[b]
        kind = "elementwise" if value.kind in ("view", "take") else value.kind  # loops that copy
        first, own = 0, {b}
        for r, same in store.reads(b).items():
            if same and store.values[r].shape == value.shape:
                own.add(r)
            if r in home:
                joins = same and groups[home[r]].kind == "elementwise" == kind
                first = max(first, home[r] + (not joins))
        place = -1
        if kind == "elementwise":
            places = open_loops.setdefault(value.shape, [])
            place = next((g for g in places if g >= first and touched[g] & own), -1)
        if place < 0:
            place = len(groups)
            groups.append(Group(kind, product=b if kind == "matmul" else -1))
            touched.append(set())
            if kind == "elementwise":
                places.append(place)
        groups[place].writes.append(b)
        touched[place] |= own
        home[b] = place
        if kind == "elementwise" and len(groups[place].writes) == MOST:
            places.remove(place)
    return groups


def _keep_inside(groups: list[Group], program: Program, store: Storage) -> None:
    """What nothing but its own loop uses, at its own index, need not be stored."""
    outside = set(program.outputs)
    for group in groups:
        for b in group.writes:
            for r, same in store.reads(b).items():
                if not same or r not in group.writes:
                    outside.add(r)
    for group in groups:
        if group.kind == "elementwise":
            inside = [
                b
                for b in group.writes
                if b not in outside and store.values[b].kind == "elementwise"
            ]
            store.stored.difference_update(inside)
            group.writes = [b for b in group.writes if b not in inside]
    groups[:] = [g for g in groups if g.writes]


def _finished(groups: list[Group], program: Program, store: Storage, target: Target) -> list[Group]:
    """Products take along the elementwise group that uses them first, where that can be done."""
    replacing = {new for new, _ in program.updates}
    home = {b: k for k, group in enumerate(groups) for b in group.writes}
    users: dict[int, list[int]] = {}  # groups that read a product
    reads = {b: store.reads(b) for group in groups for b in group.writes}
    for k, group in enumerate(groups):
        for r in dict.fromkeys(r for b in group.writes for r in reads[b]):
            if r in home and groups[home[r]].kind == "matmul":
                users.setdefault(r, []).append(k)
    gone: set[int] = set()
    for b, (first, *others) in users.items():
        group, own = groups[first], groups[home[b]]
        if group.kind != "elementwise" or first in gone:  # another product has taken it
            continue
        if not replacing.isdisjoint(group.writes):
            continue
        if not _is_epilogue(b, group, own, store, target):
            continue
        alone = not others and b not in program.outputs
        given = {home[r] for w in group.writes for r in reads[w] if r in home and r != b}
        if not alone and max(given, default=-1) > home[b]:
            continue  # it would come before what it needs
        if alone:
            store.stored.discard(b)
        place = first if alone else home[b]
        writes = group.writes if alone else [b, *group.writes]
        gone |= {first, home[b]} - {place}
        groups[place] = Group("matmul", writes, product=b)
        home |= dict.fromkeys(writes, place)
    return [g for k, g in enumerate(groups) if k not in gone]


def _is_epilogue(b: int, group: Group, own: Group, store: Storage, target: Target) -> bool:
    """Whether a group can be done in the registers of product b, without making it much slower."""
    kernel = store.values[b].kernel
    assert kernel is not None
    few = math.prod(store.values[b].shape[:-2]) == 1
    at_once = store.values[kernel.reads[0]].shape[-1] <= blocking.AT_ONCE
    if not (few and at_once and own.writes == [b] and fits(b, group, store)):
        return False
    plain = Group("matmul", group.writes, product=b)
    return product(store, plain, target).cost <= PLAIN * product(store, own, target).cost


def fits(product: int, group: Group, store: Storage) -> bool:
    """Whether an elementwise group can be done with the product's vectors."""
    shape, dtype = store.values[product].shape, store.values[product].dtype
    todo, seen = [*group.writes], set(group.writes)
    while todo:
        b = todo.pop()
        value = store.values[b]
        if value.shape != shape or value.dtype not in (dtype, bool):
            return False
        if b == product or (b in store.stored and b not in group.writes):
            continue
        if value.op in VIEWS:
            found = store.strided(b)
            own = found is not None and found[0] in (product, *group.writes)
            if found is None or own or found[1][-1] not in (0, 1):
                return False  # what is being computed is not there to be looked at
            continue
        if value.op not in VECTORS:
            return False
        new = set(value.reads) - seen
        todo += new
        seen |= new
    return True


def _delayed(groups: list[Group], program: Program) -> tuple[list[Group], list[Group]]:
    """The groups that write what replaces an input, and those that need them, after all others."""
    late: list[Group] = []
    after = {new for new, _ in program.updates}
    for group in groups:
        if not after.isdisjoint(group.writes) or not after.isdisjoint(group.reads):
            late.append(group)
            after.update(group.writes)
    chosen = set(late)
    return [g for g in groups if g not in chosen], late


def _may_fail(group: Group, store: Storage) -> bool:
    """Whether it runs in NumPy, looks an index up that may be outside, or divides whole numbers."""
    return group.kind == "numpy" or any(
        store.values[r].op in (ops.take, ops.checked_index, ops.scatter_add)
        or divides(store.values[r])
        for b in group.writes
        for r in _computed(b, store)
    )


def _computed(b: int, store: Storage) -> Iterator[int]:
    """The buffer, and those that are computed in its loop."""
    todo, seen = [b], {b}
    while todo:
        r = todo.pop()
        yield r
        inner = {r for r in store.values[r].reads if r not in store.stored} - seen
        todo += inner
        seen |= inner


def _in_place(program: Program, made: Plan) -> dict[int, int]:
    """Which updates may be written over their input: nothing else needs the old value then."""
    values = made.values
    home = {b: k for k, group in enumerate(made.groups) for b in group.writes}
    replaced = {old for _, old in program.updates}
    last: dict[int, int] = {}  # the last group that reads a buffer otherwise than at its own index
    for k, group in enumerate(made.groups):
        for b in group.writes if not replaced.isdisjoint(group.reads) else ():
            for r, same in made.reads(b).items():
                own = same and group.kind == "elementwise" and values[r].shape == values[b].shape
                last[r] = max(last.get(r, -1), k - own)
    copied = {new for new, _ in program.updates if new not in home}
    found: dict[int, int] = {}
    for new, old in program.updates:
        k = home.get(new, -1)
        alike = values[new].shape == values[old].shape and values[new].dtype == values[old].dtype
        free = last.get(old, -1) < k and old not in copied and old not in program.outputs
        elementwise = k >= made.safe and made.groups[k].kind == "elementwise"
        if elementwise and alike and free and new not in found:
            found[new] = old
    return found


def _outputs_over(program: Program, made: Plan) -> dict[int, int]:
    """Buffers whose last use is an output of their shape: they may lie where it will be.

    The gradient of a parameter, say, that is then clipped: memory for both would be read and
    written for one.
    """
    users: dict[int, list[Group]] = {}
    native = {b for g in made.groups if g.kind != "numpy" for b in g.writes}
    for group in made.groups:
        for r in group.reads:
            users.setdefault(r, []).append(group)
        if group.kind == "numpy":  # it has its operands as arrays
            native.difference_update(group.reads)
    replacing = {new for new, _ in program.updates}
    found: dict[int, int] = {}
    for group in made.groups:
        if group.kind != "elementwise":
            continue
        same = [made.reads(b) for b in group.writes]
        for b, own in zip(group.writes, same, strict=True):
            if b not in program.outputs or b in replacing or b in found.values():
                continue
            for r in own:
                free = r in native and r not in program.outputs and r not in found
                alike = made.values[r].shape == made.values[b].shape and (
                    made.values[r].dtype == made.values[b].dtype
                )
                if (
                    free
                    and alike
                    and users[r][-1] is group
                    and (all(reads.get(r, True) for reads in same))
                ):
                    found[r] = b
                    break
    return found
