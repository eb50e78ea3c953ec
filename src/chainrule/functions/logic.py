"""Comparisons, logic and bits, element by element. Inputs broadcast."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..broadcasting import broadcast_binary
from ..dtypes import bool_
from ..tensor import Tensor, as_tensor


def equal(x1: Any, x2: Any, /) -> Tensor:
    """x1 == x2, element by element."""
    return broadcast_binary(ops.equal, x1, x2)


def not_equal(x1: Any, x2: Any, /) -> Tensor:
    """x1 != x2, element by element."""
    return broadcast_binary(ops.not_equal, x1, x2)


def less(x1: Any, x2: Any, /) -> Tensor:
    """x1 < x2, element by element."""
    return broadcast_binary(ops.less, x1, x2)


def less_equal(x1: Any, x2: Any, /) -> Tensor:
    """x1 <= x2, element by element."""
    return broadcast_binary(ops.less_equal, x1, x2)


def greater(x1: Any, x2: Any, /) -> Tensor:
    """x1 > x2, element by element."""
    return broadcast_binary(ops.less, x2, x1)


def greater_equal(x1: Any, x2: Any, /) -> Tensor:
    """x1 >= x2, element by element."""
    return broadcast_binary(ops.less_equal, x2, x1)


def bitwise_and(x1: Any, x2: Any, /) -> Tensor:
    """Bits set in both."""
    return broadcast_binary(ops.bitwise_and, x1, x2)


def bitwise_or(x1: Any, x2: Any, /) -> Tensor:
    """Bits set in either."""
    return broadcast_binary(ops.bitwise_or, x1, x2)


def bitwise_xor(x1: Any, x2: Any, /) -> Tensor:
    """Bits set in exactly one."""
    return broadcast_binary(ops.bitwise_xor, x1, x2)


def bitwise_invert(x: Any, /) -> Tensor:
    """Every bit turned over."""
    out: Tensor = ops.bitwise_invert(as_tensor(x))
    return out


def bitwise_left_shift(x1: Any, x2: Any, /) -> Tensor:
    """x1 · 2^x2 within the dtype."""
    return broadcast_binary(ops.bitwise_left_shift, x1, x2)


def bitwise_right_shift(x1: Any, x2: Any, /) -> Tensor:
    """x1 / 2^x2, rounded down."""
    return broadcast_binary(ops.bitwise_right_shift, x1, x2)


def _truth(x: Any) -> Tensor:
    x = as_tensor(x)
    return x if x.dtype == bool_ else x != 0


def logical_and(x1: Any, x2: Any, /) -> Tensor:
    """Whether both are true (not 0)."""
    return _truth(x1) & _truth(x2)


def logical_or(x1: Any, x2: Any, /) -> Tensor:
    """Whether either is true (not 0)."""
    return _truth(x1) | _truth(x2)


def logical_xor(x1: Any, x2: Any, /) -> Tensor:
    """Whether exactly one is true (not 0)."""
    return _truth(x1) ^ _truth(x2)


def logical_not(x: Any, /) -> Tensor:
    """Whether x is false (0)."""
    return ~_truth(x)
