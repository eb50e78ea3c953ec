"""Results that a background thread computes ahead of their use."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any


class Ahead:
    """compute(k) of the numbers of a range, in order; a thread is up to `most` results ahead.

    An exception of compute is raised where its result would be returned. `close` ends the thread
    after what it is computing now; it is called at the latest by leaving the context.
    """

    def __init__(self, compute: Callable[[int], Any], numbers: range, most: int) -> None:
        self._compute, self._numbers = compute, numbers
        self._results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._free = threading.Semaphore(most)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="chainrule data", daemon=True)
        self._thread.start()

    def next(self) -> Any:
        """The next result."""
        result, error = self._results.get()
        self._free.release()
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the thread, and wait for that."""
        self._closed = True
        self._free.release()
        self._thread.join()

    def _run(self) -> None:
        for k in self._numbers:
            self._free.acquire()
            if self._closed:
                return
            try:
                self._results.put((self._compute(k), None))
            except BaseException as error:  # raised again by next
                self._results.put((None, error))
                return
