"""Steps of tables that have a row-sparse gradient: only rows that were read change (lazy updates).

The other rows keep their values and their state, as if there had been no step for them.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import ops
from ..broadcasting import cast
from ..functions import creation, indexing, shaping
from ..functions.elementwise import where
from ..sparse import RowSparse
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
    rows, sums, ends = g.by_row()
    s = {k: indexing.take(t, rows, axis=0) if t.shape == p.shape else t for k, t in state.items()}
    before = dict(s)
    new = update(indexing.take(p.detach(), rows, axis=0), sums, s)
    changed = where(ends, rows, -1)
    assign(p, ops.put_rows(p.detach(), changed, cast(new, p.dtype)))
    for k, t in state.items():
        if s[k] is not before[k]:
            alike = t.shape == p.shape
            assign(t, ops.put_rows(t, changed, cast(s[k], t.dtype)) if alike else s[k])


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
