"""What a run on text adds to a training: bits per character, and samples while it trains."""

from __future__ import annotations

import time

from ..loop.callback import Callback
from ..loop.trainer import Trainer
from .tasks import TextTask

FIRST = 10.0  # seconds after the first step
EVERY = 20.0  # seconds from one to the next, at least
SHOWN = 100  # tokens of a sample


class Samples(Callback):
    """Shows what the model writes now, every EVERY seconds; adds bits per character to each row."""

    each_step = False

    def __init__(self, task: TextTask) -> None:
        self._task = task
        self._next: float | None = None  # when the next one is shown

    def on_step(self, run: Trainer) -> None:
        if self._next is None:  # the first step is compiled
            self._next = time.perf_counter() + FIRST
        if time.perf_counter() < self._next:
            return
        text = self._task.sample(run.model, SHOWN, seed=run.step)
        run.show(f"after step {run.step} it writes: {' ↵ '.join(text.splitlines())}")
        self._next = time.perf_counter() + EVERY

    def on_epoch(self, run: Trainer) -> None:
        row = run.history.epochs[-1]
        parts = (("", self._task.train), ("valid_", self._task.valid))
        row |= {
            f"{part}bits_per_character": self._task.bits(row[f"{part}loss"], data[1])
            for part, data in parts
        }
