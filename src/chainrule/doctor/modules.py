"""The training of a model of this library, as the doctor sees it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import nn, random
from ..compile import Compiled
from ..diagnosis.finding import Change
from ..errors import ChainruleError
from ..graph import Array
from ..nn import Module
from ..nn.activation import Activation
from ..nn.normalization import _BatchNorm
from ..nn.utils import clip_grad_norm_
from ..tensor import Tensor, as_tensor, no_grad
from ..train.evaluation.modes import evaluating
from ..train.loop.schedule_ahead import ScheduleAhead
from .changes import apply
from .score import Score
from .setup import Setup
from .training import Layer, Observed, Outcome

ROWS = 256  # of a batch that is observed
STEPS = 16  # in one native call
AT_ONCE = 1000  # rows that are predicted together


class ModuleTraining(Setup):
    """As `Training`."""

    @property
    def optimizer_name(self) -> str:
        """The class of the optimizer."""
        return type(self.optimizer).__name__

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the first group of parameters."""
        group = self.optimizer.param_groups[0]
        return {name: group[name] for name in group}

    def changed(self, changes: Sequence[Change]) -> ModuleTraining:
        """As `Training.changed`."""
        return apply(self.fork(), changes)

    def loss_value(self, outputs: Array, targets: Array) -> float:
        """As `Training.loss_value`."""
        try:
            with no_grad():
                return float(self.loss(Tensor(outputs), Tensor(targets)))
        except (ChainruleError, ArithmeticError, ValueError, TypeError, LookupError):
            return math.nan

    def outputs(self, model: Module, x: Array) -> Array:
        """As `Training.outputs`."""
        with evaluating(model):
            parts = [
                model(as_tensor(x[k : k + AT_ONCE])).numpy() for k in range(0, len(x), AT_ONCE)
            ]
        return np.concatenate(parts).astype(np.float64)

    def first_step(self) -> float:
        """As `Training.first_step`."""
        t = self.fork()
        x, y = (as_tensor(a[:ROWS]) for a in t.data)
        before = {name: p.numpy().copy() for name, p in t.model.named_parameters()}
        t.model.train()
        t.optimizer.zero_grad()
        with _drawing(0):
            t.loss(t.model(x), y).backward()
        gradients = {n: _dense(p.grad) for n, p in t.model.named_parameters() if p.grad is not None}
        t.optimizer.step()
        after = {name: p.numpy() for name, p in t.model.named_parameters()}
        return sum(float(((after[n] - before[n]) * g).sum()) for n, g in gradients.items())

    def observe(self, model: Module | None = None) -> Observed:
        """As `Training.observe`."""
        model = copy.deepcopy(self.model if model is None else model)
        x, y = (as_tensor(a[:ROWS]) for a in self.data)
        seen: list[tuple[Module, Array, Tensor | None]] = []

        def look(module: Module, args: Any, output: Any) -> Any:
            if kind_of(module) == "recurrent":  # its probe is of the input, for each step
                x = as_tensor(args[0])
                probe = Tensor(np.zeros(x.shape, x.dtype), requires_grad=True)
                output = module.forward(x + probe, *args[1:])
                seen.append((module, output[0].numpy(), probe))
                return output
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(output, tuple) or first.dtype.kind != "f":
                seen.append((module, first.numpy(), None))
                return None
            probe = Tensor(np.zeros(first.shape, first.dtype), requires_grad=True)
            seen.append((module, first.numpy(), probe))
            return first + probe  # so that the probe's gradient is that of the output

        model.train()
        paths = {id(m): path for path, m in model.named_modules()}
        for m in model.modules():
            if not any(m.children()):
                m.register_forward_hook(look)
        for p in model.parameters():
            p.grad = None
        with _drawing(0):
            prediction = model(x)
            loss = self.loss(prediction, y)
        loss.backward()
        layers = [_layer(paths[id(m)], m, output, probe) for m, output, probe in seen]
        return Observed(layers, prediction.numpy(), float(loss))

    def run(self, score: Score, seed: int = 0, seconds: float = math.inf) -> Outcome:
        """As `Training.run`."""
        began = time.process_time()
        t, out = self.fork(), Outcome(score.worst)
        out.model = t.model
        steps = _Steps(t, seed)
        with _drawing(seed):
            for _ in range(t.epochs):
                t.model.train()
                losses = steps.epoch()
                out.steps += len(losses)
                out.losses.append(float(np.mean(losses)) if losses else math.nan)
                if not all(map(math.isfinite, losses)) or not _is_finite(t.model):
                    out.nonfinite = out.steps
                if out.nonfinite is not None or time.process_time() - began > seconds:
                    break
        if out.nonfinite is None:
            (x, y), (valid, targets) = t.data, t.valid
            outputs = t.outputs(t.model, valid)
            out.rows, out.score = score.rows(outputs, targets), score(outputs, targets)
            out.fit = score(t.outputs(t.model, x[:AT_ONCE]), y[:AT_ONCE])
        out.seconds = time.process_time() - began
        return out


