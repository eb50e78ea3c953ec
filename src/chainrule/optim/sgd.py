"""Stochastic gradient descent."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from ..broadcasting import cast
from ..errors import ArgumentError
from ..tensor import Tensor
from .group import Group
from .optimizer import Optimizer


class SGD(Optimizer):
    """w ← w - lr · v with v = momentum · v + (1 - dampening) · (g + weight_decay · w).

    nesterov   uses g + momentum · v instead of v (Sutskever et al., 2013)
    A parameter's first v is its first gradient, without dampening.
    """

    slots: tuple[str, ...] = ("momentum_buffer",)
    needed = MappingProxyType({"momentum_buffer": "momentum"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ArgumentError(
                "SGD",
                f"got nesterov with momentum {momentum}, dampening {dampening}",
                "expected momentum above 0 and no dampening",
                "set momentum=0.9",
            )
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        def setting(name: str) -> Tensor:
            return cast(group.scalar(name), p.dtype)

        if group.on("maximize"):
            g = -g
        if group.on("weight_decay"):
            g = g + setting("weight_decay") * p
        if "momentum_buffer" in s and group.on("momentum"):
            share = g
            if group.on("dampening"):
                first = cast(s["step"] == 1, p.dtype)
                share = g * (1 - setting("dampening") * (1 - first))
            v = s["momentum_buffer"] = setting("momentum") * s["momentum_buffer"] + share
            g = g + setting("momentum") * v if group.on("nesterov") else v
        return p - setting("lr") * g
