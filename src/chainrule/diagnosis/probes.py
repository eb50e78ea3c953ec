"""Measurements that a training step makes of itself: a few numbers per layer, among its results.

They are of samples, so that no large array is read once more: 512 elements, spread evenly, of each
weight, output and cotangent; 64 rows of 64 units to find dead ones; 32 elements of a gradient. Of
what is not larger they are exact. The weights that are trained are the same to the bit.
docs/decisions/014-probes.md has the reasons.

of a layer with parameters, of its weights: those with two axes or more, else the first parameter
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
from ..graph import Array, Node, moment
from ..nn import Module
from ..nn.activation import Activation
from ..nn.normalization import _BatchNorm
from ..nn.recurrent import _Recurrent
from ..tensor import Tensor, no_grad
from ..trace import state

ELEMENTS, RUN = 512, 16  # of a sample, in runs of neighbours
SIGNAL, SIGNAL_RUN = 32, 4  # of a layer's gradient
ROWS, UNITS = 64, 64  # in which dead units are looked for
SEQUENCES = 4  # of a batch whose cotangents are measured step by step

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

Key = tuple[Any, ...]


class Layout:
    """What a step measures of a model, and how its results are read.

    A step returns one array of float32, the numbers of `keys` as it has them, and one (T,) per
    sequence. What cannot be measured is missing; of a sequence, there is one NaN.

    weights    names of the weights that are measured, by the path of their layer
    measured   paths of the modules whose outputs and gains are measured
    sequences  paths of recurrent layers whose cotangents are measured step by step; of several
               layers or directions in one module: "lstm l1_reverse"
    keys       of the numbers: a measure and the name of a weight or the path of a module
    """

    def __init__(self, model: Module) -> None:
        parameters = dict(model.named_parameters())
        layers: dict[str, list[str]] = {}
        for name in parameters:
            layers.setdefault(name.rpartition(".")[0], []).append(name)
        self.weights = {
            path: [n for n in names if parameters[n].ndim > 1] or names[:1]
            for path, names in layers.items()
        }
        self._scales = {  # of norms of samples
            name: math.sqrt(parameters[name].size / min(parameters[name].size, ELEMENTS))
            for names in self.weights.values()
            for name in names
        }
        modules = {p: m for p, m in model.named_modules() if _is_measured(p, m, layers)}
        self.measured = list(modules)
        recurrent = {path: m for path, m in modules.items() if isinstance(m, _Recurrent)}
        self.sequences = [s for path, m in recurrent.items() for s in _sequences(path, m).values()]
        self.keys: list[Key] = [(m, name) for m in ("weight", "change") for name in self._scales]
        for path, m in modules.items():
            self.keys += [(measure, path) for measure in ("above", "below", *_MOMENTS)]
            if _range_of(m) is not None:
                self.keys.append(("saturated", path))
            if isinstance(m, RECTIFIERS):
                self.keys.append(("dead", path))
        self.keys += [("signal", path, k) for path in self.weights for k in range(SIGNAL)]
        self._at = {key: k for k, key in enumerate(self.keys)}
        self._orders: dict[tuple[Key, ...], int] = {}
        self._places: list[Array] = []

    def order(self, keys: Sequence[Key]) -> int:
        """The number of an order in which a step returns numbers."""
        number = self._orders.setdefault(tuple(keys), len(self._places))
        if number == len(self._places):
            self._places.append(np.array([self._at[key] for key in keys], np.int64))
        return number

    def arranged(self, numbers: Array) -> Array:
        """The numbers of a step in the order of the keys, NaN for those that are missing.

        numbers   the last one is that of their order
        """
        out = np.full(len(self.keys), np.nan, np.float32)
        out[self._places[int(numbers[-1])]] = numbers[:-1]
        return out

    def values(self, rows: Array) -> dict[str, dict[str, Array]]:
        """The measures by path, of arranged numbers: (steps, keys) -> (steps,) each."""

        def column(*key: Any) -> Array:
            return rows[:, self._at[key]].astype(np.float64)

        out: dict[str, dict[str, Array]] = {}
        for path, names in self.weights.items():
            weight, change = (
                np.stack([column(measure, name) * self._scales[name] for name in names])
                for measure in ("weight", "change")
            )
            norm = _length(weight)
            out.setdefault("weight_norm", {})[path] = norm
            out.setdefault("update_ratio", {})[path] = _ratio(_length(change), norm)
        for path in self.measured:
            out.setdefault("gain", {})[path] = _ratio(column("below", path), column("above", path))
            first, mean, square = (column(moment, path) for moment in _MOMENTS)
            out.setdefault("mean", {})[path] = first + mean
            out.setdefault("spread", {})[path] = np.sqrt(np.maximum(square - mean**2, 0.0))
            for measure in "saturated", "dead":
                if (measure, path) in self._at:
                    out.setdefault(measure, {})[path] = column(measure, path)
        return out

    def gradients(self, rows: Array) -> dict[str, Array]:
        """The elements of gradients by path, of arranged numbers: (steps, SIGNAL) each."""
        begins = {path: self._at["signal", path, 0] for path in self.weights}
        return {path: rows[:, k : k + SIGNAL] for path, k in begins.items()}


_MOMENTS = "first", "from_first", "square_from_first"  # of outputs, relative to the first of them


def _length(norms: Array) -> Array:
    """√∑n² over the first axis, of those that are numbers; NaN if none is."""
    missing = np.isnan(norms).all(axis=0)
    return np.where(missing, np.nan, np.sqrt(np.nansum(norms**2, axis=0)))


def _ratio(a: Array, b: Array) -> Array:
    """a / b, NaN where b is 0."""
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), np.nan)


class Monitor:
    """What is measured of a model, with its modules and weights."""

    def __init__(self, model: Module) -> None:
        self.layout = Layout(model)
        parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
        self.paths = {id(modules[path]): path for path in self.layout.measured}
        self.weights = {
            path: {name: parameters[name] for name in names}
            for path, names in self.layout.weights.items()
        }


class Measurement:
    """The measurement of one step: `watching` its passes, then `before_update`, then `results`."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self._trace = monitor, state.trace
        self._called: dict[str, tuple[Module, Tensor]] = {}  # by path: the first output
        self._outs: dict[str, Tensor] = {}  # samples of outputs
        self._rows: dict[str, Tensor] = {}  # (rows, units) of rectifiers
        self._inputs: dict[Node, list[tuple[str, int, int]]] = {}  # path, moments of the call
        self._outputs: dict[Node, list[str]] = {}
        self._projected: dict[Node, str] = {}
        # Samples of cotangents: "above", of the output; "below", the module's share of its input's.
        self._cotangents: dict[Key, Tensor] = {}
        self._sizes: dict[Key, int] = {}  # of what they are samples of
        self._by_step: dict[str, Tensor] = {}
        self._gradients: list[tuple[str, Tensor]] = []
        self._keys: list[Key] = []
        self._numbers: list[Tensor] = []

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
            self._outs[path] = _sample(out)
            if isinstance(module, RECTIFIERS):
                self._rows[path] = _rows(out.detach())
        if isinstance(module, Activation):
            for before, (other, given) in self._called.items():
                if given is x and not isinstance(other, Activation):
                    self._outs.pop(before, None)
        if isinstance(x, Tensor):
            source, target = x._node, out._node
            if source is None or target is None or not (target.requires_grad and target.inputs):
                return
            if source.requires_grad and target is not source:
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
                self._keep(("above", path), g)
            if node in self._projected:
                some = g.detach()[:, :SEQUENCES].astype(float32)
                self._by_step[self._projected[node]] = reductions.norm(some, axis=(1, 2))
            for i, share in zip(node.inputs, shares, strict=True):
                for path, began, ended in self._inputs.get(i, ()):
                    if began < node.serial < ended and isinstance(share, Tensor):
                        self._keep(("below", path), share)

    def _keep(self, key: Key, cotangent: Tensor) -> None:
        """Take a sample of a cotangent; those of one input are added."""
        sample, before = _sample(cotangent), self._cotangents.get(key)
        added = before is not None and key[0] == "below"
        self._cotangents[key] = before + sample if added else sample
        self._sizes[key] = cotangent.size

    # ── the numbers ──────────────────────────────────────────────────────────────────────────────

    def before_update(self) -> None:
        """Take samples of weights and gradients, when the gradients are complete."""
        self._trained = {
            path: {n: p for n, p in weights.items() if p.requires_grad and _is_dense(p.grad)}
            for path, weights in self._monitor.weights.items()
        }
        with no_grad():
            weights = {("weight", name): sample for name, sample in self._weights().items()}
            # What is used twice is stored: so the new weights can overwrite the old ones.
            self._before = _alike([*weights.items(), *self._cotangents.items()])
            for keys, stacked in self._before:
                norms = reductions.norm(stacked.astype(float32), axis=1)
                counts = [self._sizes.get(key, stacked.shape[1]) / stacked.shape[1] for key in keys]
                self._add(keys, norms * Tensor(np.sqrt(counts).astype(np.float32)))
            for path, of_layer in self._trained.items():
                if of_layer:
                    g = _sample(next(iter(of_layer.values())).grad, SIGNAL, SIGNAL_RUN)
                    self._gradients.append((path, g))

    def results(self, scale: Tensor | None = None) -> list[Tensor]:
        """The results of the step, after the update: see `Layout`.

        scale   what cotangents are divided by to be those of the loss
        """
        layout = self._monitor.layout
        with no_grad():
            self._add_changes()
            self._add_outputs()
            self._add_dead()
            for paths, elements in _alike(self._gradients):
                keys = [("signal", path, k) for path in paths for k in range(elements.shape[1])]
                self._add(keys, elements.reshape(-1))
            by_step = [self._by_step.get(name, Tensor([math.nan])) for name in layout.sequences]
            if scale is not None:
                by_step = [norms / scale.astype(float32) for norms in by_step]
            order = Tensor([float(layout.order(self._keys))])
            return [shaping.concat([*self._numbers, order]), *by_step]

    def _add(self, keys: Sequence[Key], numbers: Tensor) -> None:
        self._keys += keys
        self._numbers.append(numbers.astype(float32))

    def _weights(self) -> dict[str, Tensor]:
        return {n: _sample(p) for ws in self._trained.values() for n, p in ws.items()}

    def _add_changes(self) -> None:
        now = self._weights()
        for keys, before in self._before:
            names = [name for measure, name in keys if measure == "weight"]
            if names:
                change = shaping.stack([now[name] for name in names]) - before[: len(names)]
                norms = reductions.norm(change.astype(float32), axis=1)
                self._add([("change", name) for name in names], norms)

    def _add_outputs(self) -> None:
        kinds: dict[Any, list[tuple[str, Tensor]]] = {}
        for path, sample in self._outs.items():
            kinds.setdefault(_range_of(self._called[path][0]), []).append((path, sample))
        for ends, samples in kinds.items():
            for paths, stacked in _alike(samples):
                outputs = stacked.astype(float32)
                from_first = outputs - outputs[:, :1]
                numbers = {
                    "first": outputs[:, 0],
                    "from_first": reductions.mean(from_first, axis=1),
                    "square_from_first": reductions.mean(from_first * from_first, axis=1),
                }
                if ends is not None:
                    at_end = elementwise.abs(outputs - ends[0]) > 0.98 * ends[1]
                    numbers["saturated"] = reductions.mean(at_end.astype(float32), axis=1)
                for measure, found in numbers.items():
                    self._add([(measure, path) for path in paths], found)

    def _add_dead(self) -> None:
        for paths, rows in _alike(self._rows.items()):  # (modules, rows, units)
            dead = reductions.max(rows, axis=1) <= 0
            share = reductions.mean(dead.astype(float32), axis=1)
            self._add([("dead", path) for path in paths], share)


