"""Ctrl-C during training: the step that is under way is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_on_interrupt(stop: Callable[[str], None]) -> Iterator[None]:
    """The first Ctrl-C calls stop("interrupted"); the second one raises KeyboardInterrupt.

    Outside the main thread, where Python lets no handler be set, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    asked = False

    def handler(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop("interrupted")

    before: Callable[..., Any] | int | None = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
