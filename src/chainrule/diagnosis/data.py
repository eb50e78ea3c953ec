"""Where data has NaN and infinities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import tree
from ..errors import ArgumentError


def check_finite(what: str, data: Any) -> None:
    """Raise if floating-point data holds NaN or an infinity; says in which row and column."""
    for value, where, count in nonfinite_values(data):
        raise ArgumentError(
            "fit",
            f"got {value} in the {what} at {where} ({count} rows have one)",
            "expected finite numbers",
            "drop these rows, or fill the gaps with the mean of the column",
        )


def describe_batch(x: Any, y: Any) -> str:
    """Where a batch is not finite, for an error message; empty if it is finite."""
    for data, what in ((x, "inputs"), (y, "targets")):
        for value, where, _ in nonfinite_values(data):
            return f", {value} in the {what} of that batch at {where}"
    return ""


def nonfinite_values(data: Any) -> Iterator[tuple[Any, str, int]]:
    """The first value of each array that is not finite, where it is, and how many rows have one."""
    for array in map(np.asarray, tree.flatten(data)[0]):
        if array.dtype.kind not in "fV" or not array.size:
            continue
        wide = array.astype(np.float32) if array.dtype.kind == "V" else array
        flat = wide.reshape(len(wide), -1) if wide.ndim else wide.reshape(1, 1)
        with np.errstate(all="ignore"):
            if np.isfinite(flat.sum()) or np.isfinite(flat).all():
                continue
        bad = ~np.isfinite(flat)
        row, column = np.argwhere(bad)[0]
        where = f"row {row}" + (f", column {column}" if flat.shape[1] > 1 else "")
        yield flat[row, column], where, int(bad.any(1).sum())