def _is_dense(gradient: Any) -> bool:
    return isinstance(gradient, Tensor)


def _alike(tensors: Iterable[tuple[Any, Tensor]]) -> list[tuple[list[Any], Tensor]]:
    """The tensors of each shape and dtype, stacked, with their keys."""
    groups: dict[Any, list[tuple[Any, Tensor]]] = {}
    for key, t in tensors:
        groups.setdefault((t.shape, t.dtype), []).append((key, t))
    return [([k for k, _ in g], shaping.stack([t for _, t in g])) for g in groups.values()]


def _sample(t: Tensor, count: int = ELEMENTS, run: int = RUN) -> Tensor:
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
    """Up to ROWS rows of up to UNITS units, the last axis: the first rows, or of sequences and
    images, evenly spaced ones of the first four.
    """
    if t.ndim > 2:
        most = int((ROWS / 4) ** (1 / (t.ndim - 2)))
        spaced = [slice(0, most * (n // most) or n, n // most or 1) for n in t.shape[1:-1]]
        t = t[(slice(4), *spaced)]
    units = t.shape[-1]
    some = t.reshape((-1, units))[:ROWS]
    if units < 2 * UNITS:
        return some[:, :UNITS]
    runs = some[:, : units // RUN * RUN].reshape((len(some), units // RUN, RUN))
    return runs[:, :: units // UNITS][:, : UNITS // RUN].reshape((len(some), UNITS))


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
