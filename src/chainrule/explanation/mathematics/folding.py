"""Equal layers, explained once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...graph import Shape
from ..steps import Step
from .equation import Equation, Mathematics
from .expression import Compare, Symbol
from .sharing import pattern

_LEAST = 3  # parts of a layer that is not written again

Part = tuple[Step | None, list[Equation]]


@dataclass
class Group:
    """Parts of one layer, or others in a row, in one direction.

    layer   the path of the layer, up to its first number; "" for others
    like    the path of the layer whose equations are the same but for names, "" if it is the first
    """

    layer: str
    parts: list[Part]
    like: str = ""

    @property
    def is_backward(self) -> bool:
        return self.parts[0][1][0].backward


def folded(mathematics: Mathematics) -> list[Group]:
    """The parts by layer, in order; equal layers say which layer they are like."""
    groups: list[Group] = []
    for part in mathematics.parts:
        layer = _layer(part[0])
        previous = groups[-1] if groups else None
        turned = previous and previous.is_backward != part[1][0].backward
        if previous is None or turned or previous.layer != layer:
            groups.append(Group(layer, []))
        groups[-1].parts.append(part)
    first: dict[Any, Group] = {}
    for group in groups:
        if group.layer and len(group.parts) >= _LEAST:
            same = first.setdefault(_signature(group.parts), group)
            group.like = same.layer if same is not group else ""
    return groups


def _layer(step: Step | None) -> str:
    """`layers.0` of `layers.0.norm1`: the path up to its first number."""
    match = re.match(r"(.*?\.)??\d+(?=\.|$)", step.path) if step else None
    return match[0] if match else ""


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
