"""What equations are: data, for texts and for the page."""

from __future__ import annotations

from dataclasses import dataclass

from ...graph import Shape
from ..recorder import Pull
from ..steps import Step
from .expression import At, Expr, Index, Symbol


@dataclass
class Equation:
    """left = right, for all values of the indices.

    left       the element that is defined; of a block of the tensor where places have offsets
    shape      of what is defined
    step       that it belongs to
    pull       the use of the chain rule that it is of; None in the forward pass
    backward   whether it is of the backward pass
    """

    left: At
    indices: tuple[Index, ...]
    right: Expr
    shape: Shape
    step: Step | None
    pull: Pull | None
    backward: bool


@dataclass
class Mathematics:
    """The equations of a backward pass.

    parts     (step, its equations): forward, then backward from the loss
    assumed   conditions that the sample decides, and whether they are true
    inputs    the symbols that no equation defines
    """

    parts: list[tuple[Step | None, list[Equation]]]
    assumed: dict[Expr, bool]
    inputs: list[Symbol]
