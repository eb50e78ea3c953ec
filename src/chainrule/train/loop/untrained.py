"""Parameters that nothing trains, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...nn import Module
from ...optim import Optimizer
from ...sparse import RowSparse
from ..evaluation.tracing import forward_graph


def untrained_parameters(model: Module, optimizer: Optimizer, x: Any, loss: float) -> Iterator[str]:
    """After the first step: the parameters that nothing trains, by name, and why.

    loss   of that step; if it is 0 (each target is ignored, say), gradients of 0 are right
    """
    trained = {id(p) for group in optimizer.param_groups for p in group.params}
    used: set[int] | None = None
    for name, p in model.named_parameters():
        if not p.requires_grad:  # frozen on purpose
            continue
        if id(p) not in trained:
            yield f"{name}: the optimizer does not have it (create it after the last layer)"
        elif p.grad is None:
            used = _tensors_read(model, x) if used is None else used
            yield f"{name}: " + (
                "no gradient reached it: detach, argmax, rounding or a comparison cuts the path to "
                "the loss"
                if id(p) in used
                else "forward does not use it"
            )
        elif loss and not _any_nonzero(p.grad):
            yield f"{name}: its gradient is 0 everywhere (dead units, or zeros multiply it)"


def _any_nonzero(g: Any) -> bool:
    return bool(np.any((g.values if isinstance(g, RowSparse) else g).numpy()))


def _tensors_read(model: Module, x: Any) -> set[int]:
    """The tensors that a forward pass reads."""
    recorded = forward_graph(model, x)
    return set() if recorded is None else {id(owner) for owner, _ in recorded.reads}
