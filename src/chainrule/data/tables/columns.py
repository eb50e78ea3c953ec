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
    """One column: its kind, its values, and where they are missing.

    kind      "number" (float64), "category" (str objects) or "date" (datetime64[s])
    values    (rows,); NaN, None or NaT where missing
    missing   bool (rows,); a NaN that is not missing stood in the data as such
    zoned     whether dates came with a time zone, and are now in UTC
    """

    kind: str
    values: Array
    missing: Array
    zoned: bool = False

    def select(self, rows: Any) -> Column:
        """These rows of it."""
        return Column(self.kind, self.values[rows], self.missing[rows], self.zoned)


class Table:
    """Columns by name, in order, with as many rows each.

    unit     "line" of a text file or "row" of anything else: what origin counts
    origin   the number of the first row, or of each: int64 (rows,)
    decimal  the decimal mark of numbers in its text
    notes    what was left out when it was read
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
        """Where that row comes from: `line 12` of a text file, `row 10` of anything else."""
        return f"{self.unit} {self.origin[row]}"

    def select(self, rows: Any) -> Table:
        """These rows (row numbers, a mask or a slice), which keep their places."""
        chosen = {name: c.select(rows) for name, c in self.columns.items()}
        return self._like(chosen, self.origin[rows])

    def drop(self, names: Iterable[str]) -> Table:
        """All columns but these."""
        gone = [names] if isinstance(names, str) else list(names)
        for name in gone:
            if name not in self.columns:
                near = difflib.get_close_matches(name, self.columns, 1)
                raise ArgumentError(
                    "drop",
                    f"got {name!r}",
                    f"one of {_listed(self.columns)}",
                    f"did you mean {near[0]!r}?" if near else "check the spelling",
                )
        kept = {name: c for name, c in self.columns.items() if name not in gone}
        return self._like(kept, self.origin)

    def _like(self, columns: Mapping[str, Column], origin: Array) -> Table:
        return Table(columns, self.name, self.unit, origin, self.decimal, self.notes)


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
