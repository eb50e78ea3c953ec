"""A program as native calls and kernels in NumPy, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...program import Kernel
from .buffers import Storage
from .in_place import Updates
from .kinds import NUMPY
from .threads import Task, native_calls


@dataclass(frozen=True)
class Native:
    """Tasks that are one native call: their positions.

    commits   afterwards it does the copies of `Updates`
    """

    name: str
    tasks: tuple[int, ...]
    commits: bool = False


Segment = Native | Kernel


def segments_of(tasks: Sequence[Task], storage: Storage, updates: Updates) -> tuple[Segment, ...]:
    """In turn; the last one commits the updates."""
    segments: list[Segment] = []
    k = 0
    for part in native_calls(tasks):
        if part[0].kind is NUMPY:
            segments.append(storage.kernel(part[0].group.main))
        else:
            segments.append(Native(f"run{k}", (*range(k, k + len(part)),)))
        k += len(part)
    if updates.commits:
        last = segments.pop() if segments and isinstance(segments[-1], Native) else None
        assert last is None or isinstance(last, Native)
        segments.append(replace(last or Native("commit", ()), commits=True))
    return tuple(segments)
