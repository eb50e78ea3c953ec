"""What a page says about each step: its equations, and sentences on the sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import mathematics, prose
from ..derivation import Derivation
from ..steps import names_of, steps_of


def with_words(contents: dict[str, Any], derivations: Sequence[Derivation]) -> dict[str, Any]:
    """The contents of a page (see `contents.py`), to which each step's words are added.

    derivations   of the network, and of its variants in order

    equations   {"forward": lines, "backward": lines}
    story       sentences with the numbers of the sample: of the network, not of its variants
    """
    for entry, derivation in zip([contents, *contents["variants"]], derivations, strict=True):
        steps = steps_of(derivation)
        names = names_of(derivation, steps)
        parts = mathematics.equations(derivation, steps, names).parts
        place = {id(step): k for k, step in enumerate(steps)}
        for step in entry["steps"]:
            step["equations"] = {"forward": [], "backward": []}
        for of, equations in parts:
            for equation in equations if of is not None else ():
                which = "backward" if equation.backward else "forward"
                line = " = ".join(mathematics.text(equation))
                entry["steps"][place[id(of)]]["equations"][which].append(line)
        if entry is contents:
            for step, sentences in zip(
                entry["steps"], prose.sentences(derivation, steps, names), strict=True
            ):
                step["story"] = sentences
    return contents
