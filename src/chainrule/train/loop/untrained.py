"""Parameters that nothing trains, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...nn import Module
from ...optim import Optimizer
from ...sparse import RowSparse
from .tracing import forward_graph


def untrained_parameters(model: Module, optimizer: Optimizer, x: Any, loss: float) -> Iterator[str]:
    """After a first step: each parameter that nothing trains, by name, and why.

    loss   of that step; if it is 0 (each target ignored, say), gradients of 0 are as they should be
    """
    given = {id(p) for group in optimizer.param_groups for p in group.params}
    used: set[int] | None = None
    for name, p in model.named_parameters():
        if not p.requires_grad:  # frozen on purpose
            continue
        if id(p) not in given:
            yield f"{name}: the optimizer was not given it (build it after the last layer is made)"
        elif p.grad is None:
            used = _tensors_read(model, x) if used is None else used
            yield f"{name}: " + (
                "no gradient reached it, the way to the loss is cut (detach, argmax, rounding, a "
                "comparison)"
                if id(p) in used
                else "forward does not use it"
            )
        elif loss and not _any_nonzero(p.grad):
            yield f"{name}: its gradient is 0 everywhere (dead units, or zeros multiply it)"


def _any_nonzero(g: Any) -> bool:
    return bool(np.any((g.values if isinstance(g, RowSparse) else g).numpy()))


def _tensors_read(model: Module, x: Any) -> set[int]:
    """The tensors that a forward pass reads."""
    made = forward_graph(model, x)
    return set() if made is None else {id(owner) for owner, _ in made.reads}
