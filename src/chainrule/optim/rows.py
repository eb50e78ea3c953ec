"""Steps of tables that have a row-sparse gradient: only rows that were read change (lazy updates).

The other rows keep their values and their state, as if there had been no step for them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import ops
from ..broadcasting import cast
from ..dtypes import int64, is_signed
from ..functions import creation, indexing, reductions, shaping, sorting
from ..functions.elementwise import where
from ..sparse import RowSparse, add_up
from ..tensor import Tensor

SMALL_TABLE = 4  # rows per index of the batch: up to this many, all rows are computed

# The new value of a parameter, from its value, its gradient and its state, which it replaces:
# `Optimizer._update` for one group.
Update = Callable[[Tensor, Tensor, dict[str, Tensor]], Tensor]


def step_rows(update: Update, p: Tensor, g: RowSparse, state: dict[str, Tensor]) -> None:
    """Change the rows of p that have a gradient, and their state."""
    if p.shape[0] <= SMALL_TABLE * g.indices.shape[0]:
        _step_small_table(update, p, g, state)
        return
    rows, values = coalesce(g)
    s = {k: indexing.take(t, rows, axis=0) if t.shape == p.shape else t for k, t in state.items()}
    before = dict(s)
    new = update(indexing.take(p.detach(), rows, axis=0), values, s)
    p[rows] = cast(new, p.dtype)
    for k, t in state.items():
        if s[k] is not before[k]:
            if t.shape == p.shape:
                t[rows] = cast(s[k], t.dtype)
            else:
                assign(t, s[k])


def _step_small_table(update: Update, p: Tensor, g: RowSparse, state: dict[str, Tensor]) -> None:
    """The same for a table that is about as large as the batch: all rows, and a choice of them."""
    n, axes = g.indices.shape[0], (1,) * (len(p.shape) - 1)
    count = ops.scatter_add(creation.ones(n), g.indices, axis=0, size=p.shape[0])
    read = shaping.reshape(count, (p.shape[0], *axes)) > 0
    s = dict(state)
    new = update(p, g.to_dense(), s)
    assign(p, where(read, cast(new, p.dtype), p))
    for k, t in state.items():
        if s[k] is not t:
            assign(t, where(read, cast(s[k], t.dtype), t) if t.shape == p.shape else s[k])


def assign(t: Tensor, new: Tensor) -> None:
    """Assign in place, in the tensor's own dtype."""
    t._assign(cast(new, t.dtype))


def coalesce(g: RowSparse) -> tuple[Tensor, Tensor]:
    """Each row once, values of equal rows added: (rows, values) of the same length n as before.

    Entries that are left over repeat the first row with the first sum, which is harmless where rows
    are set and not added to.
    """
    n = g.indices.shape[0]
    if n == 0:
        return g.indices, g.values
    indices = g.indices
    if is_signed(indices.dtype):  # row -1 is the last row
        indices = cast(indices, int64)
        indices = where(indices < 0, indices + g.shape[0], indices)
    order = sorting.argsort(indices)
    rows, values = indexing.take(indices, order, axis=0), indexing.take(g.values, order, axis=0)
    starts = where(
        creation.arange(n) == 0,
        True,
        rows != indexing.take(rows, np.maximum(np.arange(n) - 1, 0), axis=0),
    )
    segment = reductions.cumulative_sum(starts, axis=0) - 1
    sums = add_up(values, segment, axis=0, size=n)
    firsts = ops.last_position(segment, size=n)  # where each segment ends; -1: left over
    spare = firsts < 0
    firsts = where(spare, firsts[0], firsts)
    chosen = where(spare, 0, creation.arange(n))
    return indexing.take(rows, firsts, axis=0), indexing.take(sums, chosen, axis=0)
