"""Snapshots: what a dict, list, object, class or array contained when a function was recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import is_
from typing import Any

import numpy as np

from .counting import CountedAttributes

MISSING = object()  # stands for the value of a name that has none
MOST_BYTES = 1 << 16  # of an array whose elements are compared at each call
_PLAIN = (bool, int, float, complex, str, bytes, np.generic)


@dataclass(frozen=True)
class ArraySnapshot:
    """A NumPy array and its elements as they were: the recorded graph has them as constants."""

    owner: Any
    content: bytes

    def unchanged(self) -> bool:
        """Whether the array has the same elements."""
        return bool(self.content == self.owner.tobytes())


def comparable(value: Any) -> Any:
    """The value, or of a small array, which can change and stay the same object, a snapshot."""
    if type(value) is np.ndarray and value.nbytes <= MOST_BYTES:
        return ArraySnapshot(value, value.tobytes())
    return value


def is_plain(value: Any) -> bool:
    """Whether two such values are the same if they are equal: numbers, texts."""
    return isinstance(value, _PLAIN)


def same(a: Any, b: Any) -> bool:
    """Whether two Python values give the same graph: one object, or equal plain values."""
    if a is b:
        return True
    if isinstance(a, ArraySnapshot) or isinstance(b, ArraySnapshot):
        return type(a) is type(b) and a.owner is b.owner and a.content == b.content
    return type(a) is type(b) and is_plain(a) and repr(a) == repr(b)


def items_of(owner: Any) -> list[tuple[Any, Any]]:
    """The keys and values of a dict, the places and items of a list, an object's attributes."""
    if isinstance(owner, dict):
        return list(owner.items())
    return list(enumerate(owner)) if isinstance(owner, list) else list(vars(owner).items())


def path(name: str, owner: Any, key: Any) -> str:
    """The Python expression for one of the owner's values, for messages."""
    return f"{name}[{key!r}]" if isinstance(owner, (dict, list)) else f"{name}.{key}"


class Snapshot:
    """A dict, list, object or class with all its values as they were.

    name     of the owner, for messages
    values   by key, place or attribute; in an array's place its `ArraySnapshot`
    arrays   those snapshots
    """

    def __init__(self, name: str, owner: Any) -> None:
        self.name, self.owner = name, owner
        items = items_of(owner)
        self._keys, self._objects = [k for k, _ in items], [v for _, v in items]
        self.values = {k: comparable(v) for k, v in items}
        self.arrays = [v for v in self.values.values() if isinstance(v, ArraySnapshot)]

    def views(self) -> list[tuple[Iterable[Any], list[Any]]]:
        """Iterables over the present keys and values, each with what it gave when recorded."""
        if isinstance(self.owner, list):
            return [(self.owner, self._objects)]
        inner = self.owner if isinstance(self.owner, dict) else vars(self.owner)
        # Attributes that are added or deleted are counted.
        counted = isinstance(self.owner, CountedAttributes)
        keys = [] if counted else [(inner.keys(), self._keys)]
        return [*keys, (inner.values(), self._objects)]

    def current(self) -> dict[Any, Any]:
        """The `values` of the owner as it is now."""
        return {k: comparable(v) for k, v in items_of(self.owner)}

    def unchanged(self) -> bool:
        """Whether the owner has the same keys in the same order, and the same values."""
        owner = self.owner
        if isinstance(owner, list):
            identical = len(owner) == len(self._objects)
        else:
            owner = owner if isinstance(owner, dict) else vars(owner)
            identical = len(owner) == len(self._keys) and all(map(is_, owner, self._keys))
            owner = owner.values()
        if identical and all(map(is_, owner, self._objects)):
            return not self.arrays or all(a.unchanged() for a in self.arrays)
        current = self.current()
        return [*current] == [*self.values] and all(
            same(v, self.values[k]) for k, v in current.items()
        )

    def restore(self) -> None:
        """Give the owner its keys and values back (not the elements of arrays)."""
        owner = self.owner
        if isinstance(owner, list):
            owner[:] = self._objects
        elif isinstance(owner, type):
            for k in vars(owner).keys() - self.values.keys():
                delattr(owner, k)
            for k, v in zip(self._keys, self._objects, strict=True):
                if vars(owner).get(k, MISSING) is not v:
                    setattr(owner, k, v)
        else:
            inner = owner if isinstance(owner, dict) else vars(owner)
            inner.clear()
            inner.update(zip(self._keys, self._objects, strict=True))
