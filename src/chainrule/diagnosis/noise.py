"""How much of a batch's gradient is noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import tree
from ..errors import ArgumentError, user_line
from ..graph import Array
from ..tensor import Tensor
from ..transforms import grad
from .functional import as_function


def gradient_noise_scale(
    loss: Callable[..., Any], parameters: Iterable[Tensor], batches: Sequence[Sequence[Any]]
) -> float:
    """tr(Σ)/|G|², in rows: G is the gradient of all data, Σ the covariance of single rows'.

    A batch of this number of rows has a gradient with as much noise as signal: far smaller ones
    are mostly noise, and far larger ones hardly better than that. It grows during the training.
    (McCandlish et al., An empirical model of large-batch training, 2018.)

    loss      a function of a batch, loss(*batch): the mean over its rows
    batches   two or more with the same number of rows; the more, the surer

    Infinite if the batches have no gradient in common.
    """
    parameters = [*parameters]
    rows = [_rows(batch) for batch in batches]
    if len(rows) < 2 or len({*rows}) > 1 or not rows[0]:
        raise ArgumentError(
            "gradient_noise_scale",
            f"got batches of {', '.join(map(str, rows)) or 'no'} rows",
            "expected two or more with the same number of rows",
            "batches=list(DataLoader((x, y), batch_size=32, drop_last=True))",
            user_line(),
        )
    gradients = []
    for batch in batches:

        def of_batch(batch: Sequence[Any] = batch) -> Any:
            return loss(*batch)

        f, start = as_function("gradient_noise_scale", of_batch, parameters)
        parts = grad(f, tuple(range(len(start))))(*start)
        gradients.append(np.concatenate([g.numpy().ravel() for g in parts]))
    return noise_scale(np.array(gradients), rows[0])


def _rows(batch: Any) -> int:
    """The number of rows of a batch, whose inputs may be containers of arrays."""
    arrays = tree.flatten(batch)[0] if isinstance(batch, (tuple, list)) else []
    if not arrays or not getattr(arrays[0], "shape", ()):
        raise ArgumentError(
            "gradient_noise_scale",
            f"got a batch of type {type(batch).__name__}",
            "expected tuples (inputs, targets), with a row per sample",
            "batches=[(x[:32], y[:32]), (x[32:64], y[32:64])]",
            user_line(),
        )
    return int(arrays[0].shape[0])


def noise_scale(gradients: Array, rows: int) -> float:
    """tr(Σ)/|G|² from the gradients (K, P) of K batches of `rows` rows.

    tr(Σ) = rows · ∑ₖ |gₖ - ḡ|² / (K - 1)    and    |G|² = |ḡ|² - tr(Σ) / (K rows), both unbiased
    """
    gradients = gradients.astype(np.float64)
    if not np.isfinite(gradients).all():
        return math.nan
    count = len(gradients)
    mean = gradients.mean(0)
    trace = rows * float(np.square(gradients - mean).sum()) / (count - 1)
    signal = float(mean @ mean) - trace / (count * rows)
    return trace / signal if signal > 0 else math.inf
