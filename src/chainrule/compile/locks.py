"""The locks of compiled steps. A fork waits for them: the child gets whole steps, and free locks.

Order: functions' locks as they were made, the tensors that a step is `using`, `crossing`, then the
locks of the tensors that stay with steps. Who holds one of the last and needs another takes
`crossing` first, so two threads never wait for each other. `collecting`, `_listing` and `_claiming`
are held for a moment, and nothing is waited for under them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

PATIENCE = 10.0  # seconds that a fork waits at most: whom it waits for may be waiting for it

crossing = threading.RLock()
collecting = threading.RLock()
_functions: WeakKeyDictionary[Any, None] = WeakKeyDictionary()
_steps: WeakKeyDictionary[Any, None] = WeakKeyDictionary()
_listing = threading.RLock()  # of the two
_claiming = threading.RLock()
_freed = threading.Condition(_claiming)
_users: dict[int, int] = {}  # tensors, by identity, that a step uses now, and its thread


@contextlib.contextmanager
def using(tensors: Iterable[int]) -> Iterator[None]:
    """Inside, no other thread's step uses these tensors: what is read here is assigned here.

    All are taken at once, so that two threads never wait for each other.
    """
    own = threading.get_ident()
    with _freed:
        while any(_users.get(t, own) != own for t in tensors):
            _freed.wait()
        taken = [t for t in tensors if t not in _users]
        _users.update(dict.fromkeys(taken, own))
    try:
        yield
    finally:
        with _freed:
            for t in taken:
                _users.pop(t, None)
            _freed.notify_all()


def _forget_others() -> None:
    """In the child there is only the thread that has forked."""
    own = threading.get_ident()
    for t in [t for t, thread in _users.items() if thread != own]:
        del _users[t]


class _Forks(threading.local):
    """What a thread holds for its forks: one may begin while another one waits, by a signal."""

    def __init__(self) -> None:
        self.held: list[list[Any]] = []


_forks = _Forks()


def of_function() -> Any:
    """A lock of a compiled function: one call at a time."""
    return _kept(_functions)


def of_step() -> Any:
    """A lock of the tensors that stay with one step."""
    return _kept(_steps)


def _kept(among: WeakKeyDictionary[Any, None]) -> Any:
    lock = threading.RLock()
    with _listing:
        among[lock] = None
    return lock


def _take_all() -> None:
    held: list[Any] = []
    _forks.held.append(held)
    end = time.monotonic() + PATIENCE
    while True:
        for some in (_functions, [crossing], _steps, [collecting, _listing, _claiming]):
            for lock in _listed(some):
                if lock.acquire(timeout=max(end - time.monotonic(), 0)):
                    held.append(lock)
        if time.monotonic() > end or set(held).issuperset((*_functions, *_steps)):
            return
        _free(held)  # some were made while others were waited for


def _listed(some: Iterable[Any]) -> list[Any]:
    with _listing:
        return list(some)


def _free(held: list[Any]) -> None:
    while held:
        held.pop().release()


def _free_all() -> None:
    _free(_forks.held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_free_all, after_in_child=_free_all)
    os.register_at_fork(after_in_child=_forget_others)
