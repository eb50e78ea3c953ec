"""Callbacks: what they are called for while a training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Called during a training; override what you need. `run.stop()` ends it after this step.

    each_step   False: `on_step` need not be called after each step, after several at once
    reports     True: it shows the findings of the history itself, so `fit` does not warn of them
    """

    each_step = True
    reports = False

    def on_begin(self, run: Trainer) -> None:
        """Before the first step, also after resuming."""

    def on_step(self, run: Trainer) -> None:
        """After each step: `run.step` is their number, `run.loss` the loss of the last one."""

    def on_epoch(self, run: Trainer) -> None:
        """After each epoch: `run.history.epochs[-1]` is its row."""

    def show(self, text: str) -> None:
        """Show a text to the user: `run.show(text)` calls this; progress prints it."""

    def on_end(self, run: Trainer) -> None:
        """At the end, also after an error."""
