"""The rows of a data set that are explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError


def rows_of(data: Sequence[Any], sample: int, batch: int) -> list[Any]:
    """`batch` rows from `sample` on of each array, which have the same number of rows."""
    rows = len(data[0])
    if not 0 <= sample <= rows - batch or batch < 1:
        asked = f"sample {sample}" if batch == 1 else f"samples {sample} to {sample + batch - 1}"
        fits = f"ask for sample {max(0, rows - batch)}"
        raise ArgumentError(
            "explain",
            f"got {asked}",
            f"expected samples from 0 to {rows - 1}" if rows > 1 else "expected sample 0 alone",
            fits if 1 <= batch <= rows else f"ask for a batch of {rows}, or less",
        )
    return [array[sample : sample + batch] for array in data]
