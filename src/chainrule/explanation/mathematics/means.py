"""Constants that are numbers of samples: told by the sums that they divide, not by their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...graph import Node
from ..derivation import Derivation
from ..samples import Mean, mean_of
from .algebra import mul, power
from .expression import Count, Expr
from .fractions import MINUS, number


@dataclass(frozen=True)
class Counted:
    """A constant that is the size of a mean; or that is a number, divided by the sizes of means."""

    means: tuple[Mean, ...]
    divided: float | None = None

    def written(self, is_row: Callable[[Node, int], bool]) -> Expr:
        """With N for the number of samples.

        is_row   whether an axis of a node counts samples
        """
        sizes = [
            Count(x.shape[k]) if is_row(x, k) else number(x.shape[k])
            for x, axes in self.means
            for k in axes
        ]
        if self.divided is None:
            return mul(*sizes)
        return mul(number(self.divided, 2e-7), *(power(n, MINUS) for n in sizes))


def shares_of_means(derivation: Derivation) -> dict[Node, Counted]:
    """The constants that the chain rule gives to what a mean is of, and hands on from there."""
    out: dict[Node, Counted] = {}
    for pull in derivation.pulls:
        above, share = _first(pull.upstream), _first(pull.shares)
        g, d = _constant(derivation, above), _constant(derivation, share)
        if above is None or share is None or g is None or d is None:
            continue
        known = out.get(above, Counted((), g))
        mean = mean_of(pull.node)
        if mean is not None:
            out[share] = Counted((*known.means, mean), known.divided)
        elif known.means and known.divided is not None and g:
            out[share] = Counted(known.means, known.divided * d / g)
    return out


def _first(nodes: Sequence[Node | None]) -> Node | None:
    return next((n for n in nodes if n is not None), None)


def _constant(derivation: Derivation, node: Node | None) -> float | None:
    """The one number that a node holds everywhere, whatever the sample."""
    if node not in derivation.fixed:
        return None
    values = np.ravel(derivation.value(node))
    return float(values[0]) if values.size and (values == values[0]).all() else None
