"""Dropout: random zeros while training, nothing in evaluation."""

from __future__ import annotations

from typing import Any

from .. import random
from ..errors import ShapeError, user_line
from ..functions.elementwise import where
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from . import functional
from .arguments import as_floating, expect_fraction
from .module import Module


class Dropout(Module):
    """Each element 0 with probability p, the others divided by 1 - p (Srivastava et al., 2014)."""

    def __init__(self, p: float = 0.5) -> None:
        expect_fraction(type(self).__name__, "p", p, 0.5)
        self.p = p

    def forward(self, x: Any) -> Tensor:
        return functional.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class ChannelDropout(Dropout):
    """Whole channels of a sample 0 with probability p: (N, *size, C) (Tompson et al., 2015)."""

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim < 2:
            raise ShapeError(
                type(self).__name__,
                f"got {spec_text(x)}",
                "expected (N, *size, C)",
                "add a batch axis, x[None], or use Dropout",
                user_line(),
            )
        shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
        return functional.dropout(x, self.p, self.training, shape=shape)


Dropout1d = Dropout2d = Dropout3d = ChannelDropout


class StochasticDepth(Dropout):
    """A sample as a whole 0 with probability p, else divided by 1 - p (Huang et al., 2016).

    At the end of the inner module of a `Residual` it skips that module for some samples.
    """

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        shape = (*x.shape[:1], *(1,) * (x.ndim - 1))
        return functional.dropout(x, self.p, self.training, shape=shape)


class AlphaDropout(Dropout):
    """Dropout that preserves mean and variance through SELU (Klambauer et al., 2017)."""

    def forward(self, x: Any) -> Tensor:
        x = as_floating(x)
        if not self.training or self.p == 0:
            return x
        if self.p == 1:
            return 0.0 * x
        low, q = -1.7580993408473766, 1 - self.p
        a = (q + low**2 * q * self.p) ** -0.5
        keep = random.default.bernoulli(q, x.shape)
        return where(keep, x, low) * a - a * low * self.p
