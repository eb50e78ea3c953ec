"""What is no model or optimizer of PyTorch that can be diagnosed."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import ArgumentError
from ..first_rows import expect_parameters, expect_rate

torch: Any = importlib.import_module("torch")


def expect(fits: bool, value: Any, name: str, expected: str) -> None:
    """Raise if an argument is of another type."""
    if not fits:
        raise ArgumentError(
            "diagnose",
            f"got {name} of type {type(value).__name__}",
            f"expected {expected}",
            "for a model of chainrule: chainrule.diagnose",
        )


def check_model(model: Any) -> None:
    """Raise unless it has modules that can be observed, and weights to train."""
    expect(isinstance(model, torch.nn.Module), model, "model", "a torch.nn.Module")
    scripted = any(isinstance(m, torch.jit.ScriptModule) for m in model.modules())
    lazy = any(torch.nn.parameter.is_lazy(p) for p in model.parameters())
    if scripted or lazy or any(p.is_meta for p in model.parameters()):
        arrived, expected, advice = _SCRIPTED if scripted else _LAZY if lazy else _META
        raise ArgumentError("diagnose", f"got a model {arrived}", f"expected {expected}", advice)
    expect_parameters(model)


_SCRIPTED = (
    "of torch.jit",
    "modules of Python, which are observed and exchanged one by one",
    "pass the model that torch.jit.script or torch.jit.trace got",
)
_LAZY = (
    "with lazy layers, which have no weights yet",
    "first weights",
    "call model(x[:1]) before, and make the optimizer afterwards",
)
_META = (
    "with parameters on the device meta, which has no numbers",
    "first weights",
    'make the model on the CPU, or call model.to_empty(device="cpu") and initialize it',
)


def check_optimizer(optimizer: Any, model: Any) -> None:
    """Raise unless it is one of the model's parameters whose steps need no more than gradients."""
    is_one = isinstance(optimizer, torch.optim.Optimizer)
    expect(is_one, optimizer, "optimizer", "one of PyTorch")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ArgumentError(
            "diagnose",
            "got LBFGS",
            "expected an optimizer whose step needs no closure",
            "try optimizer=torch.optim.Adam(model.parameters())",
        )
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ArgumentError(
            "diagnose",
            "got an optimizer without a parameter of the model",
            "expected the optimizer of this model",
            "make it of model.parameters(), after the model",
        )
    expect_rate(optimizer)
