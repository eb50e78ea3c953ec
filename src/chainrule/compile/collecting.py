"""Python's search for garbage waits while a step is compiled.

A graph is thousands of objects that all stay, and each search would go through all of them: a fifth
of the time of compiling thirty layers.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading

from . import locks


class _Uncollected(contextlib.ContextDecorator):
    """Several threads may be inside: the last one out leaves it as the first one found it."""

    def __init__(self) -> None:
        self._inside: list[int] = []  # threads, as often as they are
        self._before = False

    def __enter__(self) -> None:
        with locks.collecting:
            if not self._inside:
                self._before = gc.isenabled()
                gc.disable()
            self._inside.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with locks.collecting:
            self._inside.remove(threading.get_ident())
            self._end()

    def forked(self) -> None:
        """In the child there is only the thread that has forked."""
        own = threading.get_ident()
        if self._inside:
            self._inside = [thread for thread in self._inside if thread == own]
            self._end()

    def _end(self) -> None:
        if not self._inside and self._before:
            gc.enable()


uncollected = _Uncollected()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=uncollected.forked)
