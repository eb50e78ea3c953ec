"""Callbacks: what they are called for while a training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Called as a run goes on; override what is wanted. `run.stop()` ends it after this step.

    each_step   False: `on_step` need not be called after each step, only now and then
    reports     True: it shows the findings of the history itself, so `fit` need not warn of them
    """

    each_step = True
    reports = False

    def on_begin(self, run: Trainer) -> None:
        """Before the first step, also after resuming."""

    def on_step(self, run: Trainer) -> None:
        """After each step: `run.step` counts them, `run.loss` is the last one's."""

    def on_epoch(self, run: Trainer) -> None:
        """After each epoch: `run.history.epochs[-1]` is its row."""

    def on_end(self, run: Trainer) -> None:
        """When it is over, however it ended."""
