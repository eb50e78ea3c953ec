"""What a user sees of a compilation that takes long."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

PATIENCE = 2.0  # seconds without a word


class Notice:
    """Says, while compiling takes longer than PATIENCE, how long it has taken and its stage.

    On stderr if that is a terminal, as level INFO of the logger "chainrule" otherwise.
    """

    def __init__(self, name: str) -> None:
        self.stage = "tracing"
        self._name, self._began = name, time.perf_counter()
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
        pause = PATIENCE
        while not self._done.wait(pause):
            self._say()
            pause *= 2

    def _say(self) -> None:
        taken = time.perf_counter() - self._began
        text = f"[compile] {self._name}: {taken:.0f} s so far, {self.stage}"
        if sys.stderr.isatty():
            print(text, file=sys.stderr, flush=True)
            return
        import logging  # slow to import

        logging.getLogger("chainrule").info(text)
