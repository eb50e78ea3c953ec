"""The training loop, and the state that a checkpoint keeps of it.

Longer than other files: what a checkpoint holds stands beside the loop that changes it.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ... import random, tree
from ...compile import Compiled
from ...data import DataLoader
from ...data.loader import Reader
from ...diagnosis.guard import ACCEPTED
from ...diagnosis.probes import Monitor
from ...errors import ArgumentError, ChainruleError, warn
from ...graph import Array
from ...guards.counting import changes
from ...nn import Module
from ...optim import Optimizer, ReduceLROnPlateau
from ...tensor import Tensor, make
from ..checkpoints import checkpoint
from ..checkpoints.settings import Settings
from ..checkpoints.settings import changes as changes_of
from ..evaluation.batches import pair
from ..evaluation.inference import Forward
from ..evaluation.metrics import Metric
from ..evaluation.objective import Objective, cuts
from ..evaluation.streams import CarriedState, CarryingForward, WindowLoader
from .callback import Callback
from .early_stopping import EarlyStopping
from .history import History, Probes
from .interrupt import stop_on_interrupt
from .refusals import Failure, Refusals, State, in_a_row
from .schedule_ahead import ScheduleAhead
from .step import layers_of, make_step
from .untrained import still_untrained

AT_ONCE = 0.05  # seconds of steps in one native call: Ctrl-C and the screen wait no longer


class Trainer:
    """One training; `fit` builds it and passes it to callbacks.

    epoch, batch, step   numbers of completed epochs, batches of this epoch, and steps
    loss                 the loss of the last step
    """

    def __init__(
        self,
        model: Module,
        train: Any,
        valid: Any,
        objective: Objective,
        optimizer: Optimizer,
        metrics: dict[str, Metric],
        *,
        epochs: int,
        schedule: Any,
        schedule_per: str,
        clip_norm: float | None,
        accumulate: int,
        early_stopping: EarlyStopping,
        callbacks: Sequence[Callback],
        folder: Path | None,
        every: float,
        compiled: bool,
        settings: Settings,
        carried: CarriedState | None = None,
        guard: bool = True,
        probes: bool = True,
    ) -> None:
        self.model, self.train, self.valid, self.optimizer = model, train, valid, optimizer
        self.objective, self.metrics, self.epochs = objective, metrics, epochs
        self.schedule, self.schedule_per = schedule, schedule_per
        self.early_stopping, self.settings = early_stopping, settings
        self.callbacks, self.folder, self.every = callbacks, folder, every
        self.history = History()
        self._layers = layers_of(model)
        self.epoch = self.batch = self.step = 0
        self.loss = math.nan
        self.seconds = 0.0  # of training before it was resumed
        # The step whose gradients tell what is trained: the first may begin with a state of 0.
        self._telling_step = 2 if isinstance(train, WindowLoader) and train.windows > 1 else 1
        self._sum, self._losses_seen, self._rate = 0.0, 0, 0.0
        self._began = self._saved = time.perf_counter()
        self._written: tuple[Any, ...] | None = None  # the moment of the newest checkpoint
        self._at_once = all(
            type(c).on_step is Callback.on_step or not c.each_step for c in callbacks
        )
        self._pace = math.inf  # seconds per step; unknown at the first, which compiles
        self._carried = carried
        plain = partial(make_step, model, objective, optimizer, clip_norm, accumulate)
        self._refusals = Refusals(model, objective, optimizer, carried, plain, guard)
        monitor = Monitor(model) if probes else None
        self.history.probes = Probes(None if monitor is None else monitor.layout)
        rules = {
            "guard": self._refusals.guard,
            "state": self._refusals.assigned,
            "monitor": monitor,
        }
        step = partial(plain, compiled, **rules)
        self._run = self._begin = step(model if carried is None else carried.go_on)
        self._forward = Forward(model, objective, compiled)
        if carried is not None:
            self._begin = self._run if carried.starts_over else step(carried.begin)
            self._forward = CarryingForward(model, objective, compiled)
        self._safe, self._safe_epoch = model.state_dict(), 0  # restored if training fails

    @property
    def elapsed(self) -> float:
        """Seconds of training, with those before an interruption."""
        return self.seconds + time.perf_counter() - self._began

    @property
    def batches(self) -> int | None:
        """The number of batches per epoch, if it is known."""
        try:
            return len(self.train)
        except TypeError:
            return None

    def stop(self, reason: str = "callback") -> None:
        """End the training after this step; the first reason is kept in the history."""
        self.history.stopped = self.history.stopped or reason

    def show(self, text: str) -> None:
        """Print a text where the progress is shown, above the bar in a terminal."""
        for callback in self.callbacks:
            callback.show(text)

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────

    def run(self) -> History:
        """Train until all epochs are done or something stops it."""
        self._began = self._saved = time.perf_counter()
        with stop_on_interrupt(self.stop):
            self._tell("on_begin")
            try:
                while self.epoch < self.epochs and not self.history.stopped:
                    self._run_epoch()
                if self.epoch >= self.epochs and not self.history.stopped:
                    self.stop("epochs")
                if self._written != self._moment():
                    self.save()
            finally:
                with ExitStack() as ends:  # all are called, even if one raises
                    for callback in reversed(self.callbacks):
                        ends.callback(callback.on_end, self)
        if self.early_stopping.restore_best and self.early_stopping.weights is not None:
            self.model.load_state_dict(self.early_stopping.weights)
        return self.history

    def _run_epoch(self) -> None:
        began = self.elapsed
        with closing(self._steps()) as steps:
            for _ in steps:
                if self.history.stopped:
                    return
                if self.folder is not None and time.perf_counter() - self._saved >= self.every:
                    self.save()
        if not self.batch:
            raise ArgumentError(
                "fit",
                f"got no batches in epoch {self.epoch + 1}",
                "expected one or more in each epoch",
                "pass a DataLoader, or a list of batches, which can be read again",
            )
        self._end_epoch(began)

    def _steps(self) -> Generator[None]:
        """Run the rest of the epoch; yields after each step, or after several at once."""
        loader = self.train
        if not isinstance(loader, DataLoader):
            for batch in itertools.islice(iter(loader), self.batch, None):
                self._run_step(*pair(batch))
                yield
            return
        with loader.reader(self.epoch, self.batch) as reader:
            while self.batch < len(loader):
                count = self._steps_at_once(reader)
                rows = reader.rows(count)
                if count > 1 and self._run_steps(loader, rows, count):
                    yield
                    continue
                for part in cuts(len(rows[0]), count):
                    self._run_step(*_part(loader, rows, part))
                    yield

    def _steps_at_once(self, reader: Reader) -> int:
        """The number of steps for the next native call."""
        repeats = isinstance(self._run, Compiled) and self._run.repeats
        if not self._at_once or not repeats or self.step < self._telling_step:
            return 1
        return max(1, min(reader.alike(), int(AT_ONCE / self._pace)))

    def _run_step(self, x: Any, y: Any) -> None:
        self._rate = self.optimizer.param_groups[0]["lr"]
        began = time.perf_counter()
        begins = isinstance(self.train, WindowLoader) and self.train.starts(self.batch)
        if begins and self._carried is not None:
            self._carried.reset()
        self._refusals.recalibrate()
        results = (self._begin if begins else self._run)(x, y)
        rows = tree.flatten(y)[0][0]
        self._note([t.numpy() for t in results], lambda: (x, y), rows, begins)
        if self.step == 1:
            self._check_weights(1)
        else:
            self._pace = time.perf_counter() - began
        if self.step <= self._telling_step:
            before = None if self.step == 1 else self.history.untrained
            settings = self.model, self.optimizer, x, self.loss
            self.history.untrained = still_untrained(
                before, self._telling_step == self.step, *settings
            )
        if self.schedule is not None and self.schedule_per == "step":
            self.schedule.step()
        self._tell("on_step")

    def _run_steps(self, loader: DataLoader, rows: list[Array], count: int) -> bool:
        """Several steps in one native call; False if that is not possible."""
        settings = changes.count
        per_step = self.schedule if self.schedule_per == "step" else None
        ahead = ScheduleAhead(per_step, self.optimizer, count)
        began = time.perf_counter()
        self._refusals.recalibrate()
        again = self._run.repeat if isinstance(self._run, Compiled) else None
        results = again(count, rows, ahead.varying) if again and changes.count == settings else None
        if results is None:
            ahead.undo()
            return False
        self._rate = ahead.rate
        size = len(rows[0]) // count
        for k, one in enumerate(zip(*results, strict=True)):
            part = slice(k * size, (k + 1) * size)
            self._note(one, partial(_part, loader, rows, part), rows[-1][part])
        self._pace = (time.perf_counter() - began) / count
        self._tell("on_step")
        return True

    def _note(
        self,
        results: Sequence[Array],
        batch: Callable[[], tuple[Any, Any]],
        targets: Any,
        begins: bool = False,
    ) -> None:
        """Record a completed step; or that it was refused; or raise if training cannot go on.

        begins   whether it was the first on a sequence
        """
        loss, norms = float(results[0]), results[1]
        guarded = self._refusals.guard is not None
        measured = results[2:-1] if guarded else results[2:]
        if guarded and results[-1][0] != ACCEPTED:
            number, judged = self.step + 1, (results[0], norms, results[-1])
            failure = self._refusals.failure(self.history, number, judged, batch(), begins)
            if failure is not None:
                self._fail(failure)
        elif not math.isfinite(loss):
            self._fail(self._refusals.unguarded(loss, self.step + 1, batch(), self._before_step))
        else:
            self.loss = loss
            if self.history.gradients.wants(self.step):
                self.history.gradients.add(self.step, self._trained(norms), self._layers)
            if measured and self.history.probes.wants(self.step):
                self.history.probes.add(self.step, measured)
            # of rows, or of steps
            count = math.prod(targets.shape[: 1 if self._carried is None else 2])
            self._sum += loss * count
            self._losses_seen += count
        self.step += 1
        self.batch += 1

    def _trained(self, norms: Array) -> dict[str, float]:
        """The norms of the layers that are trained now, without the frozen ones."""
        named = zip(self._layers.items(), norms.tolist(), strict=True)
        return {name: norm for (name, ps), norm in named if any(p.requires_grad for p in ps)}

    def _end_epoch(self, began: float) -> None:
        self.optimizer.flush()
        self._check_weights(self.step)
        if not self._losses_seen:
            self._fail(self._refusals.stopped(self.history, self.step))
        row: dict[str, Any] = {"epoch": self.epoch + 1, "step": self.step}
        row["loss"] = self._sum / self._losses_seen
        row["lr"] = self._rate
        if self.valid is not None:
            scores = self._forward.evaluate(self.valid, self.metrics)
            row.update({f"valid_{name}": value for name, value in scores.items()})
        elif self.metrics:
            row.update(self._forward.evaluate(self.train, self.metrics, loss=False))
        row["seconds"] = self.elapsed - began
        self.history.epochs.append(row)
        weights = self.model.state_dict()
        self.epoch, self.batch = self.epoch + 1, 0
        self._sum, self._losses_seen = 0.0, 0
        if not in_a_row(self.history, self.step):
            self._safe, self._safe_epoch = weights, self.epoch
        if self.early_stopping.improved(row, weights):
            self.history.best_epoch = self.epoch
        elif self.early_stopping.exhausted:
            self.stop("patience")
        if self.schedule is not None and self.schedule_per == "epoch":
            if isinstance(self.schedule, ReduceLROnPlateau):
                self.schedule.step(self.early_stopping.value(row))
            else:
                self.schedule.step()
        self._tell("on_epoch")

    def _check_weights(self, step: int) -> None:
        for name, p in self.model.named_parameters():
            if not np.isfinite(p.numpy()).all():
                self._fail(Failure(f"values in {name} that are not finite", step))

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _fail(self, failure: Failure) -> NoReturn:
        """Raise, with the weights of the last good epoch restored."""
        self.model.load_state_dict(self._safe)
        done = [row["epoch"] for row in self.history.epochs if row["step"] >= failure.step]
        epoch = done[0] if done else self.epoch + 1
        raise failure.error(epoch, self._safe_epoch, self.optimizer.param_groups[0]["lr"])

    @property
    def _before_step(self) -> State | None:
        """The weights before the present step, where they are known."""
        return None if self.batch else self._safe

    # ── checkpoints ──────────────────────────────────────────────────────────────────────────────

    def save(self) -> None:
        """Write a checkpoint, if there is a folder for them."""
        if self.folder is None:
            return
        self.optimizer.flush()
        tensors: dict[str, dict[str, Array]] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": {"state": random.default.state.numpy()},
        }
        if self._carried is not None:
            tensors["carried"] = self._carried.state_dict()
        if self.history.probes.steps:
            tensors["probes"] = self.history.probes.state_dict()
        if self.early_stopping.weights is not None:
            tensors["best"] = self.early_stopping.weights
        stopped = self.history.stopped
        finished = stopped in ("epochs", "patience")
        history = {**self.history.to_dict(), "stopped": stopped if finished else ""}
        schedule = None if self.schedule is None else self.schedule.state_dict()
        moment = self._moment()
        checkpoint.save(
            self.folder,
            self.step,
            tensors,
            {
                "epoch": self.epoch,
                "batch": self.batch,
                "step": self.step,
                "seconds": self.elapsed,
                "sum": self._sum,
                "rows": self._losses_seen,
                "rate": self._rate,
                **self.early_stopping.state(),
                "schedule": schedule,
                "history": history,
                "guard": self._refusals.state_dict(),
                "settings": self.settings,
            },
        )
        self._saved, self._written = time.perf_counter(), moment

    def _moment(self) -> tuple[Any, ...]:
        """What differs between two checkpoints if it is worth writing both."""
        finished = self.history.stopped in ("epochs", "patience")
        return self.epoch, self.batch, self.step, finished

    def resume(self) -> bool:
        """Restore the newest checkpoint; False if there is none."""
        newest = checkpoint.latest(self.folder) if self.folder is not None else None
        if newest is None:
            return False
        tensors, state = newest
        own = {} if self.schedule is None else self.schedule.state_dict()
        stored = state["schedule"] or {}
        if (own.keys() ^ stored.keys()) - {"rates"}:  # absent from checkpoints of earlier versions
            raise ArgumentError(
                "resume",
                f"got {type(self.schedule).__name__ if own else 'no'} schedule, and a "
                "checkpoint of a run with another or none",
                "expected the schedule that the run began with",
                "pass the same schedule as before",
            )
        then = state.get("settings", {})  # absent from checkpoints of earlier versions
        differences = list(changes_of(then, self.settings, self.optimizer, tensors["optimizer"]))
        self.model.load_state_dict(tensors["model"])
        try:
            self.optimizer.load_state_dict(tensors["optimizer"])
        except ChainruleError:
            self.model.load_state_dict(self._safe)
            raise
        random.default.set_state(Tensor(tensors["random"]["state"]))
        if self._carried is not None and "carried" in tensors:
            self._carried.load_state_dict(tensors["carried"])
        self._refusals.load_state_dict(state.get("guard"))  # absent from earlier versions
        if self.schedule is not None:
            self.schedule.load_state_dict(stored)
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.seconds, self._sum, self._losses_seen = state["seconds"], state["sum"], state["rows"]
        self.early_stopping.load_state(state, tensors.get("best"))
        self._rate = state["rate"]
        probes, self.history = self.history.probes, History.from_dict(state["history"])
        self.history.probes = probes
        probes.load_state_dict(tensors.get("probes"))  # absent from earlier versions
        self._written = self._moment()
        if self.history.stopped == "epochs" and self.epoch < self.epochs:
            self.history.stopped = ""  # epochs was raised
        self._safe, self._safe_epoch = self.model.state_dict(), self.epoch
        if differences:
            warn("\n  ".join(["[fit] resume with other settings or data:", *differences]))
        return True


def _part(loader: DataLoader, rows: list[Array], part: slice) -> tuple[Any, Any]:
    """The batch that is this part of the rows."""
    return pair(loader.tree_of([make(r[part]) for r in rows]))
