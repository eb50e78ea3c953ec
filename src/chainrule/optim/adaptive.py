"""Step sizes from the history of the squared gradient: RMSprop, Adagrad, Adadelta; and Lion."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from ..broadcasting import cast
from ..functions import creation, elementwise
from ..tensor import Tensor
from .group import Group
from .optimizer import Optimizer


def _decayed(group: Group, p: Tensor, g: Tensor) -> Tensor:
    """The gradient with weight_decay · w added."""
    if not group.on("weight_decay"):
        return g
    return g + cast(group.scalar("weight_decay"), p.dtype) * p


class RMSprop(Optimizer):
    """w ← w - lr · g / (√v + ε) with v = α v + (1 - α) g² (Tieleman and Hinton, 2012).

    centered subtracts the squared mean gradient from v; momentum runs over the whole step.
    """

    slots: tuple[str, ...] = ("square_avg", "momentum_buffer")
    needed = MappingProxyType({"momentum_buffer": "momentum"})

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        if centered:
            self.slots = (*self.slots, "grad_avg")
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
            },
        )

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        g = _decayed(group, p, g)
        alpha, lr = cast(group.scalar("alpha"), p.dtype), cast(group.scalar("lr"), p.dtype)
        rest = cast(1 - group.scalar("alpha"), p.dtype)
        v = s["square_avg"] = alpha * s["square_avg"] + rest * (g * g)
        if "grad_avg" in s:
            mean = s["grad_avg"] = alpha * s["grad_avg"] + rest * g
            v = v - mean * mean
        step = g / (elementwise.sqrt(v) + cast(group.scalar("eps"), p.dtype))
        if "momentum_buffer" in s and group.on("momentum"):
            step = cast(group.scalar("momentum"), p.dtype) * s["momentum_buffer"] + step
            s["momentum_buffer"] = step
        return p - lr * step


class Adagrad(Optimizer):
    """w ← w - lr / (1 + (t - 1) lr_decay) · g / (√∑g² + ε) (Duchi et al., 2011)."""

    slots: tuple[str, ...] = ("sum",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        self._first = initial_accumulator_value
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "eps": eps,
            },
        )

    def _begin(self, name: str, p: Tensor) -> None:
        self.state[name]["sum"] = creation.full(p.shape, self._first, dtype=p.dtype)

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        g = _decayed(group, p, g)
        rate = group.scalar("lr") / (1 + (s["step"] - 1) * group.scalar("lr_decay"))
        total = s["sum"] = s["sum"] + g * g
        eps = cast(group.scalar("eps"), p.dtype)
        return p - cast(rate, p.dtype) * g / (elementwise.sqrt(total) + eps)


class Adadelta(Optimizer):
    """w ← w - lr · d with d = √(u + ε) / √(v + ε) · g (Zeiler, 2012).

    v = ρ v + (1 - ρ) g² and u = ρ u + (1 - ρ) d².
    """

    slots: tuple[str, ...] = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay})

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        g = _decayed(group, p, g)
        rho, eps = cast(group.scalar("rho"), p.dtype), cast(group.scalar("eps"), p.dtype)
        rest = cast(1 - group.scalar("rho"), p.dtype)
        v = s["square_avg"] = rho * s["square_avg"] + rest * (g * g)
        d = elementwise.sqrt(s["acc_delta"] + eps) / elementwise.sqrt(v + eps) * g
        s["acc_delta"] = rho * s["acc_delta"] + rest * (d * d)
        return p - cast(group.scalar("lr"), p.dtype) * d


class Lion(Optimizer):
    """w ← w (1 - lr · weight_decay) - lr · sign(β₁ m + (1 - β₁) g) (Chen et al., 2023).

    Then m = β₂ m + (1 - β₂) g.
    """

    slots: tuple[str, ...] = ("exp_avg",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        b1, b2 = (cast(group.scalar("betas", k), p.dtype) for k in range(2))
        lr = group.scalar("lr")
        if group.on("weight_decay"):
            p = p * cast(1 - lr * group.scalar("weight_decay"), p.dtype)
        direction = elementwise.sign(b1 * s["exp_avg"] + (1 - b1) * g)
        s["exp_avg"] = b2 * s["exp_avg"] + (1 - b2) * g
        return p - cast(lr, p.dtype) * direction
