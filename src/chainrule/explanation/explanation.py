"""`explain`: a backward pass as an object that shows itself in several forms."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from ..graph import Array, Node
from . import prose
from .derive import derive
from .steps import Step, names_of, steps_of


class Explanation:
    """The backward pass of a function on a sample; `explain` makes it.

    loss        its value
    gradients   ∂loss/∂variable by name, as arrays
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._call = function, args, kwargs
        self._derivation = derive(function, args, kwargs)

    @property
    def loss(self) -> float:
        """The value of the loss."""
        return float(self._derivation.value(self._derivation.loss).item())

    @property
    def gradients(self) -> dict[str, Array]:
        """∂loss/∂variable, by the variable's name."""
        d = self._derivation
        return {name: d.value(node) for name, node in d.gradients.items()}

    @cached_property
    def _steps(self) -> list[Step]:
        return steps_of(self._derivation)

    @cached_property
    def _names(self) -> dict[Node, str]:
        return names_of(self._derivation, self._steps)

    def text(self) -> str:
        """The pass, compact, for a terminal: every operation with its rule and its numbers."""
        return prose.text(self._derivation, self._steps, self._names)

    def story(self) -> str:
        """The pass for readers without calculus, with the numbers of the sample."""
        return prose.story(self._derivation, self._steps, self._names)

    def arrays(self) -> dict[str, Array]:
        """What the function of `numpy()` is called with: parameters, data, random masks."""
        return {i.name: i.value for i in self._derivation.inputs.values()}


def explain(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Explanation:
    """The backward pass of function(*args, **kwargs), explained.

    function   returns the loss (or a tuple that begins with it); or a training step, which calls
               backward() itself

    The function is recorded once, as by `cr.compile`; nothing is trained or assigned. Gradients are
    by the parameters that the function uses and the arguments that require a gradient; if there are
    none, by the floating arguments.
    """
    return Explanation(function, args, kwargs)
