"""How a planned program runs: the calls in turn, and where buffers lie.

It is kept with the object code, so a process that finds both need not plan anything.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from ....errors import PlanError
from ....graph import Spec
from ...program import Program
from ...verification import Rules
from ..alignment import ALIGNED, size_of

_SIZE = 8  # bytes that hold how long the rest of the head is


@dataclass(frozen=True)
class Call:
    """A native driver, or (with no name) the kernel of that position, which NumPy does.

    work     nanoseconds of one thread, about
    shared   whether there is anything for more threads
    """

    name: str
    kernel: int = -1
    work: float = 0.0
    shared: bool = False


@dataclass(frozen=True)
class Schedule:
    """calls      in turn
    arena      bytes for what is needed inside a step only
    offsets    (buffer, where it begins in the arena)
    in_place   buffers that lie in another one's memory
    staged     (one more place, for a buffer like this one)
    scratch    bytes that each thread needs for itself while a loop runs
    early      outputs that are written while something may still fail
    """

    calls: tuple[Call, ...]
    arena: int
    offsets: tuple[tuple[int, int], ...]
    in_place: tuple[int, ...]
    staged: tuple[tuple[int, int], ...]
    scratch: int
    early: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """The drivers' names."""
        return [call.name for call in self.calls if call.name]

    def packed(self, code: bytes) -> bytes:
        """In front of the object code."""
        head = json.dumps(dataclasses.asdict(self)).encode()
        return len(head).to_bytes(_SIZE, "little") + head + code


SCHEDULE_RULES = Rules(
    "schedule",
    PlanError,
    "the native backend",
    {
        "calls": "drivers to have different names, and each kernel to be one of the program's",
        "places": "results on cache lines of the arena",
        "results": "results of kernels, and outputs where a failure loses them",
    },
)


def verify_schedule(schedule: Schedule, program: Program) -> None:
    """Raise `PlanError`, with the name of the broken rule, unless the program can run so."""
    results: dict[int, Spec] = {kernel.writes: kernel.node for kernel in program.kernels}
    if len(set(schedule.names)) != len(schedule.names):
        raise SCHEDULE_RULES.broken("calls", f"calls {', '.join(schedule.names)}")
    for call in schedule.calls:
        if not call.name and not 0 <= call.kernel < len(program.kernels):
            raise SCHEDULE_RULES.broken(
                "calls", f"calls kernel {call.kernel} of {len(program.kernels)}"
            )
    for b, offset in schedule.offsets:
        size = 0 if b not in results or _is_several(results[b]) else size_of(results[b])
        inside = b in results and 0 <= offset <= schedule.arena - size
        if not inside or offset % ALIGNED:
            raise SCHEDULE_RULES.broken("places", f"has b{b} at {offset} of {schedule.arena} bytes")
    for b in (*schedule.in_place, *schedule.early):
        if b not in results or (b in schedule.early and b not in program.outputs):
            raise SCHEDULE_RULES.broken("results", f"names b{b}")


def _is_several(spec: Spec) -> bool:
    return isinstance(spec.dtype, tuple)


def unpacked(content: bytes) -> tuple[Schedule, bytes]:
    """The inverse of `Schedule.packed`."""
    end = _SIZE + int.from_bytes(content[:_SIZE], "little")
    head: dict[str, Any] = json.loads(content[_SIZE:end])
    head["calls"] = tuple(Call(**call) for call in head["calls"])
    return Schedule(**head), content[end:]
