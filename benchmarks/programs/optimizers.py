"""Optimizers by name, with the defaults of the collection, and the decay of their rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import chainrule as cr
from chainrule import nn, optim


class _Ascending:
    """Goes up the gradient, for optimizers without `maximize`."""

    def _update(self, group: Any, p: cr.Tensor, g: cr.Tensor, s: dict[str, cr.Tensor]) -> cr.Tensor:
        return super()._update(group, p, -g, s)  # type: ignore[misc]


class AscendingRMSprop(_Ascending, optim.RMSprop):
    """RMSprop up the gradient."""


class AscendingAdadelta(_Ascending, optim.Adadelta):
    """Adadelta up the gradient."""


NAMES = "sgd", "adam", "rmsprop", "adadelta"


def optimizer(spec: Mapping[str, Any], model: nn.Module) -> optim.Optimizer:
    """The optimizer of a recipe. `ascent` flips the sign of the gradient."""
    weights, lr = model.named_parameters(), spec["lr"]
    eps, ascent = spec.get("epsilon", 1e-7), bool(spec.get("ascent"))
    match spec["name"]:
        case "sgd":
            momentum, nesterov = spec.get("momentum", 0.0), spec.get("nesterov", False)
            return optim.SGD(weights, lr, momentum=momentum, nesterov=nesterov, maximize=ascent)
        case "adam":
            return optim.Adam(weights, lr, eps=eps, maximize=ascent)
        case "rmsprop":
            return (AscendingRMSprop if ascent else optim.RMSprop)(weights, lr, alpha=0.9, eps=eps)
        case "adadelta":
            return (AscendingAdadelta if ascent else optim.Adadelta)(weights, lr, rho=0.95, eps=eps)
        case name:
            raise ValueError(f"got the optimizer {name!r}; expected one of {', '.join(NAMES)}")


def schedule(spec: Mapping[str, Any], of: optim.Optimizer) -> optim.Schedule | None:
    """lr / (1 + decay · t) at step t, for a recipe with decay."""
    decay = spec.get("decay")
    return optim.LambdaLR(of, lambda t: 1 / (1 + decay * t)) if decay else None
