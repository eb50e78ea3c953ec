"""Findings from the parameters that no step has trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..finding import Finding
from .reading import advice

ZERO = "its gradient is 0 everywhere (dead units, or zeros multiply it)"


def untrained_findings(untrained: Sequence[str]) -> Iterator[Finding]:
    """One per reason, from texts "parameter: reason"."""
    names = dict[str, list[str]]()
    for text in untrained:
        name, _, reason = text.partition(": ")
        names.setdefault(reason, []).append(name)
    for reason, of in names.items():
        more = f"; likewise {len(of) - 1} more" if len(of) > 1 else ""
        yield Finding(
            "untrained_parameters",
            of[0],
            f"{reason}{more}",
            {"parameters": of, "reason": reason},
            remedies=advice(
                "let the loss depend on it", "if it should stay as it is, freeze or remove it"
            ),
        )
