"""What a table is in memory: `Table`, with columns of numbers, categories or dates."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ArgumentError, printable
from ...graph import Array


@dataclass(frozen=True)
class Column:
    """One column: kind, values, and which are missing.

    kind      "number" (float64), "category" (str objects) or "date" (datetime64[s])
    values    (rows,); NaN, None or NaT where missing
    missing   bool (rows,); a NaN that is not missing was written in the data
    zoned     whether dates had a time zone, and are now in UTC
    """

    kind: str
    values: Array
    missing: Array
    zoned: bool = False

    def select(self, rows: Any) -> Column:
        """These rows of the column."""
        return Column(self.kind, self.values[rows], self.missing[rows], self.zoned)


class Table:
    """Columns by name, in order, of equal length.

    unit     what `origin` counts: "line" of a text file, "row" of anything else
    origin   the number of the first row, or of each row: int64 (rows,)
    decimal  the decimal mark of numbers in its text
    notes    what was left out in reading
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        name: str,
        unit: str = "row",
        origin: Any = 0,
        decimal: str = ".",
        notes: Iterable[str] = (),
    ) -> None:
        self.columns, self.name, self.unit = dict(columns), name, unit
        self.decimal, self.notes = decimal, list(notes)
        self._rows = len(next(iter(self.columns.values())).values) if self.columns else 0
        self.origin = np.arange(self._rows) + origin if isinstance(origin, int) else origin

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        kinds = ", ".join(f"{printable(name)}: {c.kind}" for name, c in self.columns.items())
        return f"Table({self.name!r}, {len(self)} rows, {kinds})"

    def place(self, row: int) -> str:
        """The origin of a row: `line 12` of a text file, `row 10` of anything else."""
        return f"{self.unit} {self.origin[row]}"

    def select(self, rows: Any) -> Table:
        """These rows (row numbers, a mask or a slice), which keep their places."""
        columns = {name: c.select(rows) for name, c in self.columns.items()}
        return self._like(columns, self.origin[rows])

    def drop(self, names: Iterable[str]) -> Table:
        """All columns but these."""
        dropped = [names] if isinstance(names, str) else list(names)
        for name in dropped:
            if name not in self.columns:
                near = difflib.get_close_matches(name, self.columns, 1)
                raise ArgumentError(
                    "drop",
                    f"got {name!r}",
                    f"expected one of {_listed(self.columns)}",
                    f"did you mean {near[0]!r}?" if near else "check the spelling",
                )
        rest = {name: c for name, c in self.columns.items() if name not in dropped}
        return self._like(rest, self.origin)

    def _like(self, columns: Mapping[str, Column], origin: Array) -> Table:
        return Table(columns, self.name, self.unit, origin, self.decimal, self.notes)


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
