"""The whole page of an explanation: its contents, with the words of each step, as HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import ArgumentError, printable
from .. import mathematics, prose
from ..derivation import Derivation
from ..names import shown
from ..user_code import comes_along
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
    words: Sequence[str] = (),
) -> str:
    """The page of this derivation of function(*args, **kwargs), as HTML; see `page.render`.

    words   what the whole numbers in the data stand for

    ArgumentError: the title or the text is no text, or words are no list of texts.
    """
    for name, value in {"title": title, "text": text}.items():
        if not isinstance(value, str):
            raise ArgumentError(
                "explain",
                f"got {name}={value!r:.40}",
                "expected text",
                f'page({name}="…")',
            )
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise ArgumentError(
            "explain",
            f"got words={words!r:.40}",
            "expected a list of texts: what 0, 1, … in the data stand for",
            'page(words=["the", "dog"])',
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
        _add_words(entry, of)
    whole["vanishing"], whole["steady"] = prose.VANISHING, prose.STEADY
    whole["words"] = [*map(printable, words)]
    whole["ready"] = comes_along(function)
    return render(whole, title, text)


def _add_words(entry: dict[str, Any], derivation: Derivation) -> None:
    """Add to each step its `equations` and its `story`: forward and backward.

    `symbols` has the letters of the equations that are not names, each with what it stands for: a
    name, or what it is computed by.
    """
    steps = derivation.steps
    place = {id(step): k for k, step in enumerate(steps)}
    readers = {
        f"∂loss/∂{read.name}": [k for k, step in enumerate(steps) if node in step.inputs]
        for node, read in derivation.inputs.items()
    }
    for step in entry["steps"]:
        step["equations"] = {"forward": [], "backward": []}
    written = mathematics.equations(derivation, across_steps=False)
    symbols = {symbol: name for symbol, _, name in mathematics.legend(written) if name}
    for of, equations in written.parts:
        for equation in equations if of is not None else ():
            which = "backward" if equation.backward else "forward"
            left, right = mathematics.text(equation)
            symbol = equation.left.symbol
            at = readers.get(symbol.name, [])  # a gradient stands where the page shows it
            k = at[0] if len(at) == 1 else place[id(of)]
            entry["steps"][k]["equations"][which].append(f"{left} = {right}")
            symbols.setdefault(left.partition("[")[0], printable(symbol.name) or right)
    entry["symbols"] = [[symbol, means] for symbol, means in symbols.items() if means != symbol]
    stories = prose.sentences(derivation)
    for step, (first, *others) in zip(entry["steps"], stories, strict=True):
        step["story"] = {"forward": [first], "backward": others}
