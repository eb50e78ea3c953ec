"""Progress of a compilation that takes long."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

SILENT_FOR = 2.0  # seconds


class Notice:
    """Says, while compiling takes longer than SILENT_FOR, how long it has taken and its stage.

    On stderr if that is a terminal, as level INFO of the logger "chainrule" otherwise.
    """

    def __init__(self, name: str) -> None:
        self.stage = "tracing"
        self._name, self._start = name, time.perf_counter()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Notice:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()

    def _watch(self) -> None:
        pause = SILENT_FOR
        while not self._done.wait(pause):
            self._print()
            pause *= 2

    def _print(self) -> None:
        taken = time.perf_counter() - self._start
        text = f"[compile] {self._name}: {taken:.0f} s so far, {self.stage}"
        if sys.stderr.isatty():
            print(text, file=sys.stderr, flush=True)
            return
        import logging  # slow to import

        logging.getLogger("chainrule").info(text)
