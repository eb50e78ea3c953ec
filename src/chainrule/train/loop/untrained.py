"""Parameters that nothing trains, and why."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from ...diagnosis.history import ZERO
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
    """The names of the parameters that nothing trains, each with the reason."""
    trained = {id(p) for group in optimizer.param_groups for p in group.params}
    read = cache(lambda: tensors_read(model, x))
    for name, p in model.named_parameters():
        if p.requires_grad and p.size:  # others are frozen on purpose, or have no elements
            nonzero = None if p.grad is None else _any_nonzero(p.grad)
            is_read = nonzero is not None or id(p) in read()
            why = reason(id(p) in trained, nonzero, is_read, loss)
            if why:
                yield name, why


def reason(trained: bool, nonzero: bool | None, is_read: bool, loss: float) -> str:
    """Why nothing trains a parameter, by one backward pass; "" if something does.

    trained   whether the optimizer has it
    nonzero   whether its gradient has a number other than 0; None if it has no gradient
    is_read   whether a forward pass reads it
    loss      of that pass; if it is 0 (each target is ignored, say), gradients of 0 are right
    """
    if not trained:
        return "the optimizer does not have it (create it after the last layer)"
    if nonzero is None:
        return (
            "no gradient reached it: detach, argmax, rounding or a comparison cuts the path to "
            "the loss"
            if is_read
            else "forward does not use it"
        )
    return ZERO if loss and not nonzero else ""


def _any_nonzero(g: Any) -> bool:
    return bool(np.any((g.values if isinstance(g, RowSparse) else g).numpy()))


def tensors_read(model: Module, x: Any) -> set[int]:
    """The tensors that a forward pass reads."""
    recorded = forward_graph(model, x)
    return set() if recorded is None else {id(owner) for owner, _ in recorded.reads}
