"""The locks of compiled steps. A fork waits for them: the child gets whole steps, and free locks.

Order: a function's lock, then `crossing`, then those of the tensors that stay with steps. Who holds
one of the last and needs another takes `crossing` first, so two threads never wait for each other.
`collecting` is held for a moment, and nothing is waited for under it.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

crossing = threading.RLock()
collecting = threading.RLock()
_functions: WeakSet[Any] = WeakSet()
_steps: WeakSet[Any] = WeakSet()
_held: list[Any] = []


def of_function() -> Any:
    """A lock of a compiled function: one call at a time."""
    return _kept(_functions)


def of_step() -> Any:
    """A lock of the tensors that stay with one step."""
    return _kept(_steps)


def _kept(among: WeakSet[Any]) -> Any:
    lock = threading.RLock()
    among.add(lock)
    return lock


def _take_all() -> None:
    for lock in (*_functions, crossing, *_steps, collecting):
        lock.acquire()
        _held.append(lock)


def _free_all() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_free_all, after_in_child=_free_all)
