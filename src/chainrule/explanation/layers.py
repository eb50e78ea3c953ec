"""Equal layers, explained once: which steps repeat the steps before them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from ..graph import spec_text
from .derivation import MOVES
from .steps import Step


@dataclass
class Layers:
    """A step by itself, or the steps of a layer and of those behind it that are equal to it.

    steps     that are explained
    repeats   for each equal layer its steps, which are like these with other weights
    """

    steps: list[Step]
    repeats: list[list[Step]] = field(default_factory=list)

    @property
    def note(self) -> list[str]:
        """One line on the repetitions, if there are some."""
        if not self.repeats:
            return []
        first, *others = map(common_path, (self.steps, *self.repeats))
        which = others[0] if len(others) == 1 else f"{others[0]} to {others[-1]}"
        return [f"{which}: as {first}, with other weights"]


def folded(steps: Sequence[Step]) -> list[Layers]:
    """The steps in order, with equal layers put together.

    Layers are equal whose modules have the same paths but for numbers, are of the same kinds, and
    run the same operations on the same shapes.
    """
    marks = [_signature(step) for step in steps]
    places: dict[Any, list[int]] = {}
    for k, mark in enumerate(marks):
        if mark is not None:
            places.setdefault(mark, []).append(k)
    out: list[Layers] = []
    k = 0
    while k < len(steps):
        size, times = _repetition(steps, marks, places, k)
        if times:
            ends = [k + size * (t + 1) for t in range(times + 1)]
            parts = [list(steps[end - size : end]) for end in ends]
            out.append(Layers(parts[0], parts[1:]))
            k = ends[-1]
        else:
            out.append(Layers([steps[k]]))
            k += 1
    return out


def _signature(step: Step) -> Any:
    """Equal for steps that compute the same of other weights; None for a line of the user's."""
    if not step.path:
        return None
    nodes = tuple((n.op, spec_text(n)) for n in step.nodes if n.op not in MOVES)
    return re.sub(r"\d+", "#", step.path), step.kind, nodes, tuple(map(spec_text, step.inputs))


def _repetition(
    steps: Sequence[Step], marks: Sequence[Any], places: Mapping[Any, Sequence[int]], k: int
) -> tuple[int, int]:
    """The number of steps from k on that repeat, and how often they do; the fewest steps first.

    Steps that are no module of their own begin with weights, as a linear layer and its activation.
    """
    has_weights = bool(steps[k].path) and any(True for _ in steps[k].module.parameters())
    for again in places.get(marks[k], []):
        size = again - k
        if size < 1:
            continue
        if k + 2 * size > len(steps) or None in marks[k:again]:
            break
        times = 0
        while marks[k : k + size] == marks[k + size * (times + 1) : k + size * (times + 2)]:
            times += 1
        first, second = (_common(steps[at : at + size]) for at in (k, again))
        if times and (first != second or (has_weights and not first)):
            return size, times
    return 0, 0


def common_path(steps: Sequence[Step]) -> str:
    """The path that the modules of these steps have in common: layers.0; or from where to where."""
    return _common(steps) or f"{steps[0].path}–{steps[-1].path}"


def _common(steps: Sequence[Step]) -> str:
    names = zip(*(step.path.split(".") for step in steps), strict=False)
    return ".".join(n[0] for n in takewhile(lambda n: len({*n}) == 1, names))
