"""Gradient clipping, penalties, and parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..errors import GradientError, ShapeError
from ..functions import creation, elementwise, reductions, shaping
from ..functions.elementwise import where
from ..hints import check_kinds
from ..sparse import RowSparse
from ..tensor import Tensor, no_grad
from .arguments import expect_number


def _gradients(parameters: Iterable[Tensor] | Tensor) -> list[Tensor]:
    owners = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p for p in owners if p.grad is not None and not _reads_no_rows(p.grad)]


def _reads_no_rows(g: Any) -> bool:
    return isinstance(g, RowSparse) and not g.indices.size


def _values(g: Any) -> Tensor:
    """The numbers of a gradient that are not 0, in some order: values of equal rows are added."""
    out: Tensor = g.coalesced().values if isinstance(g, RowSparse) else g
    return out


@check_kinds
def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together so that their common norm is at most max_norm; returns the norm.

    Each is multiplied by min(1, max_norm / (norm + 1e-6)) (Pascanu et al., 2012).
    """
    expect_number("clip_grad_norm_", "max_norm", max_norm, 1.0, least=0)
    owners = _gradients(parameters)
    with no_grad():
        if not owners:
            return creation.zeros(())
        norms = [reductions.norm(_values(p.grad), ord=norm_type) for p in owners]
        if len({n.dtype for n in norms}) > 1:
            norms = [n.astype(norms[0].dtype) for n in norms]
        total = (
            norms[0] if len(norms) == 1 else reductions.norm(shaping.stack(norms), ord=norm_type)
        )
        if error_if_nonfinite and not math.isfinite(float(total)):
            raise GradientError(
                "clip_grad_norm_",
                f"got a gradient norm of {float(total)}",
                "expected a finite norm",
                "lower the learning rate, or look for the first non-finite value",
            )
        ratio = max_norm / (total + 1e-6)
        factor = where(ratio > 1, 1.0, ratio)
        for p in owners:
            g, by = p.grad, factor.astype(p.dtype)
            if isinstance(g, RowSparse):
                p.grad = RowSparse(g.indices, g.values * by, g.shape)
            else:
                p.grad = g * by
        return total


@check_kinds
def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Limit every element of the gradients to -clip_value and clip_value."""
    expect_number("clip_grad_value_", "clip_value", clip_value, 1.0, least=0)
    with no_grad():
        for p in _gradients(parameters):
            g = p.grad.coalesced() if isinstance(p.grad, RowSparse) else p.grad
            if isinstance(g, RowSparse):
                clipped = elementwise.clip(g.values, -clip_value, clip_value)
                p.grad = RowSparse(g.indices, clipped, g.shape)
            else:
                p.grad = elementwise.clip(g, -clip_value, clip_value)


def l1_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """∑|w|: add it to the loss, times a strength."""
    terms = [reductions.sum(elementwise.abs(p)) for p in parameters]
    return reductions.sum(shaping.stack(terms)) if terms else creation.zeros(())


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """½ ∑w²: add it to the loss, times a strength."""
    terms = [0.5 * reductions.sum(elementwise.square(p)) for p in parameters]
    return reductions.sum(shaping.stack(terms)) if terms else creation.zeros(())


@check_kinds
def max_norm_(weight: Tensor, max_value: float, axis: int = -1) -> None:
    """Scale the vectors along the axis down to a norm of at most max_value, in place."""
    expect_number("max_norm_", "max_value", max_value, 1.0, least=0)
    with no_grad():
        size = reductions.norm(weight, axis=axis, keepdims=True)
        weight[...] = where(
            size > max_value, weight * (max_value / where(size > 0, size, 1.0)), weight
        )


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters in one vector, in order."""
    return shaping.concat([shaping.reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vector: Tensor, parameters: Iterable[Tensor]) -> None:
    """The inverse of parameters_to_vector, in place."""
    owners = list(parameters)
    if vector.shape != (sum(p.size for p in owners),):
        raise ShapeError(
            "vector_to_parameters",
            f"got {vector.shape}",
            f"expected ({sum(p.size for p in owners)},)",
            "make it with parameters_to_vector",
        )
    at = 0
    with no_grad():
        for p in owners:
            p[...] = shaping.reshape(vector[at : at + p.size], p.shape)
            at += p.size
