"""Faults of gradients on their way back through the steps of a recurrent layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...diagnosis.finding import Change
from ...graph import Array
from ..facts import Facts
from .fault import Fault

EXPLODED = 50.0  # ∂loss/∂input of the first step over that of the last
FORGOTTEN, NOTHING = 1e-3, 1e-6  # likewise; float32 has 7 digits
LITTLE = 1e-3  # of the largest step's gradient: a step that gets less hardly counts
EQUAL = 1e-6  # largest difference of the units of a recurrent layer
CLIPPED = 1.0  # the norm to clip to


def time_faults(f: Facts) -> Iterator[Fault]:
    """What grows or is lost from the last step back to the first; units that stay equal."""
    for a in f.weights:
        if a.by_step is None:
            continue
        again = (Change("initialisation", a.path, "orthogonal"),)
        units = a.by_unit
        if units.shape[1] > 1 and units.any() and np.ptp(units, axis=1).max() < EQUAL:
            cause = "all units of the layer give the same numbers, so that they stay equal"
            yield Fault("init_symmetric", a.path, cause, 1.0, again, True)
        flow = flow_of(a.by_step)
        memory = Change("memory", a.path, flow.steps)
        gates = (Change("recurrent", a.path, "gru"), memory) if a.name == "RNN" else (memory,)
        evidence = {"by_step": a.by_step.tolist()}
        if flow.ratio > EXPLODED:
            clip = (Change("clip", "clip_norm", CLIPPED),)
            for prior, changes in (0.8, again), (0.5, gates), (0.4, clip):
                yield Fault(
                    "exploding_gradient", a.path, str(flow), prior, changes, evidence=evidence
                )
        elif flow.ratio < FORGOTTEN:
            likely = 0.8 if flow.ratio < NOTHING else 0.5
            for prior, changes in (likely, again), (likely - 0.05, gates):
                yield Fault(
                    "vanishing_gradient", a.path, str(flow), prior, changes, evidence=evidence
                )


@dataclass(frozen=True)
class Flow:
    """How the gradient of the steps' inputs changes from the last step back.

    ratio    of the first step over that of the last
    steps    how many there are
    factor   steps in which it doubles, or in which half of it is lost; infinite if it stays
    lost     the steps from 1 on that get less than a thousandth of the largest one's
    """

    ratio: float
    steps: int
    factor: float
    lost: int

    def __str__(self) -> str:
        if self.ratio == 0:
            how = "no gradient reaches the input of step 1"
        else:
            how = f"the gradient of step 1's input is {self.ratio:.2g} times that of"
            how += f" step {self.steps}'s"
        if math.isfinite(self.factor):
            count = "step" if round(self.factor, 1) == 1 else f"{self.factor:.2g} steps"
            how += f": it doubles every {count}" if self.ratio > 1 else ""
            how += f": half of it is lost every {count}" if self.ratio < 1 else ""
        if self.lost:
            which = "step 1 gets" if self.lost == 1 else f"steps 1 to {self.lost} get"
            how += f", and {which} less than a thousandth"
        return how


def flow_of(by_step: Array) -> Flow:
    """Of the size of the gradient of each step's input, (T,); zeros are below the range of
    float32.
    """
    first, last = float(by_step[0]), float(by_step[-1])
    ratio = first / last if last else 1.0
    reached = int(np.argmax(by_step > 0))  # the first step with a gradient
    change = math.log2(by_step[reached] / last) if last else 0.0
    factor = (len(by_step) - 1 - reached) / abs(change) if change else math.inf
    lost = int(np.argmax(by_step >= LITTLE * by_step.max()))
    return Flow(ratio, len(by_step), factor, lost)
