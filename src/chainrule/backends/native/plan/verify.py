"""What makes a plan legal. Each rule has a name, and an error says which one is broken.

The rules are checked by other means than those by which plans are made: views by NumPy on numbered
elements, memory and meetings pair by pair. It runs after each stage where `verification` is on.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .... import ops
from ....errors import PlanError
from ....graph import Array
from ...program import Program
from ...verification import Rules
from ..alignment import ALIGNED, size_of
from .arena import Arena
from .buffers import Buffer, Storage
from .cuts import WORDS
from .groups import Group
from .in_place import Updates
from .kinds import ELEMENTWISE, KINDS, NUMPY, SCAN, loop_of
from .segments import Native, Segment
from .threads import ANY, Meetings, Task, native_calls
from .views import IndexMap

PLAN_RULES = Rules(
    "plan",
    PlanError,
    "a stage of the native backend's plan",
    {
        "kind": "a row of plan/kinds.py for each buffer and loop",
        "body": "a loop with a body to have its plan, all of it native, and memory for it",
        "view": "the elements of its source that NumPy's view has",
        "stored": "inputs, constants, outputs and what needs an array to be stored",
        "written once": "each stored result to be written by one loop, and nothing else",
        "read after write": "each stored buffer to be written before a loop reads it",
        "reads": "the stored buffers that the loop's expressions reach, and no others",
        "rows": "each row of what a loop writes to need that row alone, where it says so",
        "cut": "parts that together are the whole axis, by rows where it says so",
        "meeting": "threads to meet before one needs, or writes over, what another is at",
        "in place": "an old value to be written over when nothing reads it any more",
        "failure": "nothing to be written over while a loop may still fail",
        "update": "each input that is replaced to be written over or copied, once",
        "arena": "buffers that live at once to lie apart, each on a cache line of its own",
        "segments": "every task in one segment, in order, and the copies in the last one",
    },
)
LARGEST = 1 << 14  # elements of a view that is compared with NumPy's


def verify_storage(program: Program, storage: Storage) -> None:
    """Kinds, views, and what has to be stored."""
    for b, buffer in storage.buffers.items():
        if buffer.kernel is None:
            if b not in storage.stored:
                raise PLAN_RULES.broken(
                    "stored", f"computes b{b}, an input or constant, where it is used"
                )
            continue
        if buffer.kind not in (*KINDS, NUMPY):
            raise PLAN_RULES.broken("kind", f"has b{b} of kind {buffer.kind}")
        if (buffer.map is None) == (buffer.kind.name == "view"):
            raise PLAN_RULES.broken(
                "view", f"has a view without a map, or a map without a view, in b{b}"
            )
        _expect_map(b, buffer, storage)
        _expect_body_plan(b, buffer)
        if not buffer.kind.inline and b not in storage.stored:
            raise PLAN_RULES.broken(
                "stored", f"does not store b{b}, which a loop of kind {buffer.kind} writes"
            )
        for r in buffer.kind.stored(buffer.kernel, storage):
            if r not in storage.stored:
                raise PLAN_RULES.broken(
                    "stored", f"does not store b{r}, which b{b} needs as an array"
                )
    for b in program.outputs:
        if b not in storage.stored:
            raise PLAN_RULES.broken("stored", f"does not store the output b{b}")


def _expect_map(b: int, buffer: Buffer, storage: Storage) -> None:
    """Raise unless a view's map has the elements that NumPy's view has."""
    kernel, lies = buffer.kernel, buffer.map
    if kernel is None or lies is None:
        return
    source = storage.buffers[kernel.reads[0]].shape
    if (lies.view, lies.source) != (buffer.shape, source):
        raise PLAN_RULES.broken(
            "view", f"maps {lies.view} to {lies.source} for b{b}{buffer.shape} of {source}"
        )
    if math.prod(source) > LARGEST or math.prod(buffer.shape) > LARGEST:
        return
    numbered = np.arange(math.prod(source)).reshape(source)
    if not np.array_equal(_elements(lies), kernel.op.evaluate(numbered, **kernel.params)):
        raise PLAN_RULES.broken("view", f"reads other elements for b{b} than {kernel.op} does")


def _expect_body_plan(b: int, buffer: Buffer) -> None:
    """Raise unless a loop has a plan of its body that can run turn after turn in its memory."""
    kernel, body = buffer.kernel, buffer.body
    if kernel is None or buffer.kind is not SCAN or kernel.op is ops.item:
        if body is not None:
            raise PLAN_RULES.broken("body", f"has a body for b{b} of kind {buffer.kind}")
        return
    if body is None or body.program is not kernel.body:
        raise PLAN_RULES.broken("body", f"has no plan of its body for b{b}")
    outputs, first = body.program.outputs, body.program.first_result
    if len(set(outputs)) != len(outputs) or min(outputs, default=first) < first:
        raise PLAN_RULES.broken("body", f"has outputs of b{b}'s body in one place, or of another")
    if len(body.segments) > 1 or any(not isinstance(s, Native) for s in body.segments):
        raise PLAN_RULES.broken("body", f"has a body for b{b} in {len(body.segments)} segments")
    carries = body.program.outputs[: kernel.params["carries"]]
    needed = body.arena.size + 2 * sum(size_of(body.storage.buffers[c]) for c in carries)
    if math.prod(buffer.shape) < needed:
        raise PLAN_RULES.broken("body", f"has {buffer.shape[0]} bytes for b{b}, not {needed}")


def _elements(lies: IndexMap) -> Array:
    """The row-major numbers of the elements of the source that a view has."""
    if lies.axes is None:
        return np.arange(math.prod(lies.source)).reshape(lies.view)
    index = np.indices(lies.view)
    places = [
        axis.offset + sum(factor * index[of] for of, factor in axis.terms) for axis in lies.axes
    ]
    strides = [math.prod(lies.source[a + 1 :]) for a in range(len(lies.source))]
    inside = all(
        ((place >= 0) & (place < n)).all()
        for place, n in zip(map(np.asarray, places), lies.source, strict=True)
    )
    total = np.zeros(lies.view, int)
    for place, stride in zip(places, strides, strict=True):
        total += place * stride
    return total if inside else np.full(lies.view, -1)


def verify_groups(storage: Storage, groups: Sequence[Group]) -> None:
    """What each loop writes and reads, in the order of the program."""
    written = Counter(b for group in groups for b in group.writes)
    results = {b for b in storage.stored if storage.buffers[b].kernel is not None}
    for b in results ^ written.keys():
        raise PLAN_RULES.broken("written once", f"stores b{b} and writes it in {written[b]} loops")
    for group in groups:
        for b in group.writes:
            if written[b] != 1:
                raise PLAN_RULES.broken("written once", f"writes b{b} in {written[b]} loops")
            kind = loop_of(storage.kind(b))
            finished = group.kind.finishes and (b == group.main or kind is ELEMENTWISE)
            if kind is not group.kind and not finished:
                raise PLAN_RULES.broken(
                    "kind", f"writes b{b} of kind {kind} in a loop of kind {group.kind}"
                )
        if group.kind not in (*KINDS, NUMPY) or group.kind is not loop_of(group.kind):
            raise PLAN_RULES.broken("kind", f"has a loop of kind {group.kind} for b{group.main}")
        reads = {r for b in group.writes for r in storage.reads(b)}
        if reads != group.reads.keys():
            raise PLAN_RULES.broken(
                "reads", f"reads {_names(group.reads)} for b{group.main}, not {_names(reads)}"
            )
        fails = any(
            storage.kind(r).fails(storage.buffers[r])
            for b in group.writes
            for r in storage.computed(b)
            if storage.buffers[r].kernel is not None
        )
        if fails and not group.fails:
            raise PLAN_RULES.broken(
                "failure", f"takes the loop of b{group.main} for one that cannot fail"
            )


def verify_tasks(storage: Storage, tasks: Sequence[Task]) -> None:
    """The order of the loops, and their cuts."""
    there = {b for b in storage.stored if storage.buffers[b].kernel is None}
    for task in tasks:
        for r in task.group.reads:
            if r not in there and r not in task.writes:
                raise PLAN_RULES.broken(
                    "read after write", f"reads b{r} for b{task.group.main} too early"
                )
        there.update(task.writes)
        _expect_cut(task, storage)
        _expect_rows(task, storage)


def _expect_rows(task: Task, storage: Storage) -> None:
    """Raise unless row k of what a loop writes needs row k alone of what it says so of.

    Element by element, through the views and elementwise operations between the two.
    """
    own = {r for r, own_row in task.group.reads.items() if own_row}
    if not task.cut.rows or not own:
        return
    for b in task.writes:
        size = math.prod(storage.buffers[b].shape)
        if not 0 < size <= LARGEST or not storage.kind(b).pointwise:
            continue
        rows = np.arange(size) // (size // task.cut.rows)
        waiting, seen = [(b, np.arange(size))], set[tuple[int, bytes]]()
        while waiting:
            at, elements = waiting.pop()
            if (at, elements.tobytes()) in seen:
                continue
            seen.add((at, elements.tobytes()))
            buffer = storage.buffers[at]
            if at in storage.stored and at != b:
                row = max(math.prod(buffer.shape) // task.cut.rows, 1)
                if at in own and not np.array_equal(elements // row, rows):
                    raise PLAN_RULES.broken("rows", f"takes b{b} to need the same rows of b{at}")
            elif buffer.map is not None:
                waiting.append((buffer.reads[0], _elements(buffer.map).ravel()[elements]))
            elif storage.kind(at).pointwise:
                waiting += [(r, elements) for r in buffer.reads]


def _expect_cut(task: Task, storage: Storage) -> None:
    results = [b for b in task.writes if storage.buffers[b].op is ops.item]  # of several
    b = [*results, task.writes[0]][0]
    cut, shape = task.cut, storage.buffers[b].shape
    if cut.rows and cut.rows != next((n for n in shape if n != 1), 0):
        raise PLAN_RULES.broken("cut", f"cuts b{b}{shape} by {cut.rows} rows")
    if not task.shared or cut.axis < 0:
        return
    whole = math.prod(shape)
    if cut.extent not in (shape[cut.axis], whole, -(-whole // WORDS)):
        raise PLAN_RULES.broken("cut", f"does {cut.extent} turns along axis {cut.axis} of {shape}")
    if not cut.extent <= cut.units * cut.unit < cut.extent + cut.unit:
        raise PLAN_RULES.broken(
            "cut", f"cuts {cut.extent} turns into {cut.units} parts of {cut.unit}"
        )


def verify_sharing(tasks: Sequence[Task], updates: Updates, meetings: Meetings) -> None:
    """Between two meetings no thread is at what another writes."""
    for phase in _phases(tasks, meetings):
        if not any(task.shared or task.owner for task in phase):
            continue
        touched: dict[int, set[tuple[int, bool]]] = {}  # by memory: who, and whether they write
        for task in phase:
            own = _touched(task, updates)
            for b, who, writes in own:
                others = [w for w, also in touched.get(b, ()) if writes or also]
                if any(who == ANY or who != other for other in others):
                    raise PLAN_RULES.broken(
                        "meeting", f"has no meeting before the loop of b{task.group.main}"
                    )
            for b, who, writes in own:
                touched.setdefault(b, set()).add((who, writes))


def _phases(tasks: Sequence[Task], meetings: Meetings) -> Iterator[list[Task]]:
    """The tasks of each native call between two meetings."""
    for call in native_calls(tasks):
        phase: list[Task] = []
        for task in call:
            if task in meetings.before and phase:
                yield phase
                phase = []
            phase.append(task)
        yield phase


def _touched(task: Task, updates: Updates) -> list[tuple[int, int, bool]]:
    """The memory that a task touches, which of its threads does so, and whether it writes."""
    reads = [(updates.home(r), task.who(own), False) for r, own in task.group.reads.items()]
    return reads + [(updates.home(b), task.who(True), True) for b in task.writes]


def verify_updates(
    program: Program, storage: Storage, tasks: Sequence[Task], updates: Updates
) -> None:
    """What is written over is not needed any more, and nothing fails after it."""
    writer = {b: k for k, task in enumerate(tasks) for b in task.writes}
    fails = max((k for k, task in enumerate(tasks) if task.group.fails), default=-1)
    copied = dict(updates.commits)
    done = Counter(old for new, old in program.updates if updates.over.get(new) == old)
    done.update(old for _, old in updates.commits)
    for _, old in program.updates:
        if done[old] != 1:
            raise PLAN_RULES.broken("update", f"replaces b{old} {done[old]} times")
    for b, home in updates.over.items():
        if size_of(storage.buffers[b]) != size_of(storage.buffers[home]):
            raise PLAN_RULES.broken("in place", f"writes b{b} over b{home}, which has another size")
        k, replaces = writer[b], storage.buffers[home].kernel is None
        if replaces and k <= fails:
            raise PLAN_RULES.broken("failure", f"writes b{b} over b{home}, and may fail after it")
        if replaces and (home in program.outputs or home in copied):
            raise PLAN_RULES.broken(
                "in place", f"writes b{b} over b{home}, which is returned or copied later"
            )
        last = writer.get(home, len(tasks))  # where the memory has its next value
        value = home if replaces else b
        readers = [j for j, task in enumerate(tasks) if value in task.group.reads]
        if replaces and any(j > k for j in readers):
            raise PLAN_RULES.broken(
                "in place", f"writes b{b} over b{home}, which a later loop reads"
            )
        if not replaces and any(j > last for j in readers):
            raise PLAN_RULES.broken(
                "in place", f"keeps b{b} in b{home}, which is written before it is read"
            )
        if replaces and k in readers:
            _expect_own_index(tasks[k], home, storage)
        if not replaces and last in readers:
            _expect_own_index(tasks[last], b, storage)


def _expect_own_index(task: Task, r: int, storage: Storage) -> None:
    """Raise unless a loop reads a buffer only at the index that it writes then."""
    for b in task.writes:
        if not storage.reads(b).get(r, True):
            raise PLAN_RULES.broken(
                "in place", f"writes b{b} over b{r}, which it reads at other indices"
            )


def verify_memory(
    program: Program,
    storage: Storage,
    tasks: Sequence[Task],
    updates: Updates,
    meetings: Meetings,
    arena: Arena,
) -> None:
    """Buffers in the arena whose lives overlap lie apart."""
    position = {task: (j, k) for k, (j, task) in enumerate(_numbered(tasks, meetings))}
    lives: dict[int, list[tuple[int, int]]] = {}
    rows: dict[int, set[int]] = {}
    for task in tasks:
        for r, own in task.group.reads.items():
            lives.setdefault(r, []).append(position[task])
            rows.setdefault(r, set()).add(task.cut.rows if own and task.shared else 0)
        for b in task.writes:
            lives.setdefault(b, []).append(position[task])
            rows.setdefault(b, set()).add(task.cut.rows if task.shared else 0)
    placed = sorted((offset, b) for b, offset in arena.offsets.items())
    for b in (*program.outputs, *updates.over, *dict(updates.commits)):
        if b in arena.offsets:
            raise PLAN_RULES.broken("arena", f"has b{b}, which outlives the step, in the arena")
    for k, (offset, b) in enumerate(placed):
        size = size_of(storage.buffers[b])
        if offset % ALIGNED or offset + size > arena.size:
            raise PLAN_RULES.broken(
                "arena", f"has b{b} of {size} bytes at {offset} of {arena.size}"
            )
        for other_offset, other in itertools.islice(placed, k + 1, None):
            if other_offset >= offset + size:
                break
            one, two = sorted((lives[b], lives[other]))
            apart = max(phase for phase, _ in one) < min(phase for phase, _ in two)
            in_turn = max(k for _, k in one) < min(k for _, k in two)
            own = len(rows[b] | rows[other]) == 1 and 0 not in rows[b]
            own = own and offset == other_offset and size == size_of(storage.buffers[other])
            if not apart and not (in_turn and own):
                raise PLAN_RULES.broken("arena", f"has b{b} and b{other} in one place at once")


def _numbered(tasks: Sequence[Task], meetings: Meetings) -> Iterator[tuple[int, Task]]:
    """Each task with the number of its phase; in a call of one thread each is a phase."""
    number = 0
    for call in native_calls(tasks):
        shared = any(task.shared for task in call)
        for k, task in enumerate(call):
            number += k == 0 or not shared or task in meetings.before
            yield number, task


def verify_segments(tasks: Sequence[Task], updates: Updates, segments: Sequence[Segment]) -> None:
    """All tasks in their order, then the copies."""
    covered: list[int] = []
    for segment in segments:
        if isinstance(segment, Native):
            covered += segment.tasks
        else:
            covered += [k for k, task in enumerate(tasks) if task.group.main == segment.writes]
    if covered != [*range(len(tasks))]:
        raise PLAN_RULES.broken("segments", f"runs the tasks {covered} of {len(tasks)}")
    commits = [k for k, s in enumerate(segments) if isinstance(s, Native) and s.commits]
    if commits != ([len(segments) - 1] if updates.commits else []):
        raise PLAN_RULES.broken("segments", f"copies in segments {commits} of {len(segments)}")


def _names(buffers: Iterable[int]) -> str:
    return ", ".join(f"b{b}" for b in sorted(buffers))
