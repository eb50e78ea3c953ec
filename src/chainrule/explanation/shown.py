"""A derivation as it may be printed."""

from __future__ import annotations

from dataclasses import replace

from ..errors import printable
from .derivation import Derivation
from .owners import distinct


def shown(derivation: Derivation) -> Derivation:
    """The derivation with each name and title on one line, without commands to the terminal."""
    d, used = derivation, set[str]()
    every = [*(i.name for i in d.inputs.values()), *d.gradients, *d.updated, *d.names.values()]
    of = {name: distinct(printable(name), used) for name in dict.fromkeys(every)}
    texts = [text for step in d.steps for text in (step.title, step.path)]
    if all(old == new for old, new in of.items()) and all(t == printable(t) for t in texts):
        return d
    return replace(
        d,
        inputs={node: replace(i, name=of[i.name]) for node, i in d.inputs.items()},
        gradients={of[name]: node for name, node in d.gradients.items()},
        updated={of[name]: node for name, node in d.updated.items()},
        names={node: of[name] for node, name in d.names.items()},
        steps=[replace(s, title=printable(s.title), path=printable(s.path)) for s in d.steps],
    )
