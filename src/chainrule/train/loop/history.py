"""The history of a training: a row per epoch, and the gradient norms of its layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...diagnosis.finding import Finding
from ...diagnosis.history import findings_of_history
from ...diagnosis.probes import Layout
from ...errors import ArgumentError, user_line
from ...graph import Array
from ..charts import Chart, heatmap, lines

MOST_PROBES = 400


@dataclass(repr=False)
class GradientFlow:
    """Norms of the gradient by layer, at steps spread evenly over the training.

    layers   the layers that were trained at one of the steps, from input to output
    norms    a list per step, one per layer: NaN where the layer was frozen at that step

    At first every step is recorded. When there are more than 400, every second one is dropped, and
    from then on half as many are recorded.
    """

    layers: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    norms: list[list[float]] = field(default_factory=list)
    every: int = 1

    def __repr__(self) -> str:
        if not self.norms:
            return f"GradientFlow({len(self.layers)} layers, no steps)"
        last = zip(self.norms[-1], self.layers, strict=True)
        norms = sorted((norm, layer) for norm, layer in last if not math.isnan(norm))
        if not norms:
            return f"GradientFlow({len(self.steps)} steps; all layers frozen at the last one)"
        low, high = (f"{norm:.2g} ({layer})" for norm, layer in (norms[0], norms[-1]))
        return f"GradientFlow({len(self.steps)} steps; norms at the last one: {low} to {high})"

    def wants(self, step: int) -> bool:
        """Whether the norms of this step (counted from 0) are recorded."""
        return step % self.every == 0

    def add(self, step: int, norms: Mapping[str, float], order: Iterable[str]) -> None:
        """Record the norms of a step by layer.

        order   all layers, from input to output: the place of a layer that is new
        """
        if not norms.keys() <= set(self.layers):
            known = norms.keys() | set(self.layers)
            layers = [*dict.fromkeys([*(n for n in order if n in known), *self.layers])]
            rows = [dict(zip(self.layers, row, strict=True)) for row in self.norms]
            self.layers, self.norms = layers, [[r.get(n, math.nan) for n in layers] for r in rows]
        self.steps.append(step)
        self.norms.append([norms.get(name, math.nan) for name in self.layers])
        if len(self.steps) > MOST_PROBES:
            self.every *= 2
            even = [k for k, s in enumerate(self.steps) if s % self.every == 0]
            self.steps = [self.steps[k] for k in even]
            self.norms = [self.norms[k] for k in even]


class Probes:
    """What was measured of layers and activations, at steps spread evenly over the training.

    steps    the measured steps, from 0: as of `GradientFlow` (at most 400), without refused ones
    values   values[measure][path] is a list with a number per measured step, NaN where there is
             none. Measures: weight_norm, update_ratio, gain, mean, spread, saturated, dead,
             signal; `diagnosis/probes.py` says what they are
    by_step  by_step[path] is a list per measured step of ‖∂loss/∂(x W_ihᵀ + b_ih)‖ by time step,
             of a recurrent layer and four sequences of the batch

    signal, a squared ratio of signal to noise, is about 1/20 where gradients are noise alone, and
    NaN before the 20th measured step. Units that are dead at first may be rarely on: before the
    5th step fewer rows were looked at.
    """

    def __init__(self, layout: Layout | None = None) -> None:
        """layout   of the results of steps; without one nothing is measured"""
        self._layout = layout
        self.steps: list[int] = []
        self._rows: list[Array] = []
        self._by_step: list[list[Array]] = []
        self._every = 1

    def __repr__(self) -> str:
        return f"Probes({', '.join(self.values)}; {len(self.steps)} steps)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Probes):
            return NotImplemented
        mine, theirs = self.state_dict(), other.state_dict()
        return mine.keys() == theirs.keys() and all(
            np.array_equal(a, theirs[name], equal_nan=True) for name, a in mine.items()
        )

    __hash__ = None  # type: ignore[assignment]  # it grows

    def wants(self, step: int) -> bool:
        """Whether this step (counted from 0) is recorded."""
        return step % self._every == 0

    def add(self, step: int, results: Sequence[Array]) -> None:
        """Record the results of a step, of `Measurement.results`."""
        assert self._layout is not None
        self.steps.append(step)
        self._rows.append(self._layout.arranged(results[0]))
        self._by_step.append([np.array(norms) for norms in results[1:]])
        if len(self.steps) > MOST_PROBES:
            self._every *= 2
            even = [k for k, s in enumerate(self.steps) if s % self._every == 0]
            self.steps = [self.steps[k] for k in even]
            self._rows = [self._rows[k] for k in even]
            self._by_step = [self._by_step[k] for k in even]

    @property
    def values(self) -> dict[str, dict[str, list[float]]]:
        """As above; made at each reading."""
        if self._layout is None or not self.steps:
            return {}
        rows = np.stack(self._rows)
        measures = self._layout.values(rows)
        return {m: {p: a.tolist() for p, a in paths.items()} for m, paths in measures.items()}

    @property
    def by_step(self) -> dict[str, list[list[float]]]:
        """As above; made at each reading."""
        sequences = [] if self._layout is None else self._layout.sequences
        return {
            path: [[] if np.isnan(of[k]).all() else of[k].tolist() for of in self._by_step]
            for k, path in enumerate(sequences)
        }

    def state_dict(self) -> dict[str, Array]:
        """All of it as arrays, for a checkpoint."""
        if not self.steps:
            return {}
        out = {"steps": np.array(self.steps, np.int64), "every": np.array(self._every)}
        out["rows"] = np.stack(self._rows)
        for k, of in enumerate(zip(*self._by_step, strict=True)):
            out[f"lengths/{k}"] = np.array([len(norms) for norms in of], np.int64)
            out[f"by_step/{k}"] = np.concatenate(of)
        return out

    def load_state_dict(self, values: Mapping[str, Array] | None) -> None:
        """The inverse of `state_dict`; nothing if the values are of other measurements."""
        if self._layout is None or values is None:
            return
        if values["rows"].shape[1] != len(self._layout.keys):
            return
        self.steps, self._every = values["steps"].tolist(), int(values["every"])
        self._rows = list(values["rows"])
        of = [
            np.split(values[f"by_step/{k}"], np.cumsum(values[f"lengths/{k}"])[:-1])
            for k in range(len(self._layout.sequences))
        ]
        self._by_step = [[norms[k] for norms in of] for k in range(len(self.steps))]


@dataclass(repr=False)
class History:
    """What `fit` returns.

    epochs      a dict per epoch: epoch, step, loss, valid_loss, metrics, lr, seconds
    best_epoch  the epoch of the best weights, which the model has now unless restore_best=False;
                the last one if nothing was compared, None if no value was a number
    stopped     why it ended: "epochs", "patience", "interrupted" or the reason of a callback
    gradients   norms of the gradient by layer, before clipping
    first       of the first batch, before the first step: its "loss" (not with batch normalization,
                which has no statistics yet), and the root mean squares of its "inputs" and
                "targets", without those that are classes or tokens; empty if they are unknown
    guess       the training loss of the best prediction that is the same for each row, and the
                least possible loss; None where they are unknown
    refused     a dict per step that the guard has refused: step, reason, rate
    probes      what was measured of layers and activations
    untrained   parameters that no step has trained, each with the reason: "0.bias: forward does not
                use it"
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    stopped: str = ""
    gradients: GradientFlow = field(default_factory=GradientFlow)
    guess: tuple[float, float] | None = None
    refused: list[dict[str, Any]] = field(default_factory=list)
    probes: Probes = field(default_factory=Probes)
    first: dict[str, float] = field(default_factory=dict)
    untrained: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """What the untrained parameters, the gradient norms, the probes and the losses show; the
        surest are first."""
        return findings_of_history(self)

    def __getitem__(self, name: str) -> list[Any]:
        """A column: `history["loss"]`."""
        if not any(name in row for row in self.epochs):
            raise KeyError(f"{name!r}; there are {', '.join(self.names())}")
        return [row.get(name) for row in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        last = self.epochs[-1] if self.epochs else {}
        shown = ", ".join(f"{k} {v:.4g}" for k, v in last.items() if isinstance(v, (int, float)))
        return f"History({shown}; best epoch {self.best_epoch}, stopped {self.stopped!r})"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.epochs)

    def names(self) -> list[str]:
        """The names of the columns."""
        return list(dict.fromkeys(name for row in self.epochs for name in row))

    def _repr_html_(self) -> str:
        return self.plot()._repr_html_()

    def plot(self, *names: str) -> Chart:
        """The columns over the epochs as a picture; the losses if none are named.

        "gradients", alone, draws the norms of the gradient by layer, over the steps. A picture
        shows itself in a notebook; `.save(path)` writes an SVG or HTML file.
        """
        if names == ("gradients",) and self.gradients.norms:
            return heatmap(
                np.transpose(self.gradients.norms),
                self.gradients.layers,
                self.gradients.steps,
                title="Norm of the gradient, by layer",
                x_label="step",
                y_label="input at the top",
            )
        for name in names:
            if name not in self.names():
                alone = "gradients is drawn alone" if name == "gradients" else "name one of them"
                raise ArgumentError(
                    "plot",
                    f"got {name!r}",
                    f"expected one of {', '.join([*self.names(), 'gradients'])}",
                    alone,
                    user_line(),
                )
        chosen = names or [n for n in ("loss", "valid_loss") if n in self.names()]
        series = {n.replace("_", " "): self[n] for n in chosen}
        return lines(series, title=", ".join(series), x_label="epoch", y_label="value")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; without the probes, which are arrays."""
        return {
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "gradients": dict(vars(self.gradients)),
            "refused": self.refused,
            "first": self.first,
            "untrained": self.untrained,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """The inverse of `to_dict`."""
        return cls(
            values["epochs"],
            values["best_epoch"],
            values["stopped"],
            GradientFlow(**values["gradients"]),
            refused=values.get("refused", []),  # absent from checkpoints of earlier versions
            first=values.get("first", {}),
            untrained=values.get("untrained", []),
        )
