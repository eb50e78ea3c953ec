"""Images that are mixed with others of their batch, and so are their classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ArgumentError, ShapeError, user_line
from ...graph import Array
from ..draws import Draws

_POINTS = 2048  # of the distribution's table


class _Mixing:
    """Mixes each image with the next one of the batch.

    classes   how many there are: targets become probabilities (N, classes)
    alpha     shares are drawn from Beta(alpha, alpha): small values leave most images nearly alone
    """

    def __init__(self, classes: int, alpha: float) -> None:
        name = type(self).__name__
        if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 2:
            raise ArgumentError(
                name,
                f"got classes {classes!r}",
                "expected their number, 2 or more",
                f"{name}(10)",
                user_line(),
            )
        if not (isinstance(alpha, (int, float)) and 0.01 <= alpha <= 100):
            raise ArgumentError(
                name, f"got alpha {alpha!r}", "expected 0.01 to 100", "alpha=0.2", user_line()
            )
        self.classes, self.alpha = int(classes), float(alpha)
        self._shares, self._places = beta_table(self.alpha)

    def _share(self, u: Array) -> Array:
        """A share from Beta(alpha, alpha) for each number u of [0, 1)."""
        half = np.interp(np.minimum(u, 1 - u), self._shares, self._places)
        return np.where(u < 0.5, half, 1 - half).astype(np.float32)

    def _mixed_targets(self, y: Any, share: Array) -> Array:
        y = np.asarray(y)
        soft = y
        if y.ndim == 1 and y.dtype.kind in "iu":
            if y.size and not 0 <= y.min() <= y.max() < self.classes:
                raise ArgumentError(
                    type(self).__name__,
                    f"got the targets {y.min()} to {y.max()}",
                    f"expected classes from 0 to {self.classes - 1}",
                    f"{type(self).__name__}({y.max() + 1})",
                )
            soft = np.eye(self.classes, dtype=np.float32)[y]
        if soft.shape != (len(y), self.classes):
            raise ArgumentError(
                type(self).__name__,
                f"got targets of {y.dtype} {y.shape}",
                f"expected class numbers (N,), or probabilities (N, {self.classes})",
                "use it for a classification",
            )
        return share[:, None] * soft + (1 - share[:, None]) * np.roll(soft, -1, 0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.classes}, alpha={self.alpha:g})"


class MixUp(_Mixing):
    """λ x + (1 - λ) x′ and λ y + (1 - λ) y′ of each image and the next one of its batch.

    classes   how many there are: the targets become probabilities (N, classes), for cross_entropy
    alpha     λ is drawn from Beta(alpha, alpha) for each image

    For the `augment` of a DataLoader. Source: Zhang et al., mixup, 2018.
    """

    def __init__(self, classes: int, alpha: float = 0.2) -> None:
        super().__init__(classes, alpha)

    def __call__(self, x: Any, y: Any, draws: Draws) -> tuple[Array, Array]:
        x = np.asarray(x)
        share = self._share(draws.uniform(1)[:, 0])
        by = share.reshape(-1, *[1] * (x.ndim - 1))
        mixed = by * x + (1 - by) * np.roll(x, -1, 0)
        mixed = (np.rint(mixed) if x.dtype.kind in "iu" else mixed).astype(x.dtype)
        return mixed, self._mixed_targets(y, share)


class CutMix(_Mixing):
    """A rectangle of each image is that of the next one of its batch.

    classes   how many there are: the targets become probabilities (N, classes), for cross_entropy
    alpha     the share of the image that stays is drawn from Beta(alpha, alpha) for each image; the
              target has the share that the rectangle, cut at the border, leaves

    For the `augment` of a DataLoader. Source: Yun et al., CutMix, 2019.
    """

    def __init__(self, classes: int, alpha: float = 1.0) -> None:
        super().__init__(classes, alpha)

    def __call__(self, x: Any, y: Any, draws: Draws) -> tuple[Array, Array]:
        x = np.asarray(x)
        if x.ndim != 4:
            raise ShapeError(
                "CutMix",
                f"got inputs of {x.dtype} {x.shape}",
                "expected images (N, H, W, C)",
                "add the axis of channels: x[..., None]"
                if x.ndim == 3
                else "MixUp takes any shape",
            )
        if not x.size:
            return x, self._mixed_targets(y, np.ones(len(x), np.float32))
        u = draws.uniform(3).T
        side = np.sqrt(1 - self._share(u[0]))
        inside = []
        for length, place in zip(x.shape[1:3], u[1:], strict=True):
            size, centre = np.rint(side * length), np.floor(place * length)
            start = np.maximum(centre - size // 2, 0)[:, None]
            end = np.minimum(centre - size // 2 + size, length)[:, None]
            inside.append((np.arange(length) >= start) & (np.arange(length) < end))
        square = inside[0][:, :, None] & inside[1][:, None, :]
        share = 1 - square.mean((1, 2), dtype=np.float32)
        mixed = np.where(square[..., None], np.roll(x, -1, 0), x)
        return mixed, self._mixed_targets(y, share)


def beta_table(alpha: float) -> tuple[Array, Array]:
    """(p, q): Beta(alpha, alpha) is below q with probability p, for q from 0 to 1/2.

    With t = qᵉ, e = min(α, 1), the integral ∫ qᵅ⁻¹ (1 - q)ᵅ⁻¹ dq is that of
    t^{α/e - 1} (1 - t^{1/e})ᵅ⁻¹ / e, which has no pole.
    """
    power = min(alpha, 1.0)
    t = np.linspace(0, 0.5**power, _POINTS + 1)
    middle = (t[1:] + t[:-1]) / 2
    heights = middle ** (alpha / power - 1) * (1 - middle ** (1 / power)) ** (alpha - 1)
    total = np.concatenate([[0.0], np.cumsum(heights)])
    return total / (2 * total[-1]), t ** (1 / power)
