"""Training and evaluation mode of a model, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ... import random
from ...nn import Module
from ...tensor import no_grad


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; the former mode again afterwards.

    Random numbers that a model draws inside do not change those of the training.
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
    """The model is in this mode inside; each module is in its former mode again afterwards.

    For training, modules that the user has put into evaluation mode stay in it; if the whole model
    is in evaluation mode, only its frozen modules do.
    """
    modes = [(m, m.training) for m in model.modules()]
    staying = _stay_in_evaluation(model) if training else []
    model.train(training)
    for module in staying:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


def _stay_in_evaluation(model: Module) -> list[Module]:
    """The modules that stay in evaluation mode while the model is trained."""
    evaluated = [m for m in model.modules() if not m.training]
    if model.training:
        return evaluated
    frozen = {id(inner) for m in evaluated if _is_frozen(m) for inner in m.modules()}
    return [m for m in evaluated if id(m) in frozen]


def _is_frozen(module: Module) -> bool:
    parameters = module.parameters()
    return bool(parameters) and not any(p.requires_grad for p in parameters)
