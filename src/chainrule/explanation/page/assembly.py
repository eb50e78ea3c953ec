"""The whole page of an explanation: its contents, with the words of each step, as HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import ArgumentError
from .. import mathematics, prose
from ..derivation import Derivation
from ..names import shown
from .contents import contents
from .page import render
from .values import fits
from .variants import Variants, label_of, variants


def page_of(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    derivation: Derivation,
    title: str = "",
    text: str = "",
) -> str:
    """The page of this derivation of function(*args, **kwargs), as HTML; see `page.render`.

    ArgumentError: the title or the text is no text.
    """
    for name, value in {"title": title, "text": text}.items():
        if not isinstance(value, str):
            raise ArgumentError(
                "explain",
                f"got {name}={value!r:.40}",
                "expected text",
                f'page({name}="…")',
            )
    alternatives = (
        variants(function, args, kwargs, derivation)
        if fits(derivation)
        else Variants(label_of(derivation))
    )
    derivation = shown(derivation)
    others = [(label, shown(other)) for label, other in alternatives.others]
    whole = contents(derivation, title, replace(alternatives, others=others))
    derivations = [derivation, *(d for _, d in others)]
    for entry, of in zip([whole, *whole["variants"]], derivations, strict=True):
        _add_words(entry, of, with_story=entry is whole)
    return render(whole, title, text)


def _add_words(entry: dict[str, Any], derivation: Derivation, with_story: bool) -> None:
    """Add to each step its `equations` and, on the sample, a `story`: forward and backward.

    `symbols` has the letters of the equations that are not names, each with what it stands for.
    """
    place = {id(step): k for k, step in enumerate(derivation.steps)}
    for step in entry["steps"]:
        step["equations"] = {"forward": [], "backward": []}
    written = mathematics.equations(derivation)
    entry["symbols"] = [[symbol, name] for symbol, _, name in mathematics.legend(written) if name]
    for of, equations in written.parts:
        for equation in equations if of is not None else ():
            which = "backward" if equation.backward else "forward"
            line = " = ".join(mathematics.text(equation))
            entry["steps"][place[id(of)]]["equations"][which].append(line)
    if with_story:
        stories = prose.sentences(derivation)
        for step, (first, *others) in zip(entry["steps"], stories, strict=True):
            step["story"] = {"forward": [first], "backward": others}
