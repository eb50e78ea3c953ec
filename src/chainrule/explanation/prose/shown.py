"""The names and titles of a derivation as they may be printed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...errors import printable
from ...graph import Node
from ..derivation import Derivation
from ..owners import distinct
from ..steps import Step


def shown(
    derivation: Derivation, steps: Sequence[Step], names: Mapping[Node, str]
) -> tuple[Derivation, Sequence[Step], Mapping[Node, str]]:
    """The same, with each name and title on one line, without commands to the terminal."""
    d, used = derivation, set[str]()
    every = [*(i.name for i in d.inputs.values()), *d.gradients, *d.updated, *names.values()]
    of = {name: distinct(printable(name), used) for name in dict.fromkeys(every)}
    if any(old != new for old, new in of.items()):
        d = copy.copy(derivation)
        d.inputs = {node: replace(i, name=of[i.name]) for node, i in d.inputs.items()}
        d.gradients = {of[name]: node for name, node in d.gradients.items()}
        d.updated = {of[name]: node for name, node in d.updated.items()}
        names = {node: of[name] for node, name in names.items()}
    return d, [replace(s, title=printable(s.title), path=printable(s.path)) for s in steps], names
