"""Adam and its variants: running means of the gradient (m) and of its square (v)."""

from __future__ import annotations

from typing import Any

from ..broadcasting import cast
from ..errors import ArgumentError
from ..functions import elementwise
from ..functions.elementwise import where
from ..graph import Dtype
from ..tensor import Tensor
from .catch_up import later_steps, register
from .group import Group
from .optimizer import Optimizer


class Adam(Optimizer):
    """w ← w - lr · m̂ / (√v̂ + ε) (Kingma and Ba, 2014).

    m = β₁ m + (1 - β₁) g and v = β₂ v + (1 - β₂) g², corrected because they begin at 0:
    m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ). weight_decay · w is added to g.
    amsgrad uses the largest v so far (Reddi et al., 2018).
    catch_up: rows of a table that were not looked up are moved all the same, when they are looked
    up again or at `flush`, to where they would have been (see `catch_up.py`); otherwise they stay
    (lazy updates). Not with weight_decay, except in AdamW, nor with amsgrad.
    """

    slots: tuple[str, ...] = ("exp_avg", "exp_avg_sq")
    decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
        catch_up: bool = False,
    ) -> None:
        if amsgrad:
            self.slots = (*self.slots, "max_exp_avg_sq")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "catch_up": catch_up,
            },
        )
        for group in self.param_groups:
            if group.on("catch_up"):
                self._expect_catching_up(group, amsgrad)
                register(self, group)

    def _expect_catching_up(self, group: Group, amsgrad: bool) -> None:
        """Raise if the skipped steps of these settings are not known without doing them."""
        later_steps(*group.fixed("betas"))
        if type(self)._update is not Adam._update:
            raise ArgumentError(
                type(self).__name__,
                "got catch_up",
                "expected Adam or AdamW for it",
                "leave it out: rows that were not looked up stay as they are",
            )
        decayed = group["weight_decay"] and not self.decoupled
        if amsgrad or decayed:
            raise ArgumentError(
                type(self).__name__,
                f"got catch_up with {'amsgrad' if amsgrad else 'weight_decay'}",
                "expected neither amsgrad nor a weight_decay that is part of the gradient",
                "use AdamW for weight_decay, or leave out catch_up",
            )

    def _prepared(self, group: Group, p: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The parameter after decoupled decay, and the gradient after coupled decay."""
        if group.on("maximize"):
            g = -g
        if group.on("weight_decay"):
            lr, decay = group.scalar("lr"), group.scalar("weight_decay")
            if self.decoupled:
                p = p * group.once("1 - lr decay", p.dtype, lambda: 1 - lr * decay)
            else:
                g = g + group.once("decay", p.dtype, lambda: decay) * p
        return p, g

    def _means(self, group: Group, g: Tensor, s: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        b1, b2 = (group.scalar("betas", k) for k in range(2))
        rate = group.once("1 - b1", g.dtype, lambda: 1 - b1)
        m = s["exp_avg"] = s["exp_avg"] + rate * (g - s["exp_avg"])
        square = group.once("1 - b2", g.dtype, lambda: 1 - b2) * (g * g)
        v = s["exp_avg_sq"] = group.once("b2", g.dtype, lambda: b2) * s["exp_avg_sq"] + square
        return m, v

    def _root(self, group: Group, v: Tensor, t: Tensor) -> Tensor:
        """√v̂ + ε at the parameter's step t."""
        scale = group.once(
            "1 / sqrt(c2)", v.dtype, lambda: 1 / elementwise.sqrt(self._correction(group, 1, t)), t
        )
        return elementwise.sqrt(v) * scale + self._eps(group, v.dtype)

    def _eps(self, group: Group, dtype: Dtype) -> Tensor:
        return group.once("eps", dtype, lambda: group.scalar("eps"))

    def _rate(self, group: Group, dtype: Dtype, t: Tensor) -> Tensor:
        """lr / (1 - β₁ᵗ)."""
        return group.once(
            "rate", dtype, lambda: group.scalar("lr") / self._correction(group, 0, t), t
        )

    def _correction(self, group: Group, k: int, t: Tensor) -> Tensor:
        """1 - βᵗ in float64: near 1 a float32 would lose half its digits."""
        return 1 - group.scalar("betas", k) ** t

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        p, g = self._prepared(group, p, g)
        m, v = self._means(group, g, s)
        if "max_exp_avg_sq" in s:
            v = s["max_exp_avg_sq"] = elementwise.maximum(s["max_exp_avg_sq"], v)
        t = s["step"]
        return p - self._rate(group, p.dtype, t) * m / self._root(group, v, t)


class AdamW(Adam):
    """Adam with decoupled decay: w ← w (1 - lr · weight_decay) first (Loshchilov, 2017)."""

    decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
        catch_up: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize, catch_up)


class NAdam(Adam):
    """Adam with Nesterov's momentum (Dozat, 2016).

    μₜ = β₁ (1 - ½ 0.96^(t · momentum_decay)); the step is
    lr (μₜ₊₁ m / (1 - ∏μ · μₜ₊₁) + (1 - μₜ) g / (1 - ∏μ)) / (√v̂ + ε).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
    ) -> None:
        Optimizer.__init__(
            self,
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "maximize": False,
            },
        )

    def _begin(self, name: str, p: Tensor) -> None:
        self.state[name]["mu_product"] = Tensor(1.0, dtype="float64")

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        p, g = self._prepared(group, p, g)
        m, v = self._means(group, g, s)
        b1, decay, t = group.scalar("betas", 0), group.scalar("momentum_decay"), s["step"]
        now = b1 * (1 - 0.5 * 0.96 ** (t * decay))
        after = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * decay))
        product = s["mu_product"] = s["mu_product"] * now
        lr = group.scalar("lr")
        by_g = cast(lr * (1 - now) / (1 - product), p.dtype)
        by_m = cast(lr * after / (1 - product * after), p.dtype)
        return p - (by_g * g + by_m * m) / self._root(group, v, t)


class RAdam(Adam):
    """Adam whose step is rectified while v has few terms (Liu et al., 2019).

    ρ∞ = 2 / (1 - β₂) - 1, ρₜ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ); while ρₜ ≤ 5 the step is lr m̂.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        p, g = self._prepared(group, p, g)
        m, v = self._means(group, g, s)
        b2, t = group.scalar("betas", 1), s["step"]
        c2 = self._correction(group, 1, t)
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * t * b2**t / c2
        long_enough = length > 5
        safe = where(long_enough, length, 6.0)
        ratio = (safe - 4) * (safe - 2) * longest / ((longest - 4) * (longest - 2) * safe)
        factor = cast(elementwise.sqrt(ratio * c2), p.dtype)
        adaptive = factor / (elementwise.sqrt(v) + self._eps(group, p.dtype))
        return p - self._rate(group, p.dtype, t) * m * where(long_enough, adaptive, 1.0)


class Adamax(Adam):
    """Adam with the largest |g| instead of v: u = max(β₂ u, |g| + ε) (Kingma and Ba, 2014)."""

    slots: tuple[str, ...] = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _update(self, group: Group, p: Tensor, g: Tensor, s: dict[str, Tensor]) -> Tensor:
        p, g = self._prepared(group, p, g)
        b1, b2 = (cast(group.scalar("betas", k), p.dtype) for k in range(2))
        m = s["exp_avg"] = s["exp_avg"] + (1 - b1) * (g - s["exp_avg"])
        largest = elementwise.abs(g) + self._eps(group, p.dtype)
        u = s["exp_inf"] = elementwise.maximum(b2 * s["exp_inf"], largest)
        return p - self._rate(group, p.dtype, s["step"]) * m / u
