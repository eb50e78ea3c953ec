"""The locks of compiled steps. A fork waits for them: the child gets whole steps, and free locks.

Order: functions' locks as they were made, the tensors that a step is `using`, `crossing`, then the
locks of the tensors that stay with steps. A thread that has one of the last and needs another takes
`crossing` first, so two threads never wait for each other. `collecting`, `_listing` and `_claiming`
are taken for a moment, and nothing is waited for under them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from weakref import WeakKeyDictionary

FORK_TIMEOUT = 10.0  # seconds: the thread that a fork waits for may be waiting for the fork

crossing = threading.RLock()
collecting = threading.RLock()
_functions: WeakKeyDictionary[threading.RLock, None] = WeakKeyDictionary()
_steps: WeakKeyDictionary[threading.RLock, None] = WeakKeyDictionary()
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
    """The locks that a thread took for its forks: in a signal's handler one begins in another."""

    def __init__(self) -> None:
        self.taken: list[list[threading.RLock]] = []


_forks = _Forks()


def of_function() -> threading.RLock:
    """A lock of a compiled function: one call at a time."""
    return _listed_lock(_functions)


def of_step() -> threading.RLock:
    """A lock of the tensors that stay with one step."""
    return _listed_lock(_steps)


def _listed_lock(locks: WeakKeyDictionary[threading.RLock, None]) -> threading.RLock:
    lock = threading.RLock()
    with _listing:
        locks[lock] = None
    return lock


def _take_all() -> None:
    taken: list[threading.RLock] = []
    _forks.taken.append(taken)
    end = time.monotonic() + FORK_TIMEOUT
    while True:
        for locks in (_functions, [crossing], _steps, [collecting, _listing, _claiming]):
            for lock in _snapshot(locks):
                if lock.acquire(timeout=max(end - time.monotonic(), 0)):
                    taken.append(lock)
        if time.monotonic() > end or set(taken).issuperset((*_functions, *_steps)):
            return
        _free(taken)  # new ones came while others were waited for


def _snapshot(locks: Iterable[threading.RLock]) -> list[threading.RLock]:
    with _listing:
        return list(locks)


def _free(taken: list[threading.RLock]) -> None:
    while taken:
        taken.pop().release()


def _free_all() -> None:
    _free(_forks.taken.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_free_all, after_in_child=_free_all)
    os.register_at_fork(after_in_child=_forget_others)
