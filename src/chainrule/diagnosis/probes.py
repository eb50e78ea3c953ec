"""What a training step measures of itself: a few numbers per layer, among its results.

`measurement` measures one step.

They are of samples, so that no large array is read once more: 512 elements, spread evenly, of each
weight, output and cotangent; 64 rows of 64 units to find dead ones; 32 elements of a gradient. Of
what is not larger they are exact. The trained weights are the same but for
the rounding of sums in compiled steps. docs/decisions/014-probes.md has the reasons.

of a layer with parameters, of its weights: those with two axes or more, else the first parameter
  weight_norm    ‖w‖ of those that are trained
  update_ratio   ‖Δw‖ / ‖w‖, with the change Δw of the step
of a layer or an activation
  gain           ‖∂loss/∂input‖ / ‖∂loss/∂output‖
  mean, spread   of its outputs: their mean and standard deviation
  saturated      of tanh and sigmoid, and of states: the share at the ends of the range, where the
                 slope is below 4 % of the steepest
  dead           of ReLU: the share of units that were 0 in all rows of the last 5 measured steps
of a layer's gradient
  signal         the mean over elements of (mean)² / variance over the last 20 measured steps

A layer whose output goes to an activation has no mean and spread of its own, and normalizations
have none and no gain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..graph import Array
from ..nn import Module
from ..nn.activation import Activation
from ..nn.normalization import _BatchNorm
from ..nn.recurrent import _Recurrent

ELEMENTS, RUN = 512, 16  # of a sample, in runs of neighbours
SIGNAL, SIGNAL_RUN = 32, 4  # of a layer's gradient
ROWS, UNITS = 64, 64  # in which dead units are looked for
WINDOW = 20  # measured steps over which noise is measured
OFF = 5  # measured steps in which a dead unit is 0
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
        for name, p in parameters.items():
            if p.size:
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
        self.sequences = [
            s for path, m in recurrent.items() for s in sequences_of(path, m).values()
        ]
        self.keys: list[Key] = [(m, name) for m in ("weight", "change") for name in self._scales]
        for path, m in modules.items():
            self.keys += [(measure, path) for measure in ("above", "below", *_MOMENTS)]
            if range_of(m) is not None:
                self.keys.append(("saturated", path))
            if isinstance(m, RECTIFIERS):
                self.keys += [("unit", path, k) for k in range(UNITS)]
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

        def columns(measure: str, path: str, count: int) -> Array:
            first = self._at[measure, path, 0]
            return rows[:, first : first + count].astype(np.float64)

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
            if ("saturated", path) in self._at:
                out.setdefault("saturated", {})[path] = column("saturated", path)
            if ("unit", path, 0) in self._at:
                out.setdefault("dead", {})[path] = _dead(columns("unit", path, UNITS))
        for path in self.weights:
            out.setdefault("signal", {})[path] = _signal(columns("signal", path, SIGNAL))
        return out


_MOMENTS = "first", "from_first", "square_from_first"  # of outputs, relative to the first of them


def _length(norms: Array) -> Array:
    """√∑n² over the first axis, of those that are numbers; NaN if none is."""
    missing = np.isnan(norms).all(axis=0)
    return np.where(missing, np.nan, np.sqrt(np.nansum(norms**2, axis=0)))


def _ratio(a: Array, b: Array) -> Array:
    """a / b, NaN where b is 0."""
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), np.nan)


def _dead(largest: Array) -> Array:
    """The share of units that have been 0 in the last OFF steps, from their largest outputs."""
    times = np.cumsum((largest > 0).astype(np.int64), axis=0)
    times[OFF:] = times[OFF:] - times[:-OFF]
    measured = ~np.isnan(largest)
    count = measured.sum(axis=1)
    dead = ((times == 0) & measured).sum(axis=1)
    return np.where(count > 0, dead / np.maximum(count, 1), np.nan)


def _signal(elements: Array) -> Array:
    """(mean)² / variance over the last WINDOW steps, averaged over the elements that vary."""
    out = np.full(len(elements), np.nan)
    if len(elements) < WINDOW:
        return out
    windows = np.lib.stride_tricks.sliding_window_view(elements, WINDOW, axis=0)
    variance = windows.var(axis=-1, ddof=1)
    varies = variance > 0
    squares = np.where(varies, windows.mean(axis=-1) ** 2 / np.where(varies, variance, 1.0), 0.0)
    count = varies.sum(axis=1)
    out[WINDOW - 1 :] = np.where(count > 0, squares.sum(axis=1) / np.maximum(count, 1), np.nan)
    return out


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


def range_of(module: Module) -> tuple[float, float] | None:
    """The middle and half the length of the range of its outputs, if it can saturate."""
    if isinstance(module, nn.RNN) and module.nonlinearity != "tanh":
        return None
    return next((ends for kind, ends in RANGES.items() if isinstance(module, kind)), None)


def _is_measured(path: str, module: Module, layers: Mapping[str, Any]) -> bool:
    """Whether its outputs and gain are measured."""
    if isinstance(module, NORMS) or (not path and any(True for _ in module.children())):
        return False
    return path in layers or isinstance(module, Activation)


def sequences_of(path: str, module: _Recurrent) -> dict[str, str]:
    """The names of its layers and directions, by the suffix of their weights."""
    suffixes = [s for layer in range(module.num_layers) for s in module._suffixes(layer)]
    return {s: path if len(suffixes) == 1 else f"{path} {s[1:]}".strip() for s in suffixes}
