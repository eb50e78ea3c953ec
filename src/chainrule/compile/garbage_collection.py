"""Python's garbage collection pauses while a step is compiled.

A graph is thousands of objects that all stay, and each collection would go through all of them: a
fifth of the time of compiling thirty layers.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading

from . import locks


class _Paused(contextlib.ContextDecorator):
    """Several threads may be inside: the last one to leave restores what the first one changed."""

    def __init__(self) -> None:
        self._inside: list[int] = []  # threads, each as many times as it has entered
        self._was_enabled = False

    def __enter__(self) -> None:
        with locks.collecting:
            if not self._inside:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._inside.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with locks.collecting:
            self._inside.remove(threading.get_ident())
            self._restore()

    def after_fork(self) -> None:
        """In the child there is only the thread that has forked."""
        own = threading.get_ident()
        if self._inside:
            self._inside = [thread for thread in self._inside if thread == own]
            self._restore()

    def _restore(self) -> None:
        if not self._inside and self._was_enabled:
            gc.enable()


paused = _Paused()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=paused.after_fork)
