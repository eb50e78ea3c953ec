"""A loss that reads its parameters from outside, as a function of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..dtypes import is_floating
from ..errors import ArgumentError, user_line
from ..explanation.simplified import value_of
from ..graph import spec_text
from ..recording import record, replay
from ..tensor import Tensor, as_tensor

Function = Callable[..., Tensor]


def as_function(
    name: str, loss: Callable[[], Any], parameters: Iterable[Tensor]
) -> tuple[Function, list[Tensor]]:
    """The loss as a function of those parameters that it reads and that are not frozen, and their
    values.

    It is recorded once: random numbers stay the same, and nothing from outside is assigned.
    """
    if isinstance(loss, Tensor) or not callable(loss):
        got = spec_text(loss) if isinstance(loss, Tensor) else type(loss).__name__
        raise ArgumentError(
            name,
            f"got {got}",
            "expected a function without arguments that computes the loss",
            f"{name}(lambda: loss(model(x), y), model.parameters())",
            user_line(),
        )
    if not isinstance(parameters, Iterable):
        raise ArgumentError(
            name,
            f"got parameters of type {type(parameters).__name__}",
            "expected tensors",
            "pass model.parameters()",
            user_line(),
        )
    recorded = record(lambda _: [as_tensor(loss())], [], name=name)
    result = recorded.graph.outputs[0]
    if result.shape or not is_floating(result.dtype):
        raise ArgumentError(
            name,
            f"got a function that returns {spec_text(result)}",
            "expected one floating scalar",
            "reduce it with sum() or mean()",
            user_line(),
        )
    values = [as_tensor(value_of(owner, slot)) for owner, slot in recorded.reads]
    read = {id(owner): k for k, (owner, slot) in enumerate(recorded.reads) if slot == "value"}
    places = [read[id(p)] for p in parameters if id(p) in read and p.requires_grad]
    if not places:
        raise ArgumentError(
            name,
            "got a loss that reads none of the parameters",
            "expected parameters of the model, not frozen, in the loss",
            f"{name}(lambda: loss(model(x), y), model.parameters())",
            user_line(),
        )

    def function(*parameters: Tensor) -> Tensor:
        inputs = [*values]
        for place, p in zip(places, parameters, strict=True):
            inputs[place] = p
        return replay(recorded.graph, inputs)[0]

    return function, [values[place] for place in places]
