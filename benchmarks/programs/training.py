"""Trains a program as the collection's build.py does, in compiled steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.train.loop.schedule_ahead import ScheduleAhead

from .program import Array, Built, Program

ROWS = 1000  # that are predicted at once, as by build.py
AT_ONCE = 64  # steps in one native call
SECONDS = 10.0  # of processor time for one training


@dataclass(frozen=True)
class Outcome:
    """What a training gave.

    losses           the mean loss of each epoch, without penalties
    nonfinite_step   the first step with a loss or weights that are not finite: the training ended
    truncated        whether it ended because it took too long
    outputs          what the score is of, for the training inputs, in float64: predictions, or
                     their sigmoid; NaN after a step that was not finite
    test_outputs     the same for the test inputs
    seconds          of processor time: "build", "compile" (the first step of each shape), "train",
                     "predict"
    """

    built: Built
    losses: list[float]
    steps: int
    nonfinite_step: int | None
    truncated: bool
    outputs: Array
    test_outputs: Array
    seconds: dict[str, float]


def train(program: Program, seed: int = 0, limit: float = SECONDS) -> Outcome:
    """Build the program and train it."""
    began = time.process_time()
    built = program.build(seed)
    return _Training(built, seed, limit, time.process_time() - began).run()


def make_step(built: Built) -> Callable[[Any, Any], cr.Tensor]:
    """One step, (x, y) -> the loss without penalties."""
    weights = dict(built.model.named_parameters())
    penalised = [(weights[path], by) for path, by in built.penalties.items()]

    def step(x: Any, y: Any) -> cr.Tensor:
        loss = built.loss(built.model(x), y)
        whole = loss
        for w, by in penalised:
            whole = whole + by * cr.sum(w * w)
        whole.backward()
        if built.clip_norm is not None:
            nn.utils.clip_grad_norm_(list(weights.values()), built.clip_norm)
        built.optimizer.step()
        return loss

    return step


def predict(built: Built, x: Array) -> Array:
    """What the score is of, in evaluation mode, for some rows at a time, in float64."""

    def outputs(x: Any) -> cr.Tensor:
        with cr.no_grad():
            y = built.model(x)
            return cr.sigmoid(y) if built.as_logits else y

    # Images and sequences take longer in NumPy than it takes to compile; rows of a table do not.
    run = outputs if x.ndim == 2 else cr.compile(outputs)
    built.model.eval()
    parts = [run(x[k : k + ROWS]).numpy() for k in range(0, len(x), ROWS)]
    built.model.train()
    return np.concatenate(parts).astype(np.float64)


def first_rows(
    n: int, batch: int, steps: int, shuffle: bool, orders: np.random.Generator
) -> Iterator[Array]:
    """The rows of the first batches; a rest with fewer rows is left out."""
    batches = max(1, n // batch)
    for first in range(0, steps, batches):
        order = orders.permutation(n) if shuffle else np.arange(n)
        for k in range(min(batches, steps - first)):
            yield order[k * batch : (k + 1) * batch]


def first_losses(built: Built, steps: int, orders: np.random.Generator) -> Array:
    """The losses of the first steps on whole batches without augmentation."""
    step, losses = cr.compile(make_step(built)), []
    for rows in first_rows(len(built.arrays.x), built.batch, steps, built.shuffle, orders):
        losses.append(float(step(built.arrays.x[rows], built.arrays.y[rows])))
        if built.schedule is not None:
            built.schedule.step()
    return np.array(losses)


class _Training:
    """One training of a program."""

    def __init__(self, built: Built, seed: int, limit: float, build_seconds: float) -> None:
        self._built, self._limit = built, limit
        self._random = np.random.default_rng(1000 + seed)  # orders and augmentation
        self._step = cr.compile(make_step(built))
        self._parameters = list(built.model.parameters())
        self._shapes: set[int] = set()  # numbers of rows that there is a compiled step for
        self._steps, self._nonfinite = 0, None
        self._seconds = {"build": build_seconds, "compile": 0.0}

    def run(self) -> Outcome:
        built, losses, truncated = self._built, [], False
        began = time.process_time()
        for _ in range(built.epochs):
            losses.append(self._epoch())
            if self._nonfinite is None and not self._weights_are_finite():
                self._nonfinite = self._steps
            spent = time.process_time() - began - self._seconds["compile"]
            truncated = spent > self._limit
            if self._nonfinite is not None or truncated:
                break
        trained = time.process_time()
        outputs = [predict(built, x) for x in (built.arrays.x, built.arrays.x_test)]
        if self._nonfinite is not None:
            outputs = [np.full_like(y, np.nan) for y in outputs]
        self._seconds["train"] = trained - began - self._seconds["compile"]
        self._seconds["predict"] = time.process_time() - trained
        return Outcome(
            built=built,
            losses=losses,
            steps=self._steps,
            nonfinite_step=self._nonfinite,
            truncated=truncated,
            outputs=outputs[0],
            test_outputs=outputs[1],
            seconds=self._seconds,
        )

    def _weights_are_finite(self) -> bool:
        return all(np.isfinite(p.numpy()).all() for p in self._parameters)

    def _epoch(self) -> float:
        """One epoch, up to the first loss that is not finite; the mean loss."""
        built, n, total = self._built, len(self._built.arrays.x), 0.0
        order = self._random.permutation(n) if built.shuffle else np.arange(n)
        for rows, count in self._pieces(order):
            for loss in self._run(rows, count):
                self._steps += 1
                total += loss * (len(rows) // count)
                if not math.isfinite(loss):
                    self._nonfinite = self._steps
                    return total / n
        return total / n

    def _pieces(self, order: Array) -> Iterator[tuple[Array, int]]:
        """The rows for the next steps, and the number of these steps."""
        batch, whole = self._built.batch, len(order) // self._built.batch
        at_once = 1 if self._built.augment else AT_ONCE
        done = 0
        while done < whole:
            count = min(whole - done, at_once if batch in self._shapes else 1)
            yield order[done * batch : (done + count) * batch], count
            done += count
        rest = order[whole * batch :]
        norms = any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in self._modules())
        if len(rest) > 1 or (len(rest) == 1 and not (norms and whole)):
            yield rest, 1

    def _modules(self) -> list[nn.Module]:
        return [module for _, module in self._built.model.named_modules()]

    def _run(self, rows: Array, count: int) -> list[float]:
        """The losses of some steps, in one native call where that is possible."""
        arrays, began = self._built.arrays, time.process_time()
        x, y = arrays.x[rows], arrays.y[rows]
        if count > 1:
            ahead = ScheduleAhead(self._built.schedule, self._built.optimizer, count)
            results = self._step.repeat(count, [x, y], ahead.varying)
            if results is not None:
                return results[0].tolist()
            ahead.undo()
        if self._built.augment:
            x = augmented(x, self._built.augment, self._random)
        losses, size = [], len(rows) // count
        for k in range(count):
            part = slice(k * size, (k + 1) * size)
            losses.append(float(self._step(x[part], y[part])))
            if self._built.schedule is not None:
                self._built.schedule.step()
        if size not in self._shapes:
            self._shapes.add(size)
            self._seconds["compile"] += time.process_time() - began
        return losses


def augmented(x: Array, spec: dict[str, Any], random: np.random.Generator) -> Array:
    """Images (N, H, W, C) with noise on some pixels, and at times a rectangle of 1 in all of them.

    The numbers are drawn in the order of build.py, whose images are channels first.
    """
    shape = (x.shape[0], x.shape[3], *x.shape[1:3])
    noise = random.uniform(-spec["noise"], spec["noise"], shape).astype(np.float32)
    mask = (random.random(shape) < spec["probability"]).astype(np.float32)
    x = x + np.moveaxis(noise * mask, 1, -1)
    if random.random() < spec["erase_probability"]:
        h, w = x.shape[1:3]
        share = math.sqrt(random.uniform(*spec["erase_area"]))
        a, b = min(h - 1, round(h * share)), min(w - 1, round(w * share))
        i, j = random.integers(0, h - a), random.integers(0, w - b)
        x[:, i : i + a, j : j + b] = 1.0
    return np.ascontiguousarray(x)
