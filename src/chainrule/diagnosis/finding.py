"""A finding: what is wrong with a training, where, why, and what helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Change:
    """One change of a training.

    what    a word of `doctor.changes.CHANGES`: "rate", "activation", "initialisation", …
    place   the module's path, or "optimizer", "loss", "batch", "epochs", "data.inputs", …
    value   what is set there
    """

    what: str
    place: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.what} of {self.place}: {self.value}"


@dataclass(frozen=True)
class Trial:
    """What became of the training with the changes of a remedy.

    before, after   the score (accuracy, R²…; 1 is perfect) on the held-out rows
    loss            the last training loss
    seconds         of this trial
    """

    before: float
    after: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class Remedy:
    """What may help: changes that were tried, if `trial` is not None.

    text   the changes in words, with "; " between them
    """

    changes: tuple[Change, ...]
    text: str
    trial: Trial | None = None


@dataclass(frozen=True)
class Finding:
    """A fault.

    kind         a word of `kinds.KINDS`
    place        the module's path, "optimizer.lr", "loss", "data.inputs", …
    cause        a sentence with the numbers
    evidence     these numbers, by name
    confidence   in 0…1: that this fault is there, and harms
    remedies     the first repairs all findings together, a second one this finding alone
    """

    kind: str
    place: str
    cause: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 1.0
    remedies: tuple[Remedy, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers and text, for JSON."""
        return asdict(self)
