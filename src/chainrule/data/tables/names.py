"""Names of columns: the nearest one, the natural order."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any


def nearest(name: str, names: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the list of names."""
    names = list(names)
    folded = {n.casefold(): n for n in names}
    close = difflib.get_close_matches(name.casefold(), folded, 1)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    return f"there are {', '.join(names[:30])}{', …' if len(names) > 30 else ''}"


def natural(names: Iterable[str]) -> list[str]:
    """Names in natural order: a2 before a10."""

    def key(name: str) -> tuple[list[Any], str]:
        pieces: list[Any] = re.split(r"([0-9]+)", name)
        pieces[1::2] = [(len(p.lstrip("0")), p.lstrip("0")) for p in pieces[1::2]]
        return pieces, name

    return sorted(names, key=key)
