"""A finding: what is wrong with a training, where, why, and what helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .kinds import KINDS
from .wording import capitalised, place

LIKELY = 0.5  # a confidence that makes a warning


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

    changes   empty for advice that no program can carry out
    text      the changes in words, with "; " between them
    code      lines of Python that make them, of a model called `model`
    """

    changes: tuple[Change, ...]
    text: str
    trial: Trial | None = None
    code: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Finding:
    """A fault.

    kind         a word of `kinds.KINDS`
    place        the path of a module or parameter ("" is the whole model), "optimizer.lr", "loss",
                 "data.inputs", "epochs", "batch", "class cat", …
    cause        a sentence with the numbers, without its capital and full stop
    evidence     these numbers, by name
    confidence   in 0…1: that this fault is there, and harms
    remedies     of the doctor, the first repairs all findings together, a second one this finding
                 alone; of a training that has run, alternatives that were not tried
    """

    kind: str
    place: str
    cause: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 1.0
    remedies: tuple[Remedy, ...] = ()

    @property
    def level(self) -> str:
        """ "warning", or "notice": with less than half of the confidence."""
        return "warning" if self.confidence >= LIKELY else "notice"

    @property
    def meaning(self) -> str:
        """What the kind means, in words."""
        return KINDS[self.kind]

    @property
    def title(self) -> str:
        """The kind, its place, and what the kind means."""
        return f"{self.kind} at {place(self.place)}: {self.meaning}"

    @property
    def sentence(self) -> str:
        """The cause as a sentence."""
        return f"{capitalised(self.cause)}."

    @property
    def advice(self) -> str:
        """The remedies in one line."""
        return "; or ".join(remedy.text for remedy in self.remedies)

    @property
    def text(self) -> str:
        """Title, cause and remedies in one line."""
        remedies = f" Try: {self.advice}." if self.remedies else ""
        return f"{self.title}. {self.sentence}{remedies}"

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Finding({self.text})"

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers and text, for JSON."""
        return asdict(self)
