"""Faults that are cured together, and the changes that this takes."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnosis.finding import Change
from .faults import Fault

Bundle = tuple[Fault, ...]


def _thing(change: Change) -> tuple[str, str]:
    """What a change sets: two of the same thing exclude each other."""
    if change.place == "data.targets":
        return "targets", ""
    optimizer = change.what in ("rate", "optimizer")
    return ("optimizer", "") if optimizer else (change.what, change.place)


def changes_of(bundle: Sequence[Fault]) -> list[Change]:
    """The changes of a bundle; of the same thing the first."""
    out: dict[tuple[str, str], Change] = {}
    for fault in bundle:
        for change in fault.changes:
            out.setdefault(_thing(change), change)
    return list(out.values())


def exclude(a: Fault, b: Fault) -> bool:
    """Whether two faults are cured by changes of the same thing, to different values."""
    one, two = ({_thing(c): c.value for c in f.changes} for f in (a, b))
    return any(two.get(thing, value) != value for thing, value in one.items())


def joined(bundle: Bundle, more: Sequence[Fault]) -> Bundle:
    """The bundle and those of the others that nothing in it excludes."""
    for fault in more:
        if not any(exclude(fault, b) for b in bundle):
            bundle = *bundle, fault
    return bundle
