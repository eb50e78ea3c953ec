"""What running a program takes, once all is planned: the calls in turn, and where buffers lie.

It is kept with the object code, so a process that finds both need not plan anything.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

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
    staged     (a place besides, for a buffer like this one)
    scratch    bytes that each thread needs for packed operands
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


def unpacked(content: bytes) -> tuple[Schedule, bytes]:
    """The inverse of `Schedule.packed`."""
    end = _SIZE + int.from_bytes(content[:_SIZE], "little")
    head: dict[str, Any] = json.loads(content[_SIZE:end])
    head["calls"] = tuple(Call(**call) for call in head["calls"])
    return Schedule(**head), content[end:]
