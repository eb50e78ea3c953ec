"""One step of training that measures itself: samples while its passes run, then numbers of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..dtypes import float32, is_floating
from ..functions import elementwise, reductions, shaping
from ..graph import Node, moment
from ..nn import Module
from ..nn.activation import Activation
from ..nn.recurrent import _Recurrent
from ..tensor import Tensor, no_grad
from ..trace import state
from .probes import (
    ELEMENTS,
    RECTIFIERS,
    ROWS,
    RUN,
    SEQUENCES,
    SIGNAL,
    SIGNAL_RUN,
    UNITS,
    Key,
    Monitor,
    range_of,
    sequences_of,
)


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
            if isinstance(module, RECTIFIERS) and out.ndim:
                self._rows[path] = _rows(out.detach())
        if isinstance(module, Activation):
            for before, (other, output) in self._called.items():
                if output is x and not isinstance(other, Activation):
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
        self._projected[node] = sequences_of(path, module)[suffix]

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
            path: {
                name: p
                for name, p in weights.items()
                if p.requires_grad and isinstance(p.grad, Tensor)  # not row-sparse
            }
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
            self._add_units()
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
            kinds.setdefault(range_of(self._called[path][0]), []).append((path, sample))
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
                for measure, of_modules in numbers.items():
                    self._add([(measure, path) for path in paths], of_modules)

    def _add_units(self) -> None:
        for paths, rows in _alike(self._rows.items()):  # (modules, rows, units)
            largest = reductions.max(rows, axis=1)
            keys = [("unit", path, k) for path in paths for k in range(largest.shape[1])]
            self._add(keys, largest.reshape(-1))


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