class _Steps:
    """The steps of a training, several in one native call where that is possible."""

    def __init__(self, training: ModuleTraining, seed: int) -> None:
        t = self.t = training
        self.order = np.random.default_rng(1000 + seed)
        norms = any(isinstance(m, _BatchNorm) for m in t.model.modules())
        self.fewest = 2 if norms and t.batch > 1 else 1  # batch normalization of one row fails
        parameters = t.model.parameters()

        def step(x: Any, y: Any) -> Tensor:
            t.optimizer.zero_grad()
            loss = t.loss(t.model(x), y)
            loss.backward()
            if t.clip_norm is not None:
                clip_grad_norm_(parameters, t.clip_norm)
            t.optimizer.step()
            return loss

        self.step = Compiled(step, (t.optimizer, t.loss))

    def epoch(self) -> list[float]:
        """The losses of an epoch, up to the first that is not finite."""
        t, count = self.t, len(self.t.data[0])
        rows = self.order.permutation(count) if t.shuffle else np.arange(count)
        whole = count // t.batch
        losses: list[float] = []
        while len(losses) < whole and all(map(math.isfinite, losses[-STEPS:])):
            done = len(losses)
            at_once = min(STEPS, whole - done) if self.step.repeats and not t.augment else 1
            losses += self._run(rows[done * t.batch : (done + at_once) * t.batch], at_once)
        rest = rows[whole * t.batch :]
        if len(rest) >= self.fewest and all(map(math.isfinite, losses)):
            losses += self._run(rest, 1)
        return losses

    def _run(self, rows: Array, count: int) -> list[float]:
        t = self.t
        x, y = t.data[0][rows], t.data[1][rows]
        if count > 1:
            ahead = ScheduleAhead(t.schedule, t.optimizer, count)
            results = self.step.repeat(count, [x, y], ahead.varying)
            if results is not None:
                return [float(loss) for loss in results[0]]
            ahead.undo()
        if t.augment is not None:
            x = t.augment(x, self.order)
        size, losses = len(rows) // count, []
        for k in range(count):
            part = slice(k * size, (k + 1) * size)
            losses.append(float(self.step(x[part], y[part])))
            if t.schedule is not None:
                t.schedule.step()
        return losses


def _is_finite(model: Module) -> bool:
    return all(np.isfinite(p.numpy()).all() for p in model.parameters())


class _drawing:  # noqa: N801 - a context
    """Random numbers from this seed inside; afterwards they go on as before."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        self.before = random.default.state
        random.default.set_state(random.Generator(self.seed).state)

    def __exit__(self, *_: Any) -> None:
        random.default.set_state(self.before)


def _dense(gradient: Any) -> Array:
    return (gradient.to_dense() if hasattr(gradient, "to_dense") else gradient).numpy()


def _layer(path: str, module: Module, output: Array, probe: Tensor | None) -> Layer:
    weight = getattr(module, "weight", None)
    kind, units, gradient = kind_of(module), None, None
    if kind == "weights" and isinstance(weight, Tensor):
        w = weight.numpy()  # a convolution's is (*kernel, in, out)
        units = w if isinstance(module, nn.Linear) else w.reshape(-1, w.shape[-1]).T
        gradient = None if weight.grad is None else _dense(weight.grad)
    upstream = None if probe is None or probe.grad is None else probe.grad.numpy()
    by_step = None
    if kind == "recurrent" and upstream is not None:
        by_step = np.sqrt(np.mean(np.square(upstream, dtype=np.float64), (0, -1)))
        upstream = None
    return Layer(path, kind, type(module).__name__, output, -1, units, gradient, upstream, by_step)


def kind_of(module: Module) -> str:
    """As `Layer.kind`."""
    weight = getattr(module, "weight", None)
    if isinstance(module, Activation):
        return "activation"
    if isinstance(module, nn.Dropout):
        return "dropout"
    if isinstance(module, (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
        return "norm"
    if isinstance(module, (nn.RNN, nn.LSTM, nn.GRU)):
        return "recurrent"
    if isinstance(weight, Tensor) and weight.ndim >= 2 and not isinstance(module, nn.Embedding):
        return "weights"
    return "other" if type(module).__module__.startswith("chainrule.") else "custom"
