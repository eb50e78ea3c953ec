"""Training and evaluation mode of a model, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ... import random
from ...nn import Module
from ...tensor import no_grad


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Inside, dropout passes through and running statistics are used; then as it was.

    Random numbers that a model draws even so are not taken from those of the training.
    """
    drawn = random.default.state
    with in_mode(model, training=False):
        try:
            with no_grad():
                yield
        finally:
            random.default.set_state(drawn)


@contextmanager
def in_mode(model: Module, training: bool) -> Iterator[None]:
    """Inside, the model is in that mode; then each module is in its own again.

    In training what the user has put into evaluation mode stays in it: modules of a model in
    training mode, and of one that is in evaluation mode as a whole, those that are frozen.
    """
    modes = [(m, m.training) for m in model.modules()]
    still = _evaluated(model) if training else []
    model.train(training)
    for module in still:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


def _evaluated(model: Module) -> list[Module]:
    """The modules that stay in evaluation mode while the model is trained."""
    still = [m for m in model.modules() if not m.training]
    if model.training:
        return still
    frozen = {id(inner) for m in still if _is_frozen(m) for inner in m.modules()}
    return [m for m in still if id(m) in frozen]


def _is_frozen(module: Module) -> bool:
    parameters = module.parameters()
    return bool(parameters) and not any(p.requires_grad for p in parameters)
