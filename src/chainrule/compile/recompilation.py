"""The warning about a function that is compiled again and again: it names what varies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import warn
from .arguments import Key
from .step import Step

MANY = 8  # compilations of one function


def warn_if_many(
    function: Callable[..., Any], steps: Mapping[Key, Sequence[Step]], key: Key
) -> None:
    """Warn when a function has been compiled MANY times, just now the last step of this key."""
    if sum(map(len, steps.values())) != MANY:
        return
    alike = steps[key]
    before = alike[-2].surroundings.changes() if len(alike) > 1 else iter(())
    changed = next((where for where, *_ in before), "what it uses from outside")
    warn(_warning(function, list(steps), changed))


def _warning(function: Callable[..., Any], keys: Sequence[Key], outside: str) -> str:
    """Which argument's shape changes from call to call, or what is outside."""
    columns = zip(*(leaves for _, leaves, _ in keys), strict=False)
    varying = [k for k, column in enumerate(columns) if len(set(column)) > 1]
    name = getattr(function, "__name__", "function")
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    plain = len(names) == len(keys[0][1])  # each argument is one leaf
    which = ", ".join(names[k] if plain else str(k + 1) for k in varying)
    kind = "argument" if plain else "of the values in its arguments, number"
    what = f"{outside} varies; keep it in a tensor, or in an object that the function does not hold"
    if which:
        few = "pad to a few shapes (cr.data.BucketLoader does so)"
        what = f"{kind} {which} varies; {few}, pass numbers as tensors"
    return (
        f"[compile] {name} was compiled {MANY} times; {what}, or call the function without compile"
    )
