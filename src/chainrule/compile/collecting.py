"""Python's search for garbage waits while a step is compiled.

A graph is thousands of objects that all stay, and each search would go through all of them: a fifth
of the time of compiling thirty layers.
"""

from __future__ import annotations

import contextlib
import gc

from . import locks


class _Uncollected(contextlib.ContextDecorator):
    """Several threads may be inside: the last one out leaves it as the first one found it."""

    def __init__(self) -> None:
        self._inside, self._before = 0, False

    def __enter__(self) -> None:
        with locks.collecting:
            if not self._inside:
                self._before = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with locks.collecting:
            self._inside -= 1
            if not self._inside and self._before:
                gc.enable()


uncollected = _Uncollected()
