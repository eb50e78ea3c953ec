"""The locks of compiled steps. A fork waits for them: the child gets whole steps, and free locks.

Order: a function's lock, then `crossing`, then those of the tensors that stay with steps. Who holds
one of the last and needs another takes `crossing` first, so two threads never wait for each other.
`collecting` and `_listing` are held for a moment, and nothing is waited for under them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

crossing = threading.RLock()
collecting = threading.RLock()
_functions: WeakSet[Any] = WeakSet()
_steps: WeakSet[Any] = WeakSet()
_listing = threading.RLock()  # of the two sets
_forking = threading.RLock()  # one thread at a time
_held: dict[Any, None] = {}  # by the thread that forks, in this order


def of_function() -> Any:
    """A lock of a compiled function: one call at a time."""
    return _kept(_functions)


def of_step() -> Any:
    """A lock of the tensors that stay with one step."""
    return _kept(_steps)


def _kept(among: WeakSet[Any]) -> Any:
    lock = threading.RLock()
    with _listing:
        among.add(lock)
    return lock


def _take_all() -> None:
    _take(_forking)
    for some in (_functions, [crossing], _steps, [collecting], [_listing]):
        while new := _not_held(some):  # there may be more after one was waited for
            for lock in new:
                _take(lock)


def _not_held(some: Iterable[Any]) -> list[Any]:
    with _listing:
        return [lock for lock in some if lock not in _held]


def _take(lock: Any) -> None:
    lock.acquire()
    _held[lock] = None


def _free_all() -> None:
    locks = [*reversed(_held)]
    _held.clear()
    for lock in locks:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_free_all, after_in_child=_free_all)
