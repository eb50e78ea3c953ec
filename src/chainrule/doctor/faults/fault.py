"""The form of a fault that a training may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...diagnosis.finding import Change

Changes = tuple[Change, ...]


@dataclass(frozen=True)
class Fault:
    """A fault.

    kind      a word of the vocabulary
    cause     what of the facts suggests it, with the numbers
    instead   what the changes put in place of that, if its trial belongs to the cause
    prior     in 0…1: how likely it is to harm, by the facts alone
    changes   what would cure it; none if nothing here can
    certain   whether the facts alone show it, whatever becomes of the changes
    voids     whether scores on the held-out rows then say nothing, and so no trials
    evidence  the numbers behind the cause, by name
    """

    kind: str
    place: str
    cause: str
    prior: float
    changes: Changes = ()
    certain: bool = False
    instead: str = ""
    voids: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict, compare=False)
