"""Random numbers: Philox4x32-10, counted, so that the same seed gives the same bits everywhere.

A generator's state is a tensor (seed, draw). Each call is one draw, with its own stream; the
state is read and assigned like any other tensor, so a compiled step continues the same sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import ops
from .broadcasting import cast
from .convert import to_dtype
from .dtypes import FLOATS, float32, float64, int64, is_integer, uint64
from .errors import ArgumentError, user_line
from .functions import creation, elementwise, indexing, reductions, shaping, sorting
from .functions.creation import _shape
from .graph import Shape
from .numerics import random_words
from .tensor import Tensor, as_tensor, make, no_grad
from .trace import state

PART = 1 << 16  # elements that a large draw makes at once


class Generator:
    """A source of random tensors; the same seed gives the same sequence."""

    def __init__(self, seed: int = 0) -> None:
        self._state = Tensor(_initial(seed))

    @property
    def state(self) -> Tensor:
        """(seed, draw): save it to continue the sequence later."""
        return self._state.clone()

    def set_state(self, state: Any) -> None:
        """Continue from a saved state."""
        new = as_tensor(state)
        if not is_integer(new.dtype) or (new._value is not None and (new._value < 0).any()):
            raise ArgumentError(
                "set_state", f"got {state}", "expected a state", "save generator.state"
            )
        self._state._assign(cast(new, uint64))

    def seed(self, seed: int) -> None:
        """Begin the sequence of this seed."""
        self._state._assign(Tensor(_initial(seed)))

    def bits(self, shape: Any) -> Tensor:
        """32 random bits per element (uint32)."""
        with no_grad():
            out: Tensor = ops.random_bits(self._state, shape=_shape(shape))
        self._count()
        return out

    def _count(self) -> None:
        """Move on to the next draw, which has its own stream."""
        with no_grad():
            self._state._assign(self._state + Tensor(np.array([0, 1], np.uint64)))

    def uniform(
        self, shape: Any = (), *more: Any, low: float = 0.0, high: float = 1.0, dtype: Any = None
    ) -> Tensor:
        """Evenly from low (included) to high (not): 24 random bits in float32, 53 in float64."""
        _one_shape("uniform", shape, more, "low= and high=")
        wanted = _floating_dtype(dtype)
        if not _ordered(low, high) or math.isinf(high - low):
            raise ArgumentError(
                "uniform", f"got {low} to {high}", "expected low <= high, finite", "swap the two"
            )
        below = np.nextafter(np.array(high, wanted), np.array(low, wanted))

        def values(u: Tensor) -> Tensor:
            if (low, high) == (0.0, 1.0) and u.dtype == wanted:
                return u
            scaled = cast(low + u * (high - low), wanted)
            return ops.minimum(scaled, scaled._full(scaled.shape, below))  # rounding may give high

        return self._by_unit(_shape(shape), wanted, values)

    def _by_unit(self, shape: Shape, wanted: Any, values: Callable[[Tensor], Tensor]) -> Tensor:
        """values(u), elementwise, of u evenly on [0, 1): 24 random bits, 53 for float64.

        A large draw is made in parts that stay in a processor's cache.
        """
        words = 2 if wanted == float64 else 1
        size = math.prod(shape)
        if size <= PART or state.trace is not None:
            drawn = self.bits(shape if words == 1 else (2, *shape))
            return values(_unit([drawn] if words == 1 else [drawn[0], drawn[1]]))
        values_drawn, start = np.empty(size, wanted), self._state.numpy()
        self._count()
        for first in range(0, size, PART):
            count = min(PART, size - first)
            parts = [make(random_words(start, k * size + first, count)) for k in range(words)]
            values_drawn[first : first + count] = values(_unit(parts)).numpy()
        return make(values_drawn.reshape(shape))

    def normal(
        self, shape: Any = (), *more: Any, mean: float = 0.0, std: float = 1.0, dtype: Any = None
    ) -> Tensor:
        """The normal distribution: √2 erf⁻¹(u) of a uniform u in (-1, 1)."""
        _one_shape("normal", shape, more, "mean= and std=")
        wanted = _floating_dtype(dtype)
        if not _ordered(0, std):
            raise ArgumentError(
                "normal", f"got std {std}", "expected 0 or more", "std=1.0 is usual"
            )

        def values(u: Tensor) -> Tensor:
            z = elementwise.erfinv(_opened(u)) * math.sqrt(2)
            return cast(z if (mean, std) == (0.0, 1.0) else mean + z * std, wanted)

        return self._by_unit(_shape(shape), wanted, values)

    def bernoulli(self, p: Any, shape: Any = None) -> Tensor:
        """True with probability p (a number or a tensor, whose shape is the default)."""
        p = as_tensor(p)
        known = p._value is not None and not (state.trace and state.trace.hides(p))
        if known and not ((p._value >= 0) & (p._value <= 1)).all():
            raise ArgumentError(
                "bernoulli", f"got p {p}", "expected 0 to 1", "use sigmoid on logits"
            )
        size = p.shape if shape is None else _shape(shape)
        return self.uniform(size, dtype=p.dtype if p.dtype == float64 else None) < p

    def integers(self, low: int, high: int, shape: Any = ()) -> Tensor:
        """Whole numbers from low (included) to high (not), from 64 bits: no visible bias."""
        whole = isinstance(low, (int, np.integer)) and isinstance(high, (int, np.integer))
        if not (whole and -(2**63) <= low < high < 2**63):
            raise ArgumentError(
                "integers",
                f"got {low} to {high}",
                "expected whole numbers low < high in int64",
                "swap the two",
            )
        words = self.bits((2, *_shape(shape)))
        wide = (cast(words[0], uint64) << 32) | cast(words[1], uint64)
        span = np.uint64(high - low)
        return cast(wide % Tensor(np.full((), span)), int64) + low

    def permutation(self, x: Any) -> Tensor:
        """The numbers below x, or the rows of x, in random order."""
        rows = creation.arange(x) if isinstance(x, int) else as_tensor(x)
        if not rows.shape or (isinstance(x, int) and x < 0):
            raise ArgumentError(
                "permutation",
                f"got {x}",
                "expected a number from 0, or rows",
                "permutation(10) orders 0 to 9",
            )
        words = cast(self.bits((2, rows.shape[0])), uint64)
        keys = reductions.sum(words << Tensor(np.array([[32], [0]], np.uint64)), axis=0)
        order = sorting.argsort(keys)
        return order if isinstance(x, int) else indexing.take(rows, order, axis=0)

    def categorical(self, logits: Any, shape: Any = ()) -> Tensor:
        """Classes with probabilities softmax(logits) on the last axis: argmax(logits + Gumbel)."""
        logits = as_tensor(logits)
        size = (*_shape(shape), *logits.shape)
        u = elementwise.abs(self._by_unit(size, logits.dtype, _opened))
        gumbel = -elementwise.log(-elementwise.log(u))
        with no_grad():
            return reductions.argmax(shaping.broadcast_to(logits, size) + gumbel, axis=-1)


def _one_shape(name: str, shape: Any, more: tuple[Any, ...], named: str) -> None:
    """Refuse `normal(2, 3)`: a shape in pieces, or a mean that reads like one."""
    if more:
        got = ", ".join(str(v) for v in (shape, *more))
        raise ArgumentError(
            name,
            f"got {name}({got})",
            f"expected the shape as one argument: {name}((2, 3))",
            f"put the sizes in brackets, and name the others: {named}",
            user_line(),
        )


def _unit(words: list[Tensor]) -> Tensor:
    """Evenly on [0, 1): float32 of one word for each element, float64 of two."""
    if len(words) == 1:
        return cast(words[0] >> 8, float32) * 2.0**-24
    high, low = (cast(w, uint64) for w in words)
    return cast((high << 21) | (low >> 11), float64) * 2.0**-53


def _opened(u: Tensor) -> Tensor:
    """Evenly on (-1, 1): odd multiples of 2⁻²⁴ (2⁻⁵³ in float64), never -1, 0 or 1."""
    step = 2.0**-53 if u.dtype == float64 else 2.0**-24
    return u * 2 - (1 - step)


def _ordered(low: Any, high: Any) -> bool:
    """Whether both are numbers and low <= high."""
    try:
        return bool(low <= high)
    except TypeError:
        return False


def _initial(seed: int) -> Any:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise ArgumentError(
            "seed",
            f"got {seed!r}",
            "expected a whole number, 0 to 2⁶⁴ - 1",
            "use a number such as 0",
        )
    return np.array([seed, 0], np.uint64)


def _floating_dtype(dtype: Any) -> Any:
    wanted = to_dtype("random", float32 if dtype is None else dtype)
    if wanted not in FLOATS:
        raise ArgumentError(
            "random", f"got dtype {wanted}", "expected a floating dtype", "use integers()"
        )
    return wanted


default = Generator(0)

seed = default.seed
bits = default.bits
uniform = default.uniform
normal = default.normal
bernoulli = default.bernoulli
integers = default.integers
permutation = default.permutation
categorical = default.categorical
