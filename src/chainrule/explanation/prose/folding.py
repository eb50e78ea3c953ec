"""Equal layers, explained once: which steps repeat the steps before them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...graph import spec_text
from ..steps import Step


@dataclass
class Block:
    """Steps that are explained, and the repetitions that are not.

    repeats   for each further time the steps that are like these, with other weights
    """

    steps: list[Step]
    repeats: list[list[Step]] = field(default_factory=list)

    def note(self) -> str:
        """One sentence on the repetitions, or an empty text."""
        if not self.repeats:
            return ""
        first, *others = (_common_path(steps) for steps in [self.steps, *self.repeats])
        which = others[0] if len(others) == 1 else f"{others[0]} to {others[-1]}"
        return f"{which}: as {first}, with other weights"


def folded(steps: Sequence[Step]) -> list[Block]:
    """The steps in order, those of equal layers in one block."""
    marks = [_signature(step) for step in steps]
    blocks: list[Block] = []
    k = 0
    while k < len(steps):
        size, times = _repetition(steps, marks, k)
        if times:
            ends = [k + size * (t + 1) for t in range(times + 1)]
            parts = [list(steps[end - size : end]) for end in ends]
            blocks.append(Block(parts[0], parts[1:]))
            k = ends[-1]
        else:
            blocks.append(Block([steps[k]]))
            k += 1
    return blocks


def _signature(step: Step) -> Any:
    """Equal for steps that compute the same of other weights; None for a line of the user's."""
    if not step.path:
        return None
    nodes = tuple((str(n.op), spec_text(n)) for n in step.nodes)
    return re.sub(r"\d+", "#", step.path), step.kind, nodes


def _repetition(steps: Sequence[Step], marks: Sequence[Any], k: int) -> tuple[int, int]:
    """The number of steps from k on that repeat, and how often they do; the fewest steps first."""
    for size in range(1, (len(steps) - k) // 2 + 1):
        if None in marks[k : k + size]:
            break
        times = 0
        while marks[k : k + size] == marks[k + size * (times + 1) : k + size * (times + 2)]:
            times += 1
        if times and len({s.path for s in steps[k : k + size * 2]}) > 1:
            return size, times
    return 0, 0


def _common_path(steps: Sequence[Step]) -> str:
    """The path that the modules of these steps have in common: layers.0."""
    parts = [step.path.split(".") for step in steps]
    common = [group[0] for group in zip(*parts, strict=False) if len({*group}) == 1]
    return ".".join(common) or f"{steps[0].path}–{steps[-1].path}"
