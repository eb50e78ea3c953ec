"""Losses as modules: the functions of `losses` with their settings."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from collections.abc import Callable
from numbers import Number
from typing import Any

from ..errors import ArgumentError, DtypeError, ShapeError, user_line
from ..functions import creation
from ..tensor import Tensor
from . import losses
from .module import Module


class Loss(Module):
    """A loss function and its settings, by name: module(prediction, target)."""

    function: Callable[..., Tensor]

    def __init__(self, *args: Any, **settings: Any) -> None:
        name, known = type(self).__name__, list(inspect.signature(type(self)).parameters)
        unknown = [
            *(f"{type(a).__name__} by position" for a in args),
            *(k for k in settings if k not in known),
        ]
        if unknown:
            near = difflib.get_close_matches(unknown[0], known, 1)
            raise ArgumentError(
                name,
                f"got {'' if args else 'the setting '}{unknown[0]}",
                f"expected settings by name, of {', '.join(known)}",
                f"did you mean {near[0]}?"
                if near
                else f"{name}()(prediction, target) is the loss of tensors",
                user_line(),
            )
        self._try(settings)
        self.settings = settings

    def _try(self, settings: dict[str, Any]) -> None:
        """Raise for a number that the function refuses, by a call with tensors without rows."""
        numbers = {k: v for k, v in settings.items() if isinstance(v, (str, Number))}
        numbers.pop("ignore_index", None)  # it needs class numbers as targets
        parameters = inspect.signature(type(self).function).parameters.values()
        tensors = [p for p in parameters if p.default is p.empty and p.name not in numbers]
        with contextlib.suppress(ShapeError, DtypeError):  # the tensors may not fit
            type(self).function(*[creation.zeros((0, 1))] * len(tensors), **numbers)

    def forward(self, *args: Any) -> Tensor:
        return type(self).function(*args, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in self.settings.items())


def _loss(name: str, function: Callable[..., Tensor]) -> type[Loss]:
    """The loss as a module; its settings are the arguments that are optional in the function."""
    parameters = inspect.signature(function).parameters.values()
    settings = [
        p.replace(kind=p.KEYWORD_ONLY)
        for p in parameters
        if p.default is not p.empty or p.name == "var"
    ]
    body = {
        "function": staticmethod(function),
        "__doc__": function.__doc__,
        "__signature__": inspect.Signature(settings),
    }
    return type(name, (Loss,), body)


BCELoss = _loss("BCELoss", losses.binary_cross_entropy)
BCEWithLogitsLoss = _loss("BCEWithLogitsLoss", losses.binary_cross_entropy_with_logits)
CosineEmbeddingLoss = _loss("CosineEmbeddingLoss", losses.cosine_embedding_loss)
CrossEntropyLoss = _loss("CrossEntropyLoss", losses.cross_entropy)
GaussianNLLLoss = _loss("GaussianNLLLoss", losses.gaussian_nll_loss)
HingeEmbeddingLoss = _loss("HingeEmbeddingLoss", losses.hinge_embedding_loss)
HuberLoss = _loss("HuberLoss", losses.huber_loss)
KLDivLoss = _loss("KLDivLoss", losses.kl_div)
L1Loss = _loss("L1Loss", losses.l1_loss)
MarginRankingLoss = _loss("MarginRankingLoss", losses.margin_ranking_loss)
MSELoss = _loss("MSELoss", losses.mse_loss)
NLLLoss = _loss("NLLLoss", losses.nll_loss)
PoissonNLLLoss = _loss("PoissonNLLLoss", losses.poisson_nll_loss)
SmoothL1Loss = _loss("SmoothL1Loss", losses.smooth_l1_loss)
SoftMarginLoss = _loss("SoftMarginLoss", losses.soft_margin_loss)
TripletMarginLoss = _loss("TripletMarginLoss", losses.triplet_margin_loss)
