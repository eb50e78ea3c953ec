"""Equal layers, written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...graph import Shape
from .. import layers
from ..steps import Step
from .equation import Equation, Mathematics
from .expression import Compare, Symbol
from .sharing import pattern

Part = tuple[Step | None, list[Equation]]


@dataclass
class Section:
    """Parts of one of several equal layers, or others in a row, in one direction.

    layer   the path of the layer; "" for others
    like    the path of the layer whose equations are the same but for names, "" if it is the first
    """

    layer: str
    parts: list[Part]
    like: str = ""

    @property
    def is_backward(self) -> bool:
        return self.parts[0][1][0].backward


def folded(mathematics: Mathematics) -> list[Section]:
    """The parts by layer, in order; those of a layer say which one they are like.

    The equations of equal layers can differ on the way back: the first may give no gradient to
    what it reads.
    """
    path: dict[Step | None, str] = {}
    for equal in layers.folded([*dict.fromkeys(s for s, _ in mathematics.parts if s)]):
        for steps in (equal.steps, *equal.repeats) if equal.repeats else ():
            path |= dict.fromkeys(steps, layers.common_path(steps))
    sections: list[Section] = []
    for part in mathematics.parts:
        layer, backward = path.get(part[0], ""), part[1][0].backward
        last = sections[-1] if sections else None
        if last is None or (last.layer, last.is_backward) != (layer, backward):
            sections.append(Section(layer, []))
        sections[-1].parts.append(part)
    first: dict[Any, Section] = {}
    for section in filter(lambda s: s.layer, sections):
        same = first.setdefault(_signature(section.parts), section)
        section.like = same.layer if same is not section else ""
    return sections


def _signature(parts: Sequence[Part]) -> Any:
    """What equal layers have in common: all but the symbols, which are numbered as they appear."""
    numbers: dict[Symbol, int] = {}

    def number(symbol: Symbol) -> tuple[int, Shape]:
        return numbers.setdefault(symbol, len(numbers)), symbol.shape

    return tuple(
        (
            equations[0].backward,
            *(pattern(Compare("=", e.left, e.right), number).key for e in equations),
        )
        for _, equations in parts
    )
