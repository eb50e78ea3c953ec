"""Measurements that a training step makes of itself: a few numbers per layer, among its results.

They are of samples, so that no large array is read once more: activations of up to 64 rows,
cotangents of up to 8 samples of the batch, 512 elements of each parameter, 32 of a gradient. The
weights that are trained are the same to the bit. docs/decisions/014-probes.md has the reasons.

of a layer with parameters
  weight_norm    ‖w‖ of those that are trained
  update_ratio   ‖Δw‖ / ‖w‖, with the change Δw of the step
of a layer or an activation
  gain           ‖∂loss/∂input‖ / ‖∂loss/∂output‖
  mean, spread   of its outputs: their mean and standard deviation
  saturated      of tanh and sigmoid, and of states: the share at the ends of the range, where the
                 slope is below 4 % of the steepest
  dead           of ReLU: the share of units that are 0 in all rows

A layer whose output goes to an activation has no mean and spread of its own, and normalizations
have none and no gain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import nn
from ..dtypes import float32, is_floating
from ..functions import elementwise, reductions, shaping
from ..functions.elementwise import where
from ..functions.indexing import take
from ..graph import Node, moment
from ..nn import Module
from ..nn.activation import Activation
from ..nn.normalization import _BatchNorm
from ..nn.recurrent import _Recurrent
from ..tensor import Tensor, no_grad
from ..trace import state

ROWS = 64  # of activations
SAMPLES = 8  # of a batch whose cotangents are measured, of vectors; of larger ones 1
SEQUENCES = 4  # of a batch whose cotangents are measured step by step
WEIGHTS, WEIGHTS_RUN = 512, 16  # elements of a parameter, in runs of neighbours
SIGNAL, SIGNAL_RUN = 32, 4  # elements of a layer's gradient

LAYER, OUTPUT = ("weight_norm", "update_ratio"), ("mean", "spread")
# Of outputs: the middle of the range and half of its length.
RANGES: Mapping[type[Module], tuple[float, float]] = {
    nn.Tanh: (0.0, 1.0),
    nn.Sigmoid: (0.5, 0.5),
    nn.RNN: (0.0, 1.0),
    nn.LSTM: (0.0, 1.0),
    nn.GRU: (0.0, 1.0),
}
RECTIFIERS = (nn.ReLU, nn.ReLU6)
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

Key = tuple[str, str]  # measure and path


class Monitor:
    """What is measured of a model.

    layers     the parameters of its layers, by path; of each a step returns SIGNAL elements of a
               gradient too
    keys       of the numbers of a step, (measure, path)
    sequences  paths of recurrent layers whose cotangents are measured step by step; of several
               layers or directions in one module: "lstm l1_reverse"

    A step returns one array of float32, numbers and elements, and one (T,) per sequence. What
    cannot be measured is NaN; of a sequence, one NaN.
    """

    def __init__(self, model: Module) -> None:
        self.layers: dict[str, list[Tensor]] = {}
        for name, p in model.named_parameters():
            self.layers.setdefault(name.rpartition(".")[0], []).append(p)
        modules = dict(model.named_modules())
        measured = {path: m for path, m in modules.items() if _is_measured(path, m, self.layers)}
        self.paths = {id(m): path for path, m in measured.items()}
        self.keys: list[Key] = [(measure, path) for measure in LAYER for path in self.layers]
        for path, m in measured.items():
            self.keys += [(measure, path) for measure in ("gain", *OUTPUT)]
            if _range_of(m) is not None:
                self.keys.append(("saturated", path))
            if isinstance(m, RECTIFIERS):
                self.keys.append(("dead", path))
        recurrent = {path: m for path, m in measured.items() if isinstance(m, _Recurrent)}
        self.sequences = [s for path, m in recurrent.items() for s in _sequences(path, m).values()]


class Measurement:
    """The measurement of one step: `watching` its passes, then `before_update`, then `results`."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self._trace = monitor, state.trace
        self._called: dict[str, tuple[Module, Tensor]] = {}  # by path: the first output
        self._rows: dict[str, Tensor] = {}
        self._samples: dict[str, int] = {}
        self._inputs: dict[Node, list[tuple[str, int, int]]] = {}  # path, moments of the call
        self._outputs: dict[Node, list[str]] = {}
        self._projected: dict[Node, str] = {}
        self._upstream: dict[str, Tensor] = {}  # cotangents of some samples, of outputs
        self._downstream: dict[str, Tensor] = {}  # of inputs: the share of this layer
        self._by_step: dict[str, Tensor] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A context in which the step's forward and backward pass run."""
        before, state.observer = state.observer, self
        try:
            yield
        finally:
            state.observer = before

    # ── as `trace.Observer` ──────────────────────────────────────────────────────────────────────

    def called(self, module: Module, began: int, args: Sequence[Any], out: Any) -> None:
        """As `Observer.called`. Of several calls the first counts; those inside of loops do not."""
        path = self._monitor.paths.get(id(module))
        if path is None or path in self._called or state.trace is not self._trace:
            return
        while isinstance(out, (tuple, list)) and out:
            out = out[0]
        if not isinstance(out, Tensor) or not is_floating(out.dtype) or not out.size:
            return
        x = args[0] if args else None
        self._called[path] = module, out
        with no_grad():
            self._rows[path] = _rows(out.detach())
        if isinstance(module, Activation):
            for before, (other, given) in self._called.items():
                if given is x and not isinstance(other, Activation):
                    self._rows.pop(before, None)
        if isinstance(x, Tensor) and out.ndim and x.shape[:1] == out.shape[:1]:
            source, target = x._node, out._node
            if source is None or target is None or not (target.requires_grad and target.inputs):
                return
            if source.requires_grad and target is not source:
                self._samples[path] = SAMPLES if max(x.ndim, out.ndim) <= 2 else 1
                self._inputs.setdefault(source, []).append((path, began, moment()))
                self._outputs.setdefault(target, []).append(path)

    def projected(self, module: Module, suffix: str, projected: Tensor) -> None:
        """As `Observer.projected`."""
        node, path = projected._node, self._monitor.paths.get(id(module))
        inside = state.trace is not self._trace
        if path is None or inside or node is None or not node.requires_grad:
            return
        assert isinstance(module, _Recurrent)
        self._projected[node] = _sequences(path, module)[suffix]

    def pulled(self, node: Node, g: Any, shares: Sequence[Any]) -> None:
        """As `Observer.pulled`."""
        with no_grad():
            for path in self._outputs.get(node, ()):
                self._upstream[path] = g.detach()[: self._samples[path]]
            if node in self._projected:
                some = g.detach()[:, :SEQUENCES].astype(float32)
                self._by_step[self._projected[node]] = reductions.norm(some, axis=(1, 2))
            for i, share in zip(node.inputs, shares, strict=True):
                for path, began, ended in self._inputs.get(i, ()):
                    if began < node.serial < ended and isinstance(share, Tensor):
                        part = share.detach()[: self._samples[path]]
                        before = self._downstream.get(path)
                        self._downstream[path] = part if before is None else before + part

    # ── the numbers ──────────────────────────────────────────────────────────────────────────────

    def before_update(self) -> None:
        """Take samples of gradients and weights, when the gradients are complete."""
        with no_grad():
            self._trained = {
                path: [p for p in parameters if p.requires_grad and isinstance(p.grad, Tensor)]
                for path, parameters in self._monitor.layers.items()
            }
            self._before = self._weights()
            firsts = {path: ps[0].grad for path, ps in self._trained.items() if ps}
            self._signal = _alike((p, _sample(g, SIGNAL, SIGNAL_RUN)) for p, g in firsts.items())

    def results(self, scale: Tensor | None = None) -> list[Tensor]:
        """The results of the step, after the update: see `Monitor`.

        scale   what cotangents are divided by to be those of the loss
        """
        monitor, numbers = self._monitor, _Numbers()
        with no_grad():
            self._add_updates(numbers)
            self._add_activations(numbers)
            self._add_gains(numbers)
            for paths, elements in self._signal:
                count = elements.shape[1]
                keys = [("signal", path, k) for path in paths for k in range(count)]
                numbers.add(keys, elements.reshape(-1))
            signal = [("signal", path, k) for path in monitor.layers for k in range(SIGNAL)]
            by_step = [self._by_step.get(name, Tensor([math.nan])) for name in monitor.sequences]
            if scale is not None:
                by_step = [norms / scale.astype(float32) for norms in by_step]
            return [numbers.arranged([*monitor.keys, *signal]), *by_step]

    def _weights(self) -> list[tuple[list[Any], Tensor]]:
        trained = [p for ps in self._trained.values() for p in ps]
        return _alike((id(p), _sample(p, WEIGHTS, WEIGHTS_RUN)) for p in trained)

    def _add_updates(self, numbers: _Numbers) -> None:
        sizes = {id(p): p.size for ps in self._trained.values() for p in ps}
        olds, changes = _Numbers(), _Numbers()
        for (keys, old), (_, new) in zip(self._before, self._weights(), strict=True):
            of_all = Tensor(np.sqrt([sizes[k] / old.shape[1] for k in keys]).astype(np.float32))
            olds.add(keys, of_all * reductions.norm(old.astype(float32), axis=1))
            changes.add(keys, of_all * reductions.norm((new - old).astype(float32), axis=1))
        most = max(map(len, self._trained.values()), default=0)
        if not most:
            return
        wanted: list[Any] = []
        for parameters in self._trained.values():
            keys = [id(p) for p in parameters]
            wanted += keys + [_ZERO if keys else None] * (most - len(keys))
        old, change = (
            reductions.norm(found.arranged(wanted).reshape((-1, most)), axis=1)
            for found in (olds, changes)
        )
        numbers.add([("weight_norm", path) for path in self._trained], old)
        numbers.add([("update_ratio", path) for path in self._trained], _ratio(change, old))

    def _add_activations(self, numbers: _Numbers) -> None:
        kinds: dict[Any, list[tuple[str, Tensor]]] = {}
        for path, rows in self._rows.items():
            module = self._called[path][0]
            kind = _range_of(module), isinstance(module, RECTIFIERS)
            kinds.setdefault(kind, []).append((path, rows))
        for (ends, rectifies), outputs in kinds.items():
            for paths, stacked in _alike(outputs):
                rows = stacked.astype(float32)  # (modules, rows, units)
                mean = reductions.mean(rows, axis=(1, 2))
                away = rows - mean[:, None, None]
                numbers.add([("mean", path) for path in paths], mean)
                spread = elementwise.sqrt(reductions.mean(away * away, axis=(1, 2)))
                numbers.add([("spread", path) for path in paths], spread)
                if ends is not None:
                    at_end = elementwise.abs(rows - ends[0]) > 0.98 * ends[1]
                    share = reductions.mean(at_end.astype(float32), axis=(1, 2))
                    numbers.add([("saturated", path) for path in paths], share)
                if rectifies:
                    dead = reductions.max(rows, axis=1) <= 0
                    share = reductions.mean(dead.astype(float32), axis=1)
                    numbers.add([("dead", path) for path in paths], share)

    def _add_gains(self, numbers: _Numbers) -> None:
        paths = [path for path in self._upstream if path in self._downstream]
        if paths:
            above, below = (
                shaping.stack([reductions.norm(found[path].astype(float32)) for path in paths])
                for found in (self._upstream, self._downstream)
            )
            numbers.add([("gain", path) for path in paths], _ratio(below, above))


