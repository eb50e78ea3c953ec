"""Parameters that nothing trains, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...errors import warn
from ...nn import Module
from ...optim import Optimizer
from ...sparse import RowSparse
from ..evaluation.tracing import forward_graph


def still_untrained(
    before: list[str] | None, warns: bool, model: Module, optimizer: Optimizer, x: Any, loss: float
) -> list[str]:
    """After a step: the parameters that no step has trained so far, with the reasons.

    before   the same after the step before; None after the first
    warns    whether to say it to the user
    """
    now = dict(_untrained(model, optimizer, x, loss))
    reasons = now if before is None else dict(u.split(": ", 1) for u in before)
    untrained = [f"{name}: {why}" for name, why in reasons.items() if name in now]
    if untrained and warns:
        listed = "\n  ".join(untrained)
        warn(f"[fit] these parameters are not trained:\n  {listed}")
    return untrained


def _untrained(
    model: Module, optimizer: Optimizer, x: Any, loss: float
) -> Iterator[tuple[str, str]]:
    """The names of the parameters that nothing trains, each with the reason.

    loss   of that step; if it is 0 (each target is ignored, say), gradients of 0 are right
    """
    trained = {id(p) for group in optimizer.param_groups for p in group.params}
    used: set[int] | None = None
    for name, p in model.named_parameters():
        if not p.requires_grad:  # frozen on purpose
            continue
        if id(p) not in trained:
            yield name, "the optimizer does not have it (create it after the last layer)"
        elif p.grad is None:
            used = _tensors_read(model, x) if used is None else used
            yield (
                name,
                "no gradient reached it: detach, argmax, rounding or a comparison cuts the path to "
                "the loss"
                if id(p) in used
                else "forward does not use it",
            )
        elif loss and not _any_nonzero(p.grad):
            yield name, "its gradient is 0 everywhere (dead units, or zeros multiply it)"


def _any_nonzero(g: Any) -> bool:
    return bool(np.any((g.values if isinstance(g, RowSparse) else g).numpy()))


def _tensors_read(model: Module, x: Any) -> set[int]:
    """The tensors that a forward pass reads."""
    recorded = forward_graph(model, x)
    return set() if recorded is None else {id(owner) for owner, _ in recorded.reads}
