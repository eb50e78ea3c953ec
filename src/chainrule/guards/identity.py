"""Comparing all variables and snapshots of a step at once: each call of the step does it.

One pass over live views, in C: 0.7 µs for a network of three layers, where asking each object would
take several times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter, is_
from typing import Any

from .counting import CountedAttributes
from .snapshots import ArraySnapshot, Snapshot
from .variables import Variable

_END = (object(),)


class IdentityCheck:
    """Whether variables and snapshots have the same objects: if so, nothing has changed.

    Other objects may still be equal ones; then `Variable.unchanged` and `Snapshot.unchanged` say.
    """

    def __init__(self, variables: Sequence[Variable], snapshots: Sequence[Snapshot]) -> None:
        named = [v for v in variables if len(v.location) == 2]
        namespaces = {id(v.location[0]): v.location[0] for v in named}
        # How to read many values: a function, what it is called with, what it returned before.
        reads: list[tuple[Callable[[Any], Any], list[Any], list[Any]]] = []
        for namespace in namespaces.values():
            inside = [v for v in named if v.location[0] is namespace]
            names, values = [v.location[1] for v in inside], [v.value for v in inside]
            reads.append((namespace.__getitem__, names, values))
        cells = [v for v in variables if len(v.location) == 1]
        contents = [v.value for v in cells]
        reads.append((attrgetter("cell_contents"), [v.location[0] for v in cells], contents))
        # Objects may be given another dict.
        others = (dict, list, type, CountedAttributes)
        objects = [s.owner for s in snapshots if not isinstance(s.owner, others)]
        reads.append((attrgetter("__dict__"), objects, [vars(o) for o in objects]))
        reads = [read for read in reads if read[1]]
        self._readers, self._places = [read for read, _, _ in reads], [at for _, at, _ in reads]
        before = [value for _, _, values in reads for value in values]
        self._defaults = [v for v in variables if not v.location]
        self._views: list[Any] = []
        for view, values in (pair for snapshot in snapshots for pair in snapshot.views()):
            self._views += [view, _END]  # a view that has grown has something else in its place
            before += [*values, *_END]
        self._arrays = [a for snapshot in snapshots for a in snapshot.arrays]
        self._arrays += [v.value for v in variables if isinstance(v.value, ArraySnapshot)]
        self._before = [b.owner if isinstance(b, ArraySnapshot) else b for b in before]

    def passes(self) -> bool:
        """Whether they have the same objects, and arrays the same elements."""
        now = chain.from_iterable(chain(map(map, self._readers, self._places), self._views))
        try:
            if not all(map(is_, now, self._before)):
                return False
        except (KeyError, ValueError):  # a name or a cell that has no value any more
            return False
        return (not self._defaults or all(v.unchanged() for v in self._defaults)) and (
            not self._arrays or all(a.unchanged() for a in self._arrays)
        )
