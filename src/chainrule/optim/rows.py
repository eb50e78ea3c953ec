"""Steps of parameters with a gradient, and of tables with a row-sparse one: only its rows change.

The other rows keep their values and their state, as if there had been no step for them (lazy), or
until they are read again (`catch_up`).
"""

from __future__ import annotations

from collections.abc import Callable

from .. import ops
from ..broadcasting import cast
from ..functions import creation, shaping
from ..functions.elementwise import where
from ..sparse import RowSparse
from ..tensor import Tensor
from .catch_up import CatchUp

SMALL_TABLE = 4  # rows per index of the batch: up to this many, all rows are computed

# The new value of a parameter, from its value, its gradient and its state, which it replaces:
# `Optimizer._update` for one group.
Update = Callable[[Tensor, Tensor, dict[str, Tensor]], Tensor]


def step_rows(
    update: Update, p: Tensor, g: RowSparse, state: dict[str, Tensor], late: CatchUp | None
) -> None:
    """Change the rows of p that have a gradient, and their state.

    late   how they are brought up to date first, if they are
    """
    if p.shape[0] <= SMALL_TABLE * g.indices.shape[0]:
        if late is None:
            _step_small_table(update, p, g, state)
        else:
            step_dense(update, p, g.to_dense(), state, late)
        return
    order, rows, sums, ends = g.by_row()

    def of_rows(t: Tensor) -> bool:
        return t.shape in (p.shape, p.shape[:1])

    if late is None:
        values = ops.take(p.detach(), rows, axis=0)
        s = {k: ops.take(t, rows, axis=0) if of_rows(t) else t for k, t in state.items()}
    else:
        s = {k: ops.take(t, g.indices, axis=0) if of_rows(t) else t for k, t in state.items()}
        values, current = late.current(ops.take(p.detach(), g.indices, axis=0), s)
        values = ops.take(values, order, axis=0)
        s |= {k: ops.take(t, order, axis=0) for k, t in current.items()}
    before = dict(s)
    new = update(values, sums, s)
    if late is not None:
        s |= late.after(s)
    changed = where(ends, rows, -1)  # they are sorted, so each ends once: they are distinct

    def put(t: Tensor, new: Tensor) -> Tensor:
        result: Tensor = ops.put_rows(t, changed, cast(new, t.dtype), distinct=True)
        return result

    assign(p, put(p.detach(), new))
    for k, t in state.items():
        if s[k] is not before[k]:
            assign(t, put(t, s[k]) if of_rows(t) else s[k])


def step_dense(
    update: Update, p: Tensor, g: Tensor, state: dict[str, Tensor], late: CatchUp | None
) -> None:
    """Change the whole of p, and its state."""
    s = dict(state)
    value = p
    if late is not None:
        value, current = late.current(p.detach(), s)
        s |= current
    new = update(value, g, s)
    if late is not None:
        s |= late.after(s)
    assign(p, new)
    for k, t in state.items():
        if s[k] is not t:
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