_ZERO = "zero"


class _Numbers:
    """Numbers by key, in arrays as they come, to be arranged."""

    def __init__(self) -> None:
        self._parts = [Tensor([math.nan, 0.0])]
        self._at: dict[Any, int] = {_ZERO: 1}
        self._count = 2

    def add(self, keys: Sequence[Any], numbers: Tensor) -> None:
        """Numbers of float32, one per key."""
        self._at.update((key, self._count + k) for k, key in enumerate(keys))
        self._parts.append(numbers.astype(float32))
        self._count += len(keys)

    def arranged(self, keys: Sequence[Any]) -> Tensor:
        """Those of the keys, in their order; NaN for those that are missing."""
        places = np.array([self._at.get(key, 0) for key in keys], np.int64)
        return take(shaping.concat(self._parts), Tensor(places), axis=0)


def _alike(tensors: Iterable[tuple[Any, Tensor]]) -> list[tuple[list[Any], Tensor]]:
    """The tensors of each shape and dtype, stacked, with their keys."""
    groups: dict[Any, list[tuple[Any, Tensor]]] = {}
    for key, t in tensors:
        groups.setdefault((t.shape, t.dtype), []).append((key, t))
    return [([k for k, _ in g], shaping.stack([t for _, t in g])) for g in groups.values()]


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, NaN where b is 0."""
    return where(b > 0, a / where(b > 0, b, 1.0), math.nan)


def _sample(t: Tensor, count: int, run: int) -> Tensor:
    """`count` elements in runs of neighbours, evenly spaced; all of a tensor that has no more.

    Runs begin in different columns of a matrix: its first column may be special, such as the
    weights of a pixel that is always black.
    """
    flat = t.detach().reshape((t.size,))
    if t.size <= count:
        return flat
    runs, columns = t.size // run, max(1, t.shape[-1] // run)
    step = runs // (count // run)
    while step > 1 and math.gcd(step, columns) > 1:
        step -= 1
    spaced = flat[: runs * run].reshape((runs, run))[::step]
    return spaced[: count // run].reshape((count,))


def _rows(t: Tensor) -> Tensor:
    """Up to ROWS rows (rows, units): the first ones, or of sequences and images, evenly spaced ones
    of the first four.
    """
    if t.ndim < 2:
        return t.reshape((t.size, 1))[:ROWS]
    if t.ndim > 2:
        most = int((ROWS / 4) ** (1 / (t.ndim - 2)))
        spaced = [slice(0, most * (n // most) or n, n // most or 1) for n in t.shape[1:-1]]
        t = t[(slice(4), *spaced)]
    return t.reshape((-1, t.shape[-1]))[:ROWS]


def _range_of(module: Module) -> tuple[float, float] | None:
    """The middle and half the length of the range of its outputs, if it can saturate."""
    if isinstance(module, nn.RNN) and module.nonlinearity != "tanh":
        return None
    return next((ends for kind, ends in RANGES.items() if isinstance(module, kind)), None)


def _is_measured(path: str, module: Module, layers: Mapping[str, Any]) -> bool:
    """Whether its outputs and gain are measured."""
    if isinstance(module, NORMS) or (not path and any(True for _ in module.children())):
        return False
    return path in layers or isinstance(module, Activation)


def _sequences(path: str, module: _Recurrent) -> dict[str, str]:
    """The names of its layers and directions, by the suffix of their weights."""
    suffixes = [s for layer in range(module.num_layers) for s in module._suffixes(layer)]
    return {s: path if len(suffixes) == 1 else f"{path} {s[1:]}".strip() for s in suffixes}
