"""The graph of a forward pass, for the checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import tree
from ...errors import ChainruleError
from ...recording import Function, Recorded, record
from ...tensor import Tensor, as_tensor, no_grad


def forward_graph(model: Callable[[Any], Any], x: Any) -> Recorded | None:
    leaves, structure = tree.flatten(x)
    tensors = [as_tensor(leaf) for leaf in leaves]

    def forward(inputs: list[Tensor]) -> list[Tensor]:
        return [as_tensor(t) for t in tree.flatten(model(tree.unflatten(structure, inputs)))[0]]

    return traced_graph(forward, [(t.shape, t.dtype, False) for t in tensors])


def traced_graph(function: Function, specs: Sequence[tuple[Any, Any, bool]]) -> Recorded | None:
    """The graph of a function; None if it branches on values, which are unknown here."""
    try:
        with no_grad():
            return record(function, specs)
    except ChainruleError:
        return None
